"""Masks that Wanda and magnitude choose: on small models of every family, and on matrices made to be awkward.

Reads: `families/<case>/` under the same root. Out: `methods/` (see README.md).
"""

import numpy as np
import torch

import families
from store import write_json, write_tensors
from wanda import mask_of, prune_model

MODELS = ["phi", "phi3-sliding", "llama"]
# Chosen among 0..59 for the widest margin at the nearest decision, so that the last bit of a statistic decides nothing.
WINDOW_SEEDS = {"phi": 24, "phi3-sliding": 42, "llama": 51}
WINDOWS, SEQLEN = 8, 24
GROUPS = [(2, 4), (4, 8), (1, 4)]
WANDA = [("ratio", 0.5), ("ratio", 0.2), ("ratio", 0.29), ("variant", 0.5)] + [("groups", n, m) for n, m in GROUPS]
MAGNITUDE = [("ratio", 0.5), ("ratio", 0.2), ("ratio", 0.29)] + [("groups", n, m) for n, m in GROUPS]


def spelled(pattern):
    """Returns `0.5`, `2:4` (prune 2 of 4) or `variant-0.5`."""
    if pattern[0] == "groups":
        return f"{pattern[1]}:{pattern[2]}"
    return f"variant-{pattern[1]}" if pattern[0] == "variant" else str(pattern[1])


def windows_of(name):
    """Returns the calibration windows `[N, T]` of one model."""
    rng = np.random.default_rng(WINDOW_SEEDS[name])
    return torch.from_numpy(rng.integers(0, families.VOCAB, (WINDOWS, SEQLEN)))


def make(root):
    """Writes `methods/` under `root`."""
    cases = [case for name in MODELS for case in prune_one_model(root, name)]
    write_json(root / "methods" / "models.json", cases)
    write_json(root / "methods" / "matrices.json", [write_matrix(root, *m) for m in matrices()])


def prune_one_model(root, name):
    """Writes every pruning of one model; returns one entry a file for `models.json`."""
    windows_nt = windows_of(name)
    eval_ids = torch.from_numpy(np.random.default_rng(99).integers(0, families.VOCAB, (1, 16)))
    entries = []
    for method, patterns in (("wanda", WANDA), ("magnitude", MAGNITUDE)):
        for pattern in patterns:
            model = families.load(root / "families" / name)
            found = prune_model(model, windows_nt, method, pattern)
            tensors = {"eval_ids": eval_ids, "eval_logits": families.logits_of(model, eval_ids)}
            if method == "wanda":
                tensors["windows"] = windows_nt
            for linear, (mask, scaler_row, _) in found.items():
                tensors[f"{linear}.mask"] = (~mask).to(torch.uint8)
                if scaler_row is not None:
                    tensors[f"{linear}.scaler_row"] = scaler_row
            file = f"{name}/{method}-{spelled(pattern).replace(':', 'of')}.safetensors"
            write_tensors(root / "methods" / file, tensors)
            pruned = sum(int(mask.sum()) for mask, _, _ in found.values())
            margins = [near for _, _, near in found.values() if near is not None]
            entries.append(dict(
                model=name, file=file, method=method, kind=pattern[0], pattern=spelled(pattern),
                linears=sorted(found), pruned=pruned, weights=sum(mask.numel() for mask, _, _ in found.values()),
                margin=float(f"{min(margins):.1e}") if margins else None))
    return entries


def matrices():
    """Returns (name, weight, scaler_row, [(method, pattern)]) of matrices that are awkward in one way each."""
    rng = np.random.default_rng(7)

    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))

    def integers(low, high, *shape):
        return torch.from_numpy(rng.integers(low, high, shape).astype(np.float32))

    rows = [("wanda", ("ratio", r)) for r in (0.5, 0.2, 0.29, 0.7, 0.9)]
    groups = [("wanda", ("groups", n, m)) for n, m in [(2, 4), (4, 8), (1, 4), (3, 4), (5, 8)]]
    flat = [("magnitude", ("ratio", r)) for r in (0.5, 0.2, 0.29, 0.7, 0.9)]
    flat_groups = [("magnitude", p) for _, p in groups]
    every = rows + groups + flat + flat_groups
    ones = torch.ones(16)
    zeros = normal(6, 16) * (integers(0, 2, 6, 16))
    zeros[2] = 0.0
    zeros[zeros == 0] *= -1.0  # minus zero is as small as zero
    dead = normal(16).abs()
    dead[[0, 3, 4, 5, 6, 7, 12]] = 0.0
    wide = torch.exp(8.0 * normal(16))
    odd = [("wanda", ("groups", 3, 5)), ("wanda", ("groups", 7, 10)), ("magnitude", ("groups", 3, 5))]
    return [
        ("ties", integers(-2, 3, 12, 16), ones, every),
        ("all-equal", torch.full((3, 16), -0.5), ones, every),
        ("zeros", zeros, normal(16).abs(), every),
        ("dead-channels", normal(6, 16), dead, every),
        ("all-dead", normal(4, 16), torch.zeros(16), every),
        ("wide-statistics", normal(6, 16), wide, every),
        ("width-33", normal(5, 33), normal(33).abs(), rows + flat),
        ("width-7", normal(4, 7), normal(7).abs(), rows + flat),
        ("width-1", normal(3, 1), normal(1).abs(), rows + flat),
        ("width-100", normal(4, 100), normal(100).abs(), rows + flat + odd),
        ("one-row", normal(1, 40), normal(40).abs(), every),
        ("bfloat16", normal(8, 40).bfloat16(), normal(40).abs(), every),
        ("bfloat16-ties", (integers(-3, 4, 8, 40) / 8).bfloat16(), integers(1, 3, 40), every),
        ("float16", normal(8, 40).half(), normal(40).abs(), every),
    ]


def write_matrix(root, name, w_oi, scaler_row, wanted):
    """Writes one matrix with all its masks; returns its entry for `matrices.json`."""
    tensors, masks = {"weight": w_oi, "scaler_row": scaler_row}, []
    for method, pattern in wanted:
        mask = mask_of(method, pattern, w_oi, scaler_row)
        tensor = f"{method}/{spelled(pattern)}"
        tensors[tensor] = (~mask).to(torch.uint8)
        masks.append(dict(
            tensor=tensor, method=method, kind=pattern[0], pattern=spelled(pattern), pruned=int(mask.sum())))
    file = f"matrices/{name}.safetensors"
    write_tensors(root / "methods" / file, tensors)
    return dict(name=name, file=file, dtype=str(w_oi.dtype).removeprefix("torch."), masks=masks)
