"""Which weights of SmolLM2 go, linear by linear: Espalier's masks beside the published algorithm's in transformers.

    espalier export wanda-0.5-s0 --sweep smollm2 --to OURS
    .venv-python/bin/python tests/python/masks.py OURS --pattern 0.5 [--follow] [--attention eager] [--statistics float64] [--method magnitude]
    .venv-python/bin/python tests/python/masks.py - --attention eager      the reference against itself: how far float noise alone goes

OURS is a folder that `export` or `prune --save_model` wrote. Two readings:

* with `--follow` the reference prunes every block by its own statistics, but walks on through the block as OURS has it: each linear is
  compared under the inputs that Espalier gave it. This is where a deviation from the algorithm would show: ≥ 99.9 % of every linear.
* without, the reference walks through its own blocks, so a bit that differs changes the inputs of all blocks after it.

`-` compares the reference (sdpa, float32 sums) with itself under the other `--attention` or `--statistics`.
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import reference as ref

FOLDER = Path(__file__).resolve().parents[2] / "examples/smollm2"


def load(folder, attention="sdpa"):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)


def windows_of(tokenizer):
    """As examples/smollm2.yaml has them."""
    return ref.calibration_windows(tokenizer, ref.rows(FOLDER / "data/workshop.txt"), 16, 512, 0)


def pruned_by_reference(args, attention, statistics, follow=None):
    model = load(FOLDER / "model", attention)
    if args.method == "magnitude":
        ref.prune_magnitude(model, args.pattern)
    else:
        ref.prune_wanda(model, windows_of(AutoTokenizer.from_pretrained(FOLDER / "model")), args.pattern, statistics, follow)
    return model


def zeros_of(model):
    return {f"{i}.{name}": linear.weight == 0 for i, layer in enumerate(model.model.layers) for name, linear in ref.linears_of(layer).items()}


def report(ours, theirs):
    """Prints a line a block; the worst linear's agreement comes back."""
    worst, differ, total = (1.0, ""), 0, 0
    blocks = {}
    for name in theirs:
        wrong = (ours[name] != theirs[name]).sum().item()
        share = 1 - wrong / theirs[name].numel()
        blocks.setdefault(int(name.split(".")[0]), []).append((name.split(".")[-1], share))
        worst, differ, total = min(worst, (share, name)), differ + wrong, total + theirs[name].numel()
    for block, linears in blocks.items():
        print(f"block {block:2}  " + "  ".join(f"{n.removesuffix('_proj')} {share:.6f}" for n, share in linears))
    print(f"all linears: {1 - differ / total:.6f} ({differ} of {total} weights differ); worst {worst[1]} {worst[0]:.6f}", flush=True)
    return worst[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ours")
    parser.add_argument("--method", default="wanda", choices=["wanda", "magnitude"])
    parser.add_argument("--pattern", default=0.5, type=lambda t: tuple(map(int, t.split(":"))) if ":" in t else float(t))
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--statistics", default="float32", choices=list(ref.STATISTICS))
    parser.add_argument("--perplexity", action="store_true", help="of both, by the reference")
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.ours == "-":
        ours = pruned_by_reference(args, "sdpa", "float32")
    else:
        ours = load(args.ours)
    theirs = pruned_by_reference(args, args.attention, args.statistics, ours if args.follow else None)
    worst = report(zeros_of(ours), zeros_of(theirs))
    if args.perplexity:
        tokenizer = AutoTokenizer.from_pretrained(FOLDER / "model")
        for name, model in [("first", ours), ("second", theirs)]:
            print(f"{name}: perplexity {ref.perplexity(model, tokenizer, ref.rows(FOLDER / 'data/alice.txt'), 512):.6f}")
    sys.exit(0 if worst >= 0.999 or not args.follow else 1)


if __name__ == "__main__":
    main()
