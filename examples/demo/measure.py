"""Measures a model on the demo's data, as the report will: accuracy in the `cloze` style, perplexity by windows.

    python measure.py phi-demo    the committed model, dense and pruned

In: a transformers model, its tokenizer, the `data/` folder. Out: numbers. An item's answer is the option of the highest
log-likelihood after the prompt (acc), or of the highest per character of the option (acc_norm).
"""

import math
import sys
from pathlib import Path
from random import Random

import torch

import read


def wilson_low(hits: int, n: int, z: float = 1.959964) -> float:
    """The lower end of Wilson's 95 % interval."""
    p = hits / n
    return (p + z * z / (2 * n) - z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)


@torch.no_grad()
def accuracy(model, tok, items) -> tuple[int, int, int]:
    """Hits by log-likelihood, hits by log-likelihood per character, number of items."""
    asked = [(n, o) for n, i in enumerate(items) for o in range(len(i.options))]
    prompts = [len(e.ids) for e in tok.encode_batch([i.prompt() for i in items])]
    encoded = [tok.encode(items[n].prompt() + items[n].continuations()[o]).ids for n, o in asked]
    scores = {}
    order = sorted(range(len(asked)), key=lambda k: len(encoded[k]))
    for start in range(0, len(order), 100):
        part = order[start : start + 100]
        ids = torch.zeros(len(part), max(len(encoded[k]) for k in part), dtype=torch.long)
        for row, k in enumerate(part):
            ids[row, : len(encoded[k])] = torch.tensor(encoded[k])
        hidden = model.model(input_ids=ids, use_cache=False)[0]
        for row, k in enumerate(part):
            first, last = prompts[asked[k][0]], len(encoded[k])
            said = model.lm_head(hidden[row, first - 1 : last - 1]).log_softmax(-1)
            scores[asked[k]] = said.gather(1, ids[row, first:last, None]).sum().item()
    plain = norm = 0
    for n, item in enumerate(items):
        own = [scores[n, o] for o in range(len(item.options))]
        per = [s / len(c.removeprefix(" ")) for s, c in zip(own, item.continuations())]
        plain += own.index(max(own)) == item.answer
        norm += per.index(max(per)) == item.answer
    return plain, norm, len(items)


@torch.no_grad()
def perplexity(model, tok, rows: list[str], seqlen: int) -> float:
    """Wanda's perplexity: rows joined by two newlines, disjoint windows."""
    ids = tok.encode("\n\n".join(rows)).ids
    windows = torch.tensor(ids[: len(ids) // seqlen * seqlen]).view(-1, seqlen)
    total = 0.0
    for part in windows.split(32):
        logits = model(input_ids=part, use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), part[:, 1:], reduction="none")
        total += loss.mean(1).sum().item()
    return math.exp(total / len(windows))


def summary(model, tok, data: Path, first: int | None = None) -> dict[str, str]:
    """acc [Wilson's lower end] and acc_norm by task, and the held-out perplexity; of the `first` items only, if given."""
    model.eval()
    out = {}
    for task, items in read.all_sets(data).items():
        plain, norm, n = accuracy(model, tok, items[:first])
        out[task] = f"{plain / n:.3f} [{wilson_low(plain, n):.3f}] {norm / n:.3f}"
    out["ppl"] = f"{perplexity(model, tok, (data / 'heldout.txt').read_text().splitlines(), 128):.2f}"
    return out


@torch.no_grad()
def prune(model, tok, text: str, method: str, sparsity: float | None, nsamples: int = 32, seqlen: int = 128) -> None:
    """Prunes block after block: in each output row (of each four inputs: two, if no `sparsity` is given) the least score goes to zero.

    Wanda's score is |weight| times the norm of the input, magnitude's |weight|; magnitude ranks a whole matrix.
    """
    ids, rng = tok.encode(text).ids, Random(0)
    starts = [rng.randrange(len(ids) - seqlen) for _ in range(nsamples)]
    batch = torch.tensor([ids[a : a + seqlen] for a in starts])
    for layer in model.model.layers:
        linears = [m for m in layer.modules() if isinstance(m, torch.nn.Linear)]
        squares, hooks = {}, []
        for m in linears:
            hooks.append(m.register_forward_pre_hook(lambda m, x: squares.update({m: x[0].flatten(0, 1).pow(2).sum(0)})))
        model(input_ids=batch, use_cache=False)
        for h in hooks:
            h.remove()
        for m in linears:
            score = m.weight.abs() * (squares[m].sqrt() if method == "wanda" else 1.0)
            if sparsity is None:
                ranked, gone = score.view(-1, 4), 2
            else:
                ranked = score if method == "wanda" else score.view(1, -1)
                gone = int(ranked.shape[1] * sparsity)
            least = ranked.argsort(dim=1, stable=True)[:, :gone]
            m.weight.view(ranked.shape).scatter_(1, least, 0.0)


if __name__ == "__main__":
    import copy

    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    data = Path(__file__).parent / "data"
    calibration = " ".join((data / "calibration.txt").read_text().splitlines())
    for name in sys.argv[1:]:
        folder = data.parent / "models" / name
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        dense = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        print(name, sum(p.numel() for p in dense.parameters()), "parameters; dense", summary(dense, tokenizer, data), flush=True)
        for pattern in (0.2, 0.4, 0.6, 0.8, None):
            net = copy.deepcopy(dense)
            prune(net, tokenizer, calibration, "wanda", pattern)
            print(name, "Wanda", pattern or "2:4", summary(net, tokenizer, data), flush=True)
        for pattern in (0.4, None):
            net = copy.deepcopy(dense)
            prune(net, tokenizer, calibration, "magnitude", pattern)
            print(name, "magnitude", pattern or "2:4", summary(net, tokenizer, data), flush=True)
