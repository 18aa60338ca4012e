//! A sweep that nobody ran: records made up by a formula, so that reports can be tested without a model. Nothing made from it
//! may ever be shown as a result.

use espalier_proto::bucket::Bucket;
use espalier_proto::ids::{AttemptId, Digest, InputsDigest, ModelDigest};
use espalier_proto::keys::{cell_key, variant_key};
use espalier_proto::layout;
use espalier_proto::recipe::{Backend, Dtype, Pattern, VariantSpec};
use espalier_proto::records::{CellRecord, LinearRecord, Measured, Outcome, RECORD_FORMAT, VariantRecord};
use espalier_proto::sweep::{
    CellEntry, Checkpoints, DataSources, LOG_FORMAT, Limits, LogEntry, LogEvent, ModelEntry, Reasoning,
    ResolvedSweep, SWEEP_FORMAT, TaskEntry, TaskKind, VariantEntry,
};
use std::collections::BTreeMap;

const LINEAR: &str = "model.layers.0.mlp.fc1";

/// A made-up sweep with a record for every variant and cell.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// The grid.
    pub sweep: ResolvedSweep,
    /// A record for every variant.
    pub variants: Vec<VariantRecord>,
    /// A record for every cell.
    pub cells: Vec<CellRecord>,
}

/// Two models under two methods, four ratios, 2:4 and 4:8, on two perplexities and five reasoning tasks; as many seeds of
/// calibration as asked for.
pub fn synthetic(seeds: u64) -> Synthetic {
    let models = vec![model("phi-like", 51_200), model("phi3-like", 32_064)];
    let tasks = tasks();
    let mut made = Synthetic {
        sweep: ResolvedSweep {
            format: SWEEP_FORMAT,
            written_by: "nobody".to_owned(),
            data: data(&tasks),
            revisions: Default::default(),
            name: "synthetic".parse().expect("it is a name"),
            models: models.clone(),
            tasks,
            variants: Vec::new(),
            cells: Vec::new(),
            checkpoints: Checkpoints::Compact,
            limits: Limits::default(),
        },
        variants: Vec::new(),
        cells: Vec::new(),
    };
    let patterns = [
        Pattern::Ratio(0.2),
        Pattern::Ratio(0.4),
        Pattern::Ratio(0.5),
        Pattern::Ratio(0.6),
        Pattern::Ratio(0.8),
        Pattern::NOfM { prune: 2, of: 4 },
        Pattern::NOfM { prune: 4, of: 8 },
    ];
    for model in &models {
        made.add(model, "dense", None, None);
        for pattern in patterns {
            for seed in 0..seeds {
                made.add(model, "wanda", Some(pattern), Some(seed));
            }
        }
        for pattern in patterns {
            made.add(model, "magnitude", Some(pattern), None);
        }
    }
    made
}

