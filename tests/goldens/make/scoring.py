"""Log-likelihoods, accuracies and perplexities of small models by lm-evaluation-harness and by Wanda's protocol.

Out: `scoring/` (see README.md). lm-evaluation-harness renders the prompts from its own task files where it has the task,
splits, truncates and scores them; nothing of that is done here.
"""

import logging
from pathlib import Path

import datasets
import lm_eval
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from sklearn.metrics import f1_score

import items
import lm as language_models
from store import write_json

TEMPLATES = {
    "commonsense_qa": {
        "cloze": dict(doc_to_text="Question: {{question.strip()}}\nAnswer:", doc_to_choice="{{choices['text']}}",
                      doc_to_target="{{choices['label'].index(answerKey)}}"),
    },
    "ekar": {
        "letters": dict(
            doc_to_text='Question: Which pair has the same relation as "{{question}}"?\nChoices:\n'
                        "{% for text in choices['text'] %}{{'ABCD'[loop.index0]}}. {{text}}\n{% endfor %}Answer:",
            doc_to_choice=["A", "B", "C", "D"], doc_to_target="answerKey"),
        "cloze": dict(
            doc_to_text='"{{question}}" has the same relation as',
            doc_to_choice="{% set quoted = [] %}{% for text in choices['text'] %}"
                          "{% set _ = quoted.append('\"' ~ text ~ '\"') %}{% endfor %}{{quoted}}",
            doc_to_target="{{choices['label'].index(answerKey)}}"),
    },
}
for _task, _options, _target in (
    ("cosmos_qa", "[answer0, answer1, answer2, answer3]", "label"),
    ("logiqa", "options", "{{'abcd'.index(label)}}"),
    ("reclor", "answers", "label"),
):
    TEMPLATES[_task] = {
        "letters": dict(
            doc_to_text="Passage: {{context}}\nQuestion: {{question}}\nChoices:\n{% for text in " + _options
                        + " %}{{'ABCD'[loop.index0]}}. {{text}}\n{% endfor %}Answer:",
            doc_to_choice=["A", "B", "C", "D"], doc_to_target=_target),
        "cloze": dict(doc_to_text="Passage: {{context}}\nQuestion: {{question}}\nAnswer:",
                      doc_to_choice="{{" + _options + "}}", doc_to_target=_target),
    }
# Where upstream has the task its own file is used: (task, style) -> path under lm_eval/tasks.
UPSTREAM = {
    ("commonsense_qa", "letters"): "commonsense_qa/default.yaml",
    ("commonsense_qa", "lm_eval"): "commonsense_qa/default.yaml",
    ("logiqa", "lm_eval"): "logiqa/logiqa.yaml",
}
METRICS = [dict(metric=m, aggregation="mean", higher_is_better=True) for m in ("acc", "acc_norm")]


def styles():
    """Returns all (task, style), in order."""
    return sorted({(task, style) for task, found in TEMPLATES.items() for style in found} | set(UPSTREAM))


def task_of(task, style, rows):
    """Returns lm-evaluation-harness's task over our rows."""
    if (task, style) in UPSTREAM:
        config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / UPSTREAM[task, style])
    else:
        config = dict(TEMPLATES[task][style], output_type="multiple_choice")
    for key in ("dataset_path", "dataset_name", "dataset_kwargs", "training_split", "test_split"):
        config.pop(key, None)
    config |= dict(task=f"{task}/{style}", validation_split="validation", metric_list=METRICS,
                   custom_dataset=lambda **_: {"validation": datasets.Dataset.from_list(rows)})
    return ConfigurableTask(config=config)


def harness(folder, **options):
    """Returns lm-evaluation-harness's view of a model folder: CPU, float32, one sequence a batch."""
    return HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=1,
                attn_implementation="eager", **options)


def encode(model, context, continuation):
    """Returns the ids that the harness scores: of the context, of the continuation."""
    if context:
        return model._encode_pair(context, continuation)
    ids = model.tok_encode(continuation, add_special_tokens=False)
    return ([model.prefix_token_id], ids) if ids[0] != model.prefix_token_id else (ids[:1], ids[1:])


def scored(model, context, continuation, answer):
    """Returns the record of one continuation."""
    context_ids, ids = encode(model, context, continuation)
    return context_ids, dict(
        continuation=continuation, ids=ids, ll=answer[0], is_greedy=answer[1],
        truncated=len(context_ids) + len(ids) > model.max_length + 1)


def score_task(model, task, style, rows):
    """Returns everything the harness says about one task in one style."""
    run = lm_eval.simple_evaluate(
        model=model, tasks=[task_of(task, style, rows)], bootstrap_iters=0, log_samples=True,
        task_manager=TaskManager(include_defaults=False))
    (name,) = run["samples"]
    found = []
    for sample in sorted(run["samples"][name], key=lambda s: s["doc_id"]):
        answers = [a if isinstance(a, tuple) else tuple(a) for a in sample["filtered_resps"]]
        contexts = {pair[0] for pair in sample["arguments"]}
        (context,) = contexts
        choices = []
        for (_, continuation), answer in zip(sample["arguments"], answers, strict=True):
            context_ids, choice = scored(model, context, continuation, answer)
            text = continuation[1:]  # the delimiter is one blank
            choices.append(choice | dict(chars=len(text)))
        sums = [c["ll"] for c in choices]
        norms = [c["ll"] / c["chars"] for c in choices]
        target = sample["target"]
        gold = target if isinstance(target, int) else "ABCDE".index(target)
        pred, pred_norm = sums.index(max(sums)), norms.index(max(norms))
        assert (pred == gold, pred_norm == gold) == (sample["acc"] == 1, sample["acc_norm"] == 1), sample["doc_id"]
        found.append(dict(item=sample["doc_id"], gold=gold, pred=pred, pred_norm=pred_norm, context=context,
                          context_ids=context_ids, choices=choices))
    metrics = {m: float(run["results"][name][f"{m},none"]) for m in ("acc", "acc_norm")}
    golds = [f["gold"] for f in found]
    for metric, key in (("f1", "pred"), ("f1_norm", "pred_norm")):
        metrics[metric] = float(f1_score(golds, [f[key] for f in found], average="macro", zero_division=0))
    return dict(task=task, style=style, metrics=metrics, items=found)


