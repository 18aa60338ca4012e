//! The block walk: load → dense forward with a tap on every linear's input → prune all linears of the block → forward again
//! with pruned weights → hand on. One block's weights and one micro-batch's activations are on the device; the others' stay on
//! the host. Shapes: B = windows of a micro-batch, T = positions, H = hidden.

use super::result::count;
use super::{Layer, Method, PruneResult, methods};
use crate::calibrate::SumOfSquares;
use crate::clock;
use crate::error::EngineError;
use crate::load::{self, Weights, kind_of};
use crate::models::{BlockWeights, Decoder, Frame, RowShape};
use espalier_proto::checkpoint::Mask;
use espalier_proto::inputs::Windows;
use espalier_proto::methods::{Statistics, method as declared};
use espalier_proto::recipe::{Dtype, ParamValue, Pattern};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::{Device, Tensor};

/// What to prune and how.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The method's name.
    pub method: &'a str,
    /// Its parameters that are not at their default.
    pub params: &'a BTreeMap<String, ParamValue>,
    /// Pattern by linear; others stay dense.
    pub targets: &'a BTreeMap<String, Pattern>,
    /// Calibration windows; needed where the method reads its inputs.
    pub calibration: Option<&'a Windows>,
    /// Where.
    pub device: Device,
    /// In which number format.
    pub dtype: Dtype,
    /// Blocks that are pruned already.
    pub restored: Option<&'a Restored>,
}

/// The first blocks of a model as an earlier walk of the same plan on the same kind of device left them.
#[derive(Debug)]
pub struct Restored {
    /// How many.
    pub blocks: usize,
    /// The model with the masks of those blocks.
    pub weights: Weights,
}

impl Restored {
    /// The base with the masks of its first blocks, which must be those of exactly the plan's targets in them.
    pub fn new(
        base: &Weights,
        blocks: usize,
        masks: BTreeMap<String, Mask>,
        targets: &BTreeMap<String, Pattern>,
    ) -> Result<Self, EngineError> {
        let arch = base.base().arch();
        let names = (0..blocks.min(arch.blocks)).flat_map(|i| arch.linears(i)).map(|l| l.name);
        let expected: BTreeSet<String> = names.filter(|name| targets.contains_key(name)).collect();
        if blocks > arch.blocks || !masks.keys().eq(&expected) {
            let message = format!(
                "saved masks of {} linears for {blocks} blocks, expected {} linears of at most {} blocks",
                masks.len(),
                expected.len(),
                arch.blocks
            );
            return Err(EngineError::Internal { message });
        }
        Ok(Self { blocks, weights: Weights::masked(base.base().clone(), masks)? })
    }
}

/// How far the walk is: blocks done of all that it visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Blocks done.
    pub done: usize,
    /// Blocks in all.
    pub all: usize,
}

/// What the caller hears and says while it runs.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Called after every block.
    pub progress: &'a dyn Fn(Progress),
    /// Called after every block that this walk pruned, with their number and all that was found so far, unless it is the last one.
    pub pruned: &'a dyn Fn(usize, &PruneResult),
    /// Once true, the walk ends between micro-batches with [`EngineError::Stopped`].
    pub stop: &'a AtomicBool,
}

/// Prunes a dense model.
///
/// # Panics
/// If a tensor operation fails (out of memory included): see [`crate::error::classify_panic`].
pub fn prune(base: &Weights, plan: &Plan<'_>, control: Control<'_>) -> Result<PruneResult, EngineError> {
    let (method, declaration) = match (methods::method(plan.method), declared(plan.method)) {
        (Some(method), Some(declaration)) => (method, declaration),
        (None, _) | (_, None) => {
            let names: Vec<_> = methods::METHODS.iter().map(|m| m.name()).collect();
            let (found, expected) = (plan.method.to_owned(), names.join(" or "));
            return Err(EngineError::Recipe { field: "method".to_owned(), found, expected });
        }
    };
    check_targets(base, plan)?;
    let mut walk = Walk { base, plan, control, method, result: PruneResult::default() };
    match declaration.statistics {
        Statistics::None => walk.without_calibration()?,
        Statistics::SumOfSquares => walk.with_calibration()?,
    }
    Ok(walk.result)
}

