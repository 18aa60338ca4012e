//! What work costs: FLOPs (a multiplication and an addition are two), device memory, checkpoint bytes.
//!
//! FLOPs are those that the mathematics needs: no padding, no masked pairs. Memory is an estimate of the least that a worker which
//! streams blocks needs on its device: the head, one block, and one micro-batch's activations or the head's logits. On a CPU the device
//! is the process.

use super::load::Load;
use espalier_proto::arch::{Arch, MlpKind};
use espalier_proto::recipe::{Backend, Dtype, VariantSpec};

/// Positions that a worker's head is applied to at once.
const HEAD_POSITIONS: u64 = 1024;
/// Bytes of hidden states that go through resident blocks together.
const WAVE: u64 = 256 << 20;
/// A worker's compute process before it has loaded anything: libtorch and its buffers.
const PROCESS: u64 = 192 << 20;

/// FLOPs of one forward pass without the head.
pub fn blocks_flops(arch: &Arch, load: &Load) -> f64 {
    let linears = 2.0 * arch.prunable() as f64 * load.tokens as f64;
    linears + 4.0 * (arch.blocks * arch.heads * arch.head_dim) as f64 * seen(arch, load)
}

/// FLOPs of scoring these inputs.
pub fn evaluate_flops(arch: &Arch, load: &Load) -> f64 {
    blocks_flops(arch, load) + 2.0 * (arch.hidden * arch.vocab) as f64 * load.scored as f64
}

/// FLOPs of pruning with calibration: every block runs twice, to see its inputs and to hand the pruned block's outputs on.
pub fn prune_flops(arch: &Arch, calibration: Option<&Load>) -> f64 {
    calibration.map_or(0.0, |load| 2.0 * blocks_flops(arch, load))
}

/// Pairs that attention looks at, a sliding window respected where every row is at most `longest` long.
fn seen(arch: &Arch, load: &Load) -> f64 {
    let (longest, pairs) = (load.longest as f64, load.pairs as f64);
    match arch.sliding_window {
        Some(window) if load.longest > window as u64 => {
            let w = window as f64;
            let of_one = longest * (longest + 1.0) / 2.0;
            let hidden = (longest - w) * (longest - w + 1.0) / 2.0;
            pairs * (1.0 - hidden / of_one)
        }
        _ => pairs,
    }
}

/// Bytes on the device, at least: see the module's note. What placement goes by.
pub fn device_bytes(arch: &Arch, dtype: Dtype, backend: Backend, load: &Load) -> u64 {
    let bytes = dtype.bytes();
    let block = arch.prunable() / (arch.blocks.max(1) as u64);
    let head = (arch.vocab * arch.hidden) as u64;
    let heads = (arch.heads + 2 * arch.kv_heads) * arch.head_dim;
    let inner = match arch.mlp.kind {
        MlpKind::Plain => 2 * arch.intermediate,
        // Gate and its activation, or both halves and the activation; then the other half, and their product.
        MlpKind::Gated | MlpKind::GatedFused => 4 * arch.intermediate,
    };
    // The residual stream, its norm, and the widest linear's output live at once; attention scores are f32.
    let widest = heads.max(inner);
    let activations = product([load.batch_tokens, (3 * arch.hidden + widest) as u64, bytes]);
    let scores = product([load.batch_tokens, load.longest, 4 * arch.heads as u64]);
    // The head sees so many positions at once: logits in the model's format, in f32, and their log-softmax.
    let positions = load.scored.min(HEAD_POSITIONS);
    let logits = positions * arch.vocab as u64 * (bytes + 8);
    let process = if backend == Backend::Cpu { PROCESS } else { 0 };
    (process + (head + block) * bytes).saturating_add(activations.saturating_add(scores).max(logits))
}

/// At most the largest number: inputs may be of any size.
fn product(factors: [u64; 3]) -> u64 {
    factors.iter().fold(1, |product, factor| factor.saturating_mul(product))
}

/// Bytes on the device where all weights stay there, as they do where they fit into half of its memory: nothing is loaded twice.
/// On a CPU this is what the process holds at most, the mapped checkpoint and what malloc keeps for later included.
pub fn resident_bytes(arch: &Arch, dtype: Dtype, backend: Backend, load: &Load) -> u64 {
    let weights = arch.parameters() * dtype.bytes();
    let least = device_bytes(arch, dtype, backend, load);
    // Hidden states in f32, rope's tables, and a byte a pair for the mask of options.
    let token = load.longest.saturating_add(4 * arch.hidden as u64 + 1024);
    let wave = WAVE.min(load.tokens.saturating_mul(token));
    match backend {
        Backend::Cuda => least.saturating_add(weights + wave),
        Backend::Cpu => (least.saturating_add(2 * weights + wave) / 2).saturating_mul(3),
    }
}

/// Bytes of the variant's compact checkpoint: a bit for each weight of each pruned linear, rows beginning at a byte.
pub fn checkpoint_bytes(arch: &Arch, spec: &VariantSpec) -> u64 {
    let linears = (0..arch.blocks).flat_map(|i| arch.linears(i));
    linears
        .filter(|linear| spec.targets.contains_key(&linear.name))
        .map(|linear| (linear.out * linear.inp.div_ceil(8)) as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load::load;
    use espalier_proto::families;
    use espalier_proto::inputs::{Inputs, Windows};

    fn arch(golden: &str) -> Arch {
        let path = format!("{}/../tests/goldens/families/{golden}/config.json", env!("CARGO_MANIFEST_DIR"));
        families::arch(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn flops_of_a_window_are_those_counted_by_hand() {
        let arch = arch("phi");
        let windows = load(&Inputs::Perplexity(Windows::new(4, vec![vec![0; 4]])));
        // Linears: 2·weights·4 tokens. Attention: q·k and p·v over 10 pairs. Head: 3 scored positions.
        let linears: usize =
            (0..arch.blocks).flat_map(|i| arch.linears(i)).map(|l| 2 * l.out * l.inp * 4).sum();
        let attention = arch.blocks * arch.heads * 2 * (2 * arch.head_dim) * 10;
        let head = 2 * arch.hidden * arch.vocab * 3;
        assert_eq!(evaluate_flops(&arch, &windows), (linears + attention + head) as f64);
        assert_eq!(prune_flops(&arch, Some(&windows)), 2.0 * (linears + attention) as f64);
    }

    #[test]
    fn inputs_of_any_size_need_memory_that_is_a_number() {
        let mut load = load(&Inputs::Perplexity(Windows::new(4, vec![vec![0; 4]])));
        (load.tokens, load.batch_tokens, load.longest) = (u64::MAX, u64::MAX, u64::MAX);
        for backend in [Backend::Cpu, Backend::Cuda] {
            assert_eq!(device_bytes(&arch("phi"), Dtype::Float32, backend, &load), u64::MAX);
            assert!(resident_bytes(&arch("phi"), Dtype::Float32, backend, &load) > u64::MAX / 2);
        }
    }

    #[test]
    fn a_sliding_window_hides_pairs() {
        let mut arch = arch("phi3");
        arch.sliding_window = Some(2);
        let windows = load(&Inputs::Perplexity(Windows::new(4, vec![vec![0; 4]])));
        // By hand: rows of 1, 2, 2, 2 seen tokens.
        assert!((seen(&arch, &windows) - 7.0).abs() < 1e-9);
    }
}
