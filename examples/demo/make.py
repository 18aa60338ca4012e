"""Makes the demo: text, test sets and two models, all from one seed. See README.md.

    python make.py            everything
    python make.py data       text and test sets only
    python make.py phi-demo   one model, from the committed text
"""

import gzip
import sys
from pathlib import Path
from random import Random

import check
import sets
import text

HERE = Path(__file__).parent
DATA = HERE / "data"
MODELS = HERE / "models"
SEED = 20240617
QUESTIONS = {"commonsense_qa": 10000, "cosmos_qa": 4000, "logiqa": 4000, "reclor": 4000, "ekar": 5000}
ITEMS_EACH = 300
ROWS = 12000
STEPS = {"phi-demo": 2200, "phi3-demo": 1600}
HELD_OUT_ROWS, CALIBRATION_DOCS = 500, 900


def unique(make, n: int, key=lambda x: x) -> list:
    """`n` different results of `make`, in the order of their making."""
    found = {}
    while len(found) < n:
        got = text.again(make)
        found.setdefault(key(got), got)
    return list(found.values())


def make_data() -> None:
    """Writes `data/`: the training text, what is held out of it, and the test sets."""
    DATA.mkdir(exist_ok=True)
    s, h = text.Side(Random(SEED), held_out=False), text.Side(Random(SEED + 1), held_out=True)
    questions = []
    for task, make in sets.TASKS.items():
        questions += unique(lambda: make(s).told(), QUESTIONS[task])
    rows = unique(lambda: text.row(s), ROWS)
    s.rng.shuffle(questions)
    with gzip.GzipFile(DATA / "train.txt.gz", "wb", 9, mtime=0) as f:
        f.write(("\n\n".join(questions + rows) + "\n").encode())
    mixed = s.rng.sample(rows, CALIBRATION_DOCS // 2) + s.rng.sample(questions, CALIBRATION_DOCS // 2)
    s.rng.shuffle(mixed)
    (DATA / "calibration.txt").write_text("\n".join(mixed) + "\n")
    (DATA / "heldout.txt").write_text("\n".join(unique(lambda: text.row(h), HELD_OUT_ROWS)) + "\n")
    for task, make in sets.TASKS.items():
        sets.write(DATA, task, unique(lambda: make(h), ITEMS_EACH, lambda i: (i.prompt(), *i.options)))
    check.check(DATA)


def documents() -> tuple[list[str], list[str]]:
    """The committed training text: questions with their answers, rows."""
    docs = gzip.open(DATA / "train.txt.gz", "rt").read().rstrip("\n").split("\n\n")
    return docs[:-ROWS], docs[-ROWS:]


def make_model(name: str, steps: int) -> None:
    """Trains one model on the committed text and writes it under `models/`."""
    import measure
    import torch
    import train

    torch.set_num_threads(1)
    questions, rows = documents()
    tok = train.tokenizer(name, questions + rows)

    def report(model, step: int) -> None:
        print(name, step, measure.summary(model, tok, DATA, first=40), flush=True)
        train.save(model, tok, name, MODELS / name)

    model = train.train(name, tok, train.Batches(name, tok, questions, rows, SEED), SEED, steps, report)
    train.save(model, tok, name, MODELS / name)
    print(name, measure.summary(model, tok, DATA))


if __name__ == "__main__":
    wish = sys.argv[1] if len(sys.argv) > 1 else "all"
    if wish in ("all", "data"):
        make_data()
    for model_name in ("phi-demo", "phi3-demo"):
        if wish in ("all", model_name):
            make_model(model_name, steps=int(sys.argv[2]) if len(sys.argv) > 2 else STEPS[model_name])