fn check_targets(base: &Weights, plan: &Plan<'_>) -> Result<(), EngineError> {
    let arch = base.base().arch();
    let linears: BTreeMap<_, _> =
        (0..arch.blocks).flat_map(|i| arch.linears(i)).map(|l| (l.name.clone(), l.inp)).collect();
    for (name, pattern) in plan.targets {
        let refuse =
            |why: String| EngineError::Pattern { linear: name.clone(), pattern: pattern.to_string(), why };
        let Some(&columns) = linears.get(name) else {
            return Err(refuse("the model has no such linear".to_owned()));
        };
        match *pattern {
            Pattern::Ratio(ratio) if ratio > 0.0 && ratio < 1.0 => (),
            Pattern::Ratio(_) => return Err(refuse("expected a ratio above 0 and below 1".to_owned())),
            Pattern::NOfM { prune, of } if prune == 0 || prune >= of => {
                return Err(refuse("expected 0 < N < M".to_owned()));
            }
            Pattern::NOfM { of, .. } if !columns.is_multiple_of(of as usize) => {
                return Err(refuse(format!("its {columns} input columns are not a multiple of {of}")));
            }
            Pattern::NOfM { .. } => (),
        }
    }
    Ok(())
}

struct Walk<'a> {
    base: &'a Weights,
    plan: &'a Plan<'a>,
    control: Control<'a>,
    method: &'static dyn Method,
    result: PruneResult,
}

impl<'a> Walk<'a> {
    /// Only weights are read; no norm, no embedding, no forward.
    fn without_calibration(&mut self) -> Result<(), EngineError> {
        let arch = self.base.base().arch().clone();
        for index in 0..arch.blocks {
            let restored = self.restored(index);
            for linear in arch.linears(index) {
                self.check_stop()?;
                let from = restored.unwrap_or(self.base);
                let mut loaded = self.timed("load", |w| from.linear(linear, w.plan.device, w.plan.dtype))?;
                self.finish_linear(&mut loaded.weight_oi, &loaded.linear.name, restored, None)?;
            }
            self.told(index + 1, arch.blocks);
        }
        Ok(())
    }

    fn with_calibration(&mut self) -> Result<(), EngineError> {
        let arch = self.base.base().arch().clone();
        let has_target = |i: usize| arch.linears(i).iter().any(|l| self.plan.targets.contains_key(&l.name));
        let wanted: Vec<bool> = (0..arch.blocks).map(has_target).collect();
        let visited = wanted.iter().rposition(|w| *w).map_or(0, |last| last + 1);
        let decoder = Decoder::new(arch.clone(), self.plan.device, kind_of(self.plan.dtype));
        let mut batches = match visited {
            0 => Vec::new(),
            _ => self.timed("calibrate", |w| w.embed())?,
        };
        for (index, &wanted) in wanted.iter().enumerate() {
            let restored = self.restored(index);
            let from = restored.unwrap_or(self.base);
            let mut block = self.timed("load", |w| from.block(index, w.plan.device, w.plan.dtype))?;
            let mut tap = SumOfSquares::default();
            if wanted && restored.is_none() {
                self.forward(&decoder, &block, &mut batches, Some(&mut tap))?;
            }
            for linear in &mut block.linears {
                let stats = tap.of(&linear.linear.name);
                self.finish_linear(&mut linear.weight_oi, &linear.linear.name, restored, stats.as_ref())?;
            }
            // Beyond the last target nobody reads activations.
            if index + 1 < visited {
                self.forward(&decoder, &block, &mut batches, None)?;
            }
            self.told(index + 1, arch.blocks);
        }
        Ok(())
    }

