"""Calibration windows as Wanda's published code draws them, with CPython's own generator.

Reads: tokenizers under `scoring/` of the same root. Out: `calibration/windows.json` and `calibration/draws.json`.
"""

import random

import items
import lm
from store import write_json

SEEDS = [0, 1, 42]


def concat_windows(ids, seed, nsamples, seqlen):
    """Wanda's WikiText sampler: starts are randint(0, len - seqlen - 1), both ends included."""
    rng = random.Random(seed)
    starts = [rng.randint(0, len(ids) - seqlen - 1) for _ in range(nsamples)]
    return starts, [ids[i:i + seqlen] for i in starts]


def document_windows(encoded, seed, nsamples, seqlen):
    """Wanda's C4 sampler: draw documents until one is longer than seqlen, then a start in it."""
    rng = random.Random(seed)
    picks = []
    for _ in range(nsamples):
        while True:
            document = rng.randint(0, len(encoded) - 1)
            if len(encoded[document]) > seqlen:
                break
        start = rng.randint(0, len(encoded[document]) - seqlen - 1)
        picks.append((document, start, encoded[document][start:start + seqlen]))
    return picks


def draws():
    """Returns plain draws of randint(0, high) for seeds and ranges where a slip would show."""
    cases = []
    for seed in (0, 1, 42, 2**31, 2**32, 2**32 + 1, 2**64 - 1, 10**30, -7):
        for high in (0, 1, 2, 255, 256, 339420, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40):
            rng = random.Random(seed)
            cases.append(dict(seed=str(seed), high=str(high), values=[str(rng.randint(0, high)) for _ in range(5)]))
    return cases


def published():
    """Returns starts for token counts of real corpora, by seed."""
    cases = []
    for length, seqlen in ((341469, 2048), (2500000, 2048), (2500000, 4096), (2050, 2048), (2049, 2048)):
        for seed in SEEDS:
            rng = random.Random(seed)
            starts = [rng.randint(0, length - seqlen - 1) for _ in range(128)]
            cases.append(dict(seed=seed, tokens=length, seqlen=seqlen, starts=starts))
    return cases


def make(root):
    """Writes `calibration/` under `root`."""
    write_json(root / "calibration" / "draws.json", dict(randint=draws(), starts=published()))
    documents = [items.LONG_PASSAGE, "Too short.", *(c for c, _, _, _ in items.PASSAGES), items.LONG_PASSAGE[::-1], ""]
    cases = []
    for model in lm.MODELS:
        folder = root / "scoring" / model
        ids = lm.raw_ids(folder, " ".join(items.ROWS))
        encoded = [lm.raw_ids(folder, d) for d in documents]
        for seqlen in (24, 64):
            for seed in SEEDS:
                starts, windows = concat_windows(ids, seed, 6, seqlen)
                cases.append(dict(model=model, sampler="concat", seqlen=seqlen, seed=seed, tokens=len(ids),
                                  starts=starts, windows=windows))
                picks = document_windows(encoded, seed, 6, seqlen)
                cases.append(dict(model=model, sampler="document", seqlen=seqlen, seed=seed,
                                  lengths=[len(e) for e in encoded], documents=[p[0] for p in picks],
                                  starts=[p[1] for p in picks], windows=[p[2] for p in picks]))
    write_json(root / "calibration" / "windows.json", dict(rows=items.ROWS, documents=documents, cases=cases))
