//! `phi`: Phi-1, Phi-1.5, Phi-2. Parallel attention and MLP behind one layer norm, partial rotation, biases everywhere.

use super::fields::Fields;
use super::rope::{self, RopeDefaults};
use super::sizes::Sizes;
use crate::arch::{Arch, Attention, BlockLayout, ConfigError, LinearRole, Mlp, MlpKind, Names, Norm};

pub(super) fn read(config: Fields<'_>) -> Result<Arch, ConfigError> {
    let sizes = Sizes::read(config)?;
    let eps = config.epsilon("layer_norm_eps")?;
    let defaults = RopeDefaults { partial: 0.5, kinds: &["default", "linear", "llama3", "longrope"] };
    Ok(Arch {
        family: "phi",
        hidden: sizes.hidden,
        blocks: sizes.blocks,
        heads: sizes.heads,
        kv_heads: sizes.kv_heads,
        head_dim: sizes.head_dim,
        intermediate: sizes.intermediate,
        vocab: sizes.vocab,
        max_positions: sizes.max_positions,
        norm: Norm::Layer { eps },
        layout: BlockLayout::Parallel,
        attention: Attention {
            fused_qkv: false,
            qkv_bias: true,
            out_bias: true,
            qk_norm: config.flag("qk_layernorm", false)?.then_some(eps),
        },
        mlp: Mlp { kind: MlpKind::Plain, activation: config.activation("hidden_act")?, bias: true },
        rope: rope::read(config, &sizes, &defaults)?,
        sliding_window: None,
        tied_embeddings: config.flag("tie_word_embeddings", false)?,
        head_bias: true,
        names: NAMES,
    })
}

const NAMES: Names = Names {
    embedding: "model.embed_tokens.weight",
    block: "model.layers.{}",
    norm1: "input_layernorm",
    norm2: None,
    linears: &[
        (LinearRole::Q, "self_attn.q_proj"),
        (LinearRole::K, "self_attn.k_proj"),
        (LinearRole::V, "self_attn.v_proj"),
        (LinearRole::Out, "self_attn.dense"),
        (LinearRole::Up, "mlp.fc1"),
        (LinearRole::Down, "mlp.fc2"),
    ],
    qk_norms: Some(("self_attn.q_layernorm", "self_attn.k_layernorm")),
    final_norm: "model.final_layernorm",
    head: "lm_head.weight",
};
