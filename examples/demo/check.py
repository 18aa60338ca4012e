"""Decides whether the split holds: no test item, and no sentence of one or of the held-out text, is in the training text.

In: the `data/` folder as written (it reads the files, not the generator's memory). Out: nothing, or an error that
names the first sentence found on both sides.
"""

import gzip
from pathlib import Path

import read


def check(data: Path) -> None:
    """Raises if the training text holds a test item or one of its sentences."""
    train = gzip.open(data / "train.txt.gz", "rt").read()
    held = {s for items in read.all_sets(data).values() for i in items for s in [i.told(), *i.sentences()]}
    for row in (data / "heldout.txt").read_text().splitlines():
        held.update(part.rstrip(".") + "." for part in row.split(". "))
    for sentence in sorted(held):
        if sentence in train:
            raise SystemExit(f"held-out sentence is in the training text: {sentence!r}")
    print(f"{len(held)} held-out items and sentences, none in {len(train)} characters of training text")


if __name__ == "__main__":
    check(Path(__file__).parent / "data")
