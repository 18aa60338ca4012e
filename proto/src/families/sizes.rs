//! The sizes that every family states alike, and what must hold between them.

use super::fields::{Fields, MAX_BLOCKS, MAX_POSITIONS, MAX_VOCAB, MAX_WIDTH};
use crate::arch::ConfigError;

/// Sizes of a decoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// `hidden_size`.
    pub(super) hidden: usize,
    /// `num_hidden_layers`.
    pub(super) blocks: usize,
    /// `num_attention_heads`.
    pub(super) heads: usize,
    /// `num_key_value_heads`, where absent as many as query heads.
    pub(super) kv_heads: usize,
    /// `head_dim`, where absent hidden / heads.
    pub(super) head_dim: usize,
    /// `intermediate_size`.
    pub(super) intermediate: usize,
    /// `vocab_size`.
    pub(super) vocab: usize,
    /// `max_position_embeddings`.
    pub(super) max_positions: usize,
}

impl Sizes {
    /// Reads and checks them.
    pub(super) fn read(config: Fields<'_>) -> Result<Self, ConfigError> {
        let hidden = config.count("hidden_size", MAX_WIDTH)?;
        let heads = config.count("num_attention_heads", MAX_WIDTH)?;
        let kv_heads = config.optional_count("num_key_value_heads", MAX_WIDTH)?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(
                config.bad("num_key_value_heads", format!("a divisor of num_attention_heads = {heads}"))
            );
        }
        let head_dim = match config.optional_count("head_dim", MAX_WIDTH)? {
            Some(head_dim) => head_dim,
            None if hidden % heads == 0 => hidden / heads,
            None => {
                return Err(config.bad("num_attention_heads", format!("a divisor of hidden_size = {hidden}")));
            }
        };
        if head_dim * heads > MAX_WIDTH {
            return Err(
                config.bad("head_dim", format!("at most {MAX_WIDTH} / num_attention_heads = {heads}"))
            );
        }
        Ok(Self {
            hidden,
            blocks: config.count("num_hidden_layers", MAX_BLOCKS)?,
            heads,
            kv_heads,
            head_dim,
            intermediate: config.count("intermediate_size", MAX_WIDTH)?,
            vocab: config.count("vocab_size", MAX_VOCAB)?,
            max_positions: config.count("max_position_embeddings", MAX_POSITIONS)?,
        })
    }
}
