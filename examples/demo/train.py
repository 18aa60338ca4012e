"""Decides how the two demo models are built and trained.

In: the training documents (questions with their letters, drills, rows of text). Out: Hugging Face folders with
config.json, model.safetensors (bfloat16), tokenizer.json and tokenizer_config.json. Everything is drawn from one seed.
"""

import json
import time
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import Phi3Config, Phi3ForCausalLM, PhiConfig, PhiForCausalLM

VOCAB = 1280
LAYERS = 4
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


@torch.no_grad()
def prime(model) -> None:
    """Starts the weights where look-up is near at hand, which saves most of the training.

    Keys start equal to queries (a token attends to its like), outputs as the transposed values (attention copies
    what it finds), and the head as the embeddings (what was copied is what is said).
    """
    d = model.config.hidden_size
    model.model.embed_tokens.weight.normal_(0, 0.5)
    model.lm_head.weight.copy_(model.model.embed_tokens.weight * 0.2)
    for layer in model.model.layers:
        q, v = torch.empty(d, d), torch.empty(d, d)
        torch.nn.init.orthogonal_(q, 0.6)
        torch.nn.init.orthogonal_(v, 0.7)
        att = layer.self_attn
        if hasattr(att, "qkv_proj"):
            att.qkv_proj.weight.copy_(torch.cat([q, q, v]))
            att.o_proj.weight.copy_(v.T)
            ups, down = [layer.mlp.gate_up_proj], layer.mlp.down_proj
        else:
            att.q_proj.weight.copy_(q)
            att.k_proj.weight.copy_(q)
            att.v_proj.weight.copy_(v)
            att.dense.weight.copy_(v.T)
            ups, down = [layer.mlp.fc1], layer.mlp.fc2
        for up in ups:
            up.weight.normal_(0, d**-0.5)
        down.weight.normal_(0, 0.3 * down.in_features**-0.5)


def optimizers(model) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest; each group remembers its peak rate."""
    inner = [p for p in model.model.layers.parameters() if p.dim() == 2]
    seen = set(map(id, inner))
    rest = [p for p in model.parameters() if id(p) not in seen]
    muon = torch.optim.Muon([{"params": inner, "peak": 0.02}], lr=0.02, weight_decay=0.01, momentum=0.95)
    adam = torch.optim.AdamW([{"params": rest, "peak": 3e-3}], lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)
    return [muon, adam]


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


def train(name, tok, docs, seed, steps, size, report=None):
    """Trains a model; `report(model, step)` is called now and then."""
    torch.manual_seed(seed)
    model = network(name, tok.get_vocab_size())
    prime(model)
    batches = Batches(tok, *docs, seed, size)
    opts = optimizers(model)
    began, seen, hit, asked, lm, lmn = time.time(), 0, 0, 0, 0.0, 0
    model.train()
    for step in range(steps):
        done = step / steps
        scale = min(1.0, (step + 1) / 40) * (0.03 + 0.97 * min(1.0, 2 * (1 - done)))
        for group in (g for o in opts for g in o.param_groups):
            group["lr"] = scale * group["peak"]
        ids, weight = batches.next(step, 0.9 if step < 100 else 0.5 if step < 300 else 0.1 if done < 0.5 else 0.03)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        gold, weight = ids[:, 1:], weight[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), gold.reshape(-1), reduction="none")
        loss = loss.view_as(weight)
        total = (loss * weight).sum() / (weight > 0).sum()
        model.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
        seen += ids.numel()
        at = weight > 1
        hit += (logits.argmax(-1)[at] == gold[at]).sum().item()
        asked += at.sum().item()
        if (weight == 1).any():
            lm, lmn = lm + loss[weight == 1].mean().item(), lmn + 1
        if step % 25 == 24:
            spent = time.time() - began
            print(f"{name} step {step + 1}/{steps} {spent:.0f} s {seen / spent:.0f} tok/s letters {hit / max(asked, 1):.3f} text {lm / max(lmn, 1):.3f}", flush=True)
            hit, asked, lm, lmn = 0, 0, 0.0, 0
        if report and step % 200 == 199:
            report(model, step + 1)
            model.train()
    return model.eval()


def save(model, tok: Tokenizer, name: str, folder: Path) -> None:
    """Writes the model and its tokenizer as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
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
