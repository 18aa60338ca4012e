//! Everything that `plan` shows, as data: one row a shard, one a task and model, and the sums.

use super::cells::{ShardPlan, shards};
use super::cost;
use super::load::{Load, load};
use super::order::longest_first;
use super::speed::{Done, Speed};
use crate::inputs::resolve::Prepared;
use crate::records::Committed;
use crate::spec::only::Only;
use espalier_proto::arch::Arch;
use espalier_proto::ids::InputsDigest;
use espalier_proto::recipe::{Backend, Dtype};
use espalier_proto::sweep::CellEntry;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Add;

/// The grid before anything runs.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The sweep.
    pub sweep: String,
    /// Kind of device.
    pub backend: &'static str,
    /// Threads of one CPU worker.
    pub threads: Option<u32>,
    /// In table order.
    pub tasks: Vec<TaskRow>,
    /// In table order.
    pub shards: Vec<ShardRow>,
    /// Indices into `shards` of those with work, in the order in which they start.
    pub order: Vec<usize>,
    /// Cells of the shards.
    pub cells: usize,
    /// Those with a record in the bucket.
    pub done: usize,
    /// Seconds on one worker: an estimate; none where no speed is known.
    pub seconds: Option<f64>,
    /// From what the estimate is.
    pub seconds_from: Option<String>,
    /// Why there is no estimate.
    pub seconds_lack: Option<String>,
    /// What that time costs at the price of a device's hour, in its currency.
    pub price: Option<f64>,
}

/// A task for one model.
#[derive(Clone, Debug, Serialize)]
pub struct TaskRow {
    /// As tables show it.
    pub task: String,
    /// The model's id.
    pub model: String,
    /// The split that was read.
    pub split: String,
    /// Windows or items.
    pub count: u64,
    /// Tokens that the decoder is fed.
    pub tokens: u64,
}

/// A variant with what is left of it.
#[derive(Clone, Debug, Serialize)]
pub struct ShardRow {
    /// The model's id.
    pub model: String,
    /// As tables show it.
    pub variant: String,
    /// Content key.
    pub key: String,
    /// Share of prunable weights that are to be pruned.
    pub target_sparsity: f64,
    /// Its record is in the bucket.
    pub pruned: bool,
    /// Cells in all.
    pub cells: usize,
    /// Cells to be done.
    pub missing: usize,
    /// It is to be pruned: for its cells, or for a checkpoint that was dropped and is asked for.
    pub prunes: bool,
    /// Calibration tokens of the pruning that is to be done.
    pub calibration_tokens: u64,
    /// Tokens of the cells that are to be done.
    pub tokens: u64,
    /// FLOPs of the pruning that is to be done.
    pub prune_flops: f64,
    /// FLOPs of the cells that are to be done.
    pub evaluate_flops: f64,
    /// Device memory: an estimate of the least.
    pub device_bytes: u64,
    /// The same where all weights stay on the device: what a run takes where memory suffices.
    pub resident_bytes: u64,
    /// Bytes that the checkpoint takes in the bucket.
    pub checkpoint_bytes: u64,
    /// Seconds on one worker: an estimate.
    pub seconds: Option<f64>,
}

impl ShardRow {
    /// There is work.
    pub fn is_to_do(&self) -> bool {
        self.missing > 0 || self.prunes
    }
}

/// Plans the chosen part of a sweep. `speed`: one that is taken instead of that of finished cells.
pub fn plan(prepared: &Prepared, committed: &Committed, only: &Only, speed: Option<Speed>) -> Plan {
    let costs = Costs::new(prepared);
    let shards = shards(&prepared.sweep, committed, only);
    let speed = speed.or_else(|| measured(&costs, &shards, committed));
    let rows: Vec<ShardRow> = shards.iter().map(|shard| costs.row(shard, speed.as_ref())).collect();
    let flops: Vec<f64> = rows.iter().map(|r| r.prune_flops + r.evaluate_flops).collect();
    let order = longest_first(&flops).into_iter().filter(|i| rows[*i].is_to_do()).collect();
    let first = prepared.sweep.variants.first().map(|v| &v.spec);
    Plan {
        sweep: prepared.sweep.name.to_string(),
        backend: first.map_or("", |spec| spec.backend.as_str()),
        threads: first.and_then(|spec| spec.threads),
        tasks: costs.tasks(&shards),
        order,
        cells: rows.iter().map(|r| r.cells).sum(),
        done: rows.iter().map(|r| r.cells - r.missing).sum(),
        seconds: speed.map(|_| rows.iter().filter_map(|r| r.seconds).fold(0.0, Add::add)),
        seconds_from: speed.map(|s| s.source.to_string()),
        seconds_lack: None,
        price: None,
        shards: rows,
    }
}

