//! Per-item scores of a cell → JSON Lines, with the task and style that no shared record holds.

use crate::records::scores::{ScoreRow, ScoresError, rows};
use bytes::Bytes;
use espalier_proto::sweep::{TaskEntry, TaskKind};
use serde::Serialize;

/// Why per-item scores cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("scores of {task}: {source}")]
pub struct SamplesError {
    /// The task's label.
    task: String,
    source: ScoresError,
}

/// One line.
#[derive(Serialize)]
struct Sample<'a> {
    task: &'a str,
    style: &'a str,
    #[serde(flatten)]
    row: ScoreRow,
}

/// Per-item lines of a cell, from the bytes of its `scores.parquet`.
pub fn jsonl(task: &TaskEntry, scores: Bytes) -> Result<String, SamplesError> {
    let wrong = |source| SamplesError { task: task.label.clone(), source };
    let mut text = String::new();
    for row in rows(scores, task.kind == TaskKind::Perplexity).map_err(wrong)? {
        let sample = Sample { task: &task.task, style: &task.style, row };
        let line = serde_json::to_string(&sample);
        text += &line.map_err(|e| wrong(ScoresError::Parquet { why: e.to_string() }))?;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Array, Float64Array, RecordBatch, StringArray, UInt32Array};
    use arrow_schema::{DataType, Field, Schema};
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
