"""The smollm2 sweep's numbers against the same done with transformers.

    espalier export wanda-0.5-s0 --sweep smollm2 --to EXPORTS/wanda-0.5-s0      (each pruned variant of the sweep)
    .venv-python/bin/python tests/python/smollm2.py RESULTS_CSV same EXPORTS
    .venv-python/bin/python tests/python/smollm2.py RESULTS_CSV walk --pattern 0.5

* `same`: every number of the report, from the same weights. Transformers loads the dense model and what `export` wrote; magnitude's weights must be the
  published algorithm's bit for bit. Tolerances: perplexity 1e-4 relative, accuracies one item of 176.
* `walk`: Wanda's numbers, from weights that transformers pruned itself. The walk through 30 pruned blocks amplifies rounding (`masks.py`), so the
  reference is done four ways which differ in rounding alone (attention kernel, how the squares are summed), and Espalier may lie outside of what
  they span by no more than that span.
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import reference as ref

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BASE = EXAMPLES / "smollm2/model"
TASKS = {"commonsense_qa": ref.commonsense_cloze, "ekar": ref.ekar_cloze}
ITEM = 1.01 / 176
WAYS = [("sdpa", "float32"), ("eager", "float32"), ("sdpa", "running"), ("sdpa", "float64")]


def load(folder, attention="sdpa"):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)


def numbers(model, tokenizer):
    """Every number of the report of one variant: (task, style, metric) -> value."""
    texts = ref.rows(EXAMPLES / "smollm2/data/alice.txt")
    out = {("wikitext2", "", "ppl_token@512"): ref.perplexity(model, tokenizer, texts, 512)}
    for task, prompt in TASKS.items():
        acc, norm, _ = ref.score_items(model, tokenizer, EXAMPLES / f"everyday/{task}.jsonl", prompt)
        out[task, "cloze", "acc"], out[task, "cloze", "acc_norm"] = acc, norm
    return out


def told(method, sparsity, key, theirs, got, fine):
    print(f"{method} {sparsity} {key[0]} {key[2]}: reference {theirs}, espalier {got:.6f}{'' if fine else '  DIFFERS'}", flush=True)
    return fine


def pruned_as_published(method, folder, pattern):
    """Magnitude only: its masks depend on nothing but the weights."""
    model = load(BASE)
    ref.prune_magnitude(model, pattern)
    ours = load(folder).state_dict()
    return all(torch.equal(ours[name], weight) for name, weight in model.state_dict().items())


def same(ours, tokenizer, exports):
    """Reads what `export` wrote."""
    fine = True
    for method, sparsity, pattern in [
        ("dense", "0", None), ("wanda", "0.5", 0.5), ("wanda", "2:4", (2, 4)), ("magnitude", "0.5", 0.5), ("magnitude", "2:4", (2, 4)),
    ]:
        folder = BASE
        if method != "dense":
            (folder,) = exports.glob(f"{method}-{sparsity.replace(':', '?')}*")
        if method == "magnitude" and not pruned_as_published(method, folder, pattern):
            print(f"{folder.name}: weights DIFFER from the published algorithm's")
            fine = False
        for key, value in numbers(load(folder), tokenizer).items():
            got = float(ours[(method, sparsity, *key)]["value"])
            slack = value * 1e-4 if key[0] == "wikitext2" else ITEM
            fine &= told(method, sparsity, key, f"{value:.6f}", got, abs(got - value) <= slack)
    return fine


def walk(ours, tokenizer, pattern):
    """Prunes with transformers, each way."""
    windows = ref.calibration_windows(tokenizer, ref.rows(EXAMPLES / "smollm2/data/workshop.txt"), 16, 512, 0)
    found = []
    for attention, statistics in WAYS:
        model = load(BASE, attention)
        ref.prune_wanda(model, windows, pattern, statistics)
        found.append(numbers(model, tokenizer))
        print(attention, statistics, {" ".join(k): round(v, 6) for k, v in found[-1].items()}, flush=True)
    sparsity, fine = ":".join(map(str, pattern)) if isinstance(pattern, tuple) else str(pattern), True
    for key in found[0]:
        low, high = min(f[key] for f in found), max(f[key] for f in found)
        got = float(ours[("wanda", sparsity, *key)]["value"])
        slack = max(high - low, ITEM if key[0] != "wikitext2" else 0)
        fine &= told("wanda", sparsity, key, f"{low:.6f} to {high:.6f}", got, low - slack <= got <= high + slack)
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("same").add_argument("exports", type=Path)
    kinds.add_parser("walk").add_argument("--pattern", required=True, type=lambda t: tuple(map(int, t.split(":"))) if ":" in t else float(t))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    ours = ref.results(args.results)
    fine = same(ours, tokenizer, args.exports) if args.kind == "same" else walk(ours, tokenizer, args.pattern)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
