//! Every registered method keeps the promises of the contract's list, and the walk keeps its own. A new method is tested here
//! by being registered.

mod goldens;

use espalier_proto::inputs::Windows;
use espalier_proto::methods::{METHODS, Statistics};
use espalier_proto::recipe::{Dtype, Pattern};
use espalier_proto::records::FailureCode;
use espalier_worker::calibrate::InputStats;
use espalier_worker::error::EngineError;
use espalier_worker::load::{BaseModel, Weights};
use espalier_worker::prune::{Control, Layer, Plan, Progress, PruneResult, Restored, methods, prune};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tch::{Device, Kind, Tensor};

const PATTERNS: [Pattern; 4] = [
    Pattern::Ratio(0.3),
    Pattern::Ratio(0.5),
    Pattern::NOfM { prune: 2, of: 4 },
    Pattern::NOfM { prune: 1, of: 8 },
];

fn model(name: &str) -> Weights {
    Weights::dense(Arc::new(BaseModel::open(&goldens::root().join("families").join(name)).unwrap()))
}

fn windows(seed: u32) -> Windows {
    let id = |i: u32| i.wrapping_mul(2_654_435_761).wrapping_add(seed) % 128;
    Windows::new(20, (0..18).map(|w| (0..20).map(|t| id(w * 20 + t + 1)).collect()).collect())
}

fn run(
    base: &Weights,
    method: &str,
    targets: &BTreeMap<String, Pattern>,
    calibration: Option<&Windows>,
) -> Result<PruneResult, EngineError> {
    let plan = Plan {
        method,
        params: &BTreeMap::new(),
        targets,
        calibration,
        device: goldens::device(),
        dtype: Dtype::Float32,
        restored: None,
    };
    prune(base, &plan, Control { progress: &|_| (), pruned: &|_, _| (), stop: &AtomicBool::new(false) })
}

fn all(base: &Weights, pattern: Pattern) -> BTreeMap<String, Pattern> {
    let arch = base.base().arch();
    (0..arch.blocks).flat_map(|i| arch.linears(i)).map(|l| (l.name, pattern)).collect()
}

#[test]
fn what_is_kept_keeps_its_bits_and_what_is_not_becomes_plus_zero() {
    let device = goldens::device();
    let weight = Tensor::arange(6 * 32, (Kind::Float, Device::Cpu)).remainder(29.0).view([6, 32]) - 14.0;
    for declared in METHODS.iter().filter(|m| m.only_zeroes) {
        for (kind, pattern) in PATTERNS.iter().flat_map(|p| [(Kind::Float, *p), (Kind::BFloat16, *p)]) {
            let weight_oi = weight.to_kind(kind).to_device(device);
            let stats = InputStats { sum_sq_i: Tensor::arange(32, (Kind::Float, device)) + 1.0, windows: 3 };
            let stats = (declared.statistics != Statistics::None).then_some(&stats);
            let layer = Layer { name: "l", weight_oi: &weight_oi, stats, pattern, params: &BTreeMap::new() };
            let pruned = methods::method(declared.name).unwrap().prune(&layer).unwrap();
            assert_eq!(pruned.weight_oi.kind(), kind);
            let flat = |t: &Tensor| {
                Vec::<f32>::try_from(&t.to_kind(Kind::Float).to_device(Device::Cpu).view([-1])).unwrap()
            };
            let kept = flat(&pruned.kept_oi);
            for ((new, old), kept) in flat(&pruned.weight_oi).iter().zip(flat(&weight_oi)).zip(&kept) {
                let expected = if *kept == 1.0 { old } else { 0.0 };
                assert_eq!(new.to_bits(), expected.to_bits(), "{} {pattern}", declared.name);
            }
            if let Pattern::NOfM { prune, of } = pattern {
                for group in kept.chunks(of as usize) {
                    assert_eq!(
                        group.iter().filter(|k| **k == 0.0).count(),
                        prune as usize,
                        "{}",
                        declared.name
                    );
                }
            }
        }
    }
}

#[test]
fn the_same_walk_twice_gives_the_same_masks() {
    for family in ["phi", "phi3-sliding", "llama-gqa-tied"] {
        let base = model(family);
        for declared in METHODS {
            let targets = all(&base, Pattern::Ratio(0.5));
            let (a, b) = (
                run(&base, declared.name, &targets, Some(&windows(1))).unwrap(),
                run(&base, declared.name, &targets, Some(&windows(1))).unwrap(),
            );
            assert_eq!((a.masks, a.linears), (b.masks, b.linears), "{family} {}", declared.name);
        }
    }
}

#[test]
fn a_linear_without_a_target_stays_dense_and_is_counted() {
    let base = model("llama");
    for declared in METHODS {
        let mut targets = all(&base, Pattern::Ratio(0.5));
        targets.retain(|name, _| name.contains("layers.0") && !name.ends_with("down_proj"));
        let result = run(&base, declared.name, &targets, Some(&windows(2))).unwrap();
        assert_eq!(result.masks.keys().collect::<Vec<_>>(), targets.keys().collect::<Vec<_>>());
        assert_eq!(
            result.linears.len(),
            base.base().arch().blocks * 7,
            "every linear of the model is counted"
        );
        for (name, counts) in &result.linears {
            assert_eq!(counts.zeros > 0, targets.contains_key(name), "{name}");
        }
    }
}

