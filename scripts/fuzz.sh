#!/usr/bin/env bash
# Runs fuzz targets (all, or those named) for RUNS executions each, or SECONDS_EACH seconds if those are over before; two at a time.
# It begins with fuzz/corpus, what was once a finding and first inputs, and fuzz/found, what earlier runs found. New inputs that reach new code
# are kept under target/fuzz/found; `MINIMIZE=1` packs the smallest set of them into fuzz/found.
# At its end it prints a table of what was run, which is also target/fuzz/table.txt: to be kept with a release.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-10000000} seconds=${SECONDS_EACH:-1800} jobs=${JOBS:-$(nproc)} triple=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz asks of a nightly compiler, a stable one gives as LLVM's own options: counters, their addresses, and compared
# values. Only what is built for the target is instrumented, not build scripts. The linker drops the counters of code that a
# target does not reach: libFuzzer looks at all that are left after every input.
coverage="-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters
-C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares -C link-arg=-Wl,-z,start-stop-gc"
built=$PWD/target/fuzz/$triple/fuzz/espalier-fuzz binaries=$PWD/target/fuzz/binaries
found=$PWD/target/fuzz/found crashes=$PWD/target/fuzz/crashes logs=$PWD/target/fuzz/logs
table=$PWD/target/fuzz/table.txt
mkdir -p "$crashes" "$logs" "$binaries" fuzz/found

# What earlier runs found, beside what this machine's own did.
unpack() {
    mkdir -p "$found/$1"
    [ ! -f "fuzz/found/$1.tar.gz" ] || tar -C "$found/$1" --skip-old-files -xzf "fuzz/found/$1.tar.gz"
}
one() {
    local target=$1 begun=$SECONDS code=0 failures
    unpack "$target"
    touch "$logs/$target.begun"
    # Memory is bounded per input by the targets themselves; this is for what piles up over many.
    "$binaries/$target" -runs="$runs" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -use_value_profile=1 -max_len=20000 \
        -print_final_stats=1 -artifact_prefix="$crashes/$target-" "$found/$target" "fuzz/corpus/$target" \
        >"$logs/$target.log" 2>&1 || code=$?
    # Inputs at which it failed, in this run; what is only slow is none.
    failures=$(find "$crashes" -name "$target-*" ! -name "$target-slow-unit-*" -newer "$logs/$target.begun" | wc -l)
    stat() { local found; found=$(sed -n "s/^stat::$1: *//p" "$logs/$target.log"); echo "${found:--}"; }
    printf "$row" "$target" "$(stat number_of_executed_units)" $((SECONDS - begun)) "$(stat new_units_added)" "$failures" \
        | tee "$logs/$target.row"
    [ $code = 0 ] || { echo "$target FAILED with $code: $logs/$target.log"; return 1; }
}
minimize() {
    local target=$1
    unpack "$target"
    rm -rf "$found/$target.small" && mkdir -p "$found/$target.small"
    "$binaries/$target" -merge=1 -timeout=20 -max_len=4096 "$found/$target.small" "fuzz/corpus/$target" "$found/$target" \
        >"$logs/$target.merge.log" 2>&1
    # Thousands of small files: as one, whose bytes depend on nothing but theirs.
    tar -C "$found/$target.small" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - . | gzip -9n >"fuzz/found/$target.tar.gz"
    echo "$target: $(ls "$found/$target.small" | wc -l) inputs, $(stat -c %s "fuzz/found/$target.tar.gz") bytes packed"
}
# target, executions, seconds, new inputs, crashes
row='%-20s %12s %8s %11s %8s\n'
export -f unpack one minimize
export binaries found crashes logs runs seconds row
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(sed -n 's/.*Target { name: "\([a-z_]*\)".*/\1/p' fuzz/src/targets/mod.rs)
for target in "${targets[@]}"; do
    ESPALIER_FUZZ=$target RUSTFLAGS=$(tr '\n' ' ' <<<"$coverage") cargo build --locked --quiet --profile fuzz -p espalier-fuzz \
        --features libfuzzer --target "$triple" --target-dir target/fuzz
    ln -f "$built" "$binaries/$target"
done
each() { printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c "$1 {}"; }
if [ -n "${MINIMIZE:-}" ]; then
    each minimize
    exit
fi
rm -f "$logs"/*.row
failed=0
each one || failed=$?
{
    echo "$(git describe --always --dirty 2>/dev/null || echo unknown), $(date -u +%F), $(rustc --version), $jobs at a time"
    # shellcheck disable=SC2059  # One form for the head and every row.
    printf "$row" target executions seconds "new inputs" crashes
    cat "$logs"/*.row
} > "$table"
echo
cat "$table"
exit $failed
