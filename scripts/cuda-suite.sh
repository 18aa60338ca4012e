#!/usr/bin/env bash
# Packs the worker's golden tests so that they can be carried to a bare GPU machine: test binaries, the worker, goldens, and a script that
# runs them all on a device. Result: target/cuda-suite/ and target/cuda-suite.tar.gz.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/cuda-suite
rm -rf $out && mkdir -p $out/bin
cargo build --locked --quiet --workspace --bins
# Times are measured by hand and are not packed.
cargo test --locked --quiet --workspace --no-run --message-format=json |
    grep '"kind":\["test"\]' | grep 'worker/Cargo.toml' | grep -v '"name":"figures"' | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' |
    while read -r test; do
        name=$(basename "$test")
        strip -o "$out/bin/${name%-*}" "$test"
    done
strip -o $out/espalier-worker target/debug/espalier-worker
cp -r tests/goldens $out/goldens && rm -rf $out/goldens/make
cp scripts/cuda-suite-run.sh $out/run.sh
tar -C target -czf target/cuda-suite.tar.gz cuda-suite
bytes=$(stat -c %s target/cuda-suite.tar.gz)
echo "target/cuda-suite.tar.gz: $((bytes / 1024)) KiB, tests: $(ls $out/bin | tr '\n' ' ')"
# What carries it to another machine may take no more.
[ "$bytes" -le $((64 << 20)) ] || { echo "cuda-suite: $bytes bytes, expected 64 MiB at most" >&2; exit 1; }
