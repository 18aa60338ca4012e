#!/usr/bin/env bash
# Makes .libtorch, the folder of links that the worker is built against, unless there is a libtorch already:
#   1. an exported LIBTORCH is used as it is (2.11; CPU, CUDA 12 or CUDA 13);
#   2. a torch 2.11 of the python3 in use is linked to;
#   3. else torch comes from PyPI into .venv-libtorch: without the CUDA packages (0.5 GB) where no NVIDIA driver is, with them where one is.
set -euo pipefail
cd "$(dirname "$0")/.."
version=2.11.0

if [ -n "${LIBTORCH:-}" ]; then
    found=$(cat "$LIBTORCH/build-version" 2>/dev/null || echo unknown)
    case "$found" in
        2.11.*) echo "libtorch: $LIBTORCH ($found), as LIBTORCH says"; exit 0 ;;
        unknown) [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] && { echo "libtorch: $LIBTORCH, version not stated"; exit 0; } ;;
    esac
    echo "libtorch: LIBTORCH=$LIBTORCH: found version $found, expected $version; unset LIBTORCH to have it installed here" >&2
    exit 3
fi

# LIBTORCH_CUDA=yes or no: as for a machine with or without a driver, whatever this one has (an image is built elsewhere than it runs).
driver=${LIBTORCH_CUDA:-no}
if [ -z "${LIBTORCH_CUDA:-}" ] && [ -e /proc/driver/nvidia/version ]; then driver=yes; fi
state="torch $version, NVIDIA driver: $driver"
[ "$(cat .libtorch/state 2>/dev/null)" = "$state" ] && [ -e .libtorch/lib/libtorch_cpu.so ] && exit 0

# Folder of site-packages that holds torch 2.11, if the given Python has it (asked without importing torch).
site_of() {
    "$1" - <<'PY' 2>/dev/null
import importlib.metadata as m, pathlib
d = m.distribution("torch")
root = pathlib.Path(d.locate_file("torch"))
assert d.version.startswith("2.11.") and (root / "lib" / "libtorch_cpu.so").exists() and (root / "include").exists()
print(root.parent)
PY
}

if ! site=$(site_of python3) || { [ $driver = yes ] && [ ! -e "$site/torch/lib/libtorch_cuda.so" ]; }; then
    venv=.venv-libtorch
    [ -x $venv/bin/python ] || python3 -m venv $venv
    echo "libtorch: installing torch $version from PyPI into $venv (NVIDIA driver: $driver)"
    pip="$venv/bin/pip install --quiet --disable-pip-version-check"
    if [ $driver = yes ]; then
        $pip torch==$version
    else
        $pip --no-deps torch==$version nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
    fi
    site=$(site_of $venv/bin/python)
fi

rm -rf .libtorch && mkdir -p .libtorch/lib
ln -s "$site/torch/include" .libtorch/include
for lib in "$site"/torch/lib/lib*.so*; do ln -s "$lib" .libtorch/lib/; done
# What libtorch_cpu.so itself needs of CUDA's runtime lies in packages of its own.
for lib in "$site"/nvidia/*/lib/lib{cudart,cupti}.so*; do [ -e "$lib" ] && ln -sf "$lib" .libtorch/lib/; done
# Nothing may need libtorch_cuda.so to start: the worker opens it itself where an NVIDIA driver is.
ln -sf "$site/torch/lib/libtorch_cpu.so" .libtorch/lib/libtorch.so
rm -f .libtorch/lib/libtorch_python.so
echo $version > .libtorch/build-version
echo "$state" > .libtorch/state
echo "libtorch: linked $site/torch"
