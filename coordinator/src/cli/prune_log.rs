//! What `prune --save` leaves: wanda's log line, and the metrics as JSON.

use super::folders;
use super::prune::Prune;
use super::prune_tasks::PPL_TEST;
use crate::exit::Failure;
use crate::inputs::resolve::Prepared;
use crate::records::Committed;
use espalier_proto::bucket::json_bytes;
use espalier_proto::records::{Outcome, VariantRecord};
use espalier_proto::sweep::CellEntry;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What came of pruning one model.
#[derive(Clone, Debug, Serialize)]
pub struct PruneLog {
    /// The model's source.
    model: String,
    /// The method, or dense.
    method: String,
    /// As tables show it.
    sparsity: String,
    /// Share of prunable weights that was asked for.
    target_sparsity: f64,
    /// Share of zeros, by value, in prunable linears.
    measured_sparsity: f64,
    /// Seed of the calibration windows, where the method reads them.
    seed: Option<u64>,
    /// The variant's key: names it in the bucket.
    key: String,
    /// The device.
    device: String,
    /// Seconds by stage.
    seconds: BTreeMap<String, f64>,
    /// Peak of the allocator on the device, MiB.
    peak_alloc_mib: Option<f64>,
    /// Peak resident set, MiB.
    rss_mib: f64,
    /// Perplexity on WikiText-2's test text, or the text named in its place.
    ppl_test: Option<f64>,
    /// Why there is none.
    ppl_test_reason: Option<String>,
    /// Perplexity by metric.
    perplexity: BTreeMap<String, f64>,
    /// Accuracy by task.
    accuracy: BTreeMap<String, f64>,
    #[serde(skip)]
    prune_method: String,
}

impl PruneLog {
    /// From the variant's record and those of its cells.
    pub fn new(command: &Prune, prepared: &Prepared, record: &VariantRecord, committed: &Committed) -> Self {
        let variant = &prepared.sweep.variants[0];
        let (zeros, weights) = record
            .linears
            .values()
            .fold((0, 0), |(zeros, weights), l| (zeros + l.zeros, weights + l.weights));
        let (mut ppl_test, mut perplexity) = (None, BTreeMap::new());
        let mut accuracy = BTreeMap::new();
        let is_ppl_test = |cell: &CellEntry| {
            prepared.sweep.tasks.iter().any(|t| t.label == cell.task && t.task == PPL_TEST)
        };
        for cell in &prepared.sweep.cells {
            match committed.cells.get(&cell.key).map(|record| &record.outcome) {
                Some(Outcome::Perplexity { seqlen, window_nll, .. }) if !window_nll.is_empty() => {
                    let mean = window_nll.iter().sum::<f64>() / window_nll.len() as f64;
                    if is_ppl_test(cell) {
                        ppl_test = Some(mean.exp());
                    }
                    perplexity.insert(format!("ppl_token@{seqlen}"), mean.exp());
                }
                Some(Outcome::Choices { items, confusion, .. }) if *items > 0 => {
                    let right: u64 = confusion.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum();
                    accuracy.insert(cell.task.clone(), right as f64 / *items as f64);
                }
                _ => {}
            }
        }
        Self {
            model: prepared.sweep.models[0].source.clone(),
            method: variant.spec.method.clone(),
            sparsity: variant.sparsity.clone(),
            target_sparsity: variant.target_sparsity,
            measured_sparsity: zeros as f64 / (weights as f64).max(1.0),
            seed: variant.seed,
            key: variant.key.to_string(),
            device: record.measured.device.clone(),
            seconds: record.measured.seconds.clone(),
            peak_alloc_mib: record.measured.peak_alloc_mib,
            rss_mib: record.measured.rss_mib,
            ppl_test,
            ppl_test_reason: ppl_test.is_none().then(|| "its cell has no result".to_owned()),
            perplexity,
            accuracy,
            prune_method: command.prune_method.clone(),
        }
    }

    /// The same, with why `ppl_test` was not among the tasks, if it was not.
    pub fn without_ppl_test(mut self, why: Option<String>) -> Self {
        self.ppl_test_reason = why.or(self.ppl_test_reason);
        self
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text =
            format!("sparsity {:.4} (asked {:.4})\n", self.measured_sparsity, self.target_sparsity);
        for (metric, value) in &self.perplexity {
            text += &format!("{metric} {value:.4}\n");
        }
        for (task, value) in &self.accuracy {
            text += &format!("{task} acc {value:.4}\n");
        }
        text
    }

    /// Writes `log_METHOD.txt`, in the form of wanda's, and `metrics.json`.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let ppl = self.ppl_test.map_or("-".to_owned(), |ppl| format!("{ppl:.4}"));
        let head = "method\tactual_sparsity\tppl_test\n";
        let mut log = format!("{head}{}\t{:.4}\t{ppl}\n", self.prune_method, self.measured_sparsity);
        if let Some(why) = &self.ppl_test_reason {
            log += &format!("# ppl_test is not measured: {why}\n");
        }
        folders::write(&folder.join(format!("log_{}.txt", self.prune_method)), log.as_bytes())?;
        folders::write(&folder.join("metrics.json"), &json_bytes(self))
    }
}
