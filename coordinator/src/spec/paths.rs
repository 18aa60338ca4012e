//! Decides what is a path and what is a name, and makes paths absolute against the sweep file's folder.

use espalier_proto::shown;
use std::path::{Component, Path, PathBuf};

/// File endings that say "a file" without a `./` before it.
const ENDINGS: [&str; 8] = [".txt", ".json", ".jsonl", ".csv", ".parquet", ".yaml", ".yml", ".tsv"];

/// True for `./x`, `../x`, `/x`, `x/`, `.`, and for names that end as data files do; `hf://…` and `s3://…` are not paths.
pub fn is_path(text: &str) -> bool {
    if text.contains("://") {
        return false;
    }
    let starts = ["./", "../", "/"].iter().any(|s| text.starts_with(s)) || text == "." || text == "..";
    starts || text.ends_with('/') || ENDINGS.iter().any(|e| text.to_ascii_lowercase().ends_with(e))
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

/// Where data is, as a sweep file or a command line says it: a path, made absolute, or a dataset of the hub, as written.
/// A bare `a/b` is a path where something of that name is there, else the hub's dataset `a/b`.
pub fn data(folder: &Path, text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    let path = absolute(folder, text);
    let on_hub = !is_path(text) && is_hub(text) && !Path::new(&path).exists();
    if on_hub { text.to_owned() } else { path }
}

/// True for `org/name` and `org/name@revision`.
pub fn is_hub(text: &str) -> bool {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    matches!(name.split('/').collect::<Vec<_>>()[..], [org, name] if plain(org) && plain(name))
}

/// True for what can be asked for outside this machine: `s3://BUCKET[/PREFIX]`, or a name of the hub as it is written, `[hf://]` before it and
/// `@revision` behind. Nothing of it is empty, and no part leads out of the place that it is in.
pub fn is_source(text: &str) -> bool {
    let inside = |path: &str| {
        let plain = |c: char| !c.is_control() && (c == ' ' || !c.is_whitespace()) && !"\\\"'`".contains(c);
        path.chars().all(plain) && path.split('/').all(|part| !["", ".", ".."].contains(&part))
    };
    if let Some(place) = text.strip_prefix("s3://") {
        // Keys may have spaces.
        return shown::bucket_alone(place) && inside(place.trim_end_matches('/'));
    }
    let inside = |path: &str| !path.contains(' ') && inside(path);
    let name = text.strip_prefix("hf://").unwrap_or(text);
    let (name, revision) = name.split_once('@').map_or((name, None), |(name, at)| (name, Some(at)));
    !name.contains(':') && inside(name) && revision.is_none_or(inside)
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

    #[test]
    fn data_is_a_path_where_there_is_one_and_else_a_dataset_of_the_hub() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("org/here")).unwrap();
        let at = |text: &str| folder.path().join(text).to_string_lossy().into_owned();
        for name in ["org/name", "org/name@refs/convert/parquet", "hf://org/name", "hf://name", "s3://b/x"] {
            assert_eq!(data(folder.path(), name), name);
        }
        for path in ["org/here", "org/a.jsonl", "file", "a/b/c", "~x/y"] {
            assert_eq!(data(folder.path(), path), at(path));
        }
        assert_eq!(data(folder.path(), "./org/name"), at("org/name"));
    }

    #[test]
    fn a_source_has_no_empty_part_and_none_that_leads_elsewhere() {
        for good in [
            "s3://b",
            "s3://b/x/",
            "s3://b/größe x/é%20~",
            "hf://x",
            "hf://org/x@v1",
            "org/x@refs/convert/parquet",
            "hf://org/x/conf",
        ] {
            assert!(is_source(good), "{good}");
        }
        for bad in [
            "s3://",
            "s3:///x",
            "s3://b//x",
            "s3://b/../x",
            "s3://key:secret@b/x",
            "hf://",
            "hf://x@",
            "hf://@v1",
            "hf://org/",
            "hf://org//x",
            "org/x@",
            "org/x@..",
            "org/x@a//b",
            "org/x@a b",
            "gs://b/x",
            "hf://hf://org/x",
        ] {
            assert!(!is_source(bad), "{bad}");
        }
    }
}
