//! A folder → its data files by split, from the words in their names: as datasets are released, exported or laid out in a
//! snapshot of a hub.

use super::records::{EXTENSIONS, extension};
use crate::inputs::error::InputsError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Extensions of plain text.
pub const TEXT_EXTENSIONS: &[&str] = &["txt", "raw"];

/// Folders deeper than this are not looked into.
const DEPTH: usize = 5;

/// The split of a file that was named alone and whose name tells none.
pub const WHOLE_FILE: &str = "file";

/// Data files of a folder.
#[derive(Clone, Debug, Default)]
pub struct DataFiles {
    /// Files in order of their names, by split: `train`, `validation`, `test`.
    pub splits: BTreeMap<&'static str, Vec<PathBuf>>,
    /// Files whose names tell no split.
    pub others: Vec<PathBuf>,
}

impl DataFiles {
    /// True if there is no data file at all.
    pub fn is_empty(&self) -> bool {
        self.splits.is_empty() && self.others.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.splits.values().flatten().chain(&self.others)
    }

    /// The splits that there are, for messages.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.splits.keys().copied().collect();
        if names.is_empty() { "no file that names a split".to_owned() } else { names.join(", ") }
    }

    /// Folders of `root` that hold files of one split each on their own: a dataset's configurations.
    pub fn configurations(&self, root: &Path) -> BTreeSet<String> {
        self.splits.values().flatten().map(|file| configuration(file, root)).collect()
    }

    /// True if some split's files are of several configurations: together they are no dataset.
    pub fn mixes(&self, root: &Path) -> bool {
        let several = |files: &Vec<PathBuf>| {
            let of: BTreeSet<String> = files.iter().map(|file| configuration(file, root)).collect();
            of.len() > 1
        };
        self.splits.values().any(several)
    }
}

/// The split that a name speaks of.
pub fn split_of(name: &str) -> Option<&'static str> {
    name.to_lowercase().split(|c: char| !c.is_alphanumeric()).find_map(|word| match word {
        "train" | "training" => Some("train"),
        "validation" | "valid" | "val" | "dev" | "eval" => Some("validation"),
        "test" => Some("test"),
        _ => None,
    })
}

/// The data files of `folder`. Where some lie under a folder called `config`, only those. Of several formats of a split the
/// one with types is taken: Parquet before JSON before CSV before text.
pub fn data_files(folder: &Path, config: Option<&str>) -> Result<DataFiles, InputsError> {
    let mut all = Vec::new();
    walk(folder, DEPTH, &mut all)?;
    Ok(sorted(all, folder, config))
}

/// The same of a list of files under `folder`; reads nothing.
pub fn sorted(mut all: Vec<PathBuf>, folder: &Path, config: Option<&str>) -> DataFiles {
    all.sort();
    let under = |file: &PathBuf| {
        let inner = file.strip_prefix(folder).unwrap_or(file);
        config.is_some_and(|c| inner.parent().is_some_and(|p| p.iter().any(|part| part == c)))
    };
    if all.iter().any(under) {
        all.retain(under);
    }
    let mut found = DataFiles::default();
    for file in all {
        let inner = file.strip_prefix(folder).unwrap_or(&file);
        let stem = inner.file_stem().unwrap_or_default().to_string_lossy();
        let above = inner.parent().into_iter().flat_map(Path::iter).rev();
        let split = split_of(&stem).or_else(|| above.map(|p| p.to_string_lossy()).find_map(|p| split_of(&p)));
        match split {
            Some(split) => found.splits.entry(split).or_default().push(file),
            None if stem.starts_with("dataset_info") || stem == "state" => {}
            None => found.others.push(file),
        }
    }
    for files in found.splits.values_mut() {
        let best = files.iter().map(|f| rank(f)).min();
        files.retain(|f| Some(rank(f)) == best);
    }
    found
}

/// True if a folder's walk would find the file at this relative path.
pub fn is_data(path: &Path) -> bool {
    let shown = path.iter().all(|part| !part.to_string_lossy().starts_with('.'));
    shown && path.iter().count() <= DEPTH + 1 && has_data(path)
}

fn has_data(path: &Path) -> bool {
    let extension = extension(path);
    EXTENSIONS.contains(&extension.as_str()) || TEXT_EXTENSIONS.contains(&extension.as_str())
}

/// The folders between `root` and a file that name no split.
fn configuration(file: &Path, root: &Path) -> String {
    let inner = file.strip_prefix(root).ok().and_then(Path::parent).unwrap_or(Path::new(""));
    let parts = inner.iter().map(|part| part.to_string_lossy());
    parts.filter(|part| split_of(part).is_none()).collect::<Vec<_>>().join("/")
}

fn rank(file: &Path) -> usize {
    const ORDER: [&str; 7] = ["parquet", "jsonl", "ndjson", "json", "csv", "txt", "raw"];
    let extension = extension(file);
    ORDER.iter().position(|e| *e == extension).unwrap_or(ORDER.len())
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), InputsError> {
    for entry in std::fs::read_dir(folder).map_err(|e| InputsError::io(folder, e))? {
        let path = entry.map_err(|e| InputsError::io(folder, e))?.path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
            continue;
        }
        // Follows links: in a hub's cache a snapshot holds links to blobs.
        let Ok(meta) = std::fs::metadata(&path) else {
            continue;
        };
        if meta.is_dir() {
            if depth > 0 {
                walk(&path, depth - 1, found)?;
            }
        } else if has_data(&path) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn splits_are_found_as_released_as_exported_and_as_converted() {
        let cases: [&[&str]; 4] = [
            &["train_rand_split.jsonl", "dev_rand_split.jsonl", "test_rand_split_no_answers.jsonl"],
            &[
                "data/train-00000-of-00001.parquet",
                "data/validation-00000-of-00001.parquet",
                "data/test-00000-of-00001.parquet",
            ],
            &["default/train/0000.parquet", "default/validation/0000.parquet", "default/test/0000.parquet"],
            &["Train.txt", "Eval.txt", "Test.txt", "README.md", "dataset_infos.json"],
        ];
        for files in cases {
            let found = data_files(folder(files).path(), None).unwrap();
            assert_eq!(found.names(), "test, train, validation", "{files:?}");
            assert!(found.others.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn the_configuration_asked_for_is_the_only_one_read() {
        let root = folder(&[
            "wikitext-103-v1/test-00000-of-00001.parquet",
            "wikitext-2-raw-v1/test-00000-of-00001.parquet",
        ]);
        let found = data_files(root.path(), Some("wikitext-2-raw-v1")).unwrap();
        assert_eq!(found.splits["test"].len(), 1);
        assert!(found.splits["test"][0].to_string_lossy().contains("wikitext-2-raw-v1"));
    }
}
