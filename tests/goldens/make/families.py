"""Random small models of every family, with the logits that transformers gives for them.

Out: `families/<case>/`: a Hugging Face folder (config.json, safetensors) and one or more `golden*.safetensors`
holding `input_ids` [N, T] i64 and `logits` [N, T, V] f32 (eager attention, float32 arithmetic).
"""

import json
import shutil

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config, PhiConfig

from store import write_json, write_tensors

VOCAB = 128
CONFIGS = {"phi": PhiConfig, "phi3": Phi3Config, "llama": LlamaConfig}
SHORT = [1.0, 1.05, 1.1, 1.2, 1.3, 1.45, 1.6, 1.8]
LONG = [1.1, 1.6, 2.3, 3.1, 4.2, 5.5, 7.0, 9.0]


def cases():
    """Returns name -> (family, config fields, options).

    Options: `files`: golden file -> T; `stored`: dtype on disk; `shards`: True for two files with an index;
    `old`: folder name -> fields of a config.json in the old spelling, written over the same weights.
    """
    small = dict(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, max_position_embeddings=64,
    )
    longrope = dict(rope_type="longrope", rope_theta=10000.0, short_factor=SHORT, long_factor=LONG)
    past = {"golden": 10, "golden_at_limit": 16, "golden_past_limit": 17, "golden_beyond": 40}
    llama3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
    phi_rope = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)
    default = dict(rope_type="default", rope_theta=10000.0)
    return {
        "phi": ("phi", small | dict(rope_parameters=phi_rope), dict(
            old={"phi-old": dict(rope_theta=10000.0, partial_rotary_factor=0.5, rope_scaling=None)})),
        "phi-partial-0.4": ("phi", small | dict(
            hidden_size=40, layer_norm_eps=1e-2, rope_parameters=phi_rope | dict(partial_rotary_factor=0.4)), {}),
        "phi-qk-layernorm": ("phi", small | dict(qk_layernorm=True, rope_parameters=phi_rope), {}),
        "phi-sharded": ("phi", small | dict(rope_parameters=phi_rope), dict(shards=True)),
        "phi3": ("phi3", small | dict(rope_parameters=default), dict(
            old={"phi3-old": dict(rope_theta=10000.0, rope_scaling=None)})),
        "phi3-sliding": ("phi3", small | dict(
            num_attention_heads=4, num_key_value_heads=2, sliding_window=7, rms_norm_eps=1e-2, rope_parameters=default), dict(
            files={"golden": 7, "golden_beyond": 32})),
        "phi3-longrope": ("phi3", small | dict(
            original_max_position_embeddings=16, rope_parameters=longrope), dict(
            files=past, old={
                "phi3-longrope-old": dict(rope_theta=10000.0, rope_scaling=dict(
                    type="longrope", short_factor=SHORT, long_factor=LONG)),
                "phi3-su-old": dict(rope_theta=10000.0, rope_scaling=dict(
                    type="su", short_factor=SHORT, long_factor=LONG))})),
        "phi3-partial": ("phi3", small | dict(rope_parameters=default | dict(partial_rotary_factor=0.75)), dict(
            old={"phi3-partial-old": dict(rope_theta=10000.0, rope_scaling=None, partial_rotary_factor=0.75)})),
        "phi3-partial-longrope-tied": ("phi3", small | dict(
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
            original_max_position_embeddings=16, rope_parameters=longrope | dict(
                partial_rotary_factor=0.75, short_factor=SHORT[:6], long_factor=LONG[:6])), dict(files=past)),
        "llama": ("llama", small | dict(rope_parameters=default), dict(
            old={"llama-old": dict(rope_theta=10000.0, rope_scaling=None)})),
        "llama-gqa-tied": ("llama", small | dict(
            num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True, attention_bias=False,
            mlp_bias=False, rms_norm_eps=1e-2, rope_parameters=default | dict(rope_theta=500000.0)), {}),
        "llama-llama3-rope": ("llama", small | dict(rope_parameters=default | llama3 | dict(rope_type="llama3")), dict(
            files={"golden": 48},
            old={"llama-llama3-rope-old": dict(
                rope_theta=10000.0, rope_scaling=llama3 | dict(rope_type="llama3"))})),
        "llama-linear-rope": ("llama", small | dict(
            rope_parameters=default | dict(rope_type="linear", factor=2.5)), dict(
            old={"llama-linear-rope-old": dict(rope_theta=10000.0, rope_scaling=dict(type="linear", factor=2.5))})),
        "llama-head-dim": ("llama", small | dict(num_attention_heads=4, head_dim=12, rope_parameters=default), {}),
        "llama-biases": ("llama", small | dict(attention_bias=True, mlp_bias=True, rope_parameters=default), {}),
        "llama-bf16": ("llama", small | dict(rope_parameters=default), dict(stored=torch.bfloat16)),
    }


