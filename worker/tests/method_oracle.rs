//! Every method against its paper's code. Oracle: tests/goldens/methods, made from the published code's arithmetic on torch and
//! transformers. Where the statistics are the golden's, masks are bit-identical; through our own forward ≥ 99.9 % per linear
//! agree, and the pruned model's logits are within 1e-4 of the largest.

mod golden_file;
mod goldens;

use espalier_proto::checkpoint::Mask;
use espalier_proto::inputs::Windows;
use espalier_proto::recipe::{Dtype, ParamValue, Pattern};
use espalier_worker::calibrate::InputStats;
use espalier_worker::load::{BaseModel, Weights, pack};
use espalier_worker::models::{Decoder, RowShape};
use espalier_worker::prune::{Control, Layer, Plan, methods, prune};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tch::{Device, Kind, Tensor};

#[derive(Deserialize)]
struct MatrixCase {
    name: String,
    file: String,
    masks: Vec<MaskCase>,
}

#[derive(Deserialize)]
struct MaskCase {
    tensor: String,
    #[serde(flatten)]
    how: How,
}

#[derive(Deserialize)]
struct ModelCase {
    model: String,
    file: String,
    linears: Vec<String>,
    pruned: u64,
    weights: u64,
    #[serde(flatten)]
    how: How,
}

#[derive(Deserialize)]
struct How {
    method: String,
    kind: String,
    pattern: String,
}

impl How {
    fn pattern(&self) -> Pattern {
        let text = self.pattern.trim_start_matches("variant-");
        match text.split_once(':') {
            Some((n, m)) => Pattern::NOfM { prune: n.parse().unwrap(), of: m.parse().unwrap() },
            None => Pattern::Ratio(text.parse().unwrap()),
        }
    }

    fn params(&self) -> BTreeMap<String, ParamValue> {
        let variant = self.kind == "variant";
        variant.then(|| ("use_variant".to_owned(), ParamValue::Bool(true))).into_iter().collect()
    }
}

