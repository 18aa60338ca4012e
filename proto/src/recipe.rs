//! How to prune, resolved: what a worker is told and what a variant's key is made of.

use crate::ids::{InputsDigest, ModelDigest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Which weights of one linear are pruned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// This share of each comparison group, 0 < ratio < 1; the count is `floor(columns · ratio)` in f64.
    Ratio(f64),
    /// In each aligned group of `of` input columns the `prune` least important are pruned.
    NOfM {
        /// Weights pruned in a group.
        prune: u32,
        /// Weights in a group.
        of: u32,
    },
}

impl Pattern {
    /// The share of weights that this pattern prunes.
    pub fn target_sparsity(&self) -> f64 {
        match *self {
            Self::Ratio(ratio) => ratio,
            Self::NOfM { prune, of } => f64::from(prune) / f64::from(of),
        }
    }
}

impl fmt::Display for Pattern {
    /// As tables show it: `0.5`, `2:4` (where both readings of N:M agree), `prune 1 of 4` otherwise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ratio(ratio) => write!(f, "{ratio}"),
            Self::NOfM { prune, of } if prune * 2 == of => write!(f, "{prune}:{of}"),
            Self::NOfM { prune, of } => write!(f, "prune {prune} of {of}"),
        }
    }
}

/// The number format that weights and activations have while pruning and evaluating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Dtype {
    Float32,
    Float16,
    Bfloat16,
}

impl Dtype {
    /// The name as Hugging Face writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Float32 => 4,
            Self::Float16 | Self::Bfloat16 => 2,
        }
    }
}

/// The kind of device that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Backend {
    Cpu,
    Cuda,
}

impl Backend {
    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// A method's parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ParamValue {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

/// One model under one recipe: everything that can change the variant's weights, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// The model, by content.
    pub model: ModelDigest,
    /// A name of [`crate::methods`]; `dense` prunes nothing.
    pub method: String,
    /// The method's parameters that are not at their default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, ParamValue>,
    /// Pattern by linear name, after excludes and allocation; a linear that is not here stays dense.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Pattern>,
    /// The calibration windows, only if the method reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<InputsDigest>,
    /// The number format of pruning and evaluation.
    pub dtype: Dtype,
    /// The kind of device.
    pub backend: Backend,
    /// Threads of one compute process; `Some` exactly on CPU, where they change last bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// A fingerprint, only if the sweep pins one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_kind: Option<String>,
    /// On CUDA: products of float32 matrices in TF32, which is faster and keeps ten bits of a factor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tf32: bool,
}
