//! What changes our bits bumps the version of its stage. Goldens come from the references and cannot see last bits, so digests
//! of our own bits are kept in own_bits.json by fingerprint and by stage with its version, and compared wherever the fingerprint is
//! known. Elsewhere the test says so aloud and prints what it would keep.

mod golden_file;
mod goldens;

use espalier_proto::ids::Digest;
use espalier_proto::inputs::Windows;
use espalier_proto::keys::Canonical;
use espalier_proto::methods::{METHODS, stage_versions};
use espalier_proto::recipe::{Dtype, Pattern};
use espalier_worker::device::fingerprint;
use espalier_worker::load::{BaseModel, Weights};
use espalier_worker::models::{Decoder, RowShape};
use espalier_worker::prune::{Control, Plan, prune};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tch::{Device, Kind, Tensor};

const FAMILIES: [&str; 4] = ["phi", "phi3-longrope", "phi3-sliding", "llama-gqa-tied"];

fn open(family: &str) -> Weights {
    let folder = goldens::root().join("families").join(family);
    Weights::dense(Arc::new(BaseModel::open(&folder).unwrap()))
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let flat = tensor.to_device(Device::Cpu).to_kind(Kind::Float).view([-1]);
    Vec::<f32>::try_from(&flat).unwrap().iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Digests of the logits and of the log-probabilities of golden token ids, four families together.
fn forward_and_score(device: Device) -> (Digest, Digest) {
    let (mut forward, mut score) = (Canonical::new("own bits"), Canonical::new("own bits"));
    for family in FAMILIES {
        let weights = open(family);
        let file = goldens::root().join("families").join(family).join("golden.safetensors");
        let ids_bt = golden_file::tensor(&file, "input_ids");
        let (rows, width) = (ids_bt.size()[0], ids_bt.size()[1]);
        let decoder = Decoder::new(weights.base().arch().clone(), device, Kind::Float);
        let frame = decoder.frame(&RowShape::causal(vec![width as usize; rows as usize], device));
        let mut h_bth = weights.embed(&ids_bt, device, Dtype::Float32).unwrap();
        for i in 0..decoder.arch().blocks {
            h_bth = decoder.block(&weights.block(i, device, Dtype::Float32).unwrap(), &h_bth, &frame);
        }
        let h_nh = h_bth.view([rows * width, -1]);
        let head = weights.head(device, Dtype::Float32).unwrap();
        forward.field(family, &bytes(&decoder.logits(&head, &h_nh)));
        let (log_probs_n, _) = decoder.token_log_probs(&head, &h_nh, &ids_bt.view([-1]).to_device(device));
        score.field(family, &bytes(&log_probs_n));
    }
    (forward.finish(), score.finish())
}

/// Digest of a method's masks at a ratio and at 2:4, four families together.
fn masks(method: &str, device: Device) -> Digest {
    let mut c = Canonical::new("own bits");
    let id = |i: u32| i.wrapping_mul(2_654_435_761) >> 25;
    let windows = Windows::new(24, (0..20).map(|w| (0..24).map(|t| id(w * 24 + t)).collect()).collect());
    for family in FAMILIES {
        let base = open(family);
        let arch = base.base().arch();
        for pattern in [Pattern::Ratio(0.5), Pattern::NOfM { prune: 2, of: 4 }] {
            let targets = (0..arch.blocks).flat_map(|i| arch.linears(i)).map(|l| (l.name, pattern)).collect();
            let plan = Plan {
                method,
                params: &BTreeMap::new(),
                targets: &targets,
                calibration: Some(&windows),
                device,
                dtype: Dtype::Float32,
                restored: None,
            };
            let control = Control { progress: &|_| (), pruned: &|_, _| (), stop: &AtomicBool::new(false) };
            for (linear, mask) in prune(&base, &plan, control).unwrap().masks {
                c.field(&format!("{family} {pattern} {linear}"), mask.bits());
            }
        }
    }
    c.finish()
}

#[test]
fn our_bits_are_those_that_this_device_kind_had_before() {
    let device = goldens::device();
    let (forward, score) = forward_and_score(device);
    let mut now: BTreeMap<String, Digest> =
        METHODS.iter().map(|m| (format!("prune.{}", m.name), masks(m.name, device))).collect();
    now.insert("forward".to_owned(), forward);
    now.insert("score".to_owned(), score);
    let versions = stage_versions();
    let now: BTreeMap<String, String> = now
        .into_iter()
        .map(|(stage, digest)| (format!("{stage}@{}", versions[&stage]), digest.short()))
        .collect();
    let kept: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(include_str!("own_bits.json")).unwrap();
    let kind = fingerprint(device);
    match kept.get(&kind) {
        None => {
            let keep = serde_json::json!({ &kind: now });
            println!("NOT COMPARED: no bits are kept for {kind}; today's are {keep}");
        }
        Some(before) => assert_eq!(
            &now, before,
            "{kind}: bits changed: bump the stage's version in the contract's list of methods, then keep the new ones"
        ),
    }
}
