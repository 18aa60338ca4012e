"""Decides what the demo's world holds: its people, things and the relations between them.

In: nothing. Out: word lists and pair tables. Every pair table maps a word to exactly one other word, so that
a question about a pair has one right answer. It must never hold a word that English would inflect oddly in the
sentences of `text.py` (they only ever write "the WORD" or "a JOB").
"""

import zlib

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
RELATIONS = {"home": HOME, "young": YOUNG, "tool": TOOL, "material": MATERIAL, "place": PLACE, "effect": EFFECT}

JOBS = list(TOOL)
SPOTS = list(PLACE.values())

# What somebody in a state does about it: the stories' cause and effect.
ACTIONS = {
    "hungry": "ate some soup",
    "thirsty": "drank some water",
    "tired": "went to sleep",
    "cold": "lit a lamp",
    "hot": "opened the door",
    "sick": "called the doctor",
    "dirty": "took a bath",
    "bored": "played a game",
    "lost": "asked the way",
    "wet": "found a towel",
    "late": "ran very fast",
    "scared": "hid in a corner",
    "lonely": "visited a friend",
    "poor": "looked for work",
    "angry": "shouted at people",
    "happy": "sang a song",
}

TRAITS = (
    "calm kind tall rich brave loud shy proud quick wise neat rude "
    "fair lazy honest gentle clever polite cheerful patient careful strict modest curious"
).split()

TOPICS = "town city village club team firm".split()
SUBJECTS = "road bridge tax river farm mill port tower mine dam shop fleet canal park fence crop roof tunnel engine garden".split()
OPPOSITES = _pairs("new old high low strong weak clean filthy safe risky cheap costly full empty fast slow")
OPPOSITES |= {b: a for a, b in OPPOSITES.items()}
QUALITIES = sorted(OPPOSITES)


def is_held_out(sentence: str) -> bool:
    """True for the eighth of all possible sentences that only the test sets and the held-out text may use.

    A leading "So" is left aside: "So Ben sang." holds "Ben sang.", so both must lie on one side.
    """
    return zlib.crc32(sentence.removeprefix("So ").encode()) % 8 == 0
