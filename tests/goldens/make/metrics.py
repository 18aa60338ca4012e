"""Accuracy, macro-F1 and Wilson intervals of many small confusion patterns.

Out: `metrics/f1.json` by scikit-learn, `metrics/wilson.json` by SciPy.
"""

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

from store import write_json


def patterns():
    """Returns (name, golds, predictions): classes missing on either side, ties, single items, skew."""
    rng = np.random.default_rng(11)
    fixed = [
        ("one-right", [2], [2]),
        ("one-wrong", [2], [0]),
        ("all-right", [0, 1, 2, 3, 0], [0, 1, 2, 3, 0]),
        ("all-wrong", [0, 1, 2, 3], [1, 2, 3, 0]),
        ("one-class-predicted", [0, 1, 2, 3, 0, 1, 2, 3], [0] * 8),
        ("class-only-in-golds", [0, 1, 2, 2, 1, 0], [0, 1, 1, 1, 1, 0]),
        ("class-only-in-predictions", [0, 1, 0, 1, 0, 1], [0, 1, 3, 1, 0, 3]),
        ("class-in-neither", [0, 3, 0, 3], [0, 3, 3, 3]),
        ("disjoint", [0, 0, 1], [2, 3, 3]),
        ("five-options", [0, 1, 2, 3, 4, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 0, 0, 0, 0, 0]),
    ]
    drawn = []
    for n, classes, skew in ((7, 2, 0.5), (50, 4, 0.3), (119, 4, 0.8), (500, 4, 0.25), (1221, 5, 0.45)):
        golds = rng.integers(0, classes, n)
        right = rng.random(n) < skew
        guesses = np.minimum(rng.geometric(0.5, n) - 1, classes - 1)
        drawn.append((f"drawn-{n}", golds.tolist(), np.where(right, golds, guesses).tolist()))
    return fixed + drawn


def make(root):
    """Writes `metrics/` under `root`."""
    rows = []
    for name, golds, preds in patterns():
        rows.append(dict(
            name=name, golds=golds, preds=preds, n=len(golds), correct=sum(g == p for g, p in zip(golds, preds)),
            accuracy=float(accuracy_score(golds, preds)),
            f1_macro=float(f1_score(golds, preds, average="macro", zero_division=0))))
    write_json(root / "metrics" / "f1.json", rows)
    intervals = []
    for correct, n in ((0, 1), (1, 1), (0, 12), (12, 12), (5, 12), (119, 119), (0, 119), (40, 119), (155, 500), (651, 651),
                       (200, 651), (610, 1221), (2984, 2985), (1234, 2985)):
        found = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
        intervals.append(dict(correct=correct, n=n, low=float(found.low), high=float(found.high)))
    write_json(root / "metrics" / "wilson.json", intervals)
