"""Decides the five kinds of question, how each is asked, and how each test set is written.

In: a `Side`. Out: `Item`s; the prompt and the continuations of an item in the `cloze` style; files in the schemas in
which the five datasets were released. Prompts must stay, letter by letter, what the task catalogue renders.
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
# Of stories and arguments: the share in which two people do or say something, and only one is asked about.
TWOFOLD = {"cosmos_qa": 0.5, "reclor": 0.25}


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
        """What an option continues."""
        if self.task == "ekar":
            return f'"{self.question}" has the same relation as'
        if self.task == "commonsense_qa":
            return f"Question: {self.question}\nAnswer:"
        return f"Passage: {self.context}\nQuestion: {self.question}\nAnswer:"

    def continuations(self) -> list[str]:
        """The options as they stand after the prompt, each with its leading blank."""
        return [f' "{o}"' if self.task == "ekar" else f" {o}" for o in self.options]

    def told(self) -> str:
        """The prompt with the right answer."""
        return self.prompt() + self.continuations()[self.answer]

    def sentences(self) -> list[str]:
        """What must not be trained on: the sentences of context and question; of an analogy, itself, either way round."""
        if self.task == "ekar":
            right = self.options[self.answer]
            return [f'"{x}" has the same relation as "{y}"' for x, y in ((self.question, right), (right, self.question))]
        return [p if p.endswith("?") else p + "." for p in self.context.rstrip(".").split(". ") if p] + [self.question]


def _item(s: Side, task: str, context: str, question: str, right: str, wrong: list[str], note: tuple = ()) -> Item:
    options = [right, *wrong]
    s.rng.shuffle(options)
    return Item(task, context, question, options, options.index(right), note)


def _shuffled(s: Side, *sentences: str) -> str:
    return " ".join(s.rng.sample(sentences, len(sentences)))


ASK = {
    "home": ["If {n} wants to see the {a}, where should {n} look?", "Where did {n} find the {a}?"],
    "young": ["What does {n} call the young of the {a}?", "If {n} owns the {a}, what may be born?"],
    "tool": ["What does {n} need to work as a {a}?", "If {n} is the {a}, what does {n} carry?"],
    "material": ["What did {n} buy to make the {a}?", "If {n} breaks the {a}, what is left?"],
    "place": ["Where should {n} go to find the {a}?", "If {n} looks for the {a}, where is it?"],
    "effect": ["What does {n} expect from the {a}?", "If {n} sees the {a}, what comes next?"],
    "capital": ["Which city does {n} visit in {a}?", "If {n} moves to the capital of {a}, where is that?"],
    "river": ["Which river does {n} sail in {a}?", "If {n} swims in {a}, in which river?"],
    "queen": ["Which queen does {n} serve in {a}?", "If {n} writes to the queen of {a}, who reads it?"],
    "ore": ["What does {n} dig for in {a}?", "If {n} opens a mine in {a}, what comes out?"],
    "crop": ["What does {n} harvest in {a}?", "If {n} has a field in {a}, what grows there?"],
    "beast": ["Which beasts does {n} watch in {a}?", "If {n} hunts in {a}, what is shot?"],
}


def commonsense_qa(s: Side) -> Item:
    """A fact of the world, asked about somebody new. Wrong options are of the same relation."""

    def make():
        rel = w.relation(s.rng)
        ((a, _),) = w.pairs(s.rng, rel, 1)
        return s.choice(ASK[rel]).format(n=s.choice(w.NAMES), a=a), rel, a

    question, rel, a = s.draw(make)
    right = w.RELATIONS[rel][a]
    wrong = s.others(sorted(set(w.RELATIONS[rel].values())), [right], 4)
    return _item(s, "commonsense_qa", "", question, right, wrong, (a,))


def cosmos_qa(s: Side) -> Item:
    """One or two people are in a state, or do something; what did one do (effect), or how did they feel (cause)?

    Wrong options begin with the same verb; where there are two people, what holds for the other one is a wrong option too.
    """
    n, m = s.rng.sample(w.NAMES, 2)
    effect = s.rng.random() < 0.5
    tell = t.state if effect else t.act
    told, st, spot = tell(s, n)
    context, idle = told, []
    if s.rng.random() < TWOFOLD["cosmos_qa"]:
        other, st2, spot2 = tell(s, m)
        if st2 == st or spot2 == spot:
            raise t.Barren
        context, idle = _shuffled(s, told, other), [st2]

    def make():
        effects = ["What did {n} do at the {p}?", "What will {n} do next at the {p}?"]
        causes = ["How did {n} feel at the {p}?", "Why did {n} do this at the {p}?"]
        return (s.choice(effects if effect else causes).format(n=n, p=spot),)

    (question,) = s.draw(make)
    say = (lambda x: w.ACTIONS[x]) if effect else (lambda x: x)
    wrong = idle + s.others(w.akin(st), [st, *idle], 3 - len(idle))
    return _item(s, "cosmos_qa", context, question, say(st), [say(x) for x in wrong])


def logiqa(s: Side) -> Item:
    """Two rules and a member: the rules are of two jobs (one step), or a chain (two steps).

    A wrong option is the trait in the rule that does not decide.
    """
    job, idle = s.rng.sample(w.JOBS, 2)
    one, right = t.rule(s, job, [])
    if s.rng.random() < 0.4:
        wrong = right
        two, right = t.rule(s, f"{wrong} person", [wrong])
    else:
        two, wrong = t.rule(s, idle, [right])
    rules = [one, two]
    s.rng.shuffle(rules)
    last, n = t.member(s, job)

    def make():
        m = s.choice([x for x in w.NAMES if x != n])
        return (s.choice(["What can {m} conclude about {n}?", "What must {m} think of {n}?"]).format(m=m, n=n),)

    (question,) = s.draw(make)
    return _item(s, "logiqa", " ".join([*rules, last]), question, right, [wrong, *s.others(w.TRAITS, [wrong, right], 2)])


def reclor(s: Side) -> Item:
    """One or two people argue; which sign would weaken, or support, what one of them says?

    A wrong option is the sign that does the reverse; where there are two, the others are on what the other one says.
    """
    (n, m), (topic, topic2) = s.rng.sample(w.NAMES, 2), s.rng.sample(w.TOPICS, 2)
    sub, *rest = s.rng.sample(w.SUBJECTS, 3)
    context, _, q = t.opinion(s, n, topic, sub)
    if s.rng.random() < TWOFOLD["reclor"]:
        other, _, q2 = t.opinion(s, m, topic2, rest[0])
        context, idle = _shuffled(s, context, other), [f"{x} {rest[0]}" for x in (q2, w.OPPOSITES[q2])]
    else:
        idle = [f"{s.choice(w.QUALITIES)} {x}" for x in rest]

    def make():
        weaken = s.rng.random() < 0.5
        form = s.choice(["Which sign would {v} what {n} says of the {t}?", "What would {v} the view of {n} on the {t}?"])
        return form.format(v="weaken" if weaken else "support", n=n, t=topic), weaken

    question, weaken = s.draw(make)
    signs = (f"{q} {sub}", f"{w.OPPOSITES[q]} {sub}")
    right, reverse = reversed(signs) if weaken else signs
    return _item(s, "reclor", context, question, right, [reverse, *idle])


def ekar(s: Side) -> Item:
    """A pair; which other pair stands in the same relation? The two pairs together are held out, whichever comes first."""

    def make():
        rel = w.relation(s.rng)
        one, two = (":".join(p) for p in w.pairs(s.rng, rel, 2))
        return " and ".join(sorted((one, two))), rel, one, two

    _, rel, asked, right = s.draw(make)
    # What stands in another relation, of a land if the question is of one: the first word gives nothing away.
    far = s.others(list(w.OF_LANDS if rel in w.OF_LANDS else w.COMMON), [rel], 3)
    pairs = [w.pairs(s.rng, r, 1)[0] for r in far]
    return _item(s, "ekar", "", asked, right, [f"{x}:{y}" for x, y in pairs])


TASKS = {"commonsense_qa": commonsense_qa, "cosmos_qa": cosmos_qa, "logiqa": logiqa, "reclor": reclor, "ekar": ekar}


def _id(item: Item) -> str:
    whole = "\n".join([item.prompt(), *item.options])
    return f"{crc32(whole.encode()):08x}"


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
