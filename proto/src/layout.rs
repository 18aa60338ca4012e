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

/// Says that a variant's checkpoint was dropped, as its sweeps asked.
pub fn variant_dropped(key: VariantKey) -> Path {
    Path::from(format!("variants/{}/{key}/dropped.json", key.0.prefix()))
}

/// The folder of masks of finished blocks of a variant that is not pruned yet.
pub fn partials(key: VariantKey) -> Path {
    Path::from(format!("variants/{}/{key}/partial", key.0.prefix()))
}

/// The masks of some finished blocks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartialPlace {
    /// The attempt that pruned them.
    pub attempt: AttemptId,
    /// The first block.
    pub from: u32,
    /// One past the last block.
    pub to: u32,
    /// Which kind of device pruned them: begins the digest of its fingerprint.
    pub kind: String,
}

impl PartialPlace {
    /// Of a device with this fingerprint.
    pub fn new(attempt: AttemptId, (from, to): (u32, u32), fingerprint: &str) -> Self {
        Self { attempt, from, to, kind: Digest::of(fingerprint.as_bytes()).short() }
    }

    /// Where it lies.
    pub fn path(&self, key: VariantKey) -> Path {
        let Self { attempt, from, to, kind } = self;
        partials(key).join(attempt.to_string()).join(format!("{from:05}-{to:05}-{kind}.safetensors"))
    }

