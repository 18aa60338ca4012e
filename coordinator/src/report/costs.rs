//! What was measured about the doing: `costs.csv` and `costs.json`, one stage of one key a row. Never part of results.
//!
//! A cell whose fingerprint is not that of the dense cell of the same model and task was measured on another kind of device:
//! small differences between the two may be the device's. It is marked.

use super::data::{to_csv, to_json};
use crate::merge::collect::Found;
use espalier_proto::methods::DENSE;
use espalier_proto::records::Measured;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Add;

/// Names the form of costs.json.
pub const COSTS_SCHEMA: &str = "espalier.costs/1";

/// One stage of a variant or a cell. The first fields are the columns of costs.csv.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// The variant's or cell's key.
    pub key: String,
    /// `load`, `calibrate`, `prune`, `evaluate`.
    pub stage: String,
    /// How long it took.
    pub seconds: f64,
    /// The device's name.
    pub device: String,
    /// The device's kind.
    pub fingerprint: String,
    /// Peak of the allocator, MiB.
    pub peak_alloc_mib: Option<f64>,
    /// Peak of the device, MiB.
    pub peak_device_mib: Option<f64>,
    /// Peak of the process, MiB.
    pub rss_mib: f64,
    /// Energy, J.
    pub joules: Option<f64>,
    /// Bytes that the record names.
    pub bytes: u64,
    /// The attempt that won.
    pub attempt: String,
}

/// A cost with what it belongs to, for people.
#[derive(Clone, Debug, Serialize)]
pub struct NamedCost {
    /// The numbers.
    #[serde(flatten)]
    pub cost: Cost,
    /// The model.
    pub model: String,
    /// The variant.
    pub variant: String,
    /// The task's label; `None` of a variant.
    pub task: Option<String>,
    /// True if the fingerprint is not that of the dense cell (dense variant).
    pub other_device: bool,
    /// When it ended.
    pub ended: String,
}

/// An attempt that failed, for people.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The model.
    pub model: String,
    /// The variant.
    pub variant: String,
    /// The task's label; `None` of a variant.
    pub task: Option<String>,
    /// The code that results may show.
    pub code: String,
    /// Its text.
    pub message: String,
    /// The attempt.
    pub attempt: String,
    /// The device's kind.
    pub fingerprint: String,
    /// When.
    pub at: String,
}

/// Everything about the doing.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    schema: &'static str,
    sweep: String,
    /// Time of all stages together, hours of devices.
    pub device_hours: f64,
    /// What an hour of a device costs, if it was said.
    pub gpu_hour_price: Option<f64>,
    /// Stages in the spec's order.
    pub stages: Vec<NamedCost>,
    /// Failed attempts.
    pub failures: Vec<Failure>,
}

impl Costs {
    /// The costs of what was found.
    pub fn new(found: &Found, gpu_hour_price: Option<f64>) -> Self {
        let sweep = &found.sweep;
        let mut stages = Vec::new();
        let names: BTreeMap<_, _> = sweep.variants.iter().map(|v| (v.key, (&v.model, &v.name))).collect();
        let dense: BTreeMap<_, _> =
            sweep.variants.iter().filter(|v| v.spec.method == DENSE).map(|v| (&v.model, v.key)).collect();
        for variant in &sweep.variants {
            let Some(record) = found.variants.get(&variant.key) else {
                continue;
            };
            let of_dense = dense.get(&variant.model).and_then(|key| found.variants.get(key));
            let other_device =
                of_dense.is_some_and(|d| d.measured.fingerprint != record.measured.fingerprint);
            let shared = Shared {
                key: variant.key.to_string(),
                bytes: record.bytes,
                attempt: record.attempt.to_string(),
                model: &variant.model,
                variant: &variant.name,
                task: None,
                other_device,
            };
            stages.extend(shared.stages(&record.measured));
        }
        for cell in &sweep.cells {
            let Some(record) = found.cells.get(&cell.key) else {
                continue;
            };
            let Some(&(model, variant)) = names.get(&cell.variant) else {
                continue;
            };
            let of_dense = dense
                .get(model)
                .and_then(|key| sweep.cells.iter().find(|c| c.variant == *key && c.task == cell.task))
                .and_then(|c| found.cells.get(&c.key));
            let shared = Shared {
                key: cell.key.to_string(),
                bytes: record.blobs.iter().map(|b| b.size).sum(),
                attempt: record.attempt.to_string(),
                model,
                variant,
                task: Some(&cell.task),
                other_device: of_dense.is_some_and(|d| d.measured.fingerprint != record.measured.fingerprint),
            };
            stages.extend(shared.stages(&record.measured));
        }
        // Not `sum`, by which nothing adds up to −0.
        let device_hours = stages.iter().map(|s| s.cost.seconds).fold(0.0, Add::add) / 3600.0;
        Self {
            schema: COSTS_SCHEMA,
            sweep: sweep.name.to_string(),
            device_hours,
            gpu_hour_price,
            stages,
            failures: failures(found),
        }
    }

    /// costs.csv.
    pub fn csv(&self) -> String {
        to_csv(self.stages.iter().map(|s| &s.cost))
    }

    /// costs.json.
    pub fn json(&self) -> String {
        to_json(self)
    }
}

/// What all stages of one record have in common.
struct Shared<'a> {
    key: String,
    bytes: u64,
    attempt: String,
    model: &'a str,
    variant: &'a str,
    task: Option<&'a str>,
    other_device: bool,
}

impl Shared<'_> {
    fn stages(&self, measured: &Measured) -> Vec<NamedCost> {
        let stage = |(stage, &seconds): (&String, &f64)| NamedCost {
            cost: Cost {
                key: self.key.clone(),
                stage: stage.clone(),
                seconds,
                device: measured.device.clone(),
                fingerprint: measured.fingerprint.clone(),
                peak_alloc_mib: measured.peak_alloc_mib,
                peak_device_mib: measured.peak_device_mib,
                rss_mib: measured.rss_mib,
                joules: measured.joules,
                bytes: self.bytes,
                attempt: self.attempt.clone(),
            },
            model: self.model.to_owned(),
            variant: self.variant.to_owned(),
            task: self.task.map(str::to_owned),
            other_device: self.other_device,
            ended: measured.ended.clone(),
        };
        measured.seconds.iter().map(stage).collect()
    }
}

fn failures(found: &Found) -> Vec<Failure> {
    let sweep = &found.sweep;
    let named = |key| {
        let variant = |k| sweep.variants.iter().find(|v| v.key == k);
        match sweep.cells.iter().find(|c| c.key.0 == key) {
            Some(cell) => variant(cell.variant).map(|v| (v, Some(cell.task.clone()))),
            None => sweep.variants.iter().find(|v| v.key.0 == key).map(|v| (v, None)),
        }
    };
    let failures = found.failures.iter().filter_map(|failure| {
        let (variant, task) = named(failure.key)?;
        Some(Failure {
            model: variant.model.clone(),
            variant: variant.name.clone(),
            task,
            code: failure.code.as_str().to_owned(),
            message: failure.message.clone(),
            attempt: failure.attempt.to_string(),
            fingerprint: failure.fingerprint.clone(),
            at: failure.at.clone(),
        })
    });
    failures.collect()
}
