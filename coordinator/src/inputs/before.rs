//! What a sweep was resolved to before → what of it stays when it is resolved again, and what has moved since. Pure.

use super::revisions::Revisions;
use crate::spec::file::BackendChoice;
use espalier_proto::ids::InputsDigest;
use espalier_proto::recipe::Backend;
use espalier_proto::sweep::{CellEntry, ModelEntry, ResolvedSweep, VariantEntry};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a commit that a note shows.
const COMMIT: usize = 12;

/// A sweep as it was submitted last.
#[derive(Debug, Default)]
pub struct Before {
    spec: Option<ResolvedSweep>,
    update: bool,
}

impl Before {
    /// `spec`: none if it never was. `update`: nothing of what moves is kept.
    pub fn new(spec: Option<ResolvedSweep>, update: bool) -> Self {
        Self { spec, update }
    }

    /// What computes, where the file says it or an earlier submission: `auto` stays what it was.
    pub fn backend(&self, choice: BackendChoice) -> Option<Backend> {
        match choice {
            BackendChoice::Cpu => Some(Backend::Cpu),
            BackendChoice::Cuda => Some(Backend::Cuda),
            BackendChoice::Auto => {
                let kept = self.spec.as_ref().filter(|_| !self.update);
                kept.and_then(|sweep| sweep.variants.first()).map(|v| v.spec.backend)
            }
        }
    }

    /// What moving revisions are.
    pub fn revisions(&self) -> Revisions {
        match self.update {
            true => Revisions::Anew,
            false => Revisions::Kept(self.spec.iter().flat_map(|sweep| sweep.revisions.clone()).collect()),
        }
    }

    /// A line for each source that is another commit now, with the cells that it changes.
    pub fn moved(&self, now: &ResolvedSweep) -> Vec<String> {
        let Some(before) = &self.spec else { return Vec::new() };
        let variants: BTreeMap<_, &VariantEntry> = now.variants.iter().map(|v| (v.key, v)).collect();
        let moved = now.revisions.iter().filter_map(|(revision, to)| {
            let from = before.revisions.get(revision).filter(|from| *from != to)?;
            let readers = Readers::of(now, (revision, to), before);
            let reads =
                |cell: &&CellEntry| variants.get(&cell.variant).is_some_and(|v| readers.have(v, cell));
            let others = now.cells.iter().filter(reads).count();
            let source = revision.trim_start_matches("hf://");
            let source = match source.strip_prefix("datasets/") {
                Some(name) => format!("dataset {name}"),
                None => format!("model {source}"),
            };
            let cells = match others {
                0 => "no cell changes".to_owned(),
                1 => "1 cell is to be measured anew".to_owned(),
                n => format!("{n} cells are to be measured anew"),
            };
            Some(format!("{source} moved from {} to {}: {cells}", short(from), short(to)))
        });
        moved.collect()
    }
}

fn short(commit: &str) -> &str {
    commit.get(..COMMIT).unwrap_or(commit)
}

/// What of a sweep reads a source, and the content that it read before: another commit may have the same.
struct Readers<'a> {
    models: BTreeSet<&'a str>,
    tasks: BTreeSet<&'a str>,
    calibrations: BTreeSet<&'a str>,
    known: BTreeSet<InputsDigest>,
}

impl<'a> Readers<'a> {
    fn of(sweep: &'a ResolvedSweep, (revision, commit): (&str, &str), before: &ResolvedSweep) -> Self {
        let repository = revision.split_once('@').map_or(revision, |(repository, _)| repository);
        let reads = |pinned: &str| pinned.rsplit_once('@') == Some((repository, commit));
        let data = |sources: &'a BTreeMap<String, String>| {
            sources.iter().filter(|(_, source)| reads(source)).map(|(name, _)| name.as_str()).collect()
        };
        let known = before.cells.iter().map(|cell| cell.inputs);
        let is_new = |model: &&ModelEntry| !before.models.iter().any(|known| known.digest == model.digest);
        let models = sweep.models.iter().filter(|model| reads(&model.source)).filter(is_new);
        Self {
            known: known.chain(before.variants.iter().filter_map(|v| v.spec.calibration)).collect(),
            models: models.map(|model| model.id.as_str()).collect(),
            tasks: data(&sweep.data.tasks),
            calibrations: data(&sweep.data.calibrations),
        }
    }

    fn have(&self, variant: &VariantEntry, cell: &CellEntry) -> bool {
        let calibrated = variant.calibration.as_deref().is_some_and(|name| self.calibrations.contains(name));
        let windows = variant.spec.calibration.filter(|_| calibrated);
        let inputs = self.tasks.contains(cell.task.as_str()).then_some(cell.inputs);
        let is_new = |read: InputsDigest| !self.known.contains(&read);
        self.models.contains(variant.model.as_str())
            || windows.is_some_and(is_new)
            || inputs.is_some_and(is_new)
    }
}
