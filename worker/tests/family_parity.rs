//! Every golden family gives transformers' logits. Oracle: transformers 5.23, eager attention, float32, on random small
//! models (tests/goldens). Tolerance: max|a − b| ≤ 1e-4 · max|b| per sequence, on CPU and on CUDA with TF32 off.

mod golden_file;
mod goldens;

use espalier_proto::arch::Arch;
use espalier_proto::recipe::Dtype;
use espalier_worker::load::{BaseModel, Weights};
use espalier_worker::models::{Decoder, Mask, RowShape};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-4;

/// Sub-folders of a part of the goldens, sorted.
fn folders(part: &str) -> Vec<PathBuf> {
    let read = std::fs::read_dir(goldens::root().join(part))
        .unwrap_or_else(|e| panic!("{}: {e}", goldens::root().display()));
    let mut found: Vec<_> = read.map(|entry| entry.unwrap().path()).filter(|p| p.is_dir()).collect();
    found.sort();
    assert!(!found.is_empty(), "{part} holds no goldens");
    found
}

/// Logits `[B, T, V]` of rows `[B, T]`.
fn logits(weights: &Weights, ids_bt: &Tensor, shape: &RowShape, device: Device) -> Tensor {
    let arch: Arch = weights.base().arch().clone();
    let decoder = Decoder::new(arch.clone(), device, Kind::Float);
    let frame = decoder.frame(shape);
    let mut h_bth = weights.embed(ids_bt, device, Dtype::Float32).unwrap();
    for i in 0..arch.blocks {
        h_bth = decoder.block(&weights.block(i, device, Dtype::Float32).unwrap(), &h_bth, &frame);
    }
    let size = ids_bt.size();
    let head = weights.head(device, Dtype::Float32).unwrap();
    let h_nh = h_bth.view([size[0] * size[1], arch.hidden as i64]);
    decoder.logits(&head, &h_nh).view([size[0], size[1], -1]).to_device(Device::Cpu)
}

fn open(folder: &Path) -> Weights {
    Weights::dense(Arc::new(BaseModel::open(folder).unwrap_or_else(|e| panic!("{e}"))))
}

/// max|a − b| / max|b|.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[]) / b.abs().max().double_value(&[])
}

#[test]
fn every_family_gives_transformers_logits() {
    let device = goldens::device();
    let mut checked = 0;
    for folder in folders("families") {
        let weights = open(&folder);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("golden") {
                continue;
            }
            let (ids, golden) =
                (golden_file::tensor(&file, "input_ids"), golden_file::tensor(&file, "logits"));
            let (rows, width) = (ids.size()[0], ids.size()[1]);
            let shape = RowShape::causal(vec![width as usize; rows as usize], device);
            let ours = logits(&weights, &ids, &shape, device);
            for row in 0..rows {
                let apart = distance(&ours.get(row), &golden.get(row));
                assert!(apart <= TOLERANCE, "{}, sequence {row}: {apart:e} apart", file.display());
            }
            checked += 1;
        }
    }
    assert!(checked >= 24, "only {checked} goldens found");
}

#[test]
fn rows_of_both_sides_of_longropes_switch_do_not_disturb_each_other() {
    let device = goldens::device();
    let folder = goldens::root().join("families/phi3-longrope");
    let weights = open(&folder);
    let get = |file: &str, name: &str| golden_file::tensor(&folder.join(file), name);
    let (short, long) =
        (get("golden_at_limit.safetensors", "input_ids"), get("golden_beyond.safetensors", "input_ids"));
    let width = long.size()[1];
    let padded = short.get(0).constant_pad_nd([0, width - short.size()[1]]);
    let ids = Tensor::stack(&[padded, long.get(0)], 0);
    let shape = RowShape::causal(vec![short.size()[1] as usize, width as usize], device);
    let ours = logits(&weights, &ids, &shape, device);
    let at_limit = get("golden_at_limit.safetensors", "logits").get(0);
    assert!(distance(&ours.get(0).narrow(0, 0, short.size()[1]), &at_limit) <= TOLERANCE);
    assert!(distance(&ours.get(1), &get("golden_beyond.safetensors", "logits").get(0)) <= TOLERANCE);
}

