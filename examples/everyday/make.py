"""Writes two small test sets of everyday knowledge in plain English, in the native schemas of CommonsenseQA and E-KAR.

    python3 examples/everyday/make.py          # writes commonsense_qa.jsonl and ekar.jsonl beside this file

They exist so that a real language model can be swept where no dataset can be fetched. Right answers come from the tables below;
wrong options are drawn, with a fixed seed, from other rows of the same table (questions) or are pairs that do not stand in the
relation (analogies). Standard library only; the same bytes on every Python 3.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent

# relation: (question with {}, [(subject, answer), ...]). Answers within a table are different words.
TABLES = {
    "opposite": ("What is the opposite of {}?", "hot cold, big small, fast slow, happy sad, early late, open closed, empty full, wet dry, "
                 "loud quiet, light dark, strong weak, old young, rich poor, near far, high low, hard soft, north south, war peace, "
                 "laugh cry, buy sell, win lose, push pull, begin end, love hate"),
    "young": ("What is a young {} called?", "dog puppy, cat kitten, cow calf, sheep lamb, horse foal, duck duckling, goose gosling, bear cub, "
              "frog tadpole, pig piglet, deer fawn, goat kid, swan cygnet, kangaroo joey"),
    "capital": ("Which city is the capital of {}?", "France Paris, Germany Berlin, Italy Rome, Spain Madrid, Japan Tokyo, China Beijing, "
                "Russia Moscow, Egypt Cairo, Greece Athens, Portugal Lisbon, Austria Vienna, Poland Warsaw, Norway Oslo, Sweden Stockholm, "
                "Ireland Dublin, Cuba Havana, Kenya Nairobi, Peru Lima, Turkey Ankara, Canada Ottawa"),
    "place": ("Where would you usually find a {}?", "fish water, book library, bed bedroom, cow farm, airplane airport, doctor hospital, teacher school, "
              "train station, oven kitchen, shark ocean, judge courtroom, actor theater, cashier store, priest church, camel desert, "
              "waiter restaurant, monkey jungle, chemist laboratory"),
    "use": ("What do people use a {} to do?", "knife cut, pen write, broom sweep, oven bake, shovel dig, hammer pound, needle sew, bed sleep, "
            "telephone call, camera photograph, ruler measure, razor shave, soap wash, match ignite, brush paint, spoon eat, cup drink"),
    "colour": ("What colour is {}?", "grass green, snow white, coal black, blood red, chocolate brown, lemon yellow, ash gray, "
               "carrot orange, sky blue"),
    "made": ("What is {} made from?", "bread flour, wine grapes, cheese milk, paper wood, glass sand, cider apples, leather skin, omelette eggs, "
             "raisins grapes, chocolate cocoa, flour wheat, butter cream, yarn wool"),
    "job": ("What does a {} make?", "baker bread, farmer crops, tailor clothes, cobbler shoes, sculptor statues, painter paintings, "
            "author books, composer music, architect buildings, carpenter furniture, chef meals, poet poems"),
    "sound": ("What sound does a {} make?", "dog bark, cat meow, cow moo, lion roar, duck quack, sheep bleat, snake hiss, bee buzz, horse neigh, "
              "owl hoot, pig oink, wolf howl, crow caw"),
    "part": ("What is a {} a part of?", "wheel car, page book, finger hand, toe foot, branch tree, petal flower, roof house, keyboard computer, "
             "string guitar, wing bird, second minute, letter word, brick wall, leaf plant, lens camera, sail boat"),
    "kind": ("What kind of thing is a {}?", "rose flower, dog animal, hammer tool, apple fruit, carrot vegetable, piano instrument, oak tree, iron metal, "
             "salmon fish, sparrow bird, ant insect, diamond gem, chair furniture, shirt clothing, chess game, red color, "
             "Monday day, July month, triangle shape, tennis sport"),
}



def rows(table):
    return [tuple(pair.split()) for pair in TABLES[table][1].split(", ")]


def questions(rng):
    """One CommonsenseQA item a row: five options, the wrong ones from other rows of the table."""
    items = []
    for table, (question, _) in TABLES.items():
        pairs = rows(table)
        for subject, answer in pairs:
            others = sorted({b for _, b in pairs} - {answer} - {b for a, b in pairs if a == subject})
            options = rng.sample(others, 4) + [answer]
            rng.shuffle(options)
            stem = question.format(subject)
            items.append({
                "answerKey": "ABCDE"[options.index(answer)],
                "id": f"everyday-{len(items):03d}",
                "question": {
                    "question_concept": subject,
                    "choices": [{"label": label, "text": text} for label, text in zip("ABCDE", options)],
                    "stem": stem,
                },
            })
    return items


def analogies(rng):
    """One E-KAR item a row: the right pair from the same table, wrong ones from other tables or mismatched."""
    items = []
    names = list(TABLES)
    for table in names:
        pairs = rows(table)
        for i, (a, b) in enumerate(pairs):
            right = pairs[(i + 1 + rng.randrange(len(pairs) - 1)) % len(pairs)]
            wrong = [rng.choice(rows(t)) for t in rng.sample([n for n in names if n != table], 3)]
            options = [f"{x}:{y}" for x, y in wrong] + [f"{right[0]}:{right[1]}"]
            answer = options[-1]
            if len(set(options)) < 4:
                continue
            rng.shuffle(options)
            items.append({
                "id": f"everyday-{len(items):03d}",
                "question": f"{a}:{b}",
                "choices": {"label": list("ABCD"), "text": options},
                "answerKey": "ABCD"[options.index(answer)],
                "explanation": [],
                "relation": [],
            })
    return items


def write(name, items):
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    (HERE / name).write_text(lines, encoding="utf-8")
    print(name, len(items))


if __name__ == "__main__":
    write("commonsense_qa.jsonl", questions(random.Random(1)))
    write("ekar.jsonl", analogies(random.Random(2)))