#[test]
fn only_methods_that_read_inputs_depend_on_them() {
    let base = model("phi");
    for declared in METHODS {
        let targets = all(&base, Pattern::NOfM { prune: 2, of: 4 });
        let of = |w: Option<&Windows>| run(&base, declared.name, &targets, w);
        let same = of(Some(&windows(1))).unwrap().masks == of(Some(&windows(77))).unwrap().masks;
        assert_eq!(same, declared.statistics == Statistics::None, "{}", declared.name);
        assert_eq!(of(None).is_ok(), declared.statistics == Statistics::None, "{}", declared.name);
    }
}

#[test]
fn the_walk_reports_every_block_and_stops_when_told() {
    let base = model("phi");
    let targets = all(&base, Pattern::Ratio(0.5));
    for declared in METHODS {
        let (stop, seen) = (AtomicBool::new(false), RefCell::new(Vec::new()));
        let calibration = windows(1);
        let plan = Plan {
            method: declared.name,
            params: &BTreeMap::new(),
            targets: &targets,
            calibration: Some(&calibration),
            device: goldens::device(),
            dtype: Dtype::Float32,
            restored: None,
        };
        let progress = |p: Progress| {
            seen.borrow_mut().push((p.done, p.all));
            stop.store(p.done == 1 && seen.borrow().len() > 2, Ordering::Relaxed);
        };
        prune(&base, &plan, Control { progress: &progress, pruned: &|_, _| (), stop: &stop }).unwrap();
        assert_eq!(*seen.borrow(), [(1, 2), (2, 2)]);
        let stopped = prune(&base, &plan, Control { progress: &progress, pruned: &|_, _| (), stop: &stop });
        assert_eq!(stopped.unwrap_err().code(), FailureCode::Preempted);
    }
}

#[test]
fn a_walk_that_goes_on_from_saved_blocks_gives_the_same_bits() {
    let base = model("phi");
    let targets = all(&base, Pattern::Ratio(0.5));
    let calibration = windows(4);
    for declared in METHODS {
        let saved = RefCell::new(Vec::new());
        let keep = |blocks: usize, found: &PruneResult| {
            let mut masks: BTreeMap<_, _> = found.masks.clone().into_iter().collect();
            masks.retain(|name, _| targets.contains_key(name));
            saved.borrow_mut().push((blocks, masks));
        };
        let mut plan = Plan {
            method: declared.name,
            params: &BTreeMap::new(),
            targets: &targets,
            calibration: Some(&calibration),
            device: goldens::device(),
            dtype: Dtype::Float32,
            restored: None,
        };
        let stop = AtomicBool::new(false);
        let whole = prune(&base, &plan, Control { progress: &|_| (), pruned: &keep, stop: &stop }).unwrap();
        let saved = saved.into_inner();
        assert_eq!(saved.len(), 1, "after each of two blocks but the last");
        let (blocks, mut masks) = saved[0].clone();
        let restored = Restored::new(&base, blocks, masks.clone(), &targets).unwrap();
        plan.restored = Some(&restored);
        let again = |_: usize, _: &PruneResult| panic!("a restored block is not pruned");
        let resumed =
            prune(&base, &plan, Control { progress: &|_| (), pruned: &again, stop: &stop }).unwrap();
        assert_eq!((resumed.masks, resumed.linears), (whole.masks, whole.linears), "{}", declared.name);
        masks.pop_first();
        assert!(Restored::new(&base, blocks, masks, &targets).is_err(), "a mask is missing");
    }
}

#[test]
fn a_target_that_cannot_be_is_refused_by_name() {
    let base = model("phi");
    let name = "model.layers.0.mlp.fc1".to_owned();
    let refused = |name: &str, pattern| {
        run(&base, "magnitude", &[(name.to_owned(), pattern)].into(), None).unwrap_err().to_string()
    };
    assert!(
        refused(&name, Pattern::NOfM { prune: 2, of: 5 })
            .contains("32 input columns are not a multiple of 5")
    );
    assert!(refused(&name, Pattern::Ratio(1.0)).contains("below 1"));
    assert!(refused("model.layers.9.mlp.fc1", Pattern::Ratio(0.5)).contains("no such linear"));
    let unknown = run(&base, "sparsegpt", &BTreeMap::new(), None).unwrap_err().to_string();
    assert!(unknown.contains("found sparsegpt, expected magnitude or wanda"), "{unknown}");
}

#[test]
fn a_weight_that_is_not_finite_is_found_when_its_block_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let from = goldens::root().join("families/llama");
    std::fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let bad = "model.layers.1.mlp.up_proj.weight";
    let at = header + metadata.info(bad).unwrap().data_offsets.0 + 40;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let base = Weights::dense(Arc::new(BaseModel::open(folder.path()).unwrap()));
    assert!(base.block(0, goldens::device(), Dtype::Float32).is_ok());
    for declared in METHODS {
        let error =
            run(&base, declared.name, &all(&base, Pattern::Ratio(0.5)), Some(&windows(1))).unwrap_err();
        assert_eq!(error.code(), FailureCode::NonFiniteWeights);
        assert!(error.to_string().contains(bad), "{error}");
    }
}