    /// The weights of a block that is pruned already.
    fn restored(&self, index: usize) -> Option<&'a Weights> {
        self.plan.restored.filter(|r| index < r.blocks).map(|r| &r.weights)
    }

    fn told(&self, done: usize, all: usize) {
        if done < all && self.restored(done - 1).is_none() {
            (self.control.pruned)(done, &self.result);
        }
        (self.control.progress)(Progress { done, all });
    }

    /// Micro-batches `[B, T, H]` on the host.
    fn embed(&self) -> Result<Vec<Tensor>, EngineError> {
        let windows = self.plan.calibration.ok_or_else(|| EngineError::Recipe {
            field: "calibration".to_owned(),
            found: "nothing".to_owned(),
            expected: format!("windows, which {} reads", self.plan.method),
        })?;
        let (mut batches, mut rest) = (Vec::new(), &windows.windows[..]);
        for &size in &windows.batches {
            let (now, later) = rest.split_at(size as usize);
            let ids: Vec<i64> = now.iter().flatten().map(|&id| i64::from(id)).collect();
            let ids_bt = Tensor::from_slice(&ids).view([i64::from(size), i64::from(windows.seqlen)]);
            batches.push(self.base.embed(&ids_bt, Device::Cpu, self.plan.dtype)?);
            rest = later;
        }
        Ok(batches)
    }

    /// All micro-batches through a block. Under a tap they stay as they were, else they become the block's outputs.
    fn forward(
        &mut self,
        decoder: &Decoder,
        block: &BlockWeights,
        batches: &mut [Tensor],
        mut tap: Option<&mut SumOfSquares>,
    ) -> Result<(), EngineError> {
        let started = clock::now();
        let device = self.plan.device;
        let mut frame: Option<(Vec<i64>, Frame)> = None;
        for h_bth in batches {
            self.check_stop()?;
            let size = h_bth.size();
            let frame = match &mut frame {
                Some((of, frame)) if *of == size => frame,
                other => {
                    let shape = RowShape::causal(vec![size[1] as usize; size[0] as usize], device);
                    &mut other.insert((size.clone(), decoder.frame(&shape))).1
                }
            };
            let given = h_bth.to_device(device);
            match tap.as_deref_mut() {
                Some(tap) => decoder.see_inputs(block, &given, frame, tap),
                None => *h_bth = decoder.block(block, &given, frame).to_device(Device::Cpu),
            }
        }
        self.spent("calibrate", started);
        Ok(())
    }

    /// Prunes a linear, or takes its mask over.
    fn finish_linear(
        &mut self,
        weight_oi: &mut Tensor,
        name: &str,
        restored: Option<&Weights>,
        stats: Option<&crate::calibrate::InputStats>,
    ) -> Result<(), EngineError> {
        let started = clock::now();
        if let Some(restored) = restored {
            let mask = restored.masks().get_key_value(name);
            self.result.masks.extend(mask.map(|(name, mask)| (name.clone(), mask.clone())));
        } else if let Some(&pattern) = self.plan.targets.get(name) {
            if let Some(stats) = stats
                && !stats.sum_sq_i.sum(tch::Kind::Double).double_value(&[]).is_finite()
            {
                let kind = self.plan.dtype.as_str().to_owned();
                return Err(EngineError::NonFiniteActivations { linear: name.to_owned(), kind });
            }
            let layer = Layer { name, weight_oi, stats, pattern, params: self.plan.params };
            let pruned = self.method.prune(&layer)?;
            self.result.masks.insert(name.to_owned(), load::pack(&pruned.kept_oi));
            *weight_oi = pruned.weight_oi;
        }
        self.result.linears.insert(name.to_owned(), count(weight_oi));
        self.spent("prune", started);
        Ok(())
    }

    fn check_stop(&self) -> Result<(), EngineError> {
        match self.control.stop.load(Ordering::Relaxed) {
            true => Err(EngineError::Stopped),
            false => Ok(()),
        }
    }

    fn timed<R, E: Into<EngineError>>(
        &mut self,
        stage: &str,
        work: impl FnOnce(&Self) -> Result<R, E>,
    ) -> Result<R, EngineError> {
        let started = clock::now();
        let result = work(self).map_err(Into::into);
        self.spent(stage, started);
        result
    }

    /// Adds to a stage's seconds, the device's queue emptied: what was asked for is done.
    fn spent(&mut self, stage: &str, since: Instant) {
        if let Device::Cuda(index) = self.plan.device {
            tch::Cuda::synchronize(index as i64);
        }
        *self.result.seconds.entry(stage.to_owned()).or_default() += since.elapsed().as_secs_f64();
    }
}
