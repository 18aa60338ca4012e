//! What `prune` measures on the pruned model: the perplexity that wanda's `main.py` always does, what `--task` names, and with
//! `--eval-zero-shot` the reasoning sets. What is not on this machine is said, never left out silently.

use super::one;
use crate::exit::Failure;
use crate::inputs::items::candidates;
use crate::inputs::sources::HubCache;
use crate::inputs::{InputsError, catalog};
use crate::spec::file::TaskDecl;
use espalier_proto::sweep::TaskKind;

/// The task of `ppl_test`.
pub const PPL_TEST: &str = "wikitext2";

/// What is measured.
#[derive(Debug)]
pub struct Measured {
    /// The tasks.
    pub tasks: Vec<TaskDecl>,
    /// Why `ppl_test` is not among them.
    pub no_ppl_test: Option<String>,
    /// What is not measured, each with its reason, a line each.
    pub left_out: Vec<String>,
}

/// The tasks of a call. `seqlen`: of the perplexity's windows.
pub fn tasks(
    named: &[String],
    zero_shot: bool,
    seqlen: Option<u32>,
    hub: &HubCache,
) -> Result<Measured, Failure> {
    let mut tasks = named.iter().map(|t| one::task(t)).collect::<Result<Vec<TaskDecl>, _>>()?;
    let no_ppl_test = match is_among(&tasks, PPL_TEST) {
        true => None,
        false => match lack(PPL_TEST, hub) {
            None => {
                tasks.insert(0, one::task(PPL_TEST)?);
                None
            }
            Some(lack) => Some(format!("{lack}; or name a text with --task {PPL_TEST}=FILE")),
        },
    };
    let mut left_out: Vec<String> =
        no_ppl_test.iter().map(|why| format!("ppl_test is not measured: {why}")).collect();
    for task in tasks.iter_mut().filter(|t| t.task == PPL_TEST) {
        task.seqlen = seqlen;
    }
    if zero_shot {
        left_out.extend(add_zero_shot(&mut tasks, hub)?);
    }
    Ok(Measured { tasks, no_ppl_test, left_out })
}

/// What of the datasets of a call has to be fetched first, besides those that are named.
pub fn lacks(named: &[String], zero_shot: bool, hub: &HubCache) -> Vec<InputsError> {
    let is_named = |task: &str| named.iter().any(|n| n.split('=').next() == Some(task));
    let sets = catalog::tasks().iter().filter(|t| zero_shot && t.kind == TaskKind::MultipleChoice);
    let names = [PPL_TEST].into_iter().chain(sets.map(|t| t.name.as_str()));
    names.filter(|name| !is_named(name)).filter_map(|name| lack(name, hub)).collect()
}

/// Adds those of the reasoning sets that are on this machine and tells the others; none at all is an error.
fn add_zero_shot(tasks: &mut Vec<TaskDecl>, hub: &HubCache) -> Result<Vec<String>, Failure> {
    let sets = catalog::tasks().iter().filter(|t| t.kind == TaskKind::MultipleChoice);
    let mut wanted = Vec::new();
    let mut any = false;
    for set in sets {
        if is_among(tasks, &set.name) {
            any = true;
        } else if let Some(lack) = lack(&set.name, hub) {
            wanted.push(lack);
        } else {
            tasks.push(one::task(&set.name)?);
            any = true;
        }
    }
    if !any {
        return Err(Failure::Wanted { wanted });
    }
    Ok(wanted.iter().map(|lack| format!("--eval-zero-shot leaves one out: {lack}")).collect())
}

fn is_among(tasks: &[TaskDecl], name: &str) -> bool {
    tasks.iter().any(|task| task.task == name)
}

/// Why a task's own dataset cannot be read: it is not in the cache. What else is wrong with it is told when it is read.
fn lack(name: &str, hub: &HubCache) -> Option<InputsError> {
    let task = catalog::task(name)?;
    candidates(task, None, hub).err().filter(|error| error.lack().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_perplexity_is_always_wanted_and_its_lack_is_a_reason() {
        let nothing = HubCache::at(Path::new("/nowhere"));
        let measured = tasks(&[], false, None, &nothing).unwrap();
        assert!(measured.tasks.is_empty());
        let why = measured.no_ppl_test.unwrap();
        assert!(why.contains("hf download --repo-type dataset Salesforce/wikitext"), "{why}");
        let own = tasks(&["wikitext2=/a.txt".to_owned()], false, Some(64), &nothing).unwrap();
        assert_eq!((own.no_ppl_test, own.tasks[0].seqlen), (None, Some(64)));
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("datasets--Salesforce--wikitext/snapshots/main/wikitext-2-raw-v1");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::write(snapshot.join("test-00000-of-00001.parquet"), "").unwrap();
        let found = tasks(&["reclor=/a".to_owned()], false, None, &HubCache::at(folder.path())).unwrap();
        let names: Vec<&str> = found.tasks.iter().map(|t| t.task.as_str()).collect();
        assert_eq!((names, found.no_ppl_test), (vec!["wikitext2", "reclor"], None));
    }

    #[test]
    fn zero_shot_without_any_of_the_sets_is_an_error_that_names_all_five() {
        let nothing = HubCache::at(Path::new("/nowhere"));
        let error = tasks(&[], true, None, &nothing).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 5, "{error}");
        let one = tasks(&["ekar=/a".to_owned()], true, None, &nothing).unwrap();
        assert_eq!(one.tasks.len(), 1);
    }
}
