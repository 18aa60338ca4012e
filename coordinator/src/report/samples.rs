//! `scores.parquet` of a cell → per-item JSON Lines, with the task and style that no shared record holds.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, StructArray};
use arrow_schema::DataType;
use bytes::Bytes;
use espalier_proto::sweep::{TaskEntry, TaskKind};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;

/// Why per-item scores cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    /// Not the Parquet that a worker writes.
    #[error("scores of {task} cannot be read: {why}")]
    Parquet {
        /// The task's label.
        task: String,
        /// What is wrong.
        why: String,
    },
    /// A column is missing or holds another type.
    #[error("scores of {task}: column {column} is {found}, expected {expected}")]
    Column {
        /// The task's label.
        task: String,
        /// The column.
        column: String,
        /// Its type, or `missing`.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// An option of an item.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Choice {
    ll: f64,
    tokens: u64,
    chars: u64,
    truncated: bool,
    is_greedy: bool,
}

/// One line; an item of multiple choice has golds, a window has a log-likelihood.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Sample<'a> {
    Item {
        task: &'a str,
        style: &'a str,
        item: String,
        doc_sha256: String,
        gold: u64,
        pred: u64,
        pred_norm: u64,
        choices: Vec<Choice>,
    },
    Window {
        task: &'a str,
        style: &'a str,
        item: String,
        ll: f64,
        tokens: u64,
    },
}

/// Per-item lines of a cell, from the bytes of its `scores.parquet`.
pub fn jsonl(task: &TaskEntry, scores: Bytes) -> Result<String, SamplesError> {
    let broken = |why: String| SamplesError::Parquet { task: task.label.clone(), why };
    let reader = ParquetRecordBatchReaderBuilder::try_new(scores).map_err(|e| broken(e.to_string()))?;
    let mut text = String::new();
    for batch in reader.build().map_err(|e| broken(e.to_string()))? {
        let columns = Columns { task, array: StructArray::from(batch.map_err(|e| broken(e.to_string()))?) };
        for row in 0..columns.array.len() {
            let sample = columns.sample(row)?;
            text += &serde_json::to_string(&sample).map_err(|e| broken(e.to_string()))?;
            text.push('\n');
        }
    }
    Ok(text)
}

struct Columns<'a> {
    task: &'a TaskEntry,
    array: StructArray,
}

