"""Two small language models with tokenizers: one puts a BOS before a text, the other has none to put.

Out: `scoring/phi-nobos/` and `scoring/llama-bos/`: Hugging Face folders whose weights are random.
"""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import families
import items

VOCAB, LIMIT = 384, 160
FIELDS = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=LIMIT)
MODELS = {
    "phi-nobos": ("phi", dict(bos_token_id=0, eos_token_id=0, rope_parameters=dict(
        rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))),
    "llama-bos": ("llama", dict(bos_token_id=1, eos_token_id=2, num_key_value_heads=2, rope_parameters=dict(
        rope_type="default", rope_theta=10000.0))),
}


def train_tokenizer(specials, bos):
    """Returns a byte-level BPE of VOCAB tokens, trained on our own texts; `bos` is put first if not None."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(items.ROWS + ["Question: Passage: Choices: Answer: A. B. C. D. E."] * 8, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    byte_level = processors.ByteLevel(trim_offsets=False)
    if bos is None:
        tokenizer.post_processor = byte_level
    else:
        template = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))])
        tokenizer.post_processor = processors.Sequence([byte_level, template])
    return tokenizer


def tokenizer_of(name):
    """Returns the tokenizer of a model as transformers wraps it."""
    if name == "phi-nobos":
        end = "<|endoftext|>"
        return PreTrainedTokenizerFast(
            tokenizer_object=train_tokenizer([end], None), bos_token=end, eos_token=end, unk_token=end,
            clean_up_tokenization_spaces=False, model_max_length=LIMIT)
    return PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(["<unk>", "<s>", "</s>"], "<s>"), bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", clean_up_tokenization_spaces=False, model_max_length=LIMIT)


def make(folder):
    """Writes both models under `folder`."""
    for index, (name, (family, fields)) in enumerate(MODELS.items()):
        model = families.build(family, FIELDS | fields, seed=3000 + index)
        model.save_pretrained(folder / name)
        (folder / name / "generation_config.json").unlink(missing_ok=True)
        tokenizer_of(name).save_pretrained(folder / name)
    return list(MODELS)


def raw_ids(folder, text, add_special_tokens=True):
    """Returns the ids that tokenizer.json alone gives, without transformers."""
    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=add_special_tokens).ids

