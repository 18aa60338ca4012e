//! Which of a sweep's sources are not on this machine: all of them at once, each with how to get it there.

use super::calibration;
use super::error::InputsError;
use super::items::candidates;
use super::obtain::Wanting;
use super::revisions::Revisions;
use super::sources::{HubCache, Source};
use super::stored::{Holds, Stored};
use super::{catalog, task_file};
use crate::spec::expand::applies;
use crate::spec::file::SweepFile;
use espalier_proto::methods::{Statistics, method};
use std::collections::BTreeSet;
use std::path::Path;

/// What the Hugging Face cache lacks, in the file's order, what of it is to be resolved anew, and what is in object stores. What is
/// wrong otherwise is said when it is read.
pub fn wanted(file: &SweepFile, hub: &HubCache) -> Wanting {
    let models = file.models.iter().map(|model| hub.model(&model.source).map(|located| located.source));
    let tasks = file.tasks.iter().filter_map(|decl| {
        let known = match catalog::task(&decl.task) {
            Some(task) => task,
            None => &task_file::read_task(Path::new(&decl.task)).ok()?,
        };
        Some(candidates(known, decl.data.as_deref(), hub).map(|found| found[0].source.clone()))
    });
    let read: BTreeSet<&String> = file
        .recipes
        .iter()
        .filter(|recipe| file.models.iter().any(|model| applies(recipe, &model.id)))
        .filter(|recipe| {
            recipe.methods.iter().any(|m| method(m).is_some_and(|m| m.statistics != Statistics::None))
        })
        .flat_map(|recipe| &recipe.calibrations)
        .collect();
    let named = || file.calibrations.iter().filter(|(name, _)| read.contains(name));
    let calibrations = named().map(|(_, decl)| {
        let split = decl.split.as_deref().unwrap_or(calibration::DEFAULT_SPLIT);
        let declared = |field: &str, found, expected| InputsError::Declared {
            at: file.path.display().to_string(),
            field: field.to_owned(),
            found,
            expected,
        };
        calibration::files(decl, split, hub, &declared).map(|found| found.source)
    });
    let found: Vec<Result<Source, InputsError>> = models.chain(tasks).chain(calibrations).collect();
    let mut wanting = Wanting::default();
    let mut said = BTreeSet::new();
    for found in found {
        match found {
            Err(error) if error.lack().is_none() => {}
            Err(error) => {
                if said.insert(error.to_string()) {
                    wanting.lacks.push(error);
                }
            }
            Ok(source) if *hub.revisions() == Revisions::Anew => {
                let new = source.moving.filter(|lack| !wanting.moving.contains(lack));
                wanting.moving.extend(new);
            }
            Ok(_) => {}
        }
    }
    let data = file.tasks.iter().filter_map(|task| task.data.as_ref());
    let data = data.chain(named().map(|(_, decl)| &decl.data));
    let models = file.models.iter().filter_map(|model| Stored::of(&model.source, Holds::Model));
    for one in models.chain(data.filter_map(|data| Stored::of(data, Holds::Data))) {
        if !wanting.stored.contains(&one) {
            wanting.stored.push(one);
        }
    }
    wanting
}
