"""Three small language models with tokenizers: byte-level without and with a BOS, and one that is built as SentencePiece's.

Out: `scoring/phi-nobos/`, `scoring/llama-bos/` and `scoring/llama-spm/`: Hugging Face folders whose weights are random.
"""

import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import families
import items

VOCAB, LIMIT = 384, 160
TEXTS = items.ROWS + ["Question: Passage: Choices: Answer: A. B. C. D. E."] * 8
FIELDS = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=LIMIT)
MODELS = {
    "phi-nobos": ("phi", dict(bos_token_id=0, eos_token_id=0, rope_parameters=dict(
        rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))),
    "llama-bos": ("llama", dict(bos_token_id=1, eos_token_id=2, num_key_value_heads=2, rope_parameters=dict(
        rope_type="default", rope_theta=10000.0))),
    "llama-spm": ("llama", dict(
        bos_token_id=1, eos_token_id=2, vocab_size=448, num_hidden_layers=1, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
}
SPECIALS = ["<unk>", "<s>", "</s>"]


def with_bos(tokenizer, *before):
    """Makes `tokenizer` put `<s>` before every text."""
    template = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    tokenizer.post_processor = processors.Sequence([*before, template]) if before else template


def byte_level(specials):
    """Returns a byte-level BPE of VOCAB tokens, trained on our own texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def sentencepiece_like(size):
    """Returns a BPE as Llama 1 and 2 and Phi-3 have it: a blank put before the text, blanks as marks, bytes to fall back on."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # for training: words do not merge
    tokenizer.train_from_iterator([t for t in TEXTS if t.isascii()], trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIALS + [f"<0x{byte:02X}>" for byte in range(256)], show_progress=False))
    fields = json.loads(tokenizer.to_str())
    fields["pre_tokenizer"] = None
    fields["added_tokens"] = [t for t in fields["added_tokens"] if t["content"] in SPECIALS]
    tokenizer = Tokenizer.from_str(json.dumps(fields))
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def tokenizer_of(name):
    """Returns the tokenizer of a model as transformers wraps it."""
    if name == "phi-nobos":
        end = "<|endoftext|>"
        return PreTrainedTokenizerFast(
            tokenizer_object=byte_level([end]), bos_token=end, eos_token=end, unk_token=end,
            clean_up_tokenization_spaces=False, model_max_length=LIMIT)
    if name == "llama-bos":
        tokenizer = byte_level(SPECIALS)
        with_bos(tokenizer, tokenizer.post_processor)
    else:
        tokenizer = sentencepiece_like(MODELS[name][1]["vocab_size"])
        with_bos(tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        clean_up_tokenization_spaces=False, model_max_length=LIMIT)


def make(folder):
    """Writes all models under `folder`; returns their names."""
    for index, (name, (family, fields)) in enumerate(MODELS.items()):
        model = families.build(family, FIELDS | fields, seed=3000 + index)
        model.save_pretrained(folder / name)
        (folder / name / "generation_config.json").unlink(missing_ok=True)
        tokenizer_of(name).save_pretrained(folder / name)
    return list(MODELS)


def raw_ids(folder, text, add_special_tokens=True):
    """Returns the ids that tokenizer.json alone gives, without transformers."""
    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=add_special_tokens).ids

