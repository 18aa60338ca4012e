//! A base model with optional masks: blocks, embedded tokens and the head on a device in a number format.
//! Shapes: B = rows, T = positions, H = hidden.

use super::base::{BaseModel, LoadError};
use super::mask;
use crate::models::{BlockWeights, HeadWeights, LinearWeights, NormWeights};
use espalier_proto::arch::{Linear, Norm};
use espalier_proto::checkpoint::Mask;
use espalier_proto::recipe::Dtype;
use std::collections::BTreeMap;
use std::sync::Arc;
use tch::{Device, Tensor};

/// A variant's weights.
#[derive(Clone, Debug)]
pub struct Weights {
    base: Arc<BaseModel>,
    masks: Arc<BTreeMap<String, Mask>>,
}

impl Weights {
    /// The base as it is.
    pub fn dense(base: Arc<BaseModel>) -> Self {
        Self { base, masks: Arc::default() }
    }

    /// The base with these masks by linear. A linear without a mask stays dense.
    pub fn masked(base: Arc<BaseModel>, masks: BTreeMap<String, Mask>) -> Result<Self, LoadError> {
        let arch = base.arch();
        let linears: BTreeMap<String, Linear> =
            (0..arch.blocks).flat_map(|i| arch.linears(i)).map(|l| (l.name.clone(), l)).collect();
        for (name, mask) in &masks {
            let found = format!("{} x {}", mask.rows(), mask.columns());
            let expected = match linears.get(name) {
                None => "a linear of the model".to_owned(),
                Some(l) if (l.out, l.inp) == (mask.rows(), mask.columns()) => continue,
                Some(l) => format!("{} x {}", l.out, l.inp),
            };
            return Err(LoadError::Mask { linear: name.clone(), found, expected });
        }
        Ok(Self { base, masks: Arc::new(masks) })
    }

    /// The base model.
    pub fn base(&self) -> &Arc<BaseModel> {
        &self.base
    }

    /// Masks by linear.
    pub fn masks(&self) -> &BTreeMap<String, Mask> {
        &self.masks
    }

    /// Block `index` with its masks applied: pruned weights are +0.
    pub fn block(&self, index: usize, device: Device, dtype: Dtype) -> Result<BlockWeights, LoadError> {
        let arch = self.base.arch();
        let names = &arch.names;
        let prefix = names.block.replace("{}", &index.to_string());
        let norm =
            |name: &str, has_bias: bool| self.norm(&format!("{prefix}.{name}"), has_bias, device, dtype);
        let has_bias = matches!(arch.norm, Norm::Layer { .. });
        let qk_norms = match (arch.attention.qk_norm, names.qk_norms) {
            (Some(_), Some((q, k))) => Some((norm(q, true)?, norm(k, true)?)),
            (Some(_), None) | (None, _) => None,
        };
        Ok(BlockWeights {
            index,
            norm1: norm(names.norm1, has_bias)?,
            norm2: names.norm2.map(|name| norm(name, has_bias)).transpose()?,
            qk_norms,
            linears: arch
                .linears(index)
                .into_iter()
                .map(|linear| self.linear(linear, device, dtype))
                .collect::<Result<_, _>>()?,
        })
    }

    /// One linear with its mask applied.
    pub fn linear(&self, linear: Linear, device: Device, dtype: Dtype) -> Result<LinearWeights, LoadError> {
        let mut weight_oi = self.base.tensor(&format!("{}.weight", linear.name), device, dtype)?;
        if let Some(bits) = self.masks.get(&linear.name) {
            let pruned_oi = mask::unpack(bits, device).logical_not();
            let _ = weight_oi.masked_fill_(&pruned_oi, 0.0);
        }
        let bias = linear.bias.then(|| self.base.tensor(&format!("{}.bias", linear.name), device, dtype));
        Ok(LinearWeights { weight_oi, bias_o: bias.transpose()?, linear })
    }

    /// Embedded tokens: i64 `[B, T]` on any device → `[B, T, H]` on `device`. Only the rows of these tokens are read.
    ///
    /// # Panics
    /// If a token is outside the vocabulary: inputs are checked before.
    pub fn embed(&self, ids_bt: &Tensor, device: Device, dtype: Dtype) -> Result<Tensor, LoadError> {
        let arch = self.base.arch();
        let ids_n = ids_bt.to_device(Device::Cpu).reshape([-1]);
        let rows_nh = self.base.rows(arch.names.embedding, &ids_n, device, dtype)?;
        let size = ids_bt.size();
        Ok(rows_nh.view([size[0], size[1], arch.hidden as i64]))
    }

    /// The last norm and the head.
    pub fn head(&self, device: Device, dtype: Dtype) -> Result<HeadWeights, LoadError> {
        let arch = self.base.arch();
        let names = &arch.names;
        let has_bias = matches!(arch.norm, Norm::Layer { .. });
        let weight = if arch.tied_embeddings { names.embedding } else { names.head };
        let bias = names.head.replace(".weight", ".bias");
        Ok(HeadWeights {
            norm: self.norm(names.final_norm, has_bias, device, dtype)?,
            weight_vh: self.base.tensor(weight, device, dtype)?,
            bias_v: arch.head_bias.then(|| self.base.tensor(&bias, device, dtype)).transpose()?,
        })
    }

    fn norm(
        &self,
        name: &str,
        has_bias: bool,
        device: Device,
        dtype: Dtype,
    ) -> Result<NormWeights, LoadError> {
        let bias = has_bias.then(|| self.base.tensor(&format!("{name}.bias"), device, dtype)).transpose()?;
        Ok(NormWeights {
            weight_h: self.base.tensor(&format!("{name}.weight"), device, dtype)?,
            bias_h: bias,
        })
    }
}
