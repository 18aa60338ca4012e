//! Files of text → rows, for perplexity and calibration.
//!
//! Plain text: a line is a row, without its line end, empty lines kept. Records: a record is a row, its text as it is.

use super::files::TEXT_EXTENSIONS;
use super::records::{Record, extension, kind_of, read_records, read_text_file};
use crate::inputs::error::InputsError;
use serde_json::Value;
use std::path::PathBuf;

/// The field of records that holds token ids.
const IDS: &str = "input_ids";

/// What files hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Texts {
    /// Rows of text.
    Rows(Vec<String>),
    /// Rows that were tokenised by their maker.
    Ids(Vec<Vec<u32>>),
}

/// The rows of `files` together, in order. `field`: which field of a record is the text.
pub fn read_texts(files: &[PathBuf], field: &str) -> Result<Texts, InputsError> {
    let (mut rows, mut ids) = (Vec::new(), Vec::new());
    for file in files {
        if TEXT_EXTENSIONS.contains(&extension(file).as_str()) {
            rows.extend(read_text_file(file)?.lines().map(str::to_owned));
            continue;
        }
        for record in read_records(file)? {
            match record.fields.get(IDS) {
                Some(value) => ids.push(token_ids(&record, value)?),
                None => rows.push(text(&record, field)?),
            }
        }
    }
    match (rows.is_empty(), ids.is_empty()) {
        (_, true) => Ok(Texts::Rows(rows)),
        (true, false) => Ok(Texts::Ids(ids)),
        (false, false) => {
            let file = files.first().cloned().unwrap_or_default();
            Err(InputsError::data(
                &file,
                format!("{} rows of text and {} of {IDS}", rows.len(), ids.len()),
                "one kind of row",
            ))
        }
    }
}

fn text(record: &Record, field: &str) -> Result<String, InputsError> {
    match record.fields.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(record.bad(field, kind_of(other), "text")),
        None => Err(record.bad(
            field,
            format!("columns {}", record.columns()),
            "a column of text (field: names another)",
        )),
    }
}

fn token_ids(record: &Record, value: &Value) -> Result<Vec<u32>, InputsError> {
    let Value::Array(items) = value else {
        return Err(record.bad(IDS, kind_of(value), "a list of token ids"));
    };
    items
        .iter()
        .map(|item| {
            item.as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| record.bad(IDS, item.to_string(), "token ids: whole numbers from 0"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, text: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        (folder, vec![file])
    }

    #[test]
    fn lines_are_rows_without_their_ends_and_empty_ones_stay() {
        let (_folder, files) = written("a.txt", "one\r\n\ntwo \n");
        assert_eq!(
            read_texts(&files, "text").unwrap(),
            Texts::Rows(vec!["one".into(), String::new(), "two ".into()])
        );
    }

    #[test]
    fn a_record_is_a_row_as_it_is() {
        let (_folder, files) = written("a.jsonl", "{\"text\": \"one\\n\"}\n\n{\"text\": \"\"}\n");
        assert_eq!(read_texts(&files, "text").unwrap(), Texts::Rows(vec!["one\n".into(), String::new()]));
    }

    #[test]
    fn a_missing_text_column_is_named_with_those_that_there_are() {
        let (_folder, files) = written("a.jsonl", "{\"text\": \"one\"}\n{\"body\": \"two\", \"n\": 1}\n");
        let error = read_texts(&files, "text").unwrap_err().to_string();
        let expected =
            "a.jsonl: line 2: text: found columns body, n, expected a column of text (field: names another)";
        assert!(error.ends_with(expected), "{error}");
    }

    #[test]
    fn a_negative_token_id_is_refused() {
        let (_folder, files) = written("a.jsonl", "{\"input_ids\": [1, -2]}\n");
        let error = read_texts(&files, "text").unwrap_err().to_string();
        assert!(
            error.ends_with("line 1: input_ids: found -2, expected token ids: whole numbers from 0"),
            "{error}"
        );
    }
}
