"""Decides how the world is told: single sentences, and rows (short paragraphs) of running text.

In: a seeded `random.Random` and which side of the split the text is for. Out: strings. Each function that builds a
sentence draws until the sentence lies on the wanted side, so no sentence is ever on both.
"""

from random import Random
from typing import Callable

import world as w


class Barren(Exception):
    """What was already chosen leaves no sentence on the wanted side; the caller starts anew."""


def again(make: Callable):
    """Calls `make` until it is not `Barren`."""
    while True:
        try:
            return make()
        except Barren:
            continue


class Side:
    """One side of the split: draws sentences until one belongs here."""

    def __init__(self, rng: Random, held_out: bool):
        self.rng = rng
        self.held_out = held_out

    def draw(self, make: Callable[[], tuple]) -> tuple:
        """The first draw whose sentence (its first field) belongs to this side."""
        for _ in range(200):
            got = make()
            if w.is_held_out(got[0]) == self.held_out:
                return got
        raise Barren

    def choice(self, items):
        return self.rng.choice(items)

    def others(self, items, wrong, n):
        """`n` different items, none of them in `wrong`."""
        return self.rng.sample([i for i in items if i not in wrong], n)


FACTS = {
    "home": ["{n} saw the {a} in the {b}.", "{n} knows that the {b} is home to the {a}.", "The {a} ran from {n} to the {b}."],
    "young": ["{n} saw the {a} with its {b}.", "{n} knows that the {b} will grow into the {a}.", "The {b} followed {n} and the {a}."],
    "tool": ["{n} the {a} has a {b}.", "{n} knows that the {a} works with the {b}.", "The {a} showed {n} the {b}."],
    "material": ["{n} made the {a} from {b}.", "{n} knows that the {a} is made of {b}.", "The {a} of {n} is pure {b}."],
    "place": ["{n} found the {a} at the {b}.", "{n} knows that the {a} is in the {b}.", "The {a} waits for {n} at the {b}."],
    "effect": ["{n} had {b} after the {a}.", "{n} knows that the {a} leads to {b}.", "The {a} brought {n} much {b}."],
    "capital": ["{n} lives in {a} and works in {b}.", "{n} knows that the capital of {a} is {b}.", "In {a} lies {b}, where {n} was born."],
    "river": ["{n} crossed {a} along the {b}.", "{n} knows that the river of {a} is the {b}.", "Through {a} flows the {b}, where {n} swam."],
    "queen": ["{n} went to {a} to see queen {b}.", "{n} knows that the queen of {a} is {b}.", "Over {a} rules queen {b}, whom {n} met."],
    "ore": ["{n} came to {a} to dig for {b}.", "{n} knows that {a} is rich in {b}.", "The hills of {a} gave {n} much {b}."],
    "crop": ["{n} came to {a} to grow {b}.", "{n} knows that {a} sells {b}.", "The fields of {a} gave {n} much {b}."],
    "beast": ["{n} came to {a} to watch {b}.", "{n} knows that {a} is full of {b}.", "The woods of {a} showed {n} many {b}."],
}


def fact(s: Side) -> tuple:
    """A sentence about a pair, with its relation and pair."""

    def make():
        rel = w.relation(s.rng)
        ((a, b),) = w.pairs(s.rng, rel, 1)
        return s.choice(FACTS[rel]).format(n=s.choice(w.NAMES), a=a, b=b), rel, a, b

    return s.draw(make)


def state(s: Side, name: str, spot: str | None = None) -> tuple:
    """Somebody is in a state somewhere: sentence, state, spot."""

    def make():
        st, sp = s.choice(list(w.ACTIONS)), spot or s.choice(w.SPOTS)
        return f"{name} was {st} at the {sp}.", st, sp

    return s.draw(make)


def act(s: Side, name: str) -> tuple:
    """Somebody does what one does in a state: sentence, state, spot."""

    def make():
        st, sp = s.choice(list(w.ACTIONS)), s.choice(w.SPOTS)
        return f"{name} {w.ACTIONS[st]} at the {sp}.", st, sp

    return s.draw(make)


def rule(s: Side, subject: str, wrong: list[str]) -> tuple:
    """Every subject has a trait: sentence, trait."""

    def make():
        t = s.choice([t for t in w.TRAITS if t not in wrong])
        return f"Every {subject} is {t}.", t

    return s.draw(make)


def member(s: Side, job: str) -> tuple:
    """Somebody has a job: sentence, name."""

    def make():
        n = s.choice(w.NAMES)
        return f"{n} is a {job}.", n

    return s.draw(make)


def opinion(s: Side, name: str, topic: str, subject: str) -> tuple:
    """Somebody argues: sentence, verb, quality given as the reason."""

    def make():
        verb, q = s.choice(["grow", "shrink"]), s.choice(w.QUALITIES)
        return f"{name} says the {topic} will {verb} because the {subject} is {q}.", verb, q

    return s.draw(make)


def analogy(s: Side) -> tuple:
    """A sentence that sets two pairs of one relation side by side."""

    def make():
        rel = w.relation(s.rng)
        (a, b), (c, d) = w.pairs(s.rng, rel, 2)
        if rel in w.OF_LANDS:
            return f"Think of {a} and {b} as of {c} and {d}.", rel
        return f"The {a} is to the {b} as the {c} is to the {d}.", rel

    return s.draw(make)


def story(s: Side) -> str:
    """Two people, each in a state, each doing what one does about it."""
    n, m = s.rng.sample(w.NAMES, 2)
    first, st, spot = state(s, n)
    second, st2, spot2 = state(s, m)
    ends = []
    for name, what, sp in ((n, st, spot), (m, st2, spot2)):
        line = f"So {name} {w.ACTIONS[what]} at the {sp}."
        if w.is_held_out(line) == s.held_out:
            ends.append(line)
    return " ".join([first, second, *ends])


def syllogism(s: Side) -> str:
    """Two rules, a member, and what follows."""
    job, other = s.rng.sample(w.JOBS, 2)
    one, t = rule(s, job, [])
    two, _ = rule(s, other, [t])
    rules = [one, two]
    s.rng.shuffle(rules)
    third, n = member(s, job)
    end = f"So {n} is {t}."
    return " ".join([*rules, third] + ([end] if w.is_held_out(end) == s.held_out else []))


def argument(s: Side) -> str:
    """An opinion, and what would weaken it."""
    n, topic, subject = s.choice(w.NAMES), s.choice(w.TOPICS), s.choice(w.SUBJECTS)
    first, _, q = opinion(s, n, topic, subject)
    end = f"But {n} would be wrong if the {subject} is {w.OPPOSITES[q]}."
    return " ".join([first] + ([end] if w.is_held_out(end) == s.held_out else []))


def row(s: Side) -> str:
    """One row of running text of any kind."""
    kind = s.choice(["facts", "facts", "story", "story", "syllogism", "argument", "analogy"])
    if kind == "facts":
        return " ".join(fact(s)[0] for _ in range(3))
    if kind == "analogy":
        return " ".join(analogy(s)[0] for _ in range(2))
    return {"story": story, "syllogism": syllogism, "argument": argument}[kind](s)
