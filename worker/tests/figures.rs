//! Figures measured by hand, never a gate: `cargo test --release --workspace --test figures -- --ignored --nocapture`.

use espalier_proto::arch::Norm;
use espalier_proto::families;
use espalier_worker::models::{BlockWeights, Decoder, LinearWeights, NormWeights, RowShape};
use espalier_worker::prune::select;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

fn seconds(name: &str, mut work: impl FnMut()) {
    work();
    let mut all: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    all.sort_by(f64::total_cmp);
    println!("{name:60} median {:8.4} s, least {:8.4} s", all[2], all[0]);
}

#[test]
#[ignore = "measures time; says nothing about correctness"]
fn mask_selection_against_a_stable_sort() {
    tch::set_num_threads(2);
    let score = Tensor::randn([2560, 10_240], F32).abs();
    seconds("0.5 of each row, ours", || drop(select::rows(&score, 0.5)));
    seconds("0.5 of each row, stable sort and scatter", || {
        let (_, order) = score.sort_stable(true, -1, false);
        drop(Tensor::ones_like(&score).to_kind(Kind::Bool).scatter_value(-1, &order.narrow(-1, 0, 5120), 0));
    });
    seconds("2:4, ours", || drop(select::groups(&score, 2, 4).unwrap()));
    seconds("2:4, a loop of topk over every four columns", || {
        let mut mask = Tensor::zeros_like(&score).to_kind(Kind::Bool);
        for start in (0..10_240).step_by(4) {
            let (_, lowest) = score.narrow(1, start, 4).topk(2, 1, false, true);
            let _ = mask.scatter_value_(1, &(lowest + start), 1);
        }
    });
    seconds("threshold of the whole matrix, ours", || drop(select::kth_smallest(&score, 13_107_200)));
    seconds("threshold of the whole matrix, sort", || drop(score.flatten(0, -1).sort(0, false)));
}

#[test]
#[ignore = "measures time; says nothing about correctness"]
fn block_forward_by_batch() {
    tch::set_num_threads(2);
    let config = r#"{"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 1, "num_attention_heads": 9,
        "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 32, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "hidden_act": "silu"}"#;
    let arch = families::arch(config).unwrap();
    assert!(matches!(arch.norm, Norm::Rms { .. }));
    let norm = || NormWeights { weight_h: Tensor::ones([576], F32), bias_h: None };
    let linears = arch.linears(0).into_iter().map(|linear| {
        let weight_oi = Tensor::randn([linear.out as i64, linear.inp as i64], F32) * 0.02;
        LinearWeights { linear, weight_oi, bias_o: None }
    });
    let linears = linears.collect();
    let block = BlockWeights { index: 0, norm1: norm(), norm2: Some(norm()), qk_norms: None, linears };
    let decoder = Decoder::new(arch, Device::Cpu, Kind::Float);
    for (rows, width) in [(1usize, 512usize), (8, 512), (16, 512), (4, 2048)] {
        let frame = decoder.frame(&RowShape::causal(vec![width; rows], Device::Cpu));
        let h = Tensor::randn([rows as i64, width as i64, 576], F32);
        seconds(&format!("block of SmolLM2-135M, {rows} rows of {width}"), || {
            drop(decoder.block(&block, &h, &frame));
        });
    }
}