def randomise(model, rng):
    """Fills every parameter so that logits are far from flat and no bias, norm or channel is trivial."""
    for name, p in sorted(model.named_parameters()):
        noise = torch.from_numpy(rng.standard_normal(tuple(p.shape), dtype=np.float32))
        if "norm" in name:
            value = 1.0 + 0.3 * noise if name.endswith("weight") else 0.2 * noise
        elif name.endswith("bias"):
            value = 0.3 * noise
        elif "embed_tokens" in name:
            value = noise
        else:
            value = noise * (1.3 / p.shape[-1] ** 0.5)
        p.data.copy_(value)


def build(family, fields, seed):
    """Returns a float32 model in evaluation mode with weights drawn from `seed`."""
    config = CONFIGS[family](**fields, attn_implementation="eager")
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    randomise(model, np.random.default_rng(seed))
    model.tie_weights()
    return model.eval()


def load(folder):
    """Returns the model of a folder as transformers reads it, in float32 arithmetic.

    transformers 5 means to take `su` for `longrope` but refuses such a config.json before it gets there
    (its check wants `original_max_position_embeddings` inside the rope dictionary), so `su` is read as `longrope`.
    """
    fields = json.loads((folder / "config.json").read_text("utf-8"))
    scaling = fields.get("rope_scaling")
    if scaling and scaling.get("type") == "su":
        fields["rope_scaling"] = scaling | {"type": "longrope"}
    config = CONFIGS[fields["model_type"]].from_dict(fields)
    return AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def logits_of(model, ids_nt):
    """Returns `[N, T, V]`, one sequence a forward."""
    return torch.cat([model(input_ids=row[None], use_cache=False).logits for row in ids_nt])


def old_spelling(new_config, fields):
    """Returns config.json as releases before transformers 5 wrote it."""
    config = {k: v for k, v in new_config.items() if k not in ("dtype", "rope_parameters")}
    return config | fields | {"torch_dtype": new_config["dtype"], "transformers_version": "4.40.0"}


def make(root):
    """Writes all cases under `root/families`."""
    for index, (name, (family, fields, options)) in enumerate(cases().items()):
        folder = root / "families" / name
        model = build(family, fields, seed=1000 + index)
        stored = options.get("stored", torch.float32)
        size = "90KB" if options.get("shards") else "50MB"
        model.to(stored).save_pretrained(folder, max_shard_size=size)
        (folder / "generation_config.json").unlink(missing_ok=True)
        model = load(folder)  # the golden is what a reader of the folder must get
        rng = np.random.default_rng(2000 + index)
        for file, length in options.get("files", {"golden": 24}).items():
            ids_nt = torch.from_numpy(rng.integers(0, VOCAB, (2, length)))
            write_tensors(folder / f"{file}.safetensors", {"input_ids": ids_nt, "logits": logits_of(model, ids_nt)})
        for old_name, old_fields in options.get("old", {}).items():
            write_old(folder, root / "families" / old_name, old_fields)


def write_old(folder, old, fields):
    """Writes the same weights under the old spelling; transformers must give the same logits for it."""
    shutil.copytree(folder, old)
    write_json(old / "config.json", old_spelling(json.loads((folder / "config.json").read_text()), fields))
    model = load(old)
    for golden in sorted(old.glob("golden*.safetensors")):
        want = load_file(golden)
        got = logits_of(model, want["input_ids"])
        assert torch.equal(got, want["logits"]), f"{golden}: old and new spelling give different logits"
