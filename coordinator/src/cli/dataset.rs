//! `eval --dataset DIR`: which of the reasoning sets a folder holds, told by what its records look like.

use crate::exit::Failure;
use crate::inputs::catalog;
use crate::inputs::items::is_of;
use espalier_proto::sweep::TaskKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder as a `--task` would say it: `NAME=DIR`. None or several sets: an error that lists what was found.
pub fn recognise(folder: &Path) -> Result<String, Failure> {
    let mut files = Vec::new();
    walk(folder, &mut files, 3).map_err(|source| Failure::NotFound {
        message: format!("--dataset: {} cannot be read: {source}", folder.display()),
    })?;
    files.sort();
    let sets = || catalog::tasks().iter().filter(|t| t.kind == TaskKind::MultipleChoice);
    let mut found: BTreeMap<&str, &Path> = BTreeMap::new();
    for file in &files {
        for set in sets().filter(|set| is_of(set, file)) {
            found.entry(&set.name).or_insert(file);
        }
    }
    let shown = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
    match found.len() {
        1 => {
            let name = found.keys().next().copied().unwrap_or_default();
            Ok(format!("{name}={}", folder.display()))
        }
        0 => {
            let names: Vec<&str> = sets().map(|t| t.name.as_str()).collect();
            let files: Vec<String> = files.iter().map(|f| shown(f)).collect();
            let files = if files.is_empty() { "no data file".to_owned() } else { files.join(", ") };
            let folder = folder.display();
            let names = names.join(", ");
            Err(Failure::NotFound {
                message: format!(
                    "--dataset {folder}: found {files}, expected a file as one of {names} has it"
                ),
            })
        }
        _ => {
            let each: Vec<String> =
                found.iter().map(|(name, file)| format!("{name} ({})", shown(file))).collect();
            let message = format!(
                "--dataset {}: found several sets: {}; say which: --task NAME=FILE",
                folder.display(),
                each.join(", ")
            );
            Err(Failure::NotFound { message })
        }
    }
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

    #[test]
    fn each_of_the_five_sets_is_recognised_by_its_records() {
        let sets = ["commonsense_qa.jsonl", "cosmos_qa.csv", "logiqa.txt", "reclor.json", "ekar.jsonl"];
        for file in sets {
            let folder = tempfile::tempdir().unwrap();
            std::fs::copy(demo().join(file), folder.path().join(file)).unwrap();
            let said = recognise(folder.path()).unwrap();
            let name = file.split('.').next().unwrap();
            assert_eq!(said, format!("{name}={}", folder.path().display()));
        }
    }

    #[test]
    fn none_and_several_are_errors_that_list_what_is_there() {
        let several = recognise(&demo()).unwrap_err().to_string();
        assert!(
            several.contains("reclor (reclor.json)") && several.contains("--task NAME=FILE"),
            "{several}"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.json"), "[{\"x\": 1}]").unwrap();
        let none = recognise(folder.path()).unwrap_err().to_string();
        assert!(none.contains("found a.json, expected a file as one of commonsense_qa"), "{none}");
    }
}