impl<'a> Columns<'a> {
    fn sample(&self, row: usize) -> Result<Sample<'a>, SamplesError> {
        let task = &self.task.task;
        if self.task.kind == TaskKind::Perplexity {
            let (ll, tokens) = (self.real("ll", row)?, self.whole("tokens", row)?);
            return Ok(Sample::Window {
                task,
                style: &self.task.style,
                item: self.index("item", row)?,
                ll,
                tokens,
            });
        }
        let choices = self.column("choices")?;
        let Some(list) = choices.as_list_opt::<i32>() else {
            return Err(self.other("choices", choices.data_type(), "a list of structs"));
        };
        let inner = list.value(row);
        let Some(inner) = inner.as_struct_opt() else {
            return Err(self.other("choices", inner.data_type(), "a list of structs"));
        };
        let of_option = Self { task: self.task, array: inner.clone() };
        let choice = |i| {
            Ok(Choice {
                ll: of_option.real("ll", i)?,
                tokens: of_option.whole("tokens", i)?,
                chars: of_option.whole("chars", i)?,
                truncated: of_option.flag("truncated", i)?,
                is_greedy: of_option.flag("is_greedy", i)?,
            })
        };
        Ok(Sample::Item {
            task,
            style: &self.task.style,
            item: self.text("item", row)?,
            doc_sha256: self.text("doc_sha256", row)?,
            gold: self.whole("gold", row)?,
            pred: self.whole("pred", row)?,
            pred_norm: self.whole("pred_norm", row)?,
            choices: (0..inner.len()).map(choice).collect::<Result<_, _>>()?,
        })
    }

    fn column(&self, name: &str) -> Result<&dyn Array, SamplesError> {
        let found = self.array.column_by_name(name).map(|c| &**c);
        found.ok_or_else(|| SamplesError::Column {
            task: self.task.label.clone(),
            column: name.to_owned(),
            found: "missing".to_owned(),
            expected: "a column of per-item scores",
        })
    }

    fn other(&self, column: &str, found: &DataType, expected: &'static str) -> SamplesError {
        let (task, column) = (self.task.label.clone(), column.to_owned());
        SamplesError::Column { task, column, found: found.to_string(), expected }
    }

    fn text(&self, name: &str, row: usize) -> Result<String, SamplesError> {
        let column = self.column(name)?;
        match column.as_string_opt::<i32>() {
            Some(texts) => Ok(texts.value(row).to_owned()),
            None => Err(self.other(name, column.data_type(), "text")),
        }
    }

    /// A window's item: its index, or an id as items have it.
    fn index(&self, name: &str, row: usize) -> Result<String, SamplesError> {
        match self.column(name)?.data_type() {
            DataType::Utf8 => self.text(name, row),
            _ => self.whole(name, row).map(|n| n.to_string()),
        }
    }

    fn flag(&self, name: &str, row: usize) -> Result<bool, SamplesError> {
        let column = self.column(name)?;
        column
            .as_boolean_opt()
            .map(|c| c.value(row))
            .ok_or_else(|| self.other(name, column.data_type(), "true or false"))
    }

    fn whole(&self, name: &str, row: usize) -> Result<u64, SamplesError> {
        let column = self.column(name)?;
        let found = match column.data_type() {
            DataType::UInt32 => Some(u64::from(column.as_primitive::<UInt32Type>().value(row))),
            DataType::UInt64 => Some(column.as_primitive::<UInt64Type>().value(row)),
            DataType::Int32 => u64::try_from(column.as_primitive::<Int32Type>().value(row)).ok(),
            DataType::Int64 => u64::try_from(column.as_primitive::<Int64Type>().value(row)).ok(),
            _ => None,
        };
        found.ok_or_else(|| self.other(name, column.data_type(), "a whole number, not negative"))
    }

    fn real(&self, name: &str, row: usize) -> Result<f64, SamplesError> {
        let column = self.column(name)?;
        match column.data_type() {
            DataType::Float64 => Ok(column.as_primitive::<Float64Type>().value(row)),
            DataType::Float32 => Ok(f64::from(column.as_primitive::<Float32Type>().value(row))),
            other => Err(self.other(name, other, "a real number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Float64Array, RecordBatch, StringArray, UInt32Array};
    use arrow_schema::{Field, Schema};
    use parquet::arrow::ArrowWriter;
    use std::sync::Arc;

    fn perplexity() -> TaskEntry {
        TaskEntry {
            label: "wikitext2".to_owned(),
            task: "wikitext2".to_owned(),
            style: String::new(),
            kind: TaskKind::Perplexity,
            reasoning: None,
            split: "test".to_owned(),
            fewshot: 0,
            seqlen: 2048,
            metrics: vec!["ppl_token@2048".to_owned()],
            chance: None,
            limited: false,
        }
    }

    fn windows(second: &str) -> Bytes {
        let fields = [
            Field::new("item", DataType::Utf8, false),
            Field::new(second, DataType::Float64, false),
            Field::new("tokens", DataType::UInt32, false),
        ];
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(StringArray::from(vec!["0", "1"])),
            Arc::new(Float64Array::from(vec![-1.5, -2.0])),
            Arc::new(UInt32Array::from(vec![2047, 2047])),
        ];
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    #[test]
    fn a_window_is_a_line_with_its_task() {
        let text = jsonl(&perplexity(), windows("ll")).unwrap();
        let first = r#"{"task":"wikitext2","style":"","item":"0","ll":-1.5,"tokens":2047}"#;
        assert_eq!(text.lines().next(), Some(first));
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_missing_column_and_bytes_that_are_no_parquet_are_told() {
        let error = jsonl(&perplexity(), windows("nll")).unwrap_err().to_string();
        assert!(error.contains("column ll is missing"), "{error}");
        assert!(jsonl(&perplexity(), Bytes::from_static(b"text")).is_err());
    }
}
