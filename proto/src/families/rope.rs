//! Rotary embedding from config.json, in both spellings: transformers 5 keeps everything in `rope_parameters`, releases
//! before it kept `rope_theta` and `partial_rotary_factor` on top and the rest in `rope_scaling`, its kind named `type`.

use super::fields::{Fields, MAX_POSITIONS};
use super::sizes::Sizes;
use crate::arch::{ConfigError, Rope, RopeScaling};

/// What rope is where config.json says nothing.
pub(super) struct RopeDefaults {
    /// Share of each head that rotates.
    pub(super) partial: f64,
    /// Kinds of scaling that the family knows, as they are spelled.
    pub(super) kinds: &'static [&'static str],
}

/// Base of the frequencies where config.json does not state it: the first Llama's files do not.
const THETA: f64 = 10_000.0;

/// Reads rope's base, width and scaling.
pub(super) fn read(config: Fields<'_>, sizes: &Sizes, defaults: &RopeDefaults) -> Result<Rope, ConfigError> {
    let inner = match config.object("rope_parameters")? {
        Some(inner) => Some(inner),
        None => config.object("rope_scaling")?,
    };
    let place = |name: &str| inner.filter(|f| f.get(name).is_some()).unwrap_or(config);
    let theta = place("rope_theta").optional_positive("rope_theta")?.unwrap_or(THETA);
    let partial_at = place("partial_rotary_factor");
    let partial = partial_at.optional_positive("partial_rotary_factor")?.unwrap_or(defaults.partial);
    if partial > 1.0 {
        return Err(partial_at.bad("partial_rotary_factor", "a number above 0, at most 1"));
    }
    // Cut off as transformers does: 0.4 of 80 are 32 although the product in f64 may lie just below or above.
    let dim = (sizes.head_dim as f64 * partial) as usize;
    if dim == 0 || !dim.is_multiple_of(2) {
        let name = if partial_at.get("partial_rotary_factor").is_some() {
            "partial_rotary_factor"
        } else {
            "head_dim"
        };
        let expected =
            format!("an even number of rotated dimensions, not {dim} of each head's {}", sizes.head_dim);
        return Err(partial_at.bad(name, expected));
    }
    let scaling = match inner {
        None => RopeScaling::None,
        Some(inner) => read_scaling(config, inner, sizes, dim, defaults.kinds)?,
    };
    Ok(Rope { theta, dim, scaling })
}

fn read_scaling(
    config: Fields<'_>,
    inner: Fields<'_>,
    sizes: &Sizes,
    dim: usize,
    kinds: &[&str],
) -> Result<RopeScaling, ConfigError> {
    let name = if inner.get("rope_type").is_some() { "rope_type" } else { "type" };
    let kind = match inner.get(name) {
        None => "default",
        Some(value) => value.as_str().unwrap_or(""),
    };
    if !kinds.contains(&kind) {
        return Err(inner.bad(name, format!("one of {}", kinds.join(", "))));
    }
    match kind {
        "linear" => Ok(RopeScaling::Linear { factor: inner.positive("factor")? }),
        "llama3" => llama3(config, inner),
        "longrope" | "su" => longrope(config, inner, sizes, dim),
        _ => Ok(RopeScaling::None),
    }
}

/// `original_max_position_embeddings`: the top of config.json goes before the rope object, as in transformers.
fn original(config: Fields<'_>, inner: Fields<'_>) -> Result<usize, ConfigError> {
    const NAME: &str = "original_max_position_embeddings";
    let at = if config.get(NAME).is_some() { config } else { inner };
    at.count(NAME, MAX_POSITIONS)
}

fn llama3(config: Fields<'_>, inner: Fields<'_>) -> Result<RopeScaling, ConfigError> {
    let (low, high) = (inner.positive("low_freq_factor")?, inner.positive("high_freq_factor")?);
    if high <= low {
        return Err(inner.bad("high_freq_factor", format!("a number above low_freq_factor = {low}")));
    }
    Ok(RopeScaling::Llama3 {
        factor: inner.positive("factor")?,
        low_freq_factor: low,
        high_freq_factor: high,
        original: original(config, inner)?,
    })
}

fn longrope(
    config: Fields<'_>,
    inner: Fields<'_>,
    sizes: &Sizes,
    dim: usize,
) -> Result<RopeScaling, ConfigError> {
    let original = original(config, inner)?;
    let factor = inner.optional_positive("factor")?.unwrap_or(sizes.max_positions as f64 / original as f64);
    let attention_factor = match inner.optional_positive("attention_factor")? {
        Some(stated) => stated,
        None if factor <= 1.0 => 1.0,
        None if original == 1 => {
            return Err(
                inner.bad("attention_factor", "a number, since it cannot follow from 1 original position")
            );
        }
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    Ok(RopeScaling::LongRope {
        short: inner.positives("short_factor", dim / 2)?,
        long: inner.positives("long_factor", dim / 2)?,
        original,
        attention_factor,
    })
}
