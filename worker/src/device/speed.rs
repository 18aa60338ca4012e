//! How fast a device is, shortly measured: decoder blocks of a given width, for an estimate before anything has been run. It decides
//! nothing and enters no record.
//!
//! Shapes: T = tokens, H = the block's width.

use crate::clock;
use std::time::Duration;
use tch::{Device, Kind, Tensor};

/// Tokens of a pass on a CPU, and on a GPU, which is idle under so few.
const TOKENS: [i64; 2] = [256, 4096];
/// Passes are timed for so long.
const TIMED: Duration = Duration::from_millis(300);
/// Width of a head.
const HEAD: i64 = 64;

/// GFLOP/s of a decoder block `width` wide, its MLP four times that, in `kind`: the median of passes in a third of a second.
///
/// # Panics
/// If the device fails.
pub fn gflops(device: Device, kind: Kind, width: i64) -> f64 {
    let tokens = TOKENS[usize::from(device.is_cuda())];
    let (width, options) = ((width / HEAD).max(1) * HEAD, (kind, device));
    let weight = |out: i64, inp: i64| Tensor::ones([out, inp], options) / (inp as f64);
    let x_th = Tensor::ones([tokens, width], options);
    let (qkv, out) = (weight(3 * width, width), weight(width, width));
    let (up, down) = (weight(4 * width, width), weight(width, 4 * width));
    let block = || {
        let normed_th = x_th.layer_norm::<Tensor>([width], None, None, 1e-5, false);
        let heads = normed_th
            .linear::<Tensor>(&qkv, None)
            .view([1, tokens, 3, width / HEAD, HEAD])
            .permute([2, 0, 3, 1, 4]);
        let (q, k, v) = (heads.get(0), heads.get(1), heads.get(2));
        let mixed =
            Tensor::scaled_dot_product_attention::<Tensor>(&q, &k, &v, None, 0.0, true, None::<f64>, false);
        let mixed_th = mixed.transpose(1, 2).reshape([tokens, width]).linear::<Tensor>(&out, None);
        let h_th = &x_th + mixed_th;
        let inner = h_th.linear::<Tensor>(&up, None).gelu("tanh").linear::<Tensor>(&down, None);
        let ended = h_th + inner;
        if let Device::Cuda(index) = device {
            tch::Cuda::synchronize(index as i64);
        }
        drop(ended);
    };
    // Linears: 12 H² weights. Attention: each token's pairs, twice H wide.
    let flops = 2.0 * (12 * width * width * tokens) as f64 + 2.0 * (width * tokens * (tokens + 1)) as f64;
    let _no_gradients = tch::no_grad_guard();
    (0..2).for_each(|_| block());
    let begun = clock::now();
    let mut seconds = Vec::new();
    while begun.elapsed() < TIMED || seconds.len() < 3 {
        let start = clock::now();
        block();
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    flops / seconds[seconds.len() / 2].max(1e-9) / 1e9
}
