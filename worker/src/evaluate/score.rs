//! Micro-batches → log-likelihood of every span. Layer-major: each block is loaded once a wave, and all micro-batches of the
//! wave go through it. How many make a wave is this device's to choose and changes no bit; a micro-batch is not.
//!
//! B = rows, T = positions, H = hidden, S = scored positions.

use super::EvaluateError;
use super::pack::{Packed, PackedRow, Span};
use crate::load::{LoadError, Weights};
use crate::models::{BlockWeights, Decoder, Frame, HeadWeights, Mask, RowShape};
use espalier_proto::recipe::Dtype;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// Log-likelihood of a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpanScore {
    /// Sum over its scored positions, nats.
    pub ll: f64,
    /// Every scored token is the most likely one.
    pub greedy: bool,
}

/// A model as scoring needs it.
pub struct Scorer<'a> {
    /// The decoder.
    pub decoder: &'a Decoder,
    /// Where it computes.
    pub device: Device,
    /// The number format of weights and activations.
    pub dtype: Dtype,
    /// The variant: its embedding and head are read from here.
    pub weights: &'a Weights,
    /// Gives a block's weights, loaded or at hand.
    pub block: &'a mut dyn FnMut(usize) -> Result<Rc<BlockWeights>, LoadError>,
    /// Bytes that the hidden states and frames of a wave may take.
    pub wave_bytes: u64,
    /// At most so many micro-batches make a wave.
    pub wave_batches: usize,
    /// Told how many micro-batches make the wave that begins.
    pub wave: &'a dyn Fn(usize),
    /// Told work done and work in all, in micro-batches times blocks.
    pub progress: &'a dyn Fn(u64, u64),
}

/// A micro-batch on its way through the blocks.
struct Going<'a> {
    packed: &'a Packed,
    hidden_bth: Tensor,
    frame: Frame,
}

impl Scorer<'_> {
    /// Scores all micro-batches, in order.
    pub fn score(&mut self, batches: &[Packed]) -> Result<Vec<(Span, SpanScore)>, EvaluateError> {
        let _no_grad = tch::no_grad_guard();
        let (hidden, blocks) = (self.decoder.arch().hidden, self.decoder.arch().blocks);
        let total = (batches.len() * blocks) as u64;
        let mut done = 0;
        let mut scores = Vec::new();
        let head = self.weights.head(self.device, self.dtype)?;
        for wave in waves(batches, (self.wave_bytes, self.wave_batches), hidden) {
            (self.wave)(wave.len());
            let mut going: Vec<Going> =
                wave.iter().map(|packed| self.enter(packed)).collect::<Result<_, _>>()?;
            for i in 0..blocks {
                let weights = (self.block)(i)?;
                for g in &mut going {
                    g.hidden_bth = self.decoder.block(&weights, &g.hidden_bth, &g.frame);
                    done += 1;
                    (self.progress)(done, total);
                }
            }
            for g in going {
                scores.extend(self.leave(&head, &g));
            }
        }
        Ok(scores)
    }

    fn enter<'p>(&self, packed: &'p Packed) -> Result<Going<'p>, LoadError> {
        let size = [packed.rows.len() as i64, packed.width as i64];
        let ids_bt = Tensor::from_slice(&packed.ids_bt).view(size);
        let shape = match packed.tree {
            true => tree_shape(packed, self.device),
            false => RowShape::causal(packed.rows.iter().map(|row| row.fed()).collect(), self.device),
        };
        let hidden_bth = self.weights.embed(&ids_bt, self.device, self.dtype)?;
        Ok(Going { packed, hidden_bth, frame: self.decoder.frame(&shape) })
    }

    fn leave(&self, head: &HeadWeights, going: &Going<'_>) -> Vec<(Span, SpanScore)> {
        let packed = going.packed;
        let hidden = going.hidden_bth.size()[2];
        let flat_nh = going.hidden_bth.view([-1, hidden]);
        let predictors_s = Tensor::from_slice(&packed.predictors_s).to_device(self.device);
        let targets_s = Tensor::from_slice(&packed.targets_s).to_device(self.device);
        let h_sh = flat_nh.index_select(0, &predictors_s);
        let (ll_s, greedy_s) = self.decoder.token_log_probs(head, &h_sh, &targets_s);
        let (lls, greedy) = (to_host(&ll_s), to_host(&greedy_s));
        let mut at = 0;
        let span = |span: &Span| {
            let range = at..at + span.len;
            at += span.len;
            let score = SpanScore {
                ll: lls[range.clone()].iter().sum(),
                greedy: greedy[range].iter().all(|g| *g == 1.0),
            };
            (*span, score)
        };
        packed.spans.iter().map(span).collect()
    }
}

/// Options see the context and themselves, at positions that restart after it. Padding sees the context, seen by nobody.
fn tree_shape(packed: &Packed, device: Device) -> RowShape {
    let size = [packed.rows.len() as i64, packed.width as i64];
    let (positions, segments) = packed.positions_and_segments_bt();
    let positions_bt = Tensor::from_slice(&positions).view(size).to_device(device);
    let segments_bt = Tensor::from_slice(&segments).view(size).to_device(device);
    let (seeing, seen) = (segments_bt.unsqueeze(2), segments_bt.unsqueeze(1));
    let before_qk = Tensor::ones([size[1], size[1]], (Kind::Bool, device)).tril(0);
    let sees_bqk = seen.eq(0).logical_or(&seen.eq_tensor(&seeing)).logical_and(&before_qk);
    RowShape {
        positions_bt,
        mask: Mask::Explicit(sees_bqk.unsqueeze(1)),
        lengths_b: packed.rows.iter().map(PackedRow::positions).collect(),
    }
}

/// `[S]` of any kind → numbers on the host.
fn to_host(x_s: &Tensor) -> Vec<f64> {
    let host_s = x_s.to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
    let mut numbers = vec![0.0; host_s.numel()];
    host_s.copy_data(&mut numbers, host_s.numel());
    numbers
}

/// Micro-batches that go through the blocks together: at least one, and as many as bytes and number allow.
fn waves(batches: &[Packed], (bytes, most): (u64, usize), hidden: usize) -> Vec<&[Packed]> {
    // Hidden states in f32, rope's tables, and a mask of a byte a pair where there is a tree.
    let weight = |p: &Packed| {
        let tokens = (p.rows.len() * p.width) as u64;
        tokens * (hidden as u64 * 4 + 1024) + if p.tree { tokens * p.width as u64 } else { 0 }
    };
    let (mut waves, mut start, mut held) = (Vec::new(), 0, 0u64);
    for (i, batch) in batches.iter().enumerate() {
        let needed = weight(batch);
        if i > start && (held + needed > bytes || i - start >= most) {
            waves.push(&batches[start..i]);
            (start, held) = (i, 0);
        }
        held += needed;
    }
    if start < batches.len() {
        waves.push(&batches[start..]);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::super::pack;
    use super::*;
    use espalier_proto::inputs::Windows;

    #[test]
    fn waves_cover_every_batch_once_in_order_and_are_never_empty() {
        let batches = pack::windows(&Windows::new(512, vec![vec![1; 512]; 100])).unwrap();
        for bytes in [0, 1 << 20, 40 << 20, u64::MAX] {
            for most in [0, 1, 7, usize::MAX] {
                let waves = waves(&batches, (bytes, most), 64);
                assert!(waves.iter().all(|w| !w.is_empty() && w.len() <= most.max(1)));
                assert_eq!(waves.concat(), batches);
            }
        }
        assert_eq!(waves(&batches, (u64::MAX, usize::MAX), 64).len(), 1);
    }
}