impl Synthetic {
    fn add(&mut self, model: &ModelEntry, method: &str, pattern: Option<Pattern>, seed: Option<u64>) {
        let target = pattern.map_or(0.0, |p| p.target_sparsity());
        let spec = VariantSpec {
            model: model.digest,
            method: method.to_owned(),
            params: BTreeMap::new(),
            targets: pattern.map(|p| (LINEAR.to_owned(), p)).into_iter().collect(),
            calibration: seed.map(|s| InputsDigest(Digest::of(&s.to_le_bytes()))),
            dtype: Dtype::Float32,
            backend: Backend::Cpu,
            threads: Some(2),
            device_kind: None,
            tf32: false,
        };
        let key = variant_key(&spec);
        let sparsity = pattern.map_or("0".to_owned(), |p| p.to_string());
        let name = match (pattern, seed) {
            (None, _) => method.to_owned(),
            (_, Some(seed)) => format!("{method}-{sparsity}-s{seed}"),
            (_, None) => format!("{method}-{sparsity}"),
        };
        let weights = Digest::of(name.as_bytes());
        self.sweep.variants.push(VariantEntry {
            key,
            spec: spec.clone(),
            model: model.id.clone(),
            name: name.clone(),
            sparsity,
            target_sparsity: target,
            calibration: seed.map(|_| "default".to_owned()),
            seed,
        });
        self.variants.push(VariantRecord {
            format: RECORD_FORMAT,
            key,
            spec,
            attempt: attempt(),
            blobs: Vec::new(),
            weights,
            linears: [(
                LINEAR.to_owned(),
                LinearRecord { weights: 1 << 20, zeros: (target * (1 << 20) as f64) as u64 },
            )]
            .into(),
            bytes: if pattern.is_some() { 131_072 } else { 0 },
            measured: measured(&["load", "calibrate", "prune"], 3.0 + target * 20.0),
        });
        // Structured patterns and magnitude lose sooner: harm is the sparsity that an unstructured wanda would need for it.
        let structured = match pattern {
            Some(Pattern::NOfM { of: 4, .. }) => 1.18,
            Some(Pattern::NOfM { .. }) => 1.08,
            _ => 1.0,
        };
        let worse = structured * if method == "magnitude" { 1.22 } else { 1.0 };
        let harm = (target * worse).min(1.0);
        let wobble = seed.unwrap_or(0) as f64 * 0.011 + if model.id.starts_with("phi3") { 0.02 } else { 0.0 };
        for task in self.sweep.tasks.clone() {
            let inputs = InputsDigest(Digest::of(format!("{}{}", model.id, task.label).as_bytes()));
            let cell = cell_key(key, inputs);
            self.sweep.cells.push(CellEntry { key: cell, variant: key, task: task.label.clone(), inputs });
            self.cells.push(CellRecord {
                format: RECORD_FORMAT,
                key: cell,
                variant: key,
                inputs,
                weights,
                attempt: attempt(),
                blobs: Vec::new(),
                outcome: outcome(&task, harm, wobble),
                measured: measured(&["evaluate"], 8.0 + wobble),
            });
        }
    }

    /// Writes spec, log and records into a bucket, as a finished run leaves them.
    pub async fn write(&self, bucket: &Bucket) {
        let spec = espalier_proto::bucket::json_digest(&self.sweep);
        let name = &self.sweep.name;
        bucket.commit_json(&layout::spec(name, spec), &self.sweep).await.expect("the bucket takes the spec");
        let entry = LogEntry {
            format: LOG_FORMAT,
            written_by: "nobody".to_owned(),
            instance: name.local_instance(),
            epoch: 1,
            at: "2026-01-01T00:00:00Z".to_owned(),
            event: LogEvent::Submit { spec, take_over: false, only: None },
        };
        bucket.commit_json(&layout::log_entry(name, 1), &entry).await.expect("the bucket takes the log");
        for record in &self.variants {
            bucket
                .commit_json(&layout::variant_record(record.key), record)
                .await
                .expect("the bucket takes a variant");
        }
        for record in &self.cells {
            bucket
                .commit_json(&layout::cell_record(record.key), record)
                .await
                .expect("the bucket takes a cell");
        }
    }
}

fn attempt() -> AttemptId {
    "run.synthetic-1-1".parse().expect("it is an attempt")
}

fn measured(stages: &[&str], seconds: f64) -> Measured {
    Measured {
        fingerprint: Digest::of(b"device").to_string(),
        device: "a CPU".to_owned(),
        seconds: stages
            .iter()
            .enumerate()
            .map(|(n, s)| ((*s).to_owned(), seconds * (n as f64 + 1.0) / 3.0))
            .collect(),
        peak_alloc_mib: None,
        peak_device_mib: None,
        rss_mib: 410.0 + seconds,
        joules: None,
        ended: "2026-01-01T00:00:00Z".to_owned(),
        resumed_blocks: 0,
    }
}

fn model(id: &str, vocab: u64) -> ModelEntry {
    ModelEntry {
        id: id.to_owned(),
        source: format!("./{id}"),
        digest: ModelDigest(Digest::of(id.as_bytes())),
        folder: format!("/models/{id}"),
        family: "phi".to_owned(),
        stored: Dtype::Float16,
        dtype: Dtype::Float32,
        adds_bos: false,
        vocab,
        parameters: 2_779_683_840,
        prunable: 2_516_582_400,
        blocks: 32,
    }
}