fn cases<T: for<'a> Deserialize<'a>>(file: &str) -> Vec<T> {
    let text = std::fs::read(goldens::root().join("methods").join(file)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The mask that a method gives a weight under the golden's `scaler_row`.
fn mask(how: &How, weight: &Tensor, scaler_row: Option<Tensor>, device: Device) -> Mask {
    let stats = scaler_row.map(|s| InputStats { sum_sq_i: s.to_device(device), windows: 1 });
    let weight_oi = weight.to_device(device);
    let params = how.params();
    let layer = Layer {
        name: "golden",
        weight_oi: &weight_oi,
        stats: stats.as_ref(),
        pattern: how.pattern(),
        params: &params,
    };
    pack(&methods::method(&how.method).unwrap().prune(&layer).unwrap().kept_oi)
}

fn differing(a: &Mask, b: &Mask) -> u64 {
    assert_eq!((a.rows(), a.columns()), (b.rows(), b.columns()));
    a.bits().iter().zip(b.bits()).map(|(a, b)| u64::from((a ^ b).count_ones())).sum()
}

#[test]
fn awkward_matrices_get_the_published_codes_masks_bit_by_bit() {
    let device = goldens::device();
    let mut checked = 0;
    for case in cases::<MatrixCase>("matrices.json") {
        let file = goldens::root().join("methods").join(&case.file);
        let (weight, scaler_row) =
            (golden_file::tensor(&file, "weight"), golden_file::tensor(&file, "scaler_row"));
        for golden in &case.masks {
            let ours = mask(&golden.how, &weight, Some(scaler_row.shallow_clone()), device);
            let theirs = pack(&golden_file::tensor(&file, &golden.tensor).to_kind(Kind::Bool));
            assert_eq!(differing(&ours, &theirs), 0, "{}: {}", case.name, golden.tensor);
            checked += 1;
        }
    }
    assert!(checked >= 100, "only {checked} masks found");
}

#[test]
fn masks_are_bit_identical_where_the_statistics_are() {
    let device = goldens::device();
    for case in cases::<ModelCase>("models.json") {
        let file = goldens::root().join("methods").join(&case.file);
        let base = BaseModel::open(&goldens::root().join("families").join(&case.model)).unwrap();
        for linear in &case.linears {
            let weight = base.tensor(&format!("{linear}.weight"), Device::Cpu, Dtype::Float32).unwrap();
            let wanda = case.how.method == "wanda";
            let scaler_row = wanda.then(|| golden_file::tensor(&file, &format!("{linear}.scaler_row")));
            let ours = mask(&case.how, &weight, scaler_row, device);
            let theirs = pack(&golden_file::tensor(&file, &format!("{linear}.mask")).to_kind(Kind::Bool));
            assert_eq!(differing(&ours, &theirs), 0, "{}: {linear}", case.file);
        }
    }
}

#[test]
fn whole_models_are_pruned_as_by_the_published_code() {
    let device = goldens::device();
    for case in cases::<ModelCase>("models.json") {
        let file = goldens::root().join("methods").join(&case.file);
        let folder = goldens::root().join("families").join(&case.model);
        let base = Weights::dense(Arc::new(BaseModel::open(&folder).unwrap()));
        let calibration = (case.how.method == "wanda").then(|| windows(&file));
        let targets = case.linears.iter().map(|l| (l.clone(), case.how.pattern())).collect();
        let plan = Plan {
            method: &case.how.method,
            params: &case.how.params(),
            targets: &targets,
            calibration: calibration.as_ref(),
            device,
            dtype: Dtype::Float32,
            restored: None,
        };
        let control = Control { progress: &|_| (), pruned: &|_, _| (), stop: &AtomicBool::new(false) };
        let result = prune(&base, &plan, control).unwrap();
        for (linear, ours) in &result.masks {
            let theirs = pack(&golden_file::tensor(&file, &format!("{linear}.mask")).to_kind(Kind::Bool));
            let share = differing(ours, &theirs) as f64 / ours.weights() as f64;
            assert!(share <= 1e-3, "{}: {linear}: {share} of the mask differs", case.file);
        }
        assert_eq!(result.masks.len(), case.linears.len());
        assert_eq!(result.linears.values().map(|l| l.weights).sum::<u64>(), case.weights);
        let zeros = result.linears.values().map(|l| l.zeros).sum::<u64>();
        assert!(zeros.abs_diff(case.pruned) <= case.weights / 1000, "{}: {zeros} zeros", case.file);
        let pruned = Weights::masked(base.base().clone(), result.masks).unwrap();
        let (ours, theirs) = (
            logits(&pruned, &golden_file::tensor(&file, "eval_ids"), device),
            golden_file::tensor(&file, "eval_logits"),
        );
        let apart = (&ours - &theirs).abs().max().double_value(&[]) / theirs.abs().max().double_value(&[]);
        assert!(apart <= 1e-4, "{}: logits {apart:e} apart", case.file);
    }
}

fn windows(file: &Path) -> Windows {
    let ids = golden_file::tensor(file, "windows");
    let rows: Vec<Vec<i64>> = Vec::try_from(&ids).unwrap();
    let rows = rows.into_iter().map(|row| row.into_iter().map(|id| id as u32).collect()).collect();
    Windows::new(ids.size()[1] as u32, rows)
}

fn logits(weights: &Weights, ids_bt: &Tensor, device: Device) -> Tensor {
    let decoder = Decoder::new(weights.base().arch().clone(), device, Kind::Float);
    let (rows, width) = (ids_bt.size()[0], ids_bt.size()[1]);
    let frame = decoder.frame(&RowShape::causal(vec![width as usize; rows as usize], device));
    let mut h = weights.embed(ids_bt, device, Dtype::Float32).unwrap();
    for i in 0..decoder.arch().blocks {
        h = decoder.block(&weights.block(i, device, Dtype::Float32).unwrap(), &h, &frame);
    }
    let h_nh = h.view([rows * width, -1]);
    let logits = decoder.logits(&weights.head(device, Dtype::Float32).unwrap(), &h_nh);
    logits.view([rows, width, -1]).to_device(Device::Cpu)
}
