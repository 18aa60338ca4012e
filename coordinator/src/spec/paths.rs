//! Decides what is a path and what is a name, and makes paths absolute against the sweep file's folder.

use std::path::{Component, Path, PathBuf};

/// File endings that say "a file" without a `./` before it.
const ENDINGS: [&str; 8] = [".txt", ".json", ".jsonl", ".csv", ".parquet", ".yaml", ".yml", ".tsv"];

/// True for `./x`, `../x`, `/x`, `.`, and for names that end as data files do; `hf://…` and `s3://…` are not paths.
pub fn is_path(text: &str) -> bool {
    if text.contains("://") {
        return false;
    }
    let starts = ["./", "../", "/"].iter().any(|s| text.starts_with(s)) || text == "." || text == "..";
    starts || ENDINGS.iter().any(|e| text.to_ascii_lowercase().ends_with(e))
}

/// `text` against `folder`, with `.` and `..` taken out; whether anything is there does not matter.
pub fn absolute(folder: &Path, text: &str) -> String {
    let joined = folder.join(text);
    let joined = std::path::absolute(&joined).unwrap_or(joined);
    let mut clean = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_names_and_made_absolute() {
        for path in ["./a", "../a/b", "/a", "calibration.txt", "a/b.jsonl"] {
            assert!(is_path(path), "{path}");
        }
        for name in ["wikitext2", "org/name", "hf://org/name.txt", "s3://b/a.txt", "phi-2"] {
            assert!(!is_path(name), "{name}");
        }
        assert_eq!(absolute(Path::new("/sweeps/x"), "../data/./a.txt"), "/sweeps/data/a.txt");
    }
}
