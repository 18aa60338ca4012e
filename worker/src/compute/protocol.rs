//! What supervisor and compute child say to each other: one JSON object a line, requests on the child's stdin, events on its
//! stdout. Large things (token ids, checkpoints, scores) go through files in the supervisor's scratch folder.

use espalier_proto::ids::Digest;
use espalier_proto::recipe::{Dtype, VariantSpec};
use espalier_proto::records::{FailureCode, LinearRecord, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the supervisor asks for. The child answers each with any number of [`Event::Progress`], [`Event::Saved`] and
/// [`Event::Wave`], and one other event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Say what this device is. Answer: [`Event::Device`].
    Describe,
    /// Measure shortly how fast the device is on blocks of this width. Answer: [`Event::Speed`].
    Measure {
        /// Number format.
        dtype: Dtype,
        /// The model's width.
        width: u32,
    },
    /// Open a model; everything later is about it. Answer: [`Event::Opened`].
    Open {
        /// The Hugging Face folder.
        folder: PathBuf,
        /// Number format of weights and activations.
        dtype: Dtype,
        /// Products of float32 matrices in TF32.
        tf32: bool,
    },
    /// Prune the open model. Answer: [`Event::Pruned`]; the pruned variant is then the current one.
    Prune {
        /// What is to be done.
        spec: Box<VariantSpec>,
        /// The calibration's inputs.json, if the method reads one.
        calibration: Option<PathBuf>,
        /// Where the compact checkpoint is to be written; nothing is written for `dense`.
        compact: PathBuf,
        /// Write masks of finished blocks.
        save: Save,
        /// Go on from the masks of an earlier attempt.
        resume: Option<Resume>,
    },
    /// Show that the open model can be pruned and measured: prune the first block with the first micro-batch of the calibration, and
    /// score the first micro-batch of every task. Answer: [`Event::Passed`]; no variant is current then.
    Canary {
        /// A variant of the model.
        spec: Box<VariantSpec>,
        /// The calibration's inputs.json, if the method reads one.
        calibration: Option<PathBuf>,
        /// The tasks' inputs.json.
        inputs: Vec<PathBuf>,
    },
    /// Make a variant current whose compact checkpoint exists. Answer: [`Event::Rebuilt`].
    Rebuild {
        /// The compact checkpoint; `None` = dense.
        compact: Option<PathBuf>,
        /// The digest that the variant's record names.
        weights: Digest,
    },
    /// Score inputs on the current variant. Answer: [`Event::Scored`].
    Evaluate {
        /// The task's inputs.json.
        inputs: PathBuf,
        /// Where per-item scores are to be written, as Parquet.
        scores: PathBuf,
        /// At most so many micro-batches go through a block together, and no weights stay; `None`: as memory allows.
        wave: Option<u32>,
    },
}

/// How masks of finished blocks are written while a model is pruned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Save {
    /// Into which folder.
    pub folder: PathBuf,
    /// Not before so many milliseconds have passed since the last time.
    pub every_ms: u64,
}

/// Masks of the first blocks of the variant that is to be pruned, of an equal device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// A compact checkpoint of these blocks.
    pub file: PathBuf,
    /// How many.
    pub blocks: u32,
}

/// What the child says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Work done and work in all of the request in progress, in units of its own.
    Progress {
        /// Done.
        done: u64,
        /// In all.
        total: u64,
    },
    /// The masks of some blocks are in a file.
    Saved(Saved),
    /// So many micro-batches go through the blocks together.
    Wave {
        /// Of the longest wave of this request so far.
        batches: u32,
    },
    /// What the device is.
    Device(Box<DeviceInfo>),
    /// How fast the device is.
    Speed {
        /// GFLOP/s.
        gflops: f64,
    },
    /// The model is open.
    Opened {
        /// About the doing.
        spent: Spent,
    },
    /// The model is pruned.
    Pruned {
        /// Digest of the pruned weights.
        weights: Digest,
        /// Every linear.
        linears: BTreeMap<String, LinearRecord>,
        /// Blocks whose masks were taken over.
        resumed: u32,
        /// About the doing.
        spent: Spent,
    },
    /// The model can be run.
    Passed,
    /// The variant is current.
    Rebuilt {
        /// About the doing.
        spent: Spent,
    },
    /// The inputs are scored.
    Scored {
        /// What came out.
        outcome: Outcome,
        /// About the doing.
        spent: Spent,
    },
    /// The request failed; the supervisor replaces the child.
    Failed {
        /// Which of the closed list.
        code: FailureCode,
        /// For people.
        message: String,
    },
}

/// The masks of the blocks `from..to` are in `file`, a compact checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The first block.
    pub from: u32,
    /// One past the last.
    pub to: u32,
    /// The file; whoever reads it removes it.
    pub file: PathBuf,
    /// Seconds by stage that these blocks took.
    pub seconds: BTreeMap<String, f64>,
}

/// What a request cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Seconds by stage.
    pub seconds: BTreeMap<String, f64>,
    /// Peak of the allocator on the device since the request began, MiB; `None` on CPU.
    pub peak_alloc_mib: Option<f64>,
    /// Peak of the whole device's memory in use, MiB; `None` on CPU.
    pub peak_device_mib: Option<f64>,
    /// Peak resident set of the compute process, MiB.
    pub rss_mib: f64,
    /// Energy, J, where the device tells.
    pub joules: Option<f64>,
}

/// A device as `doctor` shows it and `Sync` announces it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// `cpu` or `cuda`.
    pub backend: espalier_proto::recipe::Backend,
    /// Index of the GPU on its host; 0 for a CPU.
    pub index: u32,
    /// For people.
    pub name: String,
    /// Memory that the device has, bytes.
    pub memory_bytes: u64,
    /// Digest of the device's own bits.
    pub fingerprint: String,
    /// Threads that compute; 0 on a GPU.
    pub threads: u32,
    /// Version of libtorch.
    pub libtorch: String,
    /// GPUs of this host that its driver shows, as `--device` takes them.
    pub gpus: Vec<String>,
    /// Why it is not CUDA; `None` if it is.
    pub no_cuda: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_one_line() {
        let request = Request::Rebuild { compact: Some("a\nb".into()), weights: Digest::of(b"") };
        let line = serde_json::to_string(&request).unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        let event = Event::Failed { code: FailureCode::OutOfMemory, message: "a\nb".to_owned() };
        let line = serde_json::to_string(&event).unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }
}
