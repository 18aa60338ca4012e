//! `phi3`: Phi-3, Phi-3.5, Phi-4. Fused projections, RMS norms, sliding window, longrope.

use super::fields::{Fields, MAX_POSITIONS};
use super::rope::{self, RopeDefaults};
use super::sizes::Sizes;
use crate::arch::{Arch, Attention, BlockLayout, ConfigError, LinearRole, Mlp, MlpKind, Names, Norm};

pub(super) fn read(config: Fields<'_>) -> Result<Arch, ConfigError> {
    let sizes = Sizes::read(config)?;
    let defaults = RopeDefaults { partial: 1.0, kinds: &["default", "longrope", "su"] };
    Ok(Arch {
        family: "phi3",
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
        attention: Attention { fused_qkv: true, qkv_bias: false, out_bias: false, qk_norm: None },
        mlp: Mlp { kind: MlpKind::GatedFused, activation: config.activation("hidden_act")?, bias: false },
        rope: rope::read(config, &sizes, &defaults)?,
        sliding_window: config.optional_count("sliding_window", MAX_POSITIONS)?,
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
        (LinearRole::Qkv, "self_attn.qkv_proj"),
        (LinearRole::Out, "self_attn.o_proj"),
        (LinearRole::GateUp, "mlp.gate_up_proj"),
        (LinearRole::Down, "mlp.down_proj"),
    ],
    qk_norms: None,
    final_norm: "model.norm",
    head: "lm_head.weight",
};
