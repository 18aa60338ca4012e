//! A folder → the one reasoning task of the catalog whose native form its files have, for `eval --dataset`.

use super::files::data_files;
use crate::inputs::error::InputsError;
use crate::inputs::{catalog, items};
use espalier_proto::sweep::TaskKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The name of the task that a folder or file holds.
pub fn recognise(data: &Path) -> Result<&'static str, InputsError> {
    let files = if data.is_dir() {
        let found = data_files(data, None)?;
        // Splits that are evaluated on first: the training split may be missing, large or in another form.
        let preferred = ["test", "validation", "train"].iter().find_map(|s| found.splits.get(s).cloned());
        preferred.into_iter().flatten().chain(found.others).collect()
    } else {
        vec![data.to_owned()]
    };
    let mut seen: BTreeMap<&'static str, &PathBuf> = BTreeMap::new();
    for file in &files {
        let of =
            catalog::tasks().iter().filter(|t| t.kind == TaskKind::MultipleChoice && items::is_of(t, file));
        for task in of {
            seen.entry(&task.name).or_insert(file);
        }
    }
    match seen.len() {
        1 => Ok(seen.into_keys().next().expect("one was counted")),
        0 => Err(InputsError::data(data, format!("{} data files of none of them", files.len()), schemas())),
        _ => {
            let list: Vec<String> =
                seen.iter().map(|(task, file)| format!("{task} in {}", file.display())).collect();
            Err(InputsError::data(data, list.join(", "), "one dataset: name one with --task NAME=FILE"))
        }
    }
}

/// The five schemas with the fields that tell them, for messages.
fn schemas() -> String {
    let one = |task: &crate::inputs::task::Task| {
        let fields: Vec<&str> = task.fields.iter().filter(|f| !f.optional).map(|f| f.path.as_str()).collect();
        format!("{} ({})", task.name, fields.join(", "))
    };
    let list: Vec<String> =
        catalog::tasks().iter().filter(|t| t.kind == TaskKind::MultipleChoice).map(one).collect();
    format!("one of {}", list.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/scoring/data")
    }

    #[test]
    fn each_of_the_five_sets_is_recognised_in_every_form() {
        let mut seen = 0;
        for folder in ["hf", "native"] {
            for entry in std::fs::read_dir(golden().join(folder)).unwrap() {
                let file = entry.unwrap().path();
                let name = file.file_stem().unwrap().to_string_lossy().into_owned();
                let root = tempfile::tempdir().unwrap();
                let ending = file.extension().unwrap().to_string_lossy().into_owned();
                std::fs::copy(&file, root.path().join(format!("test.{ending}"))).unwrap();
                assert_eq!(recognise(root.path()).unwrap(), name, "{}", file.display());
                seen += 1;
            }
        }
        assert_eq!(seen, 15);
    }

    #[test]
    fn a_folder_of_several_sets_is_refused_with_each_ones_file() {
        let error = recognise(&golden().join("native")).unwrap_err().to_string();
        assert!(error.contains("commonsense_qa in ") && error.contains("expected one dataset"), "{error}");
    }

    #[test]
    fn a_folder_of_none_is_refused_with_all_five_schemas() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("test.jsonl"), "{\"prompt\": \"x\"}\n").unwrap();
        let error = recognise(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("found 1 data files of none of them, expected one of commonsense_qa ("),
            "{error}"
        );
        assert!(error.contains("reclor (answers, context, question)"), "{error}");
    }
}
