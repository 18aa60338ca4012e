"""Measures a model on the demo's data, as the report will: accuracy by letter, perplexity by windows.

In: a transformers model, its tokenizer, the `data/` folder. Out: numbers. An item's answer is the letter of the
highest log-likelihood after its prompt; every letter is one token, so one forward an item is enough.
"""

import math
from pathlib import Path

import torch

import read
from sets import LETTERS


def wilson_low(hits: int, n: int, z: float = 1.959964) -> float:
    """The lower end of Wilson's 95 % interval."""
    p = hits / n
    return (p + z * z / (2 * n) - z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)


@torch.no_grad()
def accuracy(model, tok, items) -> tuple[int, int]:
    """Hits and number of items."""
    letters = [tok.token_to_id(f"Ġ{c}") for c in LETTERS]
    encoded = [e.ids for e in tok.encode_batch([i.prompt() for i in items])]
    hits = 0
    order = sorted(range(len(items)), key=lambda n: len(encoded[n]))
    for start in range(0, len(order), 50):
        part = order[start : start + 50]
        ids = torch.zeros(len(part), max(len(encoded[n]) for n in part), dtype=torch.long)
        for row, n in enumerate(part):
            ids[row, : len(encoded[n])] = torch.tensor(encoded[n])
        hidden = model.model(input_ids=ids, use_cache=False)[0]
        for row, n in enumerate(part):
            logits = model.lm_head(hidden[row, len(encoded[n]) - 1])
            options = len(items[n].options)
            hits += int(logits[letters[:options]].argmax()) == items[n].answer
    return hits, len(items)


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


def summary(model, tok, data: Path) -> dict[str, str]:
    """Accuracy [Wilson's lower end] by task, and the held-out perplexity."""
    model.eval()
    out = {}
    for task, items in read.all_sets(data).items():
        hits, n = accuracy(model, tok, items)
        out[task] = f"{hits / n:.3f} [{wilson_low(hits, n):.3f}]"
    out["ppl"] = f"{perplexity(model, tok, (data / 'heldout.txt').read_text().splitlines(), 128):.2f}"
    return out
