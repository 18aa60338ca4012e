//! A task's data → its items, each a document with its place, and the split they are of.

use super::error::InputsError;
use super::read::files::{DataFiles, WHOLE_FILE, data_files, split_of};
use super::read::logiqa;
use super::read::records::{Record, extension, read_records};
use super::read::schema::{Kind, Reader};
use super::sources::{HubCache, Located, Source};
use super::task::Task;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// An item as it was read.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it stands; its fields are those of the file.
    pub record: Record,
    /// What templates see.
    pub document: Map<String, Value>,
}

/// Files of a task's, or a calibration's, data.
#[derive(Clone, Debug)]
pub struct SplitFiles {
    /// Where they are from.
    pub source: Source,
    /// The split's name.
    pub split: String,
    /// Its files in order.
    pub files: Vec<PathBuf>,
}

/// The files that may be evaluated on, the preferred first: those of the test split, then of validation; of a file named
/// alone that file.
pub fn candidates(task: &Task, data: Option<&str>, hub: &HubCache) -> Result<Vec<SplitFiles>, InputsError> {
    let (located, files) = match data {
        Some(data) => match hub.data(data)? {
            None => hub.named_dataset(data, task.config.as_deref())?,
            Some(path) => match lone_file(data, &path)? {
                Some(only) => return Ok(vec![only]),
                None => {
                    let files = data_files(&path, task.config.as_deref())?;
                    (Located { folder: path, source: Source::plain(data) }, files)
                }
            },
        },
        None if task.datasets.is_empty() => {
            return Err(InputsError::Task {
                file: task.file.clone(),
                field: "dataset_path".to_owned(),
                found: "nothing".to_owned(),
                expected: "a dataset, or data: with a file in the sweep".to_owned(),
            });
        }
        None => hub.dataset(&task.datasets, task.config.as_deref(), task.revision.as_deref())?,
    };
    let of = |split| of_split(&located.source, &files, split);
    let found: Vec<SplitFiles> = ["test", "validation"].into_iter().filter_map(of).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    match &files.others[..] {
        [only] if files.splits.is_empty() => {
            let files = vec![only.clone()];
            Ok(vec![SplitFiles { source: located.source, split: WHOLE_FILE.to_owned(), files }])
        }
        _ => Err(InputsError::data(
            &located.folder,
            files.names(),
            "a file of the test or validation split, or one data file alone",
        )),
    }
}

/// The one file that the path of this source is; `None` if it is a folder.
pub fn lone_file(source: &str, path: &Path) -> Result<Option<SplitFiles>, InputsError> {
    let meta = std::fs::metadata(path).map_err(|e| InputsError::io(path, e))?;
    if meta.is_dir() {
        return Ok(None);
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Some(SplitFiles {
        source: Source::plain(source),
        split: split_of(&stem).unwrap_or(WHOLE_FILE).to_owned(),
        files: vec![path.to_owned()],
    }))
}

/// The files of one split of a source.
pub fn of_split(source: &Source, files: &DataFiles, split: &str) -> Option<SplitFiles> {
    let files = files.splits.get(split)?.clone();
    Some(SplitFiles { source: source.clone(), split: split.to_owned(), files })
}

/// The items of a multiple-choice task: of the first split in which every item has an answer.
pub fn task_items<'a>(
    task: &Task,
    candidates: &'a [SplitFiles],
) -> Result<(&'a SplitFiles, Vec<Item>), InputsError> {
    let mut first_lack = None;
    for candidate in candidates {
        let mut items = Vec::new();
        for file in &candidate.files {
            items.extend(read_items(task, file)?);
        }
        match items.iter().find(|item| !is_answered(task, item)) {
            None if items.is_empty() => {
                return Err(InputsError::data(&candidate.files[0], "no items", "at least one"));
            }
            None => return Ok((candidate, items)),
            Some(item) => {
                let field = task.answer.as_deref().unwrap_or("answer");
                let found = match at(&item.document, field) {
                    Some(_) => "no answer".to_owned(),
                    None => format!("no answer in columns {}", item.record.columns()),
                };
                first_lack = Some(item.record.bad(field, found, "an answer of every item"));
            }
        }
    }
    Err(first_lack
        .unwrap_or_else(|| InputsError::data(Path::new(&task.file), "no data files", "at least one")))
}

/// Every item of a file.
pub fn read_items(task: &Task, file: &Path) -> Result<Vec<Item>, InputsError> {
    let (records, reader) = records_and_reader(task, file)?;
    records.into_iter().map(|record| item(task, reader, record)).collect()
}

/// The records of a file and the native form that its first record has; no form: records are documents as they are.
fn records_and_reader<'t>(
    task: &'t Task,
    file: &Path,
) -> Result<(Vec<Record>, Option<&'t Reader>), InputsError> {
    if extension(file) == "txt" {
        let Some(reader) = task.readers.iter().find(|r| r.blocks) else {
            return Err(InputsError::data(
                file,
                "plain text",
                format!("records of {}: JSONL, JSON, CSV or Parquet", task.name),
            ));
        };
        return Ok((logiqa::read_blocks(file)?, Some(reader)));
    }
    let records = read_records(file)?;
    let Some(first) = records.first() else {
        return Ok((records, None));
    };
    // The form that fits; where none does the nearest one, whose complaint names what is missing.
    let reader = task.readers.iter().filter(|r| !r.blocks).rev().max_by_key(|r| {
        let (has, all) = r.fit(first, &task.fields);
        (all, has)
    });
    Ok((records, reader))
}

/// True if the file's first record has one of the task's native forms; an error if the file cannot be read.
pub fn is_of(task: &Task, file: &Path) -> Result<bool, InputsError> {
    if extension(file) == "txt" && !task.readers.iter().any(|r| r.blocks) {
        return Ok(false);
    }
    let (records, reader) = match records_and_reader(task, file) {
        // Text that is no blocks of questions may be anything.
        Err(_) if extension(file) == "txt" => return Ok(false),
        read => read?,
    };
    let first = records.into_iter().next();
    Ok(reader.is_some() && first.is_some_and(|first| item(task, reader, first).is_ok()))
}

fn item(task: &Task, reader: Option<&Reader>, record: Record) -> Result<Item, InputsError> {
    let document = match reader {
        Some(reader) if !task.fields.is_empty() => reader.document(&record, &task.fields)?,
        _ => record.fields.clone(),
    };
    if let Some((low, high)) = task.options {
        for field in task.fields.iter().filter(|f| f.kind == Kind::Texts) {
            let n = at(&document, &field.path).and_then(Value::as_array).map_or(0, Vec::len);
            if n < low || n > high {
                let expected = if low == high { format!("{low}") } else { format!("{low} to {high}") };
                return Err(record.bad(&field.path, format!("{n} options"), expected));
            }
        }
    }
    Ok(Item { record, document })
}

/// The value at a dotted path.
pub fn at<'d>(document: &'d Map<String, Value>, path: &str) -> Option<&'d Value> {
    match path.split_once('.') {
        None => document.get(path),
        Some((head, rest)) => at(document.get(head)?.as_object()?, rest),
    }
}

fn is_answered(task: &Task, item: &Item) -> bool {
    let Some(field) = &task.answer else { return true };
    match at(&item.document, field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Number(n)) => n.as_i64() != Some(-1),
        Some(_) => true,
    }
}
