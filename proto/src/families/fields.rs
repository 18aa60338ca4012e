//! Reads single fields of a config.json and refuses what is missing, of the wrong type or absurd. Decides nothing about a
//! family; every error names the field's path, what was found and what was expected.

use crate::arch::{Activation, ConfigError};
use serde_json::{Map, Value};

/// Most blocks that a decoder may have.
pub(super) const MAX_BLOCKS: usize = 10_000;
/// Largest width of anything in a block.
pub(super) const MAX_WIDTH: usize = 1 << 24;
/// Most rows of an embedding.
pub(super) const MAX_VOCAB: usize = 1 << 26;
/// Most positions.
pub(super) const MAX_POSITIONS: usize = 1 << 30;

/// A JSON object of config.json with the path that leads to it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Fields<'a> {
    /// The object at `path`; the top has an empty path.
    pub(super) fn new(map: &'a Map<String, Value>, path: &'a str) -> Self {
        Self { map, path }
    }

    /// The value of a field that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// The error that says what a field holds and what it should hold.
    pub(super) fn bad(&self, name: &str, expected: impl Into<String>) -> ConfigError {
        let found = match self.map.get(name) {
            None => "nothing".to_owned(),
            Some(value) => {
                let text = value.to_string();
                match text.char_indices().nth(80) {
                    Some((cut, _)) => format!("{}…", &text[..cut]),
                    None => text,
                }
            }
        };
        let field = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        ConfigError::Field { field, found, expected: expected.into() }
    }

    /// A whole number from 1 to `most` that must be there.
    pub(super) fn count(&self, name: &str, most: usize) -> Result<usize, ConfigError> {
        let expected = || format!("a whole number from 1 to {most}");
        let number = self.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        number.filter(|n| (1..=most).contains(n)).ok_or_else(|| self.bad(name, expected()))
    }

    /// The same, `None` where the field is absent or null.
    pub(super) fn optional_count(&self, name: &str, most: usize) -> Result<Option<usize>, ConfigError> {
        self.get(name).map(|_| self.count(name, most)).transpose()
    }

    /// A finite number above 0 that must be there.
    pub(super) fn positive(&self, name: &str) -> Result<f64, ConfigError> {
        let number = self.get(name).and_then(Value::as_f64);
        number.filter(|x| *x > 0.0 && x.is_finite()).ok_or_else(|| self.bad(name, "a number above 0"))
    }

    /// The same, `None` where the field is absent or null.
    pub(super) fn optional_positive(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        self.get(name).map(|_| self.positive(name)).transpose()
    }

    /// The epsilon of a norm: from 0 to 1, 1 excluded, and it must be there.
    pub(super) fn epsilon(&self, name: &str) -> Result<f64, ConfigError> {
        let number = self.get(name).and_then(Value::as_f64);
        number.filter(|x| (0.0..1.0).contains(x)).ok_or_else(|| self.bad(name, "a number from 0 to below 1"))
    }

    /// True or false; `default` where the field is absent or null.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(name, "true or false")),
        }
    }

    /// A list of `length` finite numbers above 0.
    pub(super) fn positives(&self, name: &str, length: usize) -> Result<Vec<f64>, ConfigError> {
        let bad = || self.bad(name, format!("a list of {length} numbers above 0"));
        let list = self.get(name).and_then(Value::as_array).ok_or_else(bad)?;
        let numbers: Vec<f64> =
            list.iter().filter_map(Value::as_f64).filter(|x| *x > 0.0 && x.is_finite()).collect();
        if numbers.len() != list.len() {
            return Err(bad());
        }
        if list.len() != length {
            let field = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
            let found = format!("a list of {}", list.len());
            return Err(ConfigError::Field {
                field,
                found,
                expected: format!("a list of {length} numbers above 0"),
            });
        }
        Ok(numbers)
    }

    /// The activation, by the names that transformers gives them.
    pub(super) fn activation(&self, name: &str) -> Result<Activation, ConfigError> {
        match self.get(name).and_then(Value::as_str) {
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some("relu") => Ok(Activation::Relu),
            Some(_) | None => Err(self.bad(name, "silu, swish, gelu, gelu_new, gelu_pytorch_tanh or relu")),
        }
    }

    /// An object below this one, with its own path; `None` where it is absent, null or empty.
    pub(super) fn object(&self, name: &'a str) -> Result<Option<Fields<'a>>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) if map.is_empty() => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields::new(map, name))),
            Some(_) => Err(self.bad(name, "an object or null")),
        }
    }
}
