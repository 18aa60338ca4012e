"""Decides the five kinds of question, how each is asked, and how each test set is written.

In: a `Side`. Out: `Item`s; the prompt of an item in the `letters` style; files in the schemas in which the five
datasets were released. The prompts must stay, letter by letter, what the task catalogue renders.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import text as t
import world as w
from text import Side

LETTERS = "ABCDE"


@dataclass
class Item:
    """A question with its options; `answer` is the index of the right one."""

    task: str
    context: str
    question: str
    options: list[str]
    answer: int
    note: tuple = ()

    def prompt(self) -> str:
        """The prompt up to and including "Answer:"."""
        listed = "\n".join(f"{a}. {o}" for a, o in zip(LETTERS, self.options))
        if self.task == "commonsense_qa":
            return f"Question: {self.question}\n{listed}\nAnswer:"
        if self.task == "ekar":
            asked = f'Which pair has the same relation as "{self.question}"?'
            return f"Question: {asked}\nChoices:\n{listed}\nAnswer:"
        return f"Passage: {self.context}\nQuestion: {self.question}\nChoices:\n{listed}\nAnswer:"

    def sentences(self) -> list[str]:
        """The sentences of the context and of the question (the pair of an analogy counts as one)."""
        if self.task == "ekar":
            return [f'Which pair has the same relation as "{self.question}"?']
        return [p if p.endswith("?") else p + "." for p in self.context.rstrip(".").split(". ") if p] + [self.question]


def _item(s: Side, task: str, context: str, question: str, right: str, wrong: list[str], note: tuple = ()) -> Item:
    options = [right, *wrong]
    s.rng.shuffle(options)
    return Item(task, context, question, options, options.index(right), note)


ASK = {
    "home": ["If {n} wants to see the {a}, where should {n} look?", "Where did {n} find the {a}?"],
    "young": ["What does {n} call the young of the {a}?", "If {n} owns the {a}, what may be born?"],
    "tool": ["What does {n} need to work as a {a}?", "If {n} is the {a}, what does {n} carry?"],
    "material": ["What did {n} buy to make the {a}?", "If {n} breaks the {a}, what is left?"],
    "place": ["Where should {n} go to find the {a}?", "If {n} looks for the {a}, where is it?"],
    "effect": ["What does {n} expect from the {a}?", "If {n} sees the {a}, what comes next?"],
}


def commonsense_qa(s: Side) -> Item:
    """A fact of the world, asked about somebody new. Wrong options: three of the same relation, one of another."""

    def make():
        rel = s.choice(list(ASK))
        a = s.choice(list(w.RELATIONS[rel]))
        return s.choice(ASK[rel]).format(n=s.choice(w.NAMES), a=a), rel, a

    question, rel, a = s.draw(make)
    right = w.RELATIONS[rel][a]
    wrong = s.others(list(w.RELATIONS[rel].values()), [right], 3)
    far = s.choice([r for r in w.RELATIONS if r != rel])
    wrong += s.others(list(w.RELATIONS[far].values()), [right, *wrong], 1)
    return _item(s, "commonsense_qa", "", question, right, wrong, (a,))


def cosmos_qa(s: Side) -> Item:
    """A story of two people; what did one do (effect), or why (cause)? One wrong option fits the other person."""
    n, m = s.rng.sample(w.NAMES, 2)
    effect = s.rng.random() < 0.5
    tell = t.state if effect else t.act
    one, st, spot = tell(s, n)
    while True:
        two, st2, spot2 = tell(s, m)
        if st2 != st and spot2 != spot:
            break
    told = [one, two]
    s.rng.shuffle(told)
    people = [(n, st, spot), (m, st2, spot2)]

    def make():
        name, what, sp = s.choice(people)
        asked = ["What did {n} do at the {p}?", "What will {n} do next at the {p}?"] if effect else [
            "Why did {n} do this at the {p}?", "How did {n} feel at the {p}?"]
        return s.choice(asked).format(n=name, p=sp), what

    question, what = s.draw(make)
    say = (lambda x: w.ACTIONS[x]) if effect else (lambda x: f"was {x}")
    near = st2 if what == st else st
    wrong = [near, *s.others(list(w.ACTIONS), [what, near], 2)]
    return _item(s, "cosmos_qa", " ".join(told), question, say(what), [say(x) for x in wrong])


def logiqa(s: Side) -> Item:
    """Two rules and a member (one step), or a chain of two rules (two steps). A wrong option fits the other rule."""
    job, other = s.rng.sample(w.JOBS, 2)
    one, trait = t.rule(s, job, [])
    if s.rng.random() < 0.25:
        two, end = t.rule(s, f"{trait} person", [trait])
        right, near = end, s.others(w.TRAITS, [trait, end], 1)[0]
    else:
        two, near = t.rule(s, other, [trait])
        right = trait
    rules = [one, two]
    s.rng.shuffle(rules)
    third, n = t.member(s, job)

    def make():
        m = s.choice([x for x in w.NAMES if x != n])
        return s.choice(["What can {m} conclude about {n}?", "What must {m} think of {n}?"]).format(m=m, n=n), m

    question, _ = s.draw(make)
    wrong = [near, *s.others(w.TRAITS, [trait, right, near], 2)]
    say = lambda x: f"{n} is {x}"
    return _item(s, "logiqa", " ".join([*rules, third]), question, say(right), [say(x) for x in wrong])


def reclor(s: Side) -> Item:
    """Two people argue; which fact weakens, or supports, what one says? Wrong: the opposite fact, the other's subject."""
    n, m = s.rng.sample(w.NAMES, 2)
    topic = s.choice(w.TOPICS)
    sub, sub2, sub3 = s.rng.sample(w.SUBJECTS, 3)
    one, _, q = t.opinion(s, n, topic, sub)
    two, _, q2 = t.opinion(s, m, topic, sub2)
    told = [one, two]
    s.rng.shuffle(told)

    def make():
        weaken = s.rng.random() < 0.5
        form = s.choice(["Which fact would {v} what {n} says of the {t}?", "What would {v} the view of {n} on the {t}?"])
        return form.format(v="weaken" if weaken else "support", n=n, t=topic), weaken

    question, weaken = s.draw(make)
    flip = (lambda x: w.OPPOSITES[x]) if weaken else (lambda x: x)
    say = lambda x, y: f"the {x} is {y}"
    right = say(sub, flip(q))
    wrong = [say(sub, w.OPPOSITES[flip(q)]), say(sub2, flip(q2)), say(sub3, s.choice(w.QUALITIES))]
    return _item(s, "reclor", " ".join(told), question, right, wrong)


