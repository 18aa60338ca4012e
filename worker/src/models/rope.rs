//! Rotary position embedding: frequencies from the `Arch`, cosines and sines of a micro-batch, and the rotation.
//! Shapes: B = rows, N = heads, T = positions, F = frequencies, R = 2 F rotated numbers of a head, D = a head's width.
//!
//! Frequencies are computed in f32 by the same operations as in transformers, so that they are equal to the last bit.

use espalier_proto::arch::{Rope, RopeScaling};
use tch::{Device, Kind, Tensor};

/// Frequencies of a decoder.
#[derive(Debug)]
pub(super) struct Frequencies {
    /// `[F]` f32: those of rows up to the switch, or of all.
    short_f: Tensor,
    /// Longrope only: the longest row of the short ones, and those of longer rows.
    long: Option<(usize, Tensor)>,
    /// Multiplies cosines and sines.
    scale: f64,
}

impl Frequencies {
    pub(super) fn new(rope: &Rope, device: Device) -> Self {
        let dim = rope.dim as i64;
        let steps_f = Tensor::arange_start_step(0, dim, 2, (Kind::Float, device)) / rope.dim as f64;
        let powers_f = Tensor::pow_scalar(rope.theta, &steps_f);
        let divided_by = |factors: &[f64]| {
            let factors: Vec<f32> = factors.iter().map(|&x| x as f32).collect();
            (Tensor::from_slice(&factors).to_device(device) * &powers_f).reciprocal()
        };
        match &rope.scaling {
            RopeScaling::None => Self { short_f: powers_f.reciprocal(), long: None, scale: 1.0 },
            RopeScaling::Linear { factor } => {
                Self { short_f: powers_f.reciprocal() / *factor, long: None, scale: 1.0 }
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                let bands = (*factor, *low_freq_factor, *high_freq_factor, *original as f64);
                Self { short_f: llama3(&powers_f.reciprocal(), bands), long: None, scale: 1.0 }
            }
            RopeScaling::LongRope { short, long, original, attention_factor } => Self {
                short_f: divided_by(short),
                long: Some((*original, divided_by(long))),
                scale: *attention_factor,
            },
        }
    }

    /// Cosines and sines `[B or 1, 1, T, R]`. `lengths_b`: positions of each row; past the switch *all* of a row's
    /// positions use the long frequencies, and no row's depend on its neighbours.
    pub(super) fn cos_sin(&self, positions_bt: &Tensor, lengths_b: &[usize], kind: Kind) -> (Tensor, Tensor) {
        let frequencies = match &self.long {
            None => self.short_f.shallow_clone(),
            Some((switch, long_f)) => {
                let is_long = |length: &usize| length > switch;
                if lengths_b.iter().all(is_long) {
                    long_f.shallow_clone()
                } else if lengths_b.iter().any(is_long) {
                    let of = |length| if is_long(length) { long_f } else { &self.short_f };
                    Tensor::stack(&lengths_b.iter().map(of).collect::<Vec<_>>(), 0).unsqueeze(1)
                } else {
                    self.short_f.shallow_clone()
                }
            }
        };
        let angles_btf = positions_bt.unsqueeze(-1).to_kind(Kind::Float) * frequencies;
        let angles_b1tr = Tensor::cat(&[&angles_btf, &angles_btf], -1).unsqueeze(1);
        let scaled = |x: Tensor| (x * self.scale).to_kind(kind);
        (scaled(angles_b1tr.cos()), scaled(angles_b1tr.sin()))
    }
}

/// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between blended.
fn llama3(plain_f: &Tensor, (factor, low, high, original): (f64, f64, f64, f64)) -> Tensor {
    let wavelengths_f = plain_f.reciprocal() * (2.0 * std::f64::consts::PI);
    let is_low = wavelengths_f.gt(original / low);
    let stretched_f = (plain_f / factor).where_self(&is_low, plain_f);
    let share_f = (wavelengths_f.reciprocal() * original - low) / (high - low);
    let blended_f = (1.0 - &share_f) * &stretched_f / factor + &share_f * &stretched_f;
    let is_kept_or_low = wavelengths_f.lt(original / high).logical_or(&is_low);
    stretched_f.where_self(&is_kept_or_low, &blended_f)
}

/// Rotates the first R numbers of each head, halves paired: `[B, N, T, D]` → `[B, N, T, D]`.
pub(super) fn rotate(x_bntd: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let (width, rotated) = (x_bntd.size()[3], cos.size()[3]);
    let turn = x_bntd.narrow(3, 0, rotated);
    let halves = turn.chunk(2, -1);
    let crossed = Tensor::cat(&[halves[1].neg(), halves[0].shallow_clone()], -1);
    let turned = &turn * cos + crossed * sin;
    if rotated == width {
        return turned;
    }
    Tensor::cat(&[turned, x_bntd.narrow(3, rotated, width - rotated)], -1)
}
