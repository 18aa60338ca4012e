"""Decides how the two demo models are built and trained.

In: the training documents (questions with their answers, rows of text). Out: Hugging Face folders with
config.json, model.safetensors (bfloat16), tokenizer.json and tokenizer_config.json. Everything is drawn from one seed.
"""

import copy
import json
import math
import time
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import Phi3Config, Phi3ForCausalLM, PhiConfig, PhiForCausalLM

# At most: the text ends the merges a little sooner.
VOCAB = 6720
LAYERS = 3
# How unlike each other the channels of a block's input are at the start: the spread of the logarithm of the norms' weights.
UNEVEN = {"phi-demo": 0.5, "phi3-demo": 0.5}
PEAK, WARMUP = 4e-3, 30
ANSWER_WEIGHT, PROMPT_WEIGHT = 4.0, 0.3
# Of a question's tokens only this share is a target in a step, weighing so much the more: the output layer is most of the work.
PROMPT_SHARE = 0.25
ANALOGIES, FACTS, WINDOWS, WINDOW = 24, 16, 3, 96
# phi3-demo learns late what supports and what weakens an argument.
PASSAGES = {"phi-demo": 24, "phi3-demo": 40}
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
    """The model, freshly drawn: about a million parameters, nine tenths of them for the words; every width divisible by 8."""
    shared = dict(vocab_size=vocab, hidden_size=64, num_hidden_layers=LAYERS, num_attention_heads=4, max_position_embeddings=512, tie_word_embeddings=False)
    if name == "phi-demo":
        return PhiForCausalLM(PhiConfig(
            **shared, intermediate_size=96, partial_rotary_factor=0.5, hidden_act="gelu_new", layer_norm_eps=1e-5,
            embd_pdrop=0.0, resid_pdrop=0.0, attention_dropout=0.0, bos_token_id=0, eos_token_id=0))
    return Phi3ForCausalLM(Phi3Config(
        **shared, intermediate_size=64, num_key_value_heads=4, hidden_act="silu", rms_norm_eps=1e-5, sliding_window=96,
        embd_pdrop=0.0, resid_pdrop=0.0, attention_dropout=0.0, bos_token_id=1, eos_token_id=2, pad_token_id=3))


@torch.no_grad()
def start(model, uneven: float) -> None:
    """Draws the weights by their width: what a block adds is small at first, and the output nearly even.

    Large models have channels that carry far more than others, which is why Wanda weighs a weight by its input. Minutes of
    training bring none about, so the norms in front of the blocks may start `uneven`.
    """
    depth = 2 * model.config.num_hidden_layers
    for name, p in model.named_parameters():
        if p.dim() < 2:
            if uneven and "layernorm.weight" in name and "final" not in name:
                p.copy_((uneven * torch.randn_like(p)).exp())
                p.div_(p.pow(2).mean().sqrt())
            continue
        if "embed_tokens" in name:
            p.normal_(0, 0.5)
        elif "lm_head" in name:
            p.normal_(0, 0.02)
        else:
            last = name.endswith(("o_proj.weight", "dense.weight", "fc2.weight", "down_proj.weight"))
            p.normal_(0, p.shape[1] ** -0.5 * (depth**-0.5 if last else 1))


class Batches:
    """Draws what one step is trained on: short questions, long questions, and windows of running text."""

    def __init__(self, name: str, tok: Tokenizer, questions: list[str], rows: list[str], seed: int):
        self.rng = Random(seed)
        self.passages = PASSAGES[name]
        heads = [q[: q.rindex("\nAnswer:") + 8] if "\nAnswer:" in q else q[: q.index(" as \"") + 3] for q in questions]
        docs = [(e.ids, len(h.ids)) for e, h in zip(tok.encode_batch(questions), tok.encode_batch(heads))]
        kinds = ['"', "Question:", "Passage:"]
        self.pools = [[d for d, q in zip(docs, questions) if q.startswith(k)] for k in kinds]
        self.stream = []
        for enc in tok.encode_batch([r + "\n\n" for r in rows], add_special_tokens=False):
            self.stream += enc.ids

    def next(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Parts of a step: token ids [batch, length] and the weight of every target [batch, length]."""
        analogies, facts, passages = self.pools
        short = self.rng.sample(analogies, ANALOGIES) + self.rng.sample(facts, FACTS)
        at = [self.rng.randrange(len(self.stream) - WINDOW) for _ in range(WINDOWS)]
        text = [(self.stream[a : a + WINDOW], 0) for a in at]
        return [self._padded(short), self._padded(self.rng.sample(passages, self.passages)), self._padded(text)]

    @staticmethod
    def _padded(docs: list[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(len(ids) for ids, _ in docs)
        ids = torch.zeros(len(docs), longest, dtype=torch.long)
        weight = torch.zeros(len(docs), longest)
        for n, (doc, answer) in enumerate(docs):
            ids[n, : len(doc)] = torch.tensor(doc)
            weight[n, 1 : len(doc)] = 1.0
            if answer:
                weight[n, 1:answer] = (torch.rand(answer - 1) < PROMPT_SHARE) * (PROMPT_WEIGHT / PROMPT_SHARE)
                weight[n, answer : len(doc)] = ANSWER_WEIGHT
        return ids, weight


def train(name, tok, batches, seed, steps, report=None):
    """Trains a model; `report(model, step)` is called now and then."""
    torch.manual_seed(seed)
    model = network(name, tok.get_vocab_size())
    start(model, UNEVEN[name])
    opt = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    began, seen, told, text, parts = time.time(), 0, 0.0, 0.0, 0
    model.train()
    for step in range(steps):
        scale = min(1.0, (step + 1) / WARMUP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in opt.param_groups:
            group["lr"] = PEAK * scale
        model.zero_grad(set_to_none=True)
        drawn = batches.next()
        total = sum(ids.numel() for ids, _ in drawn)
        for ids, weight in drawn:
            gold, weight = ids[:, 1:], weight[:, 1:]
            hidden = model.model(input_ids=ids[:, :-1], use_cache=False)[0]
            real = weight > 0
            gold, weight = gold[real], weight[real]
            loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[real]), gold, reduction="none")
            ((loss * weight).sum() / total).backward()
            if (weight == 1).any():
                text += loss.detach()[weight == 1].mean().item()
            else:
                told += loss.detach()[weight == ANSWER_WEIGHT].mean().item() / 2
        seen += total
        parts += 1
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        if step % 25 == 24:
            spent = time.time() - began
            print(f"{name} step {step + 1}/{steps} {spent:.0f} s {seen / spent:.0f} tok/s loss: answers {told / parts:.3f} text {text / parts:.3f}", flush=True)
            told, text, parts = 0.0, 0.0, 0
        if report and step % 300 == 299 and step + 1 < steps:
            report(model, step + 1)
            model.train()
    return model.eval()


def save(model, tok: Tokenizer, name: str, folder: Path) -> None:
    """Writes the model and its tokenizer as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
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
