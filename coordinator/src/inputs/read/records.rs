//! Files of records → JSON objects, each with its place: JSONL, a JSON array, CSV, Parquet. What the fields mean is not
//! decided here.

use super::columns;
use crate::inputs::error::InputsError;
use espalier_proto::small_file::{self, MOST_WRITTEN};
use serde_json::{Map, Value};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a record stands in its file, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file.
    Line(usize),
    /// A row of a table or array.
    Row(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Row(n) => write!(f, "row {n}"),
        }
    }
}

/// One record as it was read.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its file.
    pub file: PathBuf,
    /// Its place there.
    pub place: Place,
    /// Its fields.
    pub fields: Map<String, Value>,
    /// Values have no types of their own (CSV): a number is the text of one.
    pub untyped: bool,
}

impl Record {
    /// The names of its fields, for messages.
    pub fn columns(&self) -> String {
        self.fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// A complaint about one of its fields.
    pub fn bad(&self, field: &str, found: impl Into<String>, expected: impl Into<String>) -> InputsError {
        InputsError::Value {
            file: self.file.display().to_string(),
            place: self.place.to_string(),
            field: field.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// Extensions of files that hold records.
pub const EXTENSIONS: &[&str] = &["jsonl", "ndjson", "json", "csv", "parquet"];

/// Lower-case extension of a file.
pub fn extension(file: &Path) -> String {
    file.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Every record of a file, in order.
pub fn read_records(file: &Path) -> Result<Vec<Record>, InputsError> {
    match extension(file).as_str() {
        "parquet" => {
            let opened = std::fs::File::open(file).map_err(|e| InputsError::io(file, e))?;
            columns::read_parquet(file, opened)
        }
        known if EXTENSIONS.contains(&known) => parse_records(file, &read_text_file(file)?),
        other => Err(InputsError::data(
            file,
            format!("a file ending in {other:?}"),
            format!("one of {}", EXTENSIONS.join(", ")),
        )),
    }
}

/// Every record of a text that is called `file`: comma-separated values by its ending, else JSON.
pub fn parse_records(file: &Path, text: &str) -> Result<Vec<Record>, InputsError> {
    match extension(file).as_str() {
        "csv" => csv_rows(file, text),
        "json" if text.trim_start().starts_with('[') => json_array(file, text),
        _ => json_lines(file, text),
    }
}

/// A whole text file as UTF-8, a byte order mark dropped.
pub fn read_text_file(file: &Path) -> Result<String, InputsError> {
    text_of(file, std::fs::read(file).map_err(|e| InputsError::io(file, e))?)
}

/// The same of a file that people write, which is small.
pub fn read_written(file: &Path) -> Result<String, InputsError> {
    text_of(file, small_file::read(file, MOST_WRITTEN).map_err(|e| InputsError::io(file, e))?)
}

/// The text that these bytes of `file` are.
pub fn text_of(file: &Path, bytes: Vec<u8>) -> Result<String, InputsError> {
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        InputsError::data(file, format!("bytes that are not UTF-8 at byte {at}"), "UTF-8 text")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn record(file: &Path, place: Place, value: Value) -> Result<Record, InputsError> {
    let fields = match value {
        Value::Object(fields) => fields,
        other => {
            return Err(InputsError::Value {
                file: file.display().to_string(),
                place: place.to_string(),
                field: "record".to_owned(),
                found: kind_of(&other).to_owned(),
                expected: "an object".to_owned(),
            });
        }
    };
    Ok(Record { file: file.to_owned(), place, fields, untyped: false })
}

fn json_lines(file: &Path, text: &str) -> Result<Vec<Record>, InputsError> {
    let mut records = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = Place::Line(i + 1);
        let value = serde_json::from_str(line).map_err(|e| InputsError::Value {
            file: file.display().to_string(),
            place: place.to_string(),
            field: "record".to_owned(),
            found: format!("no JSON ({e})"),
            expected: "one JSON object a line".to_owned(),
        })?;
        records.push(record(file, place, value)?);
    }
    Ok(records)
}

fn json_array(file: &Path, text: &str) -> Result<Vec<Record>, InputsError> {
    let rows: Vec<Value> = serde_json::from_str(text)
        .map_err(|e| InputsError::data(file, format!("no JSON ({e})"), "a JSON array of objects"))?;
    rows.into_iter().enumerate().map(|(i, value)| record(file, Place::Row(i + 1), value)).collect()
}

fn csv_rows(file: &Path, text: &str) -> Result<Vec<Record>, InputsError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let broken = |e: csv::Error| {
        InputsError::data(file, format!("no CSV ({e})"), "comma-separated values under a row of names")
    };
    let names = reader.headers().map_err(broken)?.clone();
    let mut records = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for row in reader.records() {
        let row = row.map_err(broken)?;
        // The reader's own count of lines lags behind where lines end with a carriage return.
        let start = row.position().map_or(counted, |p| p.byte() as usize);
        let blank = text[start..].bytes().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        line += text[counted..start + blank].bytes().filter(|b| *b == b'\n').count();
        counted = start + blank;
        let fields = names
            .iter()
            .zip(row.iter())
            .map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())))
            .collect();
        records.push(Record { file: file.to_owned(), place: Place::Line(line), fields, untyped: true });
    }
    Ok(records)
}

/// What a value is, for people.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
