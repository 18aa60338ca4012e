"""Reads the five test sets back from the schemas in which they are written.

In: the `data/` folder. Out: `Item`s. It shares nothing with the writers, so that reading tests them.
"""

import csv
import json
from pathlib import Path

from sets import LETTERS, Item


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def all_sets(data: Path) -> dict[str, list[Item]]:
    """Every test set by task."""
    sets = {}
    sets["commonsense_qa"] = [
        Item("commonsense_qa", "", r["question"]["stem"], [c["text"] for c in r["question"]["choices"]], LETTERS.index(r["answerKey"]))
        for r in _lines(data / "commonsense_qa.jsonl")
    ]
    with (data / "cosmos_qa.csv").open(newline="") as f:
        sets["cosmos_qa"] = [
            Item("cosmos_qa", r["context"], r["question"], [r[f"answer{n}"] for n in range(4)], int(r["label"])) for r in csv.DictReader(f)
        ]
    lines = (data / "logiqa.txt").read_text().split("\n")
    sets["logiqa"] = [
        Item("logiqa", b[2].replace(".", ". ").strip(), b[3], [o[2:].strip() for o in b[4:8]], "abcd".index(b[1]))
        for b in (lines[n : n + 8] for n in range(0, len(lines) - 8 + 1, 8))
    ]
    sets["reclor"] = [
        Item("reclor", r["context"], r["question"], r["answers"], r["label"]) for r in json.loads((data / "reclor.json").read_text())
    ]
    sets["ekar"] = [
        Item("ekar", "", r["question"], r["choices"]["text"], r["choices"]["label"].index(r["answerKey"])) for r in _lines(data / "ekar.jsonl")
    ]
    return sets
