"""Decides what the demo's world holds: its people, things and the relations between them.

In: nothing. Out: word lists and pair tables. Every pair table maps a word to exactly one other word, so that
a question about a pair has one right answer. It must never hold a word that English would inflect oddly in the
sentences of `text.py` (they only ever write "the WORD" or "a JOB"; invented names and what a land yields stand alone).
"""

import zlib
from random import Random

NAMES = (
    "Anna Ben Carl Dora Emma Finn Gina Hugo Iris Jack Kate Leo Mia Nina Omar Paul "
    "Rosa Sam Tina Uma Vera Will Yara Zack Bella Clara Daisy Felix Greta Henry Julia Lucas"
).split()


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


HOME = _pairs(
    "fox den bee hive bird nest horse stable dog kennel spider web fish pond bear cave "
    "cow barn pig sty ant hill mouse hole rabbit burrow hen coop monkey jungle whale ocean"
)
YOUNG = _pairs(
    "cow calf dog puppy cat kitten horse foal sheep lamb goat kid hen chick duck duckling "
    "deer fawn lion cub frog tadpole goose gosling pig piglet eagle eaglet owl owlet swan cygnet"
)
TOOL = _pairs(
    "painter brush farmer plow writer pencil cook pan miner pick tailor needle barber razor carpenter saw "
    "fisher net smith hammer sailor rope drummer drum cleaner broom gardener rake hunter bow pilot plane"
)
MATERIAL = _pairs(
    "ring gold table wood window glass shirt cotton shoe leather sword steel brick clay candle wax "
    "tire rubber sweater wool book paper coin silver wall stone statue marble pipe copper dress silk"
)
PLACE = _pairs(
    "bread bakery pill pharmacy train station ship harbor money bank movie cinema painting museum judge court "
    "nurse hospital student school fruit market actor theater guard prison monk temple stove kitchen novel library"
)
EFFECT = _pairs(
    "fire smoke rain flood heat sweat joke laughter onion tears frost ice wind waves drought famine "
    "virus fever insult anger gift joy training strength dust cough crash damage error delay thunder fear"
)
COMMON = {"home": HOME, "young": YOUNG, "tool": TOOL, "material": MATERIAL, "place": PLACE, "effect": EFFECT}



def _invented(n: int, seed: int = 7) -> list[str]:
    """`n` different names of two or three syllables that no language of the demo has."""
    rng = Random(seed)
    heads, vowels, tails = "b br c d dr f g gr h j k kl l m n p pr qu r s st t tr v w z".split(), "a e i o u ai ou".split(), "l m n r s th x".split()
    found: dict[str, None] = {}
    while len(found) < n:
        word = "".join(rng.choice(heads) + rng.choice(vowels) for _ in range(rng.choice((1, 2))))
        word = (word + rng.choice(heads) + rng.choice(vowels) + rng.choice(tails)).capitalize()
        if not any(word.lower() in known.lower() or known.lower() in word.lower() for known in NAMES):
            found[word] = None
    return list(found)


LAND_COUNT = 330
_names = _invented(4 * LAND_COUNT)
LANDS = _names[:LAND_COUNT]
YIELDS = {
    "ore": "iron tin zinc lead nickel cobalt amber jade opal ruby topaz quartz granite chalk coal salt sulfur slate onyx pearl garnet agate basalt pumice",
    "crop": "wheat rice maize barley oats rye millet lentils pepper ginger saffron vanilla tea coffee cocoa sugar figs dates olives plums melons grapes hops flax",
    "beast": "wolves otters badgers lynxes moose bison camels zebras herons ravens falcons storks cranes beavers weasels ferrets llamas yaks gazelles jackals lizards turtles parrots pelicans",
}


def _lands() -> dict[str, dict[str, str]]:
    """What every land has: a capital, a river and a queen of its own; an ore, a crop and a beast that others have too."""
    rng = Random(11)
    own = {rel: dict(zip(LANDS, _names[k * LAND_COUNT :])) for k, rel in ((1, "capital"), (2, "river"), (3, "queen"))}
    return own | {rel: {land: rng.choice(values.split()) for land in LANDS} for rel, values in YIELDS.items()}


OF_LANDS = _lands()
RELATIONS = COMMON | OF_LANDS
# Some lands are spoken of ten times as often as others, so that what a model knows has no sharp edge.
FAME = [(n + 10) ** -0.7 for n in range(LAND_COUNT)]


def relation(rng: Random) -> str:
    """A relation; one of many pairs is drawn more often."""
    return rng.choices(list(RELATIONS), [len(table) ** 0.5 for table in RELATIONS.values()])[0]


def pairs(rng: Random, rel: str, n: int) -> list[tuple[str, str]]:
    """`n` different pairs of a relation, famous lands first among equals."""
    table = list(RELATIONS[rel].items())
    found: dict[tuple[str, str], None] = {}
    while len(found) < n:
        found[rng.choices(table, FAME if rel in OF_LANDS else None)[0]] = None
    return list(found)


JOBS = list(TOOL)
SPOTS = list(PLACE.values())

# What somebody in a state does about it: the stories' cause and effect. Four states each lead to the same verb.
_DEEDS = {
    "called the": "sick doctor robbed police homesick family bored neighbor",
    "drank some": "thirsty water sleepy coffee cold tea nervous milk",
    "ate some": "hungry soup sad chocolate poor bread dizzy sugar",
    "looked for the": "late bus lost map hot shade scared exit",
    "bought a": "wet towel forgetful notebook clumsy cup sorry gift",
    "wrote a": "grateful letter angry complaint curious question inspired poem",
    "played a": "happy song restless game naughty trick proud march",
    "went to the": "tired bed injured clinic dirty bath greedy vault",
}
ACTIONS = {state: f"{verb} {thing}" for verb, deeds in _DEEDS.items() for state, thing in _pairs(deeds).items()}


def akin(state: str) -> list[str]:
    """The states that lead to the same verb as this one, itself among them."""
    return next(list(_pairs(deeds)) for deeds in _DEEDS.values() if state in _pairs(deeds))


TRAITS = (
    "calm kind tall rich brave loud shy proud quick wise neat rude "
    "fair lazy honest gentle clever polite cheerful patient careful strict modest curious"
).split()

TOPICS = "town city village club team firm".split()
SUBJECTS = "road bridge tax river farm mill port tower mine dam shop fleet canal park fence crop roof tunnel engine garden".split()
OPPOSITES = _pairs(
    "new old high low strong weak clean filthy safe risky cheap costly full empty fast slow "
    "wide narrow deep shallow light heavy dry damp smooth rough bright dark soft hard thick thin"
)
OPPOSITES |= {b: a for a, b in OPPOSITES.items()}
QUALITIES = sorted(OPPOSITES)


def is_held_out(sentence: str) -> bool:
    """True for the eighth of all possible sentences that only the test sets and the held-out text may use.

    A leading "So" is left aside: "So Ben sang." holds "Ben sang.", so both must lie on one side.
    """
    return zlib.crc32(sentence.removeprefix("So ").encode()) % 8 == 0