    /// What lies at a path of [`partials`].
    pub fn parse(path: &Path) -> Option<Self> {
        let parts: Vec<_> = path.parts().collect();
        let [.., attempt, name] = &parts[..] else { return None };
        let name = name.as_ref().strip_suffix(".safetensors")?;
        let mut words = name.splitn(3, '-');
        let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let kind = words.next()?.to_owned();
        Some(Self { attempt: attempt.as_ref().parse().ok()?, from, to, kind })
    }
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

/// The folder of a mirrored model's files.
pub fn model_files(digest: ModelDigest) -> Path {
    Path::from(format!("models/{digest}/files"))
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

/// The folder of a sweep's segments: records of many of its variants and cells in few objects. Derived.
pub fn segments(sweep: &Name) -> Path {
    Path::from(format!("sweeps/{sweep}/segments"))
}

/// One object of a segment; `part` is `keys` or `bodies`.
pub fn segment(sweep: &Name, id: Digest, part: &str) -> Path {
    Path::from(format!("sweeps/{sweep}/segments/{id}.{part}.parquet"))
}

/// The segment of which this object is the keys.
pub fn parse_segment_keys(path: &Path) -> Option<Digest> {
    path.filename()?.strip_suffix(".keys.parquet")?.parse().ok()
}

/// Says which segments hold: those of the records' present generation.
pub fn generation() -> Path {
    Path::from("coordinators/records/generation.json")
}

/// Changes whenever checkpoints are about to be dropped.
pub fn drops() -> Path {
    Path::from("coordinators/records/drops.json")
}

/// Records of cells, or of variants, whose keys begin with this byte.
pub fn records_under(variants: bool, first: u8) -> Path {
    Path::from(format!("{}/{first:02x}", if variants { "variants" } else { "cells" }))
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

/// What a worker logged while it worked at a shard of this variant.
pub fn attempt_log(key: VariantKey, attempt: &AttemptId) -> Path {
    Path::from(format!("logs/{key}/{attempt}.log"))
}

/// The folder of a variant's logs.
pub fn attempt_logs(key: VariantKey) -> Path {
    Path::from(format!("logs/{key}"))
}

/// The attempt of such a log.
pub fn parse_attempt_log(path: &Path) -> Option<AttemptId> {
    path.filename()?.strip_suffix(".log")?.parse().ok()
}

/// The folder of a variant that a sweep asked to be exported.
pub fn export_folder(key: VariantKey) -> Path {
    Path::from(format!("exports/{key}"))
}

/// Written last into an exported folder: it is whole once this is there.
pub fn export_note(key: VariantKey) -> Path {
    export_folder(key).join("espalier.json")
}

/// Whose an object is, by its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A mirrored model.
    Model(ModelDigest),
    /// Resolved inputs.
    Inputs(InputsDigest),
    /// A variant: its record, a blob, masks of a running attempt.
    Variant(VariantKey),
    /// A cell: its record or a blob.
    Cell(CellKey),
    /// A variant's exported folder.
    Export(VariantKey),
    /// A failure of a variant or a cell.
    Failure(Digest),
    /// What workers logged at a variant's shards.
    Log(VariantKey),
    /// A sweep's specs, log or report.
    Sweep(Name),
    /// An instance's epochs, probes or logs.
    Instance(Name),
    /// Nothing that this version knows.
    Unknown,
}

/// Whose the object at `path` is.
pub fn owner(path: &Path) -> Owner {
    let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
    let part = |n: usize| parts.get(n).map_or("", String::as_str);
    let deep = parts.len() > 2;
    let known = match part(0) {
        "models" if deep => part(1).parse().ok().map(Owner::Model),
        "inputs" if deep => part(1).parse().ok().map(Owner::Inputs),
        "variants" if parts.len() > 3 => part(2).parse().ok().map(Owner::Variant),
        "cells" if parts.len() > 3 => part(2).parse().ok().map(Owner::Cell),
        "exports" if deep => part(1).parse().ok().map(Owner::Export),
        "failures" if deep => part(1).parse().ok().map(Owner::Failure),
        "logs" if deep => part(1).parse().ok().map(Owner::Log),
        "sweeps" if deep => part(1).parse().ok().map(Owner::Sweep),
        "coordinators" if deep => part(1).parse().ok().map(Owner::Instance),
        _ => None,
    };
    known.unwrap_or(Owner::Unknown)
}

/// True for what a race of the start-up probe leaves where its process dies in between.
pub fn is_probe_race(path: &Path) -> bool {
    matches!(owner(path), Owner::Instance(_)) && path.filename().is_some_and(|name| name.contains(".race-"))
}

/// The folder of a sweep: specs, log, report.
pub fn sweep_folder(sweep: &Name) -> Path {
    Path::from(format!("sweeps/{sweep}"))
}

/// The folder of a sweep's specs.
pub fn specs(sweep: &Name) -> Path {
    Path::from(format!("sweeps/{sweep}/specs"))
}

/// Written to read the store's own clock, and removed again.
pub fn clock(nonce: &str) -> Path {
    Path::from(format!("coordinators/clock/{nonce}"))
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

    #[test]
    fn every_path_that_is_built_here_is_known_by_its_owner() {
        let (digest, demo): (Digest, Name) = (Digest::of(b"x"), "demo".parse().unwrap());
        let attempt: AttemptId = "run.demo-1-2".parse().unwrap();
        let (variant, cell) = (VariantKey(digest), CellKey(digest));
        let partial = PartialPlace::new(attempt.clone(), (3, 12), "a kind of device");
        assert_eq!(PartialPlace::parse(&partial.path(variant)).unwrap(), partial);
        assert_eq!(PartialPlace::parse(&variant_record(variant)), None);
        let cases = [
            (partial.path(variant), Owner::Variant(variant)),
            (variant_record(variant), Owner::Variant(variant)),
            (variant_blob(variant, &attempt, "compact.bin"), Owner::Variant(variant)),
            (cell_record(cell), Owner::Cell(cell)),
            (cell_blob(cell, &attempt, "scores.parquet"), Owner::Cell(cell)),
            (inputs(InputsDigest(digest)), Owner::Inputs(InputsDigest(digest))),
            (failure(digest, &attempt), Owner::Failure(digest)),
            (attempt_log(variant, &attempt), Owner::Log(variant)),
            (spec(&demo, digest), Owner::Sweep(demo.clone())),
            (log_entry(&demo, 3), Owner::Sweep(demo.clone())),
            (probe(&demo.local_instance(), 3), Owner::Instance(demo.local_instance())),
            (variant_dropped(variant), Owner::Variant(variant)),
            (export_folder(variant).join("config.json"), Owner::Export(variant)),
            (export_note(variant), Owner::Export(variant)),
            (Path::from(format!("models/{digest}/config.json")), Owner::Model(ModelDigest(digest))),
            (Path::from("notes/mine.txt"), Owner::Unknown),
            (Path::from("variants/ab/short/record.json"), Owner::Unknown),
        ];
        for (path, expected) in cases {
            assert_eq!(owner(&path), expected, "{path}");
        }
        assert_eq!(parse_attempt_log(&attempt_log(variant, &attempt)), Some(attempt));
        assert!(is_probe_race(&Path::from("coordinators/main/probe/00000001.json.race-3")));
        assert!(!is_probe_race(&probe(&demo, 1)));
    }
}
