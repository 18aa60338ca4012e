"""The questions and texts that scoring and calibration goldens are made of: written here, in no published set.

Out: `scoring/data/native/` as the five sets were released, `scoring/data/hf/` as Hugging Face exports them, and rows of
plain text. Items are awkward on purpose: see the comments beside them.
"""

import csv
import json

import pyarrow
import pyarrow.parquet

from store import write_jsonl

LONG_PASSAGE = " ".join(
    f"On day {day} the keeper of lamp {day} walked {day + 3} miles along the {shore} shore and wrote that the {thing} was {state}."
    for day, (shore, thing, state) in enumerate([
        ("north", "harbour", "frozen"), ("south", "market", "closed"), ("east", "bridge", "mended"),
        ("west", "mill", "silent"), ("north", "ferry", "late"), ("south", "orchard", "bare"), ("east", "school", "full"),
        ("west", "tower", "dark"), ("north", "well", "dry"), ("south", "road", "open")], start=1))
HALF_PASSAGE = LONG_PASSAGE[:330].rsplit(" ", 1)[0] + "."

# (stem, concept, five options, answer letter)
COMMONSENSE = [
    ("Where would you keep milk so that it stays cold?", "milk", "oven|fridge|attic|garden|pocket", "B"),
    ("What do people use to cut paper?", "paper", "scissors|a spoon|soup|a pillow|rain", "A"),
    ("The man was tired after work, so what did he do?", "tired", "sleep|run a race|shout|build a boat|sing loudly", "A"),
    ("What grows on an apple tree?", "tree", "stones|letters|lamps|apples|coins", "D"),
    # a stem with blanks around it: upstream's template strips it
    ("  What falls from the clouds in winter?  ", "clouds", "snow|sand|bread|glass|keys", "A"),
    # accents, other scripts and an emoji in options of unequal width in bytes
    ("Where might you drink an espresso in Zürich?", "espresso", "a café|naïveté|日本語|Ωmega|🌲 forest", "A"),
    ("What would a child do with a new ball?", "ball", "read it|throw it to a friend|eat it|plant it|sell it to the king", "B"),
    # equal options: the first of equal scores wins
    ("Which of these is the same as the others?", "same", "a stone|a stone|a stone|a stone|a stone", "C"),
    ("What do you open to enter a house?", "house", "a book|a window of time|the door|a jar|a letter", "C"),
    ("Why did the lamp go out?", "lamp", "no oil|it was happy|too much oil|the sea|yesterday", "A"),
    # longer than the model's limit
    ("Given that " + LONG_PASSAGE + " What was dark?", "dark", "the mill|the well|the tower|the ferry|the road", "C"),
    ("What is used to write on a board?", "board", "chalk|cheese|a chair|a cherry|a chain", "A"),
]

# (context, question, four options, gold index); used for cosmos_qa, logiqa and reclor in turn
PASSAGES = [
    ("It rained all night. The river rose and the bridge was closed in the morning.", "Why was the bridge closed?",
     "The river was too high.|The bridge was sold.|It was a holiday.|Nobody liked the bridge.", 0),
    ("All bakers wake early. Anna is a baker.", "Which of the following must be true?",
     "Anna wakes late.|Anna wakes early.|Anna is not a baker.|Some bakers sleep.", 1),
    ("I forgot my umbrella and my coat was wet when I came home.", "What may have happened before?",
     "It was raining on the way.|I bought a new coat.|I stayed at home.|None of the above choices .", 0),
    ("No stone floats. Some boats are made of stone-like concrete, and they float.", "The argument shows that",
     "concrete is a stone.|what is like a stone may float.|no boats float.|all boats are stones.", 1),
    ("Sales rose after the shop painted its door red. The owner says the paint caused it.", "Which weakens the claim most?",
     "A fair came to town that week.|The paint was cheap.|The door is old.|Red is a colour.", 0),
    ("Maria packed bread, cheese, a map and a torch. She kissed her mother and took the early train.",
     "What is Maria likely to do next?", "Go for a walk in the hills.|Go to sleep.|Bake bread.|Call the police.", 0),
    # one short and one very long option on a long passage: only some options are truncated
    (HALF_PASSAGE, "What did the keeper write on the last day that is named here?",
     "Too little.|" + " ".join(["That the harbour, the market, the bridge and the mill were as they had been before,"] * 3)
     + " and so on.|Nothing.|That all was well.", 3),
    ("If the light is green, cars go. Cars do not go.", "What follows?",
     "The light is green.|The light is not green.|Cars are red.|Lights do not matter.", 1),
    # accents and other scripts in passage and options
    ("Señor Núñez naïvely drank his café crème in Kraków — “très bon”, he said — and paid 3 €.",
     "Où était Señor Núñez?", "à Kraków|à Zürich|東京|в Москве", 0),
    # longer than the model's limit whatever the option
    (LONG_PASSAGE, "Which of these is stated?", "The well was dry.|The well was deep.|The well was old.|The well was blue.", 0),
    ("Every key opens one box. This key opens the red box.", "This key",
     "opens no box.|opens the blue box.|does not open the blue box.|is red.", 2),
    ("He laughed until he cried, then told the story again to his brother.", "How did he feel?",
     "Amused.|Angry.|Afraid.|Ashamed of his brother.", 0),
]

