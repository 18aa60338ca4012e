#!/usr/bin/env bash
# Runs the golden suite on a device: `./run.sh cuda:0`, `./run.sh cpu`. Needs the files beside it and a libtorch 2.11: LIBTORCH, else the torch of
# python3. Ends with 0 only if every test passed on that device.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
device=${1:-cuda:0}
if [ -n "${LIBTORCH:-}" ]; then
    lib=$LIBTORCH/lib
else
    lib=$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')/lib
fi
export LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export ESPALIER_TEST_DEVICE=$device ESPALIER_GOLDENS=$here/goldens ESPALIER_WORKER_BIN=$here/espalier-worker
"$here/espalier-worker" doctor --device "$device"
failed=
for test in "$here"/bin/*; do
    echo "== $(basename "$test") on $device"
    "$test" || failed="$failed $(basename "$test")"
done
[ -z "$failed" ] || { echo "failed on $device:$failed" >&2; exit 1; }
echo "every golden test passed on $device"