def ekar(s: Side) -> Item:
    """A pair; which other pair stands in the same relation?"""

    def make():
        rel = s.choice(list(w.RELATIONS))
        a, b = s.choice(list(w.RELATIONS[rel].items()))
        return f'Which pair has the same relation as "{a}:{b}"?', rel, a, b

    _, rel, a, b = s.draw(make)
    c = s.others(list(w.RELATIONS[rel]), [a], 1)[0]
    right = f"{c}:{w.RELATIONS[rel][c]}"
    far = s.others(list(w.RELATIONS), [rel], 3)
    pairs = [s.choice(list(w.RELATIONS[r].items())) for r in far]
    return _item(s, "ekar", "", f"{a}:{b}", right, [f"{x}:{y}" for x, y in pairs], (rel, *far))


TASKS = {"commonsense_qa": commonsense_qa, "cosmos_qa": cosmos_qa, "logiqa": logiqa, "reclor": reclor, "ekar": ekar}


def drill(s: Side) -> str:
    """A list with letters and several look-ups in it: teaches what a letter stands for."""
    words = [x for r in w.RELATIONS.values() for x in r.values()] + w.TRAITS + list(w.ACTIONS)
    picked = s.rng.sample(sorted(set(words)), s.choice([2, 3, 4, 4, 5, 5]))
    listed = "".join(f"{a}. {o}\n" for a, o in zip(LETTERS, picked))
    asked = s.rng.choices(range(len(picked)), k=6)
    return "Choices:\n" + listed + "\n".join(f"Pick {picked[i]}. Answer: {LETTERS[i]}" for i in asked)


def _id(item: Item) -> str:
    return f"{crc32((item.prompt()).encode()):08x}"


def _write_commonsense_qa(path: Path, items: list[Item]) -> None:
    with path.open("w") as f:
        for i in items:
            choices = [{"label": a, "text": o} for a, o in zip(LETTERS, i.options)]
            question = {"question_concept": i.note[0], "choices": choices, "stem": i.question}
            f.write(json.dumps({"answerKey": LETTERS[i.answer], "id": _id(i), "question": question}) + "\n")


def _write_cosmos_qa(path: Path, items: list[Item]) -> None:
    with path.open("w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["id", "context", "question", "answer0", "answer1", "answer2", "answer3", "label"])
        for i in items:
            out.writerow([_id(i), i.context, i.question, *i.options, i.answer])


def _write_logiqa(path: Path, items: list[Item]) -> None:
    with path.open("w") as f:
        for i in items:
            options = "".join(f"{a}.{o}\n" for a, o in zip(LETTERS, i.options))
            # As in the release: no blank after a full stop inside a line; readers put it back, as the hub's loader does.
            f.write(f"\n{LETTERS[i.answer].lower()}\n{i.context.replace('. ', '.')}\n{i.question}\n{options}")


def _write_reclor(path: Path, items: list[Item]) -> None:
    rows = [
        {"context": i.context, "question": i.question, "answers": i.options, "label": i.answer, "id_string": f"demo_{n}"}
        for n, i in enumerate(items)
    ]
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


def _write_ekar(path: Path, items: list[Item]) -> None:
    with path.open("w") as f:
        for i in items:
            pairs = [i.question, *i.options]
            rels = [r for p in pairs for r, table in w.RELATIONS.items() if table.get(p.split(":")[0]) == p.split(":")[1]]
            row = {
                "id": f"{_id(i)[:6]}-en",
                "question": i.question,
                "choices": {"label": list("ABCD"), "text": i.options},
                "answerKey": LETTERS[i.answer],
                "explanation": [f"\"{p.replace(':', chr(34) + ' and ' + chr(34))}\" are joined by: {r}." for p, r in zip(pairs, rels)],
                "relation": [[[*p.split(":"), r]] for p, r in zip(pairs, rels)],
            }
            f.write(json.dumps(row) + "\n")


FILES = {
    "commonsense_qa": ("commonsense_qa.jsonl", _write_commonsense_qa),
    "cosmos_qa": ("cosmos_qa.csv", _write_cosmos_qa),
    "logiqa": ("logiqa.txt", _write_logiqa),
    "reclor": ("reclor.json", _write_reclor),
    "ekar": ("ekar.jsonl", _write_ekar),
}


def write(folder: Path, task: str, items: list[Item]) -> None:
    """Writes a test set in the schema in which that dataset was released."""
    name, writer = FILES[task]
    writer(folder / name, items)
