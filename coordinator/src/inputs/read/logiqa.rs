//! LogiQA's text files as released: blocks of an empty line, the answer's letter, context, question and four options.
//!
//! The text is normalised as the dataset's loader on the hub does it, so that the text and the exported table give the same
//! items: a space after every full stop, the option's letter and stop cut off.

use super::records::{Place, Record, read_text_file};
use crate::inputs::error::InputsError;
use serde_json::{Map, Value};
use std::path::Path;

/// Lines of a block without the empty one.
const LINES: usize = 7;

/// Every item of a file, with the fields of the exported table: `label`, `context`, `question`, `options`.
pub fn read_blocks(file: &Path) -> Result<Vec<Record>, InputsError> {
    parse_blocks(file, &read_text_file(file)?)
}

/// The same of a text that is called `file`.
pub fn parse_blocks(file: &Path, text: &str) -> Result<Vec<Record>, InputsError> {
    let mut records = Vec::new();
    let mut block: Vec<(usize, &str)> = Vec::new();
    for (i, line) in text.lines().map(str::trim_end).chain(std::iter::once("")).enumerate() {
        if !line.is_empty() {
            block.push((i + 1, line));
        } else if !block.is_empty() {
            records.push(item(file, &block)?);
            block.clear();
        }
    }
    Ok(records)
}

fn item(file: &Path, block: &[(usize, &str)]) -> Result<Record, InputsError> {
    let mut record =
        Record { file: file.to_owned(), place: Place::Line(block[0].0), fields: Map::new(), untyped: false };
    if block.len() != LINES {
        let found = format!("a block of {} lines", block.len());
        return Err(record.bad(
            "block",
            found,
            "7 lines: the answer's letter, context, question and four options",
        ));
    }
    let text = |i: usize| Value::String(normal(block[i].1));
    let options = (3..LINES).map(|i| {
        let without_letter: String = block[i].1.chars().skip(2).collect();
        Value::String(normal(&without_letter))
    });
    record.fields.insert("label".to_owned(), Value::String(block[0].1.trim().to_owned()));
    record.fields.insert("context".to_owned(), text(1));
    record.fields.insert("question".to_owned(), text(2));
    record.fields.insert("options".to_owned(), Value::Array(options.collect()));
    Ok(record)
}

fn normal(text: &str) -> String {
    text.replace('.', ". ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_becomes_what_the_hubs_loader_makes_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Test.txt");
        let text = "\nb\nAll men are mortal.Socrates is a man.\nWhat follows?\nA.nothing.\nB.Socrates is mortal.\nC.x\nD.y\n";
        std::fs::write(&file, text.repeat(2)).unwrap();
        let records = read_blocks(&file).unwrap();
        assert_eq!((records.len(), records[1].place), (2, Place::Line(10)));
        let expected = serde_json::json!({
            "label": "b", "context": "All men are mortal. Socrates is a man.", "question": "What follows?",
            "options": ["nothing.", "Socrates is mortal.", "x", "y"],
        });
        assert_eq!(Value::Object(records[0].fields.clone()), expected);
    }

    #[test]
    fn a_block_that_lacks_an_option_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Test.txt");
        std::fs::write(&file, "\nb\ncontext\nquestion\nA.x\nB.y\nC.z\n").unwrap();
        let error = read_blocks(&file).unwrap_err().to_string();
        let expected = "Test.txt: line 2: block: found a block of 6 lines, expected 7 lines: the answer's letter, context, \
                        question and four options";
        assert!(error.ends_with(expected), "{error}");
    }
}
