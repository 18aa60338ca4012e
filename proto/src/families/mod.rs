//! config.json → [`Arch`]: one file a `model_type`, and the registry. No torch: the coordinator names layers and predicts
//! memory with it, the worker builds its decoder from it.
//!
//! In: the text of config.json, spelled as before or since transformers 5. Out: an `Arch` in which every number has been
//! checked, or a [`ConfigError`] that names the field, what was found and what was expected.

mod fields;
mod llama;
mod phi;
mod phi3;
mod rope;
mod sizes;
#[cfg(test)]
mod tests;

use crate::arch::{Arch, ConfigError};
use crate::recipe::Dtype;
use fields::Fields;
use serde_json::{Map, Value};

/// Most parameters of a model: a thousand times the largest there is.
const MOST_PARAMETERS: u64 = 1 << 50;

type Read = fn(Fields<'_>) -> Result<Arch, ConfigError>;

/// Every family by its `model_type`, in the order in which messages list them.
const FAMILIES: &[(&str, Read)] = &[("phi", phi::read), ("phi3", phi3::read), ("llama", llama::read)];

/// The `model_type`s that are supported.
pub fn supported() -> Vec<&'static str> {
    FAMILIES.iter().map(|(name, _)| *name).collect()
}

/// The architecture that a config.json describes.
pub fn arch(config_json: &str) -> Result<Arch, ConfigError> {
    let map = parse(config_json)?;
    let config = Fields::new(&map, "");
    let known = supported().join(", ");
    let family = match config.get("model_type") {
        Some(Value::String(name)) => name.clone(),
        Some(other) => other.to_string(),
        None => "nothing".to_owned(),
    };
    let Some((_, read)) = FAMILIES.iter().find(|(name, _)| *name == family) else {
        return Err(ConfigError::Family { found: family, supported: known });
    };
    if config.get("quantization_config").is_some() {
        return Err(config.bad("quantization_config", "none: only float32, float16 and bfloat16 are read"));
    }
    let arch = read(config)?;
    // Each number may be large, all of them together may not: sizes in bytes must stay numbers.
    let claimed = arch.prunable().saturating_add(2 * (arch.vocab * arch.hidden) as u64);
    if claimed > MOST_PARAMETERS {
        let field = "hidden_size".to_owned();
        let found = format!("{} and with it {claimed} parameters", arch.hidden);
        return Err(ConfigError::Field {
            field,
            found,
            expected: format!("at most {MOST_PARAMETERS} parameters"),
        });
    }
    Ok(arch)
}

/// The number format that a config.json states for its checkpoint, spelled `torch_dtype` or `dtype`.
pub fn stated_dtype(config_json: &str) -> Result<Option<Dtype>, ConfigError> {
    let map = parse(config_json)?;
    let config = Fields::new(&map, "");
    let name = if config.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    let Some(value) = config.get(name) else {
        return Ok(None);
    };
    match value.as_str().map(|text| text.strip_prefix("torch.").unwrap_or(text)) {
        Some("float32") => Ok(Some(Dtype::Float32)),
        Some("float16") => Ok(Some(Dtype::Float16)),
        Some("bfloat16") => Ok(Some(Dtype::Bfloat16)),
        Some("auto") => Ok(None),
        Some(_) | None => Err(config.bad(name, "float32, float16 or bfloat16")),
    }
}

fn parse(config_json: &str) -> Result<Map<String, Value>, ConfigError> {
    match serde_json::from_str(config_json) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(ConfigError::Json { why: format!("found {}, expected an object", kind_of(&other)) }),
        Err(error) => Err(ConfigError::Json { why: error.to_string() }),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
