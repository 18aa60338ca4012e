//! `llama`: Llama 1 to 3 and what follows their form. Grouped heads, RMS norms, rope scaling of Llama 3.1.

use super::fields::Fields;
use super::rope::{self, RopeDefaults};
use super::sizes::Sizes;
use crate::arch::{Arch, Attention, BlockLayout, ConfigError, LinearRole, Mlp, MlpKind, Names, Norm};

pub(super) fn read(config: Fields<'_>) -> Result<Arch, ConfigError> {
    let sizes = Sizes::read(config)?;
    let attention_bias = config.flag("attention_bias", false)?;
    let defaults = RopeDefaults { partial: 1.0, kinds: &["default", "linear", "llama3", "longrope"] };
    let rope = rope::read(config, &sizes, &defaults)?;
    if rope.dim != sizes.head_dim {
        return Err(config.bad("partial_rotary_factor", "1: this family rotates whole heads"));
    }
    Ok(Arch {
        family: "llama",
        hidden: sizes.hidden,
        blocks: sizes.blocks,
        heads: sizes.heads,
        kv_heads: sizes.kv_heads,
        head_dim: sizes.head_dim,
        intermediate: sizes.intermediate,
        vocab: sizes.vocab,
        max_positions: sizes.max_positions,
        norm: Norm::Rms { eps: config.epsilon("rms_norm_eps")? },
        layout: BlockLayout::Sequential,
        attention: Attention {
            fused_qkv: false,
            qkv_bias: attention_bias,
            out_bias: attention_bias,
            qk_norm: None,
        },
        mlp: Mlp {
            kind: MlpKind::Gated,
            activation: config.activation("hidden_act")?,
            bias: config.flag("mlp_bias", false)?,
        },
        rope,
        sliding_window: None,
        tied_embeddings: config.flag("tie_word_embeddings", false)?,
        head_bias: false,
        names: NAMES,
    })
}

const NAMES: Names = Names {
    embedding: "model.embed_tokens.weight",
    block: "model.layers.{}",
    norm1: "input_layernorm",
    norm2: Some("post_attention_layernorm"),
    linears: &[
        (LinearRole::Q, "self_attn.q_proj"),
        (LinearRole::K, "self_attn.k_proj"),
        (LinearRole::V, "self_attn.v_proj"),
        (LinearRole::Out, "self_attn.o_proj"),
        (LinearRole::Gate, "mlp.gate_proj"),
        (LinearRole::Up, "mlp.up_proj"),
        (LinearRole::Down, "mlp.down_proj"),
    ],
    qk_norms: None,
    final_norm: "model.norm",
    head: "lm_head.weight",
};