# (pair, four pairs, answer letter)
ANALOGIES = [
    ("bird:nest", "bee:hive|dog:bone|fish:net|cat:milk", "A"),
    ("author:book", "painter:wall|composer:symphony|reader:page|actor:chair", "B"),
    ("hot:cold", "warm:summer|tall:high|day:night|red:rose", "C"),
    ("thermometer:temperature", "clock:wall|scale:weight|ruler:king|radio:noise", "B"),
    ("seed:tree", "egg:bird|leaf:wind|river:sea|stone:house", "A"),
    ("café:coffee", "théâtre:pièce|brasserie:über|naïve:simple|Zürich:Genève", "A"),
    ("doctor:hospital:patient", "teacher:school:pupil|cook:salt:pan|king:crown:gold|farmer:rain:cloud", "A"),
    ("pen:write", "knife:cut|spoon:table|shoe:foot|lamp:oil", "A"),
    ("winter:snow", "spring:autumn|cloud:rain|sun:moon|storm:calm", "B"),
    ("finger:hand", "toe:foot|ring:gold|glove:wool|arm:chair", "A"),
    ("wolf:pack", "sheep:wool|lion:roar|fish:school|crow:black", "C"),
    ("水:河", "sand:desert|glass:window|wind:door|fire:ice", "A"),
]

# Rows as WikiText has them: headings, blank rows, blanks before marks.
ROWS = ["", " = The Lighthouse = ", ""] + [s + " ." for s in LONG_PASSAGE.split(".") if s] + [
    "", " = = Storms = = ", "",
    " The storm of 1871 lasted three days ; boats were lost , and the “ old wall ” fell into the sea . ",
    " Señor Núñez , a traveller from Kraków , paid 3 € for coffee and wrote to his sister that the café was warm . ",
] + [f" {context} {question} " for context, question, _, _ in PASSAGES if context not in (LONG_PASSAGE, HALF_PASSAGE)] + [
    f" {stem.strip()} People say : {options.replace('|', ' , ')} . " for stem, _, options, _ in COMMONSENSE if len(stem) < 200]


def letters(n):
    """Returns A, B, C …"""
    return [chr(ord("A") + i) for i in range(n)]


def exports():
    """Returns task -> rows with the columns that Hugging Face's exports have."""
    csqa = [dict(id=f"cs{i:02}", question=stem, question_concept=concept,
                 choices=dict(label=letters(5), text=options.split("|")), answerKey=key)
            for i, (stem, concept, options, key) in enumerate(COMMONSENSE)]
    ekar = [dict(id=f"ek{i:02}", question=pair, choices=dict(label=letters(4), text=options.split("|")), answerKey=key,
                 explanation=[f"{part} is related." for part in pair.split(":")], relation=[])
            for i, (pair, options, key) in enumerate(ANALOGIES)]
    cosmos, logiqa, reclor = [], [], []
    for i, (context, question, options, gold) in enumerate(PASSAGES):
        texts = options.split("|")
        answers = {f"answer{k}": text for k, text in enumerate(texts)}
        cosmos.append(dict(id=f"3{i:02}##blog", context=context, question=question, **answers, label=gold))
        logiqa.append(dict(label="abcd"[gold], context=context, question=question, options=texts))
        reclor.append(dict(context=context, question=question, answers=texts, label=gold, id_string=f"val_{i}"))
    return dict(commonsense_qa=csqa, cosmos_qa=cosmos, logiqa=logiqa, reclor=reclor, ekar=ekar)


def write(folder):
    """Writes the five sets in both schemas under `folder`, and the rows of text."""
    for task, rows in exports().items():
        write_jsonl(folder / "hf" / f"{task}.jsonl", rows)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "hf" / f"{task}.parquet")
    native = folder / "native"
    native.mkdir(parents=True)
    sets = exports()
    write_jsonl(native / "commonsense_qa.jsonl", [dict(
        answerKey=r["answerKey"], id=r["id"], question=dict(
            question_concept=r["question_concept"], stem=r["question"],
            choices=[dict(label=k, text=t) for k, t in zip(r["choices"]["label"], r["choices"]["text"])]),
    ) for r in sets["commonsense_qa"]])
    with open(native / "cosmos_qa.csv", "w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, list(sets["cosmos_qa"][0]))
        writer.writeheader()
        writer.writerows(sets["cosmos_qa"])
    with open(native / "logiqa.txt", "w", encoding="utf-8") as f:
        for i, r in enumerate(sets["logiqa"]):
            gap = " " if i % 3 == 2 else ""  # the release writes both "A.text" and "A. text"
            options = [f"{letter}.{gap}{text}" for letter, text in zip("ABCD", r["options"])]
            # the loader on the hub, which made the export, puts a blank after every full stop: the release has none
            lines = [line.replace(". ", ".") for line in (r["context"], r["question"])]
            f.write("\n".join(["", r["label"], *lines, *options]) + "\n")
    (native / "reclor.json").write_text(json.dumps(sets["reclor"], ensure_ascii=False) + "\n", encoding="utf-8")
    write_jsonl(native / "ekar.jsonl", sets["ekar"])
    (folder / "rows.txt").write_text("".join(row + "\n" for row in ROWS), encoding="utf-8")
