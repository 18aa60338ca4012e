"""Espalier against the libraries that people use, end to end with the built binaries.

    .venv-python/bin/python tests/python/run.py target/debug

What `prune` writes loads in transformers: its zeros are Wanda's (≥ 99.9 % of mask bits of every linear equal to the reference's own), its other
weights are the base's, and what `export` writes is the same. What `eval` scores equals transformers, one forward an option: |Δll| ≤ 1e-4·(1+|ll|).
Its F1 equals scikit-learn's on its own per-item predictions: 1e-12. Perplexity: 1e-4 relative.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForCausalLM, AutoTokenizer

import reference as ref

ROOT = Path(__file__).resolve().parents[2]
SCORING = ROOT / "tests/goldens/scoring"
MODELS = [SCORING / "phi-nobos", SCORING / "llama-bos"]
TEXT = ROOT / "examples/demo/data/calibration.txt"
PATTERNS = [(["--sparsity_type", "unstructured", "--sparsity_ratio", "0.5"], 0.5), (["--sparsity_type", "2:4"], (2, 4))]
failures = []


def check(name, fine, detail=""):
    print(f"{'ok  ' if fine else 'FAIL'} {name} {detail}", flush=True)
    if not fine:
        failures.append(name)


def espalier(*args):
    command = [BIN / "espalier", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def pruned_by_reference(folder, pattern):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    windows = ref.calibration_windows(tokenizer, ref.rows(TEXT), 16, 64, 0)
    ref.prune_wanda(model, windows, pattern)
    return model


def check_pruning(folder, work):
    """Returns the folder of the last pruned model."""
    for flags, pattern in PATTERNS:
        name = f"{folder.name} {pattern}"
        out = work / f"{folder.name}-{flags[1]}"
        espalier("prune", "--model", folder, "--prune_method", "wanda", *flags, "--calibration", TEXT, "--nsamples", 16, "--seqlen", 64,
                 "--save", work / f"log-{out.name}", "--save_model", out, "--bucket", work / "bucket")
        ours = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager")
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        theirs = pruned_by_reference(folder, pattern)
        worst, kept_equal = 1.0, True
        for ours_layer, base_layer, their_layer in zip(ours.model.layers, base.model.layers, theirs.model.layers):
            theirs_by_name, base_by_name = ref.linears_of(their_layer), ref.linears_of(base_layer)
            for linear, module in ref.linears_of(ours_layer).items():
                zeros, expected = module.weight == 0, theirs_by_name[linear].weight == 0
                worst = min(worst, (zeros == expected).float().mean().item())
                kept_equal &= bool(torch.equal(module.weight, torch.where(zeros, 0.0, base_by_name[linear].weight)))
        check(f"{name}: masks are the reference's", worst >= 0.999, f"worst linear {worst:.6f}")
        check(f"{name}: every other weight is the base model's", kept_equal)
        ids = torch.arange(40)[None] % 50 + 3
        with torch.no_grad():
            a, b = ours(ids).logits, theirs(ids).logits
        gap = ((a - b).abs().max() / b.abs().max()).item()
        check(f"{name}: logits in transformers", gap <= (1e-5 if worst == 1 else 0.05), f"{gap:.2e}")
    return out


def check_scores(folder, work):
    samples, results = work / "samples.jsonl", work / "results.json"
    data = SCORING / "data/native/commonsense_qa.jsonl"
    espalier("eval", "--model", folder, "--task", f"commonsense_qa={data}", "--style", "cloze", "--samples", samples, "--json", results,
             "--bucket", work / "bucket")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    _, _, theirs = ref.score_items(model, tokenizer, data, ref.commonsense_cloze)
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    check(f"{folder.name}: every item is in the samples", len(lines) == len(theirs))
    gap = max(abs(c["ll"] - ll) / (1 + abs(ll)) for line, lls in zip(lines, theirs) for c, ll in zip(line["choices"], lls))
    check(f"{folder.name}: log-likelihoods", gap <= 1e-4, f"{gap:.2e}")
    cells = {c["metric"]: c["value"] for c in json.loads(results.read_text())["cells"]}
    golds, preds, norms = ([line[k] for line in lines] for k in ("gold", "pred", "pred_norm"))
    for metric, value in [
        ("acc", accuracy_score(golds, preds)), ("acc_norm", accuracy_score(golds, norms)),
        ("f1", f1_score(golds, preds, average="macro", zero_division=0)),
        ("f1_norm", f1_score(golds, norms, average="macro", zero_division=0)),
    ]:
        check(f"{folder.name}: {metric} is scikit-learn's", abs(cells[metric] - value) <= 1e-12, f"{cells[metric]}")


def check_perplexity(folder, work):
    results = work / "ppl.json"
    text = ROOT / "examples/demo/data/heldout.txt"
    espalier("eval", "--model", folder, "--task", f"wikitext2={text}", "--seqlen", 64, "--limit", 10, "--json", results, "--bucket", work / "bucket")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    ids = tokenizer("\n\n".join(ref.rows(text)))["input_ids"][: 640]
    value = ref.perplexity_of_ids(model, torch.tensor(ids), 64)
    ours = json.loads(results.read_text())["cells"][0]["value"]
    check(f"{folder.name}: perplexity", abs(ours - value) <= 1e-4 * value, f"{ours} and {value}")


def check_demo(work):
    """The demo shows the real thing: dense models know every set, and 80 % of Wanda takes most of that away."""
    bucket = work / "demo-bucket"
    espalier("run", ROOT / "examples/demo.yaml", "--bucket", bucket)
    cells = ref.results(bucket / "sweeps/demo/report/results.csv", by_model=True)
    chance = {"commonsense_qa": 0.2, "cosmos_qa": 0.25, "logiqa": 0.25, "reclor": 0.25, "ekar": 0.25}
    for model in ("phi-demo", "phi3-demo"):
        for task, guess in chance.items():
            dense, pruned = (cells[model, method, sparsity, task, "cloze", "acc"] for method, sparsity in [("dense", "0"), ("wanda", "0.8")])
            check(f"{model} {task}: dense is above chance + 10 points", float(dense["ci_low"]) > guess + 0.1, dense["ci_low"])
            left = (float(pruned["value"]) - guess) / (float(dense["value"]) - guess)
            check(f"{model} {task}: at 80 % most of the margin is gone", left < 0.5, f"{left:.2f} of it is left")


def check_cuda_library():
    """The CUDA part of the installed torch opens in a worker, links followed, whether or not there is a GPU."""
    library = Path(torch.__file__).parent / "lib/libtorch_cuda.so"
    if not library.exists():
        print("skip the installed torch is without CUDA")
        return
    command = [BIN / "espalier-worker", "doctor", "--device", "cuda:0", "--libtorch-cuda", library]
    with tempfile.TemporaryDirectory() as folder:
        # The dynamic linker writes down what it initialises, a file a process.
        environment = os.environ | {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": f"{folder}/opened"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        opened = "".join(file.read_text(errors="replace") for file in Path(folder).iterdir())
    fine = done.returncode == 0 or "libtorch_cuda.so is open, but there is no NVIDIA driver" in done.stderr
    check("libtorch_cuda.so opens in the worker", fine, done.stderr.strip() or done.stdout.strip())
    for name in ("libnvrtc.so", "libnvrtc-builtins.so"):
        # Later ones ask for it by name alone, which finds only what is in the process.
        found = re.search(rf"calling init: \S*/{name}\.\d", opened)
        check(f"{name} is opened with it", found, "" if found else "not among what the linker initialised")


def main():
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for model in MODELS:
            check_pruning(model, work)
            check_scores(model, work)
            check_perplexity(model, work)
        check_demo(work)
    check_cuda_library()
    # The form that a reader of test logs looks for.
    print(f"{'FAILED: ' + ', '.join(failures) if failures else 'all equal'}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    BIN = Path(sys.argv[1]).resolve()
    main()
