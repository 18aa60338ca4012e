//! Which of a sweep's sources are not on this machine: all of them at once, each with how to get it there.

use super::calibration;
use super::error::InputsError;
use super::items::candidates;
use super::sources::HubCache;
use super::{catalog, task_file};
use crate::spec::expand::applies;
use crate::spec::file::SweepFile;
use espalier_proto::methods::{Statistics, method};
use std::collections::BTreeSet;
use std::path::Path;

/// What the Hugging Face cache lacks, in the file's order. What is wrong otherwise is said when it is read.
pub fn wanted(file: &SweepFile, hub: &HubCache) -> Vec<InputsError> {
    let models = file.models.iter().filter_map(|model| hub.model(&model.source).err());
    let tasks = file.tasks.iter().filter_map(|decl| {
        let known = match catalog::task(&decl.task) {
            Some(task) => task,
            None => &task_file::read_task(Path::new(&decl.task)).ok()?,
        };
        candidates(known, decl.data.as_deref(), hub).err()
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
    let calibrations = file.calibrations.iter().filter(|(name, _)| read.contains(name));
    let calibrations = calibrations.filter_map(|(_, decl)| {
        let split = decl.split.as_deref().unwrap_or(calibration::DEFAULT_SPLIT);
        let declared = |field: &str, found, expected| InputsError::Declared {
            at: file.path.display().to_string(),
            field: field.to_owned(),
            found,
            expected,
        };
        calibration::files(decl, split, hub, &declared).err()
    });
    let mut said = BTreeSet::new();
    models
        .chain(tasks)
        .chain(calibrations)
        .filter(|error| error.lack().is_some())
        .filter(|error| said.insert(error.to_string()))
        .collect()
}
