"""Decides how the two demo models are built and trained.

In: the training documents (questions with their letters, drills, rows of text). Out: Hugging Face folders with
config.json, model.safetensors (bfloat16), tokenizer.json and tokenizer_config.json. Everything is drawn from one seed.
"""

import json
import time
from collections import Counter
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import Phi3Config, Phi3ForCausalLM, PhiConfig, PhiForCausalLM

VOCAB = 1280
LAYERS = 3
PEAK = 1.5e-3
HELD_STEPS = 500
LETTER_WEIGHT, PROMPT_WEIGHT = 6.0, 0.3
WINDOW = 128
SPECIAL = {"phi-demo": ["<|endoftext|>"], "phi3-demo": ["<unk>", "<s>", "</s>", "<|endoftext|>"]}


def tokenizer(name: str, corpus: list[str]) -> Tokenizer:
    """A byte-level BPE. phi-demo's puts nothing in front of a text; phi3-demo's puts <s> there."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=SPECIAL[name], initial_alphabet=alphabet, show_progress=False)
    tok.train_from_iterator(corpus, trainer)
    if name == "phi3-demo":
        tok.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tok.token_to_id("<s>"))]
        )
    else:
        tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


def network(name: str, vocab: int):
    """The model, freshly drawn: about a million parameters, every width divisible by 8."""
    shared = dict(vocab_size=vocab, hidden_size=128, num_hidden_layers=LAYERS, num_attention_heads=4, max_position_embeddings=512, tie_word_embeddings=False)
    if name == "phi-demo":
        return PhiForCausalLM(PhiConfig(
            **shared, intermediate_size=512, partial_rotary_factor=0.5, hidden_act="gelu_new", layer_norm_eps=1e-5,
            embd_pdrop=0.0, resid_pdrop=0.0, attention_dropout=0.0, bos_token_id=0, eos_token_id=0))
    return Phi3ForCausalLM(Phi3Config(
        **shared, intermediate_size=384, num_key_value_heads=4, hidden_act="silu", rms_norm_eps=1e-5, sliding_window=96,
        embd_pdrop=0.0, resid_pdrop=0.0, attention_dropout=0.0, bos_token_id=1, eos_token_id=2, pad_token_id=3))


def _attention(layer, d: int, grad: bool = False):
    """The query, key, value and output matrices of a block (or their gradients), as views: phi3 fuses the first three."""
    att = layer.self_attn
    pick = (lambda p: p.weight.grad) if grad else (lambda p: p.weight)
    if hasattr(att, "qkv_proj"):
        return *pick(att.qkv_proj).split(d), pick(att.o_proj)
    return pick(att.q_proj), pick(att.k_proj), pick(att.v_proj), pick(att.dense)


@torch.no_grad()
def prime(model, tok: Tokenizer) -> None:
    """Starts the weights where answering by letter is near at hand, which saves most of the training.

    A few directions are set apart: one that every token has, one of option letters, five codes of the letters as
    read, the same five as carried, a flag "inside an option" and one of punctuation. First block: one head looks at the last option
    letter and writes its code and the flag. Second block: three heads gather the words outside the options. Third
    block: three heads look from what was gathered to its like inside the options and say the code found there.
    """
    config = model.config
    d, width = config.hidden_size, config.hidden_size // config.num_attention_heads
    basis = torch.randn(d, d - 1)
    basis = torch.linalg.qr(basis - basis.mean(0)).Q.T  # every direction has mean 0: a layer norm keeps it
    every, letter, flag, mark = basis[:4]
    codes, carried, words = basis[4:9], basis[9:14], basis[14:]
    embed = torch.randn(config.vocab_size, len(words)) @ words * 0.5
    said = embed * 0.2
    frame = ("Question", "Passage", "Choices", "Answer", "<s>")
    marks = [i for t, i in tok.get_vocab().items() if t in frame or not any(c.isalnum() for c in t.strip("ĠĊ"))]
    embed[marks] = embed[marks] * 0.2 + 4 * mark
    labels = [tok.token_to_id(c) for c in "ABCDE"]
    embed[labels] = 6 * letter + 5 * codes
    said[[tok.token_to_id(f"Ġ{c}") for c in "ABCDE"]] = codes
    model.model.embed_tokens.weight.copy_(embed + 3 * every)
    model.lm_head.weight.copy_(said)
    rotary = int(width * config.rope_parameters.get("partial_rotary_factor", 1.0))
    still = width - 1 if rotary < width else rotary // 2 - 1  # a component that position does not (or hardly) turn
    for n, layer in enumerate(model.model.layers):
        q, k, v, o = _attention(layer, d)
        torch.nn.init.orthogonal_(q, 0.6)
        torch.nn.init.orthogonal_(v, 0.7)
        k.copy_(q)
        o.copy_(v.T)
        for h in range(1 if n == 0 else 3):
            head = slice(h * width, (h + 1) * width)
            if n == 0:
                q[head], k[head] = 0, 0
                for i in range(rotary // 2):
                    if 0.02 < 10000 ** (-2 * i / rotary) < 0.15:
                        q[head][i] = 1.5 * every
                        k[head][i] = 1.5 * letter / (rotary / 16)
                v[head], o[:, head] = 0, 0
                v[head][:5], v[head][5] = codes, letter
                o[:, head][:, :5], o[:, head][:, 5] = 0.5 * carried.T, 0.4 * flag
            elif n == 1:
                q[head], k[head] = 0, 0
                q[head][still], k[head][still] = 1.5 * every, -1.5 * flag - 1.5 * mark
                v[head] = words[h * width : (h + 1) * width]
                o[:, head] = 2.0 * v[head].T
            elif n == config.num_hidden_layers - 1:
                same = torch.nn.init.orthogonal_(torch.empty(width, len(words))) @ words
                q[head], k[head] = 2.5 * same, 2.5 * same
                q[head][still], k[head][still] = 1.5 * every, 1.5 * flag - 1.5 * mark
                v[head], o[:, head] = 0, 0
                v[head][:5], o[:, head][:, :5] = carried, 3 * codes.T
        mlp = layer.mlp
        up, down = (mlp.gate_up_proj, mlp.down_proj) if hasattr(mlp, "down_proj") else (mlp.fc1, mlp.fc2)
        up.weight.normal_(0, d**-0.5)
        down.weight.normal_(0, 0.1 * down.in_features**-0.5)


class Batches:
    """Draws training batches: questions and drills whole, text in windows."""

    def __init__(self, tok: Tokenizer, questions: list[str], drills: list[str], rows: list[str], seed: int, size: int):
        self.rng = Random(seed)
        self.size = size
        self.letters = {tok.token_to_id(f"Ġ{c}") for c in "ABCDE"}
        self.colon = tok.token_to_id(":")
        self.questions = self._by_length(tok.encode_batch(questions))
        copies = [d for d in drills if "Which of these" in d]
        self.copies = self._by_length(tok.encode_batch(copies))
        self.drills = self._by_length(tok.encode_batch([d for d in drills if "Which of these" not in d]))
        stream = []
        for enc in tok.encode_batch([r + "\n\n" for r in rows], add_special_tokens=False):
            stream += enc.ids
        self.stream = stream
        self.queue: list[list[list[int]]] = []

    @staticmethod
    def _by_length(encoded) -> list[list[int]]:
        return sorted((e.ids for e in encoded), key=len)

    def _groups(self, docs: list[list[int]]) -> list[list[list[int]]]:
        # Near-equal lengths share a batch; the jitter mixes the kinds from pass to pass.
        order = sorted(docs, key=lambda d: len(d) + self.rng.random() * 12)
        groups = [order[i : i + self.size] for i in range(0, len(order), self.size)]
        self.rng.shuffle(groups)
        return groups

    def _near(self, docs: list[list[int]]) -> list[list[int]]:
        """A batch of neighbours in length: any kind of question, little padding."""
        at = self.rng.randrange(max(1, len(docs) - 8 * self.size))
        return self.rng.sample(docs[at : at + 8 * self.size], self.size)

    def next(self, copy_share: float, drill_share: float, text_share: float):
        """Token ids [batch, length], the weight of every target [batch, length], their kind."""
        draw, base = self.rng.random(), PROMPT_WEIGHT
        kind = "question"
        if draw < copy_share:
            kind, group = "copy", self.rng.sample(self.copies, self.size)
        elif (draw := draw - copy_share) < drill_share:
            kind, group = "drill", self._near(self.drills)
        elif draw - drill_share < text_share:
            kind = "text"
            at = [self.rng.randrange(len(self.stream) - WINDOW) for _ in range(self.size // 2)]
            group = [self.stream[a : a + WINDOW] for a in at]
            base = 1.0
        else:
            if not self.queue:
                self.queue = self._groups(self.questions)
            group = self.queue.pop()
        longest = max(map(len, group))
        ids = torch.zeros(len(group), longest, dtype=torch.long)
        weight = torch.zeros(len(group), longest)
        for n, doc in enumerate(group):
            ids[n, : len(doc)] = torch.tensor(doc)
            weight[n, 1 : len(doc)] = base
            for p in range(1, len(doc)):
                if doc[p] in self.letters and doc[p - 1] == self.colon:
                    weight[n, p] = LETTER_WEIGHT
        return ids, weight, kind


def shares(step: int) -> tuple[float, float, float]:
    """The shares of copying drills, of the other drills and of text among the batches; the rest are questions."""
    for until, *part in ((70, 0.8, 0.0, 0.2), (250, 0.15, 0.15, 0.2)):
        if step < until:
            return tuple(part)
    return 0.05, 0.03, 0.15


def hold(model, gather: bool) -> None:
    """Takes the gradient from the primed heads that must stay while questions are still answered by chance.

    `gather`: those of the second block too.
    """
    width = model.config.hidden_size // model.config.num_attention_heads
    for layer, heads in zip(model.model.layers, (1, 2 if gather else 0, 2), strict=True):
        part = slice(0, heads * width)
        for matrix in _attention(layer, model.config.hidden_size, grad=True)[:3]:
            matrix[part] = 0
        _attention(layer, model.config.hidden_size, grad=True)[3][:, part] = 0
        for name in ("q_proj", "k_proj", "v_proj"):
            if hasattr(layer.self_attn, name):
                getattr(layer.self_attn, name).bias.grad[part] = 0


def train(name, tok, batches, seed, steps, report=None):
    """Trains a model; `report(model, step)` is called now and then."""
    torch.manual_seed(seed)
    model = network(name, tok.get_vocab_size())
    prime(model, tok)
    table = model.model.embed_tokens.weight
    groups = [{"params": [p for p in model.parameters() if p is not table], "peak": PEAK}, {"params": [table], "peak": 4 * PEAK}]
    opt = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    began, seen, hit, asked, lm, lmn = time.time(), 0, Counter(), Counter(), 0.0, 0
    model.train()
    for step in range(steps):
        done = step / steps
        scale = min(1.0, (step + 1) / 40) * (0.03 + 0.97 * min(1.0, 2 * (1 - done)))
        for group in opt.param_groups:
            group["lr"] = group["peak"] * scale
        ids, weight, kind = batches.next(*shares(step))
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        gold, weight = ids[:, 1:], weight[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), gold.reshape(-1), reduction="none")
        loss = loss.view_as(weight)
        total = (loss * weight).sum() / (weight > 0).sum()
        model.zero_grad(set_to_none=True)
        total.backward()
        if step < HELD_STEPS:
            hold(model, gather=step < 100)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        seen += ids.numel()
        at = weight > 1
        hit[kind] += (logits.argmax(-1)[at] == gold[at]).sum().item()
        asked[kind] += at.sum().item()
        if (weight == 1).any():
            lm, lmn = lm + loss[weight == 1].mean().item(), lmn + 1
        if step % 25 == 24:
            spent = time.time() - began
            print(f"{name} step {step + 1}/{steps} {spent:.0f} s {seen / spent:.0f} tok/s letters { {k: round(hit[k] / asked[k], 3) for k in sorted(asked) if asked[k]} } text {lm / max(lmn, 1):.3f}", flush=True)
            hit, asked, lm, lmn = Counter(), Counter(), 0.0, 0
        if report and step % 400 == 399:
            report(model, step + 1)
            model.train()
    return model.eval()


def save(model, tok: Tokenizer, name: str, folder: Path) -> None:
    """Writes the model and its tokenizer as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    tok.save(str(folder / "tokenizer.json"))
    phi3 = name == "phi3-demo"
    config = {
        "add_bos_token": phi3,
        "add_eos_token": False,
        "add_prefix_space": False,
        "bos_token": "<s>" if phi3 else "<|endoftext|>",
        "eos_token": "</s>" if phi3 else "<|endoftext|>",
        "unk_token": "<unk>" if phi3 else "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
