"""Makes every golden file, or (--check) makes them elsewhere and compares with the committed ones.

Usage: python make.py [--check] [PART ...]      PART: families methods calibration scoring metrics (default: all)
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")

import transformers  # noqa: E402  (the environment must be set first)

import store  # noqa: E402

PARTS = ["families", "methods", "scoring", "calibration", "metrics"]
READS = {"methods": "families", "calibration": "scoring"}  # a part that reads what an earlier one made
PACKAGES = ["torch", "transformers", "tokenizers", "safetensors", "lm_eval", "scikit-learn", "scipy", "numpy", "datasets", "pyarrow",
            "accelerate"]
GOLDENS = Path(__file__).resolve().parent.parent


def versions():
    """Returns what the committed files were made with."""
    return {p: importlib.metadata.version(p) for p in PACKAGES} | {"python": platform.python_version()}


def make(root, parts):
    """Makes `parts` under `root`, replacing what was there. Parts read earlier parts from `root`."""
    for part in parts:
        shutil.rmtree(root / part, ignore_errors=True)
        importlib.import_module(part).make(root)


def check(parts):
    """Makes `parts` in a temporary folder; returns what differs from the committed files."""
    with tempfile.TemporaryDirectory() as temp:
        read = {READS[p] for p in parts if p in READS}
        make(Path(temp), [p for p in PARTS if p in parts or p in read])
        return store.compare(GOLDENS, Path(temp), parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("parts", nargs="*", metavar="PART")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown part {sorted(unknown)}, known: {PARTS}")
    parts = [p for p in PARTS if p in args.parts or not args.parts]
    store.set_up_torch()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    if not args.check:
        make(GOLDENS, parts)
        store.write_json(GOLDENS / "versions.json", versions())
        return 0
    problems = check(parts)
    for line in problems:
        print(line)
    print(f"goldens: {', '.join(parts)}: {'equal' if not problems else f'{len(problems)} differences'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
