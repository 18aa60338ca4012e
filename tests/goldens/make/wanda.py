"""Wanda and magnitude pruning as their papers' published code does them, written anew for a tiny model.

Wanda: Sun et al. 2023 (arXiv:2306.11695). Everything here follows that code's arithmetic: float32 statistics updated
one sequence at a time, per-row counts int(columns * ratio) in float64, a stable ascending sort, and N:M that *prunes*
N of each M. The one departure: where N:M scores tie, the lowest index goes first (the published code leaves it to topk).
Shapes: O = output features, I = input features. Masks: True = pruned; the files hold the opposite, 1 = kept.
"""

import torch
from torch import nn


class InputNorm:
    """Mean over sequences of the sum over tokens of x^2, per input feature, as a running mean in float32."""

    def __init__(self, features):
        self.sequences = 0
        self.scaler_row = torch.zeros(features)

    def add(self, input_1ti):
        """Takes one sequence."""
        x_it = input_1ti.reshape(-1, input_1ti.shape[-1]).t().float()
        self.scaler_row *= self.sequences / (self.sequences + 1)
        self.sequences += 1
        self.scaler_row += torch.norm(x_it, p=2, dim=1) ** 2 / self.sequences


def wanda_score(w_oi, scaler_row):
    """|W| * sqrt(scaler_row): 16-bit weights times float32 statistics are float32."""
    return torch.abs(w_oi) * torch.sqrt(scaler_row.reshape(1, -1))


def prune_rows(score_oi, ratio):
    """Prunes the int(I * ratio) lowest scores of each row; ties: the lowest index first."""
    count = int(score_oi.shape[1] * ratio)
    order = torch.sort(score_oi, dim=-1, stable=True).indices[:, :count]
    return torch.zeros_like(score_oi, dtype=torch.bool).scatter_(1, order, True)


def prune_groups(score_oi, prune, of):
    """Prunes the `prune` lowest of each `of` consecutive scores of a row; ties: the lowest index first."""
    groups = score_oi.float().reshape(score_oi.shape[0], -1, of)
    order = torch.sort(groups, dim=-1, stable=True).indices[..., :prune]
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order, True).reshape(score_oi.shape)


def prune_threshold(score_oi, ratio):
    """Magnitude's rule: everything not above the int(numel * ratio)-th smallest of the whole matrix, counted from 0."""
    threshold = torch.sort(score_oi.flatten()).values[int(score_oi.numel() * ratio)]
    return score_oi <= threshold


def prune_variant(score_oi, ratio):
    """The published `use_variant`: per row, prune what holds a share alpha of the row's score; bisect alpha.

    Returns the mask and alpha.
    """
    ascending = torch.sort(score_oi, dim=-1, stable=True).values
    running, total = torch.cumsum(ascending, dim=1), score_oi.sum(dim=1)
    low, alpha, high = 0.0, 0.4, 0.8
    while True:
        inside = running <= (total * alpha).reshape(-1, 1)
        threshold = torch.gather(ascending, 1, inside.sum(dim=1, keepdim=True) - 1)
        mask = score_oi <= threshold
        sparsity = mask.sum() / mask.numel()
        if abs(sparsity - ratio) <= 0.001 or high - low < 0.001:
            return mask, alpha
        if sparsity > ratio:
            alpha, high = (alpha + low) / 2.0, alpha
        else:
            alpha, low = (alpha + high) / 2.0, alpha


def mask_of(method, pattern, w_oi, scaler_row=None):
    """Returns True where `method` prunes; pattern: ("ratio", r), ("groups", n, m) or ("variant", r)."""
    score_oi = torch.abs(w_oi) if method == "magnitude" else wanda_score(w_oi, scaler_row)
    if pattern[0] == "groups":
        return prune_groups(score_oi, pattern[1], pattern[2])
    if pattern[0] == "variant":
        return prune_variant(score_oi, pattern[1])[0]
    if method == "magnitude":
        return prune_threshold(score_oi, pattern[1])
    return prune_rows(score_oi, pattern[1])


def margin(score_oi, mask_oi, pattern):
    """Returns how close the nearest decision was: least (lowest kept - highest pruned) / lowest kept of any group.

    Relative noise in the statistics of less than about half of this cannot change the mask.
    """
    of = pattern[2] if pattern[0] == "groups" else score_oi.shape[1]
    score, pruned = score_oi.float().reshape(-1, of), mask_oi.reshape(-1, of)
    kept_low = score.masked_fill(pruned, float("inf")).min(dim=1).values
    pruned_high = score.masked_fill(~pruned, 0.0).max(dim=1).values
    return ((kept_low - pruned_high) / kept_low).min().item()


def linears(layer):
    """Returns name -> module of every Linear of a block, in name order."""
    return {n: m for n, m in sorted(layer.named_modules()) if isinstance(m, nn.Linear)}


class _Caught(Exception):
    pass


def first_inputs(model, windows_nt):
    """Returns what the first block is given: one hidden state `[1, T, H]` a window, and the other arguments."""
    hidden, others = [], {}

    def catch(_module, args, kwargs):
        kwargs = dict(kwargs)
        hidden.append(args[0] if args else kwargs.pop("hidden_states"))
        others.update(kwargs)
        raise _Caught

    handle = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    for row in windows_nt:
        try:
            model(input_ids=row[None], use_cache=False)
        except _Caught:
            pass
    handle.remove()
    return hidden, others


def _forward(layer, hidden, others):
    out = layer(hidden, **others)
    return out[0] if isinstance(out, tuple) else out


@torch.no_grad()
def prune_model(model, windows_nt, method, pattern):
    """Prunes `model` in place, block by block; each block's inputs come through the pruned blocks before it.

    Returns linear name -> (mask, scaler_row or None, margin or None).
    """
    found = {}
    hidden, others = first_inputs(model, windows_nt) if method == "wanda" else ([], {})
    for index, layer in enumerate(model.model.layers):
        norms = {n: InputNorm(m.in_features) for n, m in linears(layer).items()}
        taps = [m.register_forward_hook(lambda _m, args, _out, norm=norms[n]: norm.add(args[0]))
                for n, m in linears(layer).items()]
        for h in hidden:
            _forward(layer, h, others)
        for tap in taps:
            tap.remove()
        for name, module in linears(layer).items():
            scaler_row = norms[name].scaler_row if method == "wanda" else None
            mask = mask_of(method, pattern, module.weight.data, scaler_row)
            near = None
            if method == "wanda" and pattern[0] != "variant":
                near = margin(wanda_score(module.weight.data, scaler_row), mask, pattern)
            module.weight.data[mask] = 0
            found[f"model.layers.{index}.{name}"] = (mask, scaler_row, near)
        hidden = [_forward(layer, h, others) for h in hidden]
    return found