/// Speed from the records of cells that are done.
fn measured(costs: &Costs<'_>, shards: &[ShardPlan<'_>], committed: &Committed) -> Option<Speed> {
    let (mut pruned, mut evaluated, mut cells) = (Done::default(), Done::default(), 0);
    for shard in shards {
        let arch = costs.arch(&shard.variant.model);
        if let Some(record) = committed.variants.get(&shard.variant.key) {
            let seconds =
                ["calibrate", "prune"].iter().filter_map(|stage| record.measured.seconds.get(*stage));
            pruned.add(costs.prune_flops(shard, arch), seconds.sum());
        }
        for cell in &shard.done {
            let record = committed.cells.get(&cell.key);
            if let Some(seconds) = record.and_then(|r| r.measured.seconds.get("evaluate")) {
                evaluated.add(cost::evaluate_flops(arch, &costs.load(cell.inputs)), *seconds);
                cells += 1;
            }
        }
    }
    Speed::measured(&pruned, &evaluated, cells)
}

struct Costs<'p> {
    prepared: &'p Prepared,
    loads: BTreeMap<InputsDigest, Load>,
}

impl<'p> Costs<'p> {
    fn new(prepared: &'p Prepared) -> Self {
        let loads = prepared.inputs.iter().map(|(digest, inputs)| (*digest, load(inputs))).collect();
        Self { prepared, loads }
    }

    fn load(&self, digest: InputsDigest) -> Load {
        self.loads.get(&digest).copied().unwrap_or_default()
    }

    fn arch(&self, model: &str) -> &'p Arch {
        let found = self.prepared.models.iter().find(|m| m.entry.id == model);
        &found.expect("a resolved sweep's variants are of its models").arch
    }

    fn prune_flops(&self, shard: &ShardPlan<'_>, arch: &Arch) -> f64 {
        let calibration = shard.variant.spec.calibration.map(|digest| self.load(digest));
        cost::prune_flops(arch, calibration.as_ref())
    }

    fn row(&self, shard: &ShardPlan<'_>, speed: Option<&Speed>) -> ShardRow {
        let variant = shard.variant;
        let arch = self.arch(&variant.model);
        let calibration = variant.spec.calibration.filter(|_| shard.prunes()).map(|digest| self.load(digest));
        let loads: Vec<Load> = shard.missing.iter().map(|cell| self.load(cell.inputs)).collect();
        let all = loads.iter().chain(calibration.iter());
        let spec = &variant.spec;
        let bytes =
            |of: fn(&Arch, Dtype, Backend, &Load) -> u64, load| of(arch, spec.dtype, spec.backend, load);
        let prune_flops = if shard.prunes() { self.prune_flops(shard, arch) } else { 0.0 };
        // Not `sum`, by which nothing adds up to −0.
        let evaluate_flops = loads.iter().map(|load| cost::evaluate_flops(arch, load)).fold(0.0, Add::add);
        ShardRow {
            model: variant.model.clone(),
            variant: variant.name.clone(),
            key: variant.key.to_string(),
            target_sparsity: variant.target_sparsity,
            pruned: shard.pruned,
            cells: shard.missing.len() + shard.done.len(),
            missing: shard.missing.len(),
            prunes: shard.prunes(),
            calibration_tokens: calibration.map_or(0, |load| load.tokens),
            tokens: loads.iter().map(|load| load.tokens).sum(),
            prune_flops,
            evaluate_flops,
            device_bytes: all.clone().map(|load| bytes(cost::device_bytes, load)).max().unwrap_or(0),
            resident_bytes: all.map(|load| bytes(cost::resident_bytes, load)).max().unwrap_or(0),
            checkpoint_bytes: cost::checkpoint_bytes(arch, &variant.spec),
            seconds: speed.map(|speed| speed.seconds(prune_flops, evaluate_flops)),
        }
    }

    /// One row a task and model, in table order.
    fn tasks(&self, shards: &[ShardPlan<'_>]) -> Vec<TaskRow> {
        let mut seen = BTreeMap::new();
        for shard in shards {
            for cell in shard.missing.iter().chain(&shard.done) {
                seen.entry((cell.task.as_str(), shard.variant.model.as_str())).or_insert(*cell);
            }
        }
        let row = |task: &espalier_proto::sweep::TaskEntry, model: &str, cell: &CellEntry| {
            let load = self.load(cell.inputs);
            let (task, split) = (task.label.clone(), task.split.clone());
            TaskRow { task, model: model.to_owned(), split, count: load.count, tokens: load.tokens }
        };
        let sweep = &self.prepared.sweep;
        let pairs = sweep.tasks.iter().flat_map(|task| sweep.models.iter().map(move |model| (task, model)));
        pairs
            .filter_map(|(task, model)| {
                let cell = seen.get(&(task.label.as_str(), model.id.as_str()))?;
                Some(row(task, &model.id, cell))
            })
            .collect()
    }
}
