//! What a pruning method is. Shapes: O = output features, I = input features.

use crate::calibrate::InputStats;
use crate::error::EngineError;
use espalier_proto::recipe::{ParamValue, Pattern};
use std::collections::BTreeMap;
use tch::Tensor;

/// One linear to prune.
#[derive(Debug)]
pub struct Layer<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// `[O, I]`, in the forward's kind, on its device.
    pub weight_oi: &'a Tensor,
    /// What the method's declaration says that it reads.
    pub stats: Option<&'a InputStats>,
    /// Which share of its weights goes.
    pub pattern: Pattern,
    /// The method's parameters that are not at their default.
    pub params: &'a BTreeMap<String, ParamValue>,
}

/// What a method decided.
#[derive(Debug)]
pub struct Pruned {
    /// Bool `[O, I]`, true = kept.
    pub kept_oi: Tensor,
    /// The new weight `[O, I]` in the old one's kind: +0 where it is not kept.
    pub weight_oi: Tensor,
}

impl Pruned {
    /// Of a method that only zeroes.
    pub fn zeroed(weight_oi: &Tensor, kept_oi: Tensor) -> Self {
        let weight_oi = weight_oi.masked_fill(&kept_oi.logical_not(), 0.0);
        Self { kept_oi, weight_oi }
    }
}

/// A pruning method.
pub trait Method: Sync {
    /// Its name, as declared in the contract's list of methods.
    fn name(&self) -> &'static str;

    /// Prunes one linear.
    fn prune(&self, layer: &Layer<'_>) -> Result<Pruned, EngineError>;
}

impl Layer<'_> {
    /// A boolean parameter.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, EngineError> {
        match self.params.get(name) {
            None => Ok(default),
            Some(ParamValue::Bool(value)) => Ok(*value),
            Some(other) => Err(EngineError::Recipe {
                field: name.to_owned(),
                found: format!("{other:?}"),
                expected: "true or false".to_owned(),
            }),
        }
    }

    /// The statistics that the method declared.
    pub fn stats(&self) -> Result<&InputStats, EngineError> {
        self.stats
            .ok_or_else(|| EngineError::Internal { message: format!("{} has no statistics", self.name) })
    }

    /// The error that this linear cannot have this pattern.
    pub fn cannot(&self, why: impl Into<String>) -> EngineError {
        EngineError::Pattern {
            linear: self.name.to_owned(),
            pattern: self.pattern.to_string(),
            why: why.into(),
        }
    }
}
