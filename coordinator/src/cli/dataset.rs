//! `eval --dataset DIR|org/name`: which of the reasoning sets a folder or a hub's dataset holds, told by what its records look like.

use crate::exit::Failure;
use crate::inputs::catalog;
use crate::inputs::items::is_of;
use crate::inputs::obtain::Wanting;
use crate::inputs::sources::HubCache;
use crate::inputs::stored::{Holds, Stored};
use crate::spec::paths;
use espalier_proto::sweep::TaskKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What of `--dataset` has to be fetched first.
pub fn wanting(said: &str, hub: &HubCache) -> Wanting {
    let data = paths::data(&std::env::current_dir().unwrap_or_default(), said);
    if let Some(stored) = Stored::of(&data, Holds::Data) {
        return Wanting { stored: vec![stored], ..Wanting::default() };
    }
    let error = if data.starts_with('/') { None } else { hub.named_dataset(&data, None).err() };
    error.filter(|error| error.lack().is_some()).map(Wanting::from).unwrap_or_default()
}

/// What `--dataset` names as a `--task` would say it: `NAME=DATA`. None or several sets: an error that lists what was found.
pub fn recognise(said: &str, hub: &HubCache) -> Result<String, Failure> {
    let here = std::env::current_dir().unwrap_or_default();
    let data = paths::data(&here, said);
    let (folder, files) = if let Some(folder) = hub.data(&data)? {
        let mut files = Vec::new();
        if folder.is_file() {
            return one_set(said, &folder, vec![folder.clone()]).map(|name| format!("{name}={data}"));
        }
        walk(&folder, &mut files, 3).map_err(|source| Failure::NotFound {
            message: format!("--dataset: {} cannot be read: {source}", folder.display()),
        })?;
        (folder, files)
    } else {
        let (located, files) = hub.named_dataset(&data, None)?;
        (located.folder, files.splits.into_values().flatten().chain(files.others).collect())
    };
    one_set(said, &folder, files).map(|name| format!("{name}={data}"))
}

/// The set that these files hold.
fn one_set(said: &str, folder: &Path, mut files: Vec<PathBuf>) -> Result<&'static str, Failure> {
    files.sort();
    let sets = || catalog::tasks().iter().filter(|t| t.kind == TaskKind::MultipleChoice);
    let mut found: BTreeMap<&'static str, &Path> = BTreeMap::new();
    let mut broken = Vec::new();
    for file in &files {
        for set in sets() {
            match is_of(set, file) {
                Ok(true) => drop(found.entry(&set.name).or_insert(file)),
                Ok(false) => {}
                // A file that cannot be read is no set's: one complaint about it is enough.
                Err(error) => {
                    broken.push(error);
                    break;
                }
            }
        }
    }
    if found.is_empty() && !broken.is_empty() {
        return Err(Failure::Inputs(broken.swap_remove(0)));
    }
    let shown = |path: &Path| match path.strip_prefix(folder) {
        Ok(inside) if !inside.as_os_str().is_empty() => inside.display().to_string(),
        _ => path.display().to_string(),
    };
    let message = match found.len() {
        1 => return Ok(found.into_keys().next().expect("one was counted")),
        0 => {
            let names: Vec<&str> = sets().map(|t| t.name.as_str()).collect();
            let files: Vec<String> = files.iter().map(|f| shown(f)).collect();
            let files = if files.is_empty() { "no data file".to_owned() } else { files.join(", ") };
            format!("--dataset {said}: found {files}, expected a file as one of {} has it", names.join(", "))
        }
        _ => {
            let each: Vec<String> =
                found.iter().map(|(name, file)| format!("{name} ({})", shown(file))).collect();
            format!("--dataset {said}: found several sets: {}; say which: --task NAME=FILE", each.join(", "))
        }
    };
    Err(Failure::NotFound { message })
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> std::io::Result<()> {
    const ENDINGS: [&str; 5] = ["jsonl", "json", "csv", "txt", "parquet"];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if path.is_dir() && depth > 0 {
            walk(&path, files, depth - 1)?;
        } else if path.is_file() && ENDINGS.contains(&ending.as_str()) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/demo/data"))
    }

    fn in_folder(folder: &Path) -> Result<String, Failure> {
        recognise(folder.to_str().unwrap(), &HubCache::at(Path::new("/nowhere")))
    }

    #[test]
    fn each_of_the_five_sets_is_recognised_by_its_records() {
        let sets = ["commonsense_qa.jsonl", "cosmos_qa.csv", "logiqa.txt", "reclor.json", "ekar.jsonl"];
        for file in sets {
            let folder = tempfile::tempdir().unwrap();
            std::fs::copy(demo().join(file), folder.path().join(file)).unwrap();
            let said = in_folder(folder.path()).unwrap();
            let name = file.split('.').next().unwrap();
            assert_eq!(said, format!("{name}={}", folder.path().display()));
        }
    }

    #[test]
    fn none_and_several_are_errors_that_list_what_is_there() {
        let several = in_folder(&demo()).unwrap_err().to_string();
        assert!(
            several.contains("reclor (reclor.json)") && several.contains("--task NAME=FILE"),
            "{several}"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.json"), "[{\"x\": 1}]").unwrap();
        let none = in_folder(folder.path()).unwrap_err().to_string();
        assert!(none.contains("found a.json, expected a file as one of commonsense_qa"), "{none}");
    }

    #[test]
    fn a_file_is_recognised_and_a_broken_one_is_told_with_its_line() {
        let file = demo().join("ekar.jsonl");
        let said = in_folder(&file).unwrap();
        assert!(said.starts_with("ekar=") && said.ends_with("/examples/demo/data/ekar.jsonl"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let cut: String =
            text.lines().take(3).map(|l| format!("{l}\n")).chain(["{\"id\": \n".into()]).collect();
        std::fs::write(folder.path().join("dev.jsonl"), cut).unwrap();
        let broken = in_folder(folder.path()).unwrap_err().to_string();
        assert!(broken.contains("dev.jsonl") && broken.contains('4'), "{broken}");
    }

    #[test]
    fn a_set_in_any_form_is_recognised_where_the_hub_has_it() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/scoring/data");
        let mut seen = 0;
        for form in ["hf", "native"] {
            for entry in std::fs::read_dir(golden.join(form)).unwrap() {
                let file = entry.unwrap().path();
                let root = tempfile::tempdir().unwrap();
                let snapshot = root.path().join("datasets--org--set/snapshots/abc/data");
                std::fs::create_dir_all(root.path().join("datasets--org--set/refs")).unwrap();
                std::fs::create_dir_all(&snapshot).unwrap();
                std::fs::write(root.path().join("datasets--org--set/refs/main"), "abc").unwrap();
                let ending = file.extension().unwrap().to_string_lossy().into_owned();
                std::fs::copy(&file, snapshot.join(format!("test-00000-of-00001.{ending}"))).unwrap();
                let name = file.file_stem().unwrap().to_string_lossy().into_owned();
                let said = recognise("org/set", &HubCache::at(root.path())).unwrap();
                assert_eq!(said, format!("{name}=org/set"), "{}", file.display());
                seen += 1;
            }
        }
        assert_eq!(seen, 15);
    }
}
