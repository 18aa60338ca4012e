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
PEAK = 2e-3
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


def _attention(layer, d: int):
    """The query, key, value and output matrices of a block, as views: phi3 keeps the first three in one."""
    att = layer.self_attn
    if hasattr(att, "qkv_proj"):
        q, k, v = att.qkv_proj.weight.split(d)
        return q, k, v, att.o_proj.weight
    return att.q_proj.weight, att.k_proj.weight, att.v_proj.weight, att.dense.weight


@torch.no_grad()
def prime(model, tok: Tokenizer) -> None:
    """Starts the weights where answering by letter is near at hand, which saves most of the training.

    Everywhere, keys start equal to queries (a token attends to its like), outputs as the transposed values (attention
    copies what it finds) and the head as the embeddings (what was copied is said). In the first block one head looks
    at the last option letter, so that every word of an option knows its letter; in the last block most heads copy
    that letter from the word they match, and the head says it.
    """
    config = model.config
    d, width = config.hidden_size, config.hidden_size // config.num_attention_heads
    basis = torch.linalg.qr(torch.randn(d, d) - torch.randn(d, d).mean(0)).Q.T
    every, letter = basis[0] - basis[0].mean(), basis[1] - basis[1].mean()
    embed = torch.randn(config.vocab_size, d) * 0.5
    embed -= embed @ basis[:2].T @ basis[:2]
    said = embed.clone()
    labels = [tok.token_to_id(c) for c in "ABCDE"]
    said[[tok.token_to_id(f"Ġ{c}") for c in "ABCDE"]] = embed[labels]
    embed += 3 * every
    embed[labels] += 6 * letter
    model.model.embed_tokens.weight.copy_(embed)
    model.lm_head.weight.copy_(said * 0.2)
    carry_in, carry_out = basis[2 : 2 + width], torch.linalg.qr(torch.randn(d, width)).Q
    rotary = int(width * config.rope_parameters.get("partial_rotary_factor", 1.0))
    for n, layer in enumerate(model.model.layers):
        q, k, v, o = _attention(layer, d)
        torch.nn.init.orthogonal_(q, 0.6)
        torch.nn.init.orthogonal_(v, 0.7)
        k.copy_(q)
        o.copy_(v.T)
        if n == 0:
            q[:width] *= 0.05
            k[:width] *= 0.05
            for i in range(rotary // 2):
                if 0.02 < 10000 ** (-2 * i / rotary) < 0.15:
                    q[i] += 1.5 * every
                    k[i] += 1.5 * letter / (rotary / 16)
            v[:width] = carry_in
            o[:, :width] = 0.8 * carry_out
        if n == config.num_hidden_layers - 1:
            for h in range(3):
                part = slice(h * width, (h + 1) * width)
                v[part] = carry_out.T
                o[:, part] = carry_in.T * 0.7
            q[: 3 * width] *= 1.3
            k[: 3 * width] *= 1.3
        mlp = layer.mlp
        up, down = (mlp.gate_up_proj, mlp.down_proj) if hasattr(mlp, "down_proj") else (mlp.fc1, mlp.fc2)
        up.weight.normal_(0, d**-0.5)
        down.weight.normal_(0, 0.3 * down.in_features**-0.5)


class Batches:
    """Draws training batches: questions and drills whole, text in windows."""

    def __init__(self, tok: Tokenizer, questions: list[str], drills: list[str], rows: list[str], seed: int, size: int):
        self.rng = Random(seed)
        self.size = size
        self.letters = {tok.token_to_id(f"Ġ{c}") for c in "ABCDE"}
        self.colon = tok.token_to_id(":")
        self.questions = self._by_length(tok.encode_batch(questions))
        self.drills = self._by_length(tok.encode_batch(drills))
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

    def next(self, step: int, drill_share: float):
        """Token ids [batch, length] and the weight of every target [batch, length]."""
        draw, base = self.rng.random(), PROMPT_WEIGHT
        if draw < drill_share:
            group = self.rng.sample(self.drills, self.size)
        elif step % 4 == 3:
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
        return ids, weight


def train(name, tok, batches, seed, steps, report=None):
    """Trains a model; `report(model, step)` is called now and then."""
    torch.manual_seed(seed)
    model = network(name, tok.get_vocab_size())
    prime(model, tok)
    opt = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)
    began, seen, hit, asked, lm, lmn = time.time(), 0, Counter(), Counter(), 0.0, 0
    model.train()
    for step in range(steps):
        done = step / steps
        scale = min(1.0, (step + 1) / 40) * (0.03 + 0.97 * min(1.0, 2 * (1 - done)))
        for group in opt.param_groups:
            group["lr"] = PEAK * scale
        ids, weight = batches.next(step, 0.6 if step < 60 else 0.3 if step < 200 else 0.1 if done < 0.5 else 0.03)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        gold, weight = ids[:, 1:], weight[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), gold.reshape(-1), reduction="none")
        loss = loss.view_as(weight)
        total = (loss * weight).sum() / (weight > 0).sum()
        model.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        seen += ids.numel()
        at = weight > 1
        kind = "drill" if at.sum() > 2 * len(ids) else "question"
        hit[kind] += (logits.argmax(-1)[at] == gold[at]).sum().item()
        asked[kind] += at.sum().item()
        if (weight == 1).any():
            lm, lmn = lm + loss[weight == 1].mean().item(), lmn + 1
        if step % 25 == 24:
            spent = time.time() - began
            print(f"{name} step {step + 1}/{steps} {spent:.0f} s {seen / spent:.0f} tok/s letters { {k: round(hit[k] / asked[k], 3) for k in sorted(asked)} } text {lm / max(lmn, 1):.3f}", flush=True)
            hit, asked, lm, lmn = Counter(), Counter(), 0.0, 0
        if report and step % 200 == 199:
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