fn data(tasks: &[TaskEntry]) -> DataSources {
    let at = |name: &str| format!("hf://datasets/org/{name}@{}", Digest::of(name.as_bytes()));
    DataSources {
        tasks: tasks.iter().map(|task| (task.label.clone(), at(&task.task))).collect(),
        calibrations: [("c4".to_owned(), "/home/user/data/c4.jsonl".to_owned())].into(),
    }
}

fn tasks() -> Vec<TaskEntry> {
    let perplexity = |label: &str, seqlen: u32| TaskEntry {
        label: label.to_owned(),
        task: "wikitext2".to_owned(),
        style: String::new(),
        kind: TaskKind::Perplexity,
        reasoning: None,
        split: "test".to_owned(),
        fewshot: 0,
        seqlen,
        metrics: vec![format!("ppl_token@{seqlen}")],
        chance: None,
        limited: false,
    };
    let choices = |label: &str, style: &str, reasoning, options: f64| TaskEntry {
        label: label.to_owned(),
        task: label.split('/').next().unwrap_or(label).to_owned(),
        style: style.to_owned(),
        kind: TaskKind::MultipleChoice,
        reasoning: Some(reasoning),
        split: "validation".to_owned(),
        fewshot: 0,
        seqlen: 0,
        metrics: match style {
            "letters" => vec!["acc".to_owned(), "f1".to_owned()],
            _ => ["acc", "acc_norm", "f1", "f1_norm"].map(str::to_owned).to_vec(),
        },
        chance: Some(1.0 / options),
        limited: false,
    };
    vec![
        perplexity("wikitext2", 2048),
        perplexity("wikitext2@4096", 4096),
        choices("commonsense_qa", "letters", Reasoning::Commonsense, 5.0),
        choices("cosmos_qa", "letters", Reasoning::Commonsense, 4.0),
        choices("logiqa/cloze", "cloze", Reasoning::Logical, 4.0),
        choices("reclor", "letters", Reasoning::Logical, 4.0),
        choices("ekar", "letters", Reasoning::Analogical, 4.0),
    ]
}

fn outcome(task: &TaskEntry, harm: f64, wobble: f64) -> Outcome {
    if task.kind == TaskKind::Perplexity {
        let mean = (9.71f64).ln() + wobble + 10.5 * harm.powi(5) + f64::from(task.seqlen) * -1.0e-5;
        let window_nll = (0..64).map(|i| mean + ((i * 37 % 64) as f64 / 64.0 - 0.5) * 0.3).collect();
        return Outcome::Perplexity {
            seqlen: task.seqlen,
            windows: 64,
            tokens: 64 * u64::from(task.seqlen - 1),
            window_nll,
        };
    }
    let chance = task.chance.expect("multiple choice has a chance");
    let options = (1.0 / chance).round() as usize;
    let (items, dense) = match task.task.as_str() {
        "commonsense_qa" => (1221, 0.72),
        "cosmos_qa" => (2985, 0.66),
        "logiqa" => (651, 0.37),
        "reclor" => (500, 0.46),
        _ => (119, 0.41),
    };
    let kept = 1.0 / (1.0 + ((harm - 0.62) * 14.0).exp());
    let share = chance + (dense - chance) * kept + wobble * 0.5;
    let table = |share: f64| -> Vec<Vec<u64>> {
        let row = |gold: usize| {
            let of_gold = items / options + usize::from(gold < items % options);
            let right = (of_gold as f64 * share).round() as usize;
            let wrong = of_gold - right;
            // A pruned model drifts to the first option.
            let first = if gold == 0 { 0 } else { (wrong as f64 * harm).round() as usize };
            let others: Vec<usize> = (0..options).filter(|o| *o != gold).collect();
            let mut row = vec![0u64; options];
            row[gold] = right as u64;
            row[0] += first as u64;
            for i in 0..wrong - first {
                row[others[i % others.len()]] += 1;
            }
            row
        };
        (0..options).map(row).collect()
    };
    Outcome::Choices {
        items: items as u64,
        truncated: 0,
        confusion: table(share),
        confusion_norm: table(share + 0.03),
    }
}
