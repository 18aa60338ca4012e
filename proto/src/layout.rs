//! Every object path in the bucket, built and parsed here only.

use crate::ids::{AttemptId, CellKey, Digest, InputsDigest, ModelDigest, Name, VariantKey};
use object_store::path::Path;

/// The record of a variant.
pub fn variant_record(key: VariantKey) -> Path {
    Path::from(format!("variants/{}/{key}/record.json", key.0.prefix()))
}

/// A blob of a variant, under the attempt that wrote it.
pub fn variant_blob(key: VariantKey, attempt: &AttemptId, name: &str) -> Path {
    Path::from(format!("variants/{}/{key}/{attempt}/{name}", key.0.prefix()))
}

/// The record of a cell.
pub fn cell_record(key: CellKey) -> Path {
    Path::from(format!("cells/{}/{key}/record.json", key.0.prefix()))
}

/// A blob of a cell, under the attempt that wrote it.
pub fn cell_blob(key: CellKey, attempt: &AttemptId, name: &str) -> Path {
    Path::from(format!("cells/{}/{key}/{attempt}/{name}", key.0.prefix()))
}

/// Resolved inputs.
pub fn inputs(digest: InputsDigest) -> Path {
    Path::from(format!("inputs/{digest}/inputs.json"))
}

/// The list of a mirrored model's files, written last: the model is there once this is.
pub fn model_list(digest: ModelDigest) -> Path {
    Path::from(format!("models/{digest}/files.json"))
}

/// A file of a mirrored model.
pub fn model_file(digest: ModelDigest, name: &str) -> Path {
    Path::from(format!("models/{digest}/files/{name}"))
}

/// Why an attempt at a key failed.
pub fn failure(key: Digest, attempt: &AttemptId) -> Path {
    Path::from(format!("failures/{key}/{attempt}.json"))
}

/// The folder of a key's failures.
pub fn failures(key: Digest) -> Path {
    Path::from(format!("failures/{key}"))
}

/// A resolved sweep.
pub fn spec(sweep: &Name, digest: Digest) -> Path {
    Path::from(format!("sweeps/{sweep}/specs/{digest}.json"))
}

/// The folder of all sweeps.
pub fn sweeps() -> Path {
    Path::from("sweeps")
}

/// The folder of a sweep's log.
pub fn log_folder(sweep: &Name) -> Path {
    Path::from(format!("sweeps/{sweep}/log"))
}

/// One entry of a sweep's log; `seq` counts from 1.
pub fn log_entry(sweep: &Name, seq: u64) -> Path {
    Path::from(format!("sweeps/{sweep}/log/{seq:08}.json"))
}

/// The number of a log entry.
pub fn parse_log_entry(path: &Path) -> Option<u64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

/// The folder of a sweep's derived report.
pub fn report_folder(sweep: &Name) -> Path {
    Path::from(format!("sweeps/{sweep}/report"))
}

/// The folder of an instance's epochs.
pub fn epochs(instance: &Name) -> Path {
    Path::from(format!("coordinators/{instance}/epoch"))
}

/// One epoch of an instance, from 1.
pub fn epoch(instance: &Name, n: u64) -> Path {
    Path::from(format!("coordinators/{instance}/epoch/{n:08}.json"))
}

/// Says that an epoch ended in good order.
pub fn epoch_end(instance: &Name, n: u64) -> Path {
    Path::from(format!("coordinators/{instance}/ended/{n:08}.json"))
}

/// The number of an epoch.
pub fn parse_epoch(path: &Path) -> Option<u64> {
    parse_log_entry(path)
}

/// What the start-up probe of an epoch leaves for workers to read.
pub fn probe(instance: &Name, n: u64) -> Path {
    Path::from(format!("coordinators/{instance}/probe/{n:08}.json"))
}

/// What a local run's worker wrote to stderr, in a folder bucket; `slot` is the worker's number in that run.
pub fn worker_log(instance: &Name, epoch: u64, slot: usize) -> Path {
    Path::from(format!("coordinators/{instance}/workers/{epoch:08}-{slot}.log"))
}

/// The folder of a variant that a sweep asked to be exported.
pub fn export_folder(key: VariantKey) -> Path {
    Path::from(format!("exports/{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_instance_keeps_its_dot_in_paths() {
        let demo: Name = "demo".parse().unwrap();
        let path = epoch(&demo.local_instance(), 7);
        assert_eq!(path.as_ref(), "coordinators/run.demo/epoch/00000007.json");
        assert_eq!(parse_epoch(&path), Some(7));
    }
}