/// Oracle: the same decoder on each option as a row of its own, which the golden test above holds.
#[test]
fn a_tree_packed_row_gives_each_option_the_logits_of_its_own_row() {
    let device = goldens::device();
    for family in ["phi", "phi3-sliding", "llama-gqa-tied"] {
        let weights = open(&goldens::root().join("families").join(family));
        let (context, options) = ([5i64, 17, 3, 90, 41, 8], [vec![7i64, 9, 11], vec![12, 2]]);
        let mut ids = context.to_vec();
        let mut positions: Vec<i64> = (0..6).collect();
        let mut segment = vec![0; 6];
        for (number, option) in options.iter().enumerate() {
            ids.extend(option);
            positions.extend((0..option.len() as i64).map(|k| 6 + k));
            segment.extend(vec![number + 1; option.len()]);
        }
        let t = ids.len();
        let sees: Vec<bool> = (0..t * t)
            .map(|at| (at / t, at % t))
            .map(|(q, k)| k <= q && (segment[k] == 0 || segment[k] == segment[q]))
            .collect();
        let shape = RowShape {
            positions_bt: Tensor::from_slice(&positions).unsqueeze(0).to_device(device),
            mask: Mask::Explicit(
                Tensor::from_slice(&sees).view([1, 1, t as i64, t as i64]).to_device(device),
            ),
            lengths_b: vec![9],
        };
        let packed = logits(&weights, &Tensor::from_slice(&ids).unsqueeze(0), &shape, device);
        let mut start = 6;
        for option in &options {
            let alone: Vec<i64> = context.iter().chain(option).copied().collect();
            let shape = RowShape::causal(vec![alone.len()], device);
            let alone = logits(&weights, &Tensor::from_slice(&alone).unsqueeze(0), &shape, device);
            let count = option.len() as i64;
            let apart = distance(&packed.get(0).narrow(0, start, count), &alone.get(0).narrow(0, 6, count));
            // Float32 in another order of sums.
            assert!(apart <= 1e-5, "{family}: {apart:e}");
            start += count;
        }
    }
}

#[test]
fn token_log_probs_are_those_of_the_whole_softmax() {
    let device = goldens::device();
    let folder = goldens::root().join("families/llama");
    let weights = open(&folder);
    let file = folder.join("golden.safetensors");
    let (ids, golden) = (golden_file::tensor(&file, "input_ids"), golden_file::tensor(&file, "logits"));
    let (rows, width) = (ids.size()[0], ids.size()[1]);
    let decoder = Decoder::new(weights.base().arch().clone(), device, Kind::Float);
    let frame = decoder.frame(&RowShape::causal(vec![width as usize; rows as usize], device));
    let mut h = weights.embed(&ids, device, Dtype::Float32).unwrap();
    for i in 0..decoder.arch().blocks {
        h = decoder.block(&weights.block(i, device, Dtype::Float32).unwrap(), &h, &frame);
    }
    let head = weights.head(device, Dtype::Float32).unwrap();
    let h_nh = h.narrow(1, 0, width - 1).reshape([-1, decoder.arch().hidden as i64]);
    let targets = ids.narrow(1, 1, width - 1).reshape([-1]);
    let (ours, greedy) = decoder.token_log_probs(&head, &h_nh, &targets.to_device(device));
    let golden = golden.narrow(1, 0, width - 1).reshape([-1, golden.size()[2]]);
    let expected =
        golden.log_softmax(-1, Kind::Double).gather(1, &targets.unsqueeze(1), false).squeeze_dim(1);
    let scale: Tensor = 1.0 + expected.abs();
    let apart: Tensor = (ours.to_device(Device::Cpu) - &expected).abs() / scale;
    assert!(apart.max().double_value(&[]) <= TOLERANCE);
    let most = golden.argmax(1, false).eq_tensor(&targets);
    assert!(greedy.to_device(Device::Cpu).equal(&most));
}

/// Oracle: transformers' float32 logits. Tolerance: 16-bit numbers carry 8 (bfloat16) or 11 bits, and two blocks of random
/// weights let that grow; a wrong kind anywhere fails outright.
#[test]
fn sixteen_bit_forwards_stay_near_float32() {
    let device = goldens::device();
    for (dtype, kind, tolerance) in
        [(Dtype::Bfloat16, Kind::BFloat16, 0.1), (Dtype::Float16, Kind::Half, 0.02)]
    {
        for folder in folders("families") {
            let weights = open(&folder);
            let file = folder.join("golden.safetensors");
            let (ids, golden) =
                (golden_file::tensor(&file, "input_ids"), golden_file::tensor(&file, "logits"));
            let (rows, width) = (ids.size()[0], ids.size()[1]);
            let decoder = Decoder::new(weights.base().arch().clone(), device, kind);
            let frame = decoder.frame(&RowShape::causal(vec![width as usize; rows as usize], device));
            let mut h_bth = weights.embed(&ids, device, dtype).unwrap();
            for i in 0..decoder.arch().blocks {
                h_bth = decoder.block(&weights.block(i, device, dtype).unwrap(), &h_bth, &frame);
                assert_eq!(h_bth.kind(), kind);
            }
            let head = weights.head(device, dtype).unwrap();
            let logits = decoder.logits(&head, &h_bth.view([rows * width, -1]));
            let apart = distance(&logits.view([rows, width, -1]).to_device(Device::Cpu), &golden);
            assert!(apart <= tolerance, "{} in {}: {apart:e}", folder.display(), dtype.as_str());
        }
    }
}
