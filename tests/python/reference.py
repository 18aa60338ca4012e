"""What Espalier claims, done with transformers alone: Wanda and magnitude pruning, perplexity, multiple-choice scoring.

Written after the published algorithms (Sun et al. 2023, arXiv:2306.11695; lm-evaluation-harness), batch 1, one full row an option, no packing: slow
and plain on purpose. `run.py` and `smollm2.py` compare Espalier's numbers with it.
"""

import csv
import json
import math
import random

import torch


def rows(path):
    """A .txt as rows: a line is a row, without its line end."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def calibration_windows(tokenizer, texts, nsamples, seqlen, seed):
    """wanda's wikitext2 loader: rows joined by one space, windows at offsets from CPython's generator."""
    ids = tokenizer(" ".join(texts))["input_ids"]
    rng = random.Random(seed)
    windows = []
    for _ in range(nsamples):
        start = rng.randint(0, len(ids) - seqlen - 1)
        windows.append(torch.tensor([ids[start : start + seqlen]]))
    return windows


def linears_of(layer):
    return {n: m for n, m in layer.named_modules() if isinstance(m, torch.nn.Linear)}


def mask_of(score, pattern):
    """True = pruned. A float: the lowest share of each row, stable order; (n, m): the n lowest of each m columns."""
    if isinstance(pattern, float):
        order = torch.sort(score, dim=-1, stable=True).indices
        count = int(score.shape[1] * pattern)
        return torch.zeros_like(score, dtype=torch.bool).scatter_(1, order[:, :count], True)
    n, m = pattern
    groups = score.reshape(score.shape[0], -1, m)
    order = torch.sort(groups, dim=-1, stable=True).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(2, order[..., :n], True).reshape(score.shape)


@torch.no_grad()
def hidden_inputs(model, windows):
    """What enters block 0 for each window, and the other arguments of a block."""
    caught, kwargs = [], {}

    class Stop(Exception):
        pass

    def hook(_, args, named):
        caught.append(args[0] if args else named["hidden_states"])
        kwargs.clear()
        kwargs.update({k: v for k, v in named.items() if k != "hidden_states"})
        raise Stop

    handle = model.model.layers[0].register_forward_pre_hook(hook, with_kwargs=True)
    for window in windows:
        try:
            model(window, use_cache=False)
        except Stop:
            pass
    handle.remove()
    return caught, kwargs


# The mean over samples of the squared norm of each input column, by roads that differ in rounding alone: (state, x [tokens, columns], samples
# before it) -> state, and what becomes of the state after n samples. "running" is how wanda's own code does it.
STATISTICS = {
    "float32": (lambda total, x, seen: total + x.pow(2).sum(0), lambda total, n: total / n),
    "running": (lambda mean, x, seen: mean * (seen / (seen + 1)) + torch.norm(x, p=2, dim=0) ** 2 / (seen + 1), lambda mean, n: mean),
    "float64": (lambda total, x, seen: total + x.double().pow(2).sum(0), lambda total, n: (total / n).float()),
}


@torch.no_grad()
def prune_wanda(model, windows, pattern, statistics="float32", follow=None):
    """Block by block: dense forward with hooks, prune every linear of the block, forward again through the pruned block.

    With `follow`, another pruned copy of the model, what goes on to the next block went through that one's block."""
    step, finish = STATISTICS[statistics]
    hidden, kwargs = hidden_inputs(model, windows)
    for index, layer in enumerate(model.model.layers):
        state, seen, handles = {}, 0, []
        for name, linear in linears_of(layer).items():
            def hook(_, args, __, name=name):
                x = args[0].reshape(-1, args[0].shape[-1]).float()
                state[name] = step(state.get(name, 0), x, seen)
            handles.append(linear.register_forward_hook(hook))
        for h in hidden:
            run(layer, h, kwargs)
            seen += 1
        for handle in handles:
            handle.remove()
        for name, linear in linears_of(layer).items():
            scaler = finish(state[name], len(hidden))
            linear.weight[mask_of(linear.weight.abs() * scaler.sqrt(), pattern)] = 0
        through = follow.model.layers[index] if follow else layer
        hidden = [run(through, h, kwargs) for h in hidden]


