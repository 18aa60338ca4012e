//! Which of a sweep's sources are not on this machine: all of them at once, each with how to get it there.

use super::calibration;
use super::error::InputsError;
use super::items::candidates;
use super::obtain::Wanting;
use super::sources::HubCache;
use super::stored::{Holds, Stored};
use super::{catalog, task_file};
use crate::spec::expand::applies;
use crate::spec::file::SweepFile;
use espalier_proto::methods::{Statistics, method};
use std::collections::BTreeSet;
use std::path::Path;

/// What the Hugging Face cache lacks, in the file's order, and what is in object stores. What is wrong otherwise is said when it is
/// read.
pub fn wanted(file: &SweepFile, hub: &HubCache) -> Wanting {
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
    let named = || file.calibrations.iter().filter(|(name, _)| read.contains(name));
    let calibrations = named().filter_map(|(_, decl)| {
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
    let lacks = models
        .chain(tasks)
        .chain(calibrations)
        .filter(|error| error.lack().is_some())
        .filter(|error| said.insert(error.to_string()))
        .collect();
    let data = file.tasks.iter().filter_map(|task| task.data.as_ref());
    let data = data.chain(named().map(|(_, decl)| &decl.data));
    let models = file.models.iter().filter_map(|model| Stored::of(&model.source, Holds::Model));
    let mut stored: Vec<Stored> = Vec::new();
    for one in models.chain(data.filter_map(|data| Stored::of(data, Holds::Data))) {
        if !stored.contains(&one) {
            stored.push(one);
        }
    }
    Wanting { lacks, stored }
}