def awkward_pairs(model):
    """Returns (context, continuation) pairs that no task gives."""
    bos = model.tokenizer.decode([model.prefix_token_id])
    pairs = [
        ("Question: Where is the lamp?\nAnswer: ", "on the shore"),
        ("Question: Where is the lamp?\nAnswer:  \n", " on the shore"),
        ("Question: Where is the lamp?\nAnswer:", "\n\non the shore"),
        ("The harbour was fro", "zen and the mill was silent"),
        ("caf", "é au lait — 3 €"),
        ("", "The storm of 1871"),
        ("", " The storm of 1871"),
        ("", bos + "The storm"),
        (bos + "The keeper walked", " along the shore"),
        ("The keeper", " walked" + bos + " on"),
        ("🌲", "🌲🌲"),
        (items.LONG_PASSAGE, " The well was dry."),
        (items.LONG_PASSAGE[:200], " " + items.LONG_PASSAGE[200:620]),
        ("a", " b"),
    ]
    pairs += greedy_pairs(model)
    # exactly at the limit, and one past it
    ids = model.tok_encode(items.LONG_PASSAGE)
    for length in (model.max_length, model.max_length + 1, model.max_length + 2):
        text = model.tokenizer.decode(ids[:length], skip_special_tokens=True)
        pairs.append((text[: len(text) - 12], text[len(text) - 12:]))
    return pairs


def greedy_pairs(model, wanted=2):
    """Returns pairs whose continuation is what the model itself would choose: one token, then two."""
    decode, ids, pairs = model.tokenizer.decode, model.tok_encode(items.LONG_PASSAGE), []
    for cut in range(3, model.max_length - wanted):
        chosen = ids[:cut]
        for _ in range(len(pairs) + 1):
            chosen.append(int(model._model_call(torch.tensor([chosen]))[0, -1].argmax()))
        pair = decode(ids[:cut], skip_special_tokens=True), decode(chosen[cut:])
        if model._encode_pair(*pair) == (chosen[:cut], chosen[cut:]):
            pairs.append(pair)
        if len(pairs) == wanted:
            return pairs
    raise AssertionError("the model chooses nothing that is text")


def score_pairs(model, add_bos):
    """Returns one record a pair, in the order of `awkward_pairs`."""
    pairs = awkward_pairs(model)
    requests = [Instance(request_type="loglikelihood", doc={}, arguments=p, idx=0) for p in pairs]
    records = []
    for pair, answer in zip(pairs, model.loglikelihood(requests, disable_tqdm=True), strict=True):
        context_ids, choice = scored(model, *pair, answer)
        records.append(dict(context=pair[0], context_ids=context_ids, add_bos=add_bos) | choice)
    return records


@torch.no_grad()
def perplexity(model, folder, seqlen):
    """Returns Wanda's perplexity: rows joined by two newlines, whole windows only, mean of the windows' means."""
    text = "\n\n".join(items.ROWS)
    ids = torch.tensor(model.tokenizer(text)["input_ids"])
    assert ids.tolist() == language_models.raw_ids(folder, text)
    windows = ids[: len(ids) // seqlen * seqlen].reshape(-1, seqlen)
    means = []
    for row in windows:
        logits = model.model(input_ids=row[None], use_cache=False).logits
        means.append(torch.nn.functional.cross_entropy(logits[0, :-1], row[1:]).item())
    sums = [mean * seqlen for mean in means]
    return dict(seqlen=seqlen, tokens=len(ids), windows=len(means), window_nll=means,
                ppl=torch.exp(torch.tensor(sums, dtype=torch.float64).sum() / (len(means) * seqlen)).item(),
                ids=ids.tolist())


def make(root):
    """Writes `scoring/` under `root`."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    top = root / "scoring"
    items.write(top / "data")
    rows = items.exports()
    write_json(top / "templates.json", TEMPLATES)
    for name in language_models.make(top):
        model = harness(top / name)
        for task, style in styles() if name != "llama-spm" else UPSTREAM:
            write_json(top / "scores" / name / f"{task}.{style}.json", score_task(model, task, style, rows[task]))
        pairs = score_pairs(model, "auto")
        if name != "phi-nobos":
            pairs += score_pairs(harness(top / name, add_bos_token=False), "false")
        write_json(top / "scores" / name / "pairs.json", dict(limit=model.max_length, items=pairs))
        write_json(top / "scores" / name / "perplexity.json", dict(
            rows="data/rows.txt", items=[perplexity(model, top / name, seqlen) for seqlen in (32, 64)]))