def run(layer, hidden, kwargs):
    out = layer(hidden, **kwargs)
    return out[0] if isinstance(out, tuple) else out


@torch.no_grad()
def prune_magnitude(model, pattern):
    """Smallest |W| of each linear; N:M: of each group."""
    for layer in model.model.layers:
        for linear in linears_of(layer).values():
            score = linear.weight.abs()
            if isinstance(pattern, float):
                threshold = torch.sort(score.flatten()).values[int(score.numel() * pattern)]
                linear.weight[score <= threshold] = 0
            else:
                linear.weight[mask_of(score, pattern)] = 0


@torch.no_grad()
def perplexity(model, tokenizer, texts, seqlen):
    """wanda's eval_ppl: rows joined by two newlines, disjoint windows, the tail dropped, mean of window means."""
    return perplexity_of_ids(model, torch.tensor(tokenizer("\n\n".join(texts))["input_ids"]), seqlen)


@torch.no_grad()
def perplexity_of_ids(model, ids, seqlen):
    """The same from token ids."""
    means = []
    for i in range(len(ids) // seqlen):
        window = ids[i * seqlen : (i + 1) * seqlen][None]
        logits = model(window, use_cache=False).logits.float()
        means.append(torch.nn.functional.cross_entropy(logits[0, :-1], window[0, 1:]).item())
    return math.exp(sum(means) / len(means))


def encode_pair(tokenizer, context, continuation):
    """lm-evaluation-harness: trailing blanks move to the continuation, the whole is tokenised, the split is by count."""
    blanks = len(context) - len(context.rstrip())
    if blanks:
        continuation = context[-blanks:] + continuation
        context = context[:-blanks]
    whole = tokenizer(context + continuation)["input_ids"]
    return whole, len(tokenizer(context)["input_ids"])


@torch.no_grad()
def choice_scores(model, tokenizer, context, continuations):
    """Log-likelihood of each continuation, one full forward each; too long texts lose their left end."""
    scores, longest = [], model.config.max_position_embeddings + 1
    for continuation in continuations:
        whole, split = encode_pair(tokenizer, context, continuation)
        split, whole = split - max(0, len(whole) - longest), whole[-longest:]
        ids = torch.tensor([whole])
        logprobs = model(ids[:, :-1], use_cache=False).logits.float().log_softmax(-1)[0]
        scores.append(sum(logprobs[i - 1, whole[i]].item() for i in range(split, len(whole))))
    return scores


def commonsense_cloze(item):
    question = item["question"]
    options = [c["text"] for c in question["choices"]]
    gold = [c["label"] for c in question["choices"]].index(item["answerKey"])
    return f"Question: {question['stem'].strip()}\nAnswer:", [f" {o}" for o in options], options, gold


def ekar_cloze(item):
    options = [f'"{t}"' for t in item["choices"]["text"]]
    gold = item["choices"]["label"].index(item["answerKey"])
    return f'"{item["question"]}" has the same relation as', [f" {o}" for o in options], options, gold


def score_items(model, tokenizer, path, prompt):
    """acc, acc_norm and every option's log-likelihood."""
    hits, hits_norm, lls = 0, 0, []
    items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for item in items:
        context, continuations, options, gold = prompt(item)
        ll = choice_scores(model, tokenizer, context, continuations)
        norm = [x / len(o) for x, o in zip(ll, options)]
        hits += ll.index(max(ll)) == gold
        hits_norm += norm.index(max(norm)) == gold
        lls.append(ll)
    return hits / len(items), hits_norm / len(items), lls


def results(path, by_model=False):
    """results.csv by ([model,] method, sparsity, task, style, metric)."""
    keys = ["model"] * by_model + ["method", "sparsity", "task", "style", "metric"]
    with open(path, newline="", encoding="utf-8") as file:
        return {tuple(row[key] for key in keys): row for row in csv.DictReader(file)}
