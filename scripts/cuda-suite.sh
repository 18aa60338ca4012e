#!/usr/bin/env bash
# Packs the worker's golden tests so that they can be carried to a bare GPU machine: test binaries, the worker, goldens, and a script that
# runs them all on a device. Result: target/cuda-suite/ and target/cuda-suite.tar.gz.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/cuda-suite
rm -rf $out && mkdir -p $out/bin
cargo build --quiet --workspace --bins
cargo test --quiet --workspace --no-run --message-format=json 2>/dev/null |
    grep '"kind":\["test"\]' | grep 'worker/Cargo.toml' | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' |
    while read -r test; do
        name=$(basename "$test")
        strip -o "$out/bin/${name%-*}" "$test"
    done
strip -o $out/espalier-worker target/debug/espalier-worker
cp -r tests/goldens $out/goldens && rm -rf $out/goldens/make
cp scripts/cuda-suite-run.sh $out/run.sh
tar -C target -czf target/cuda-suite.tar.gz cuda-suite
du -h target/cuda-suite.tar.gz
