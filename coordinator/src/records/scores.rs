//! `scores.parquet` of a cell → rows, and the outcome that follows from them.

use crate::caught::caught;
use crate::columnar;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, StructArray};
use arrow_schema::DataType;
use bytes::Bytes;
use espalier_proto::records::{ItemOutcome, Outcome};
use serde::Serialize;

/// Why per-item scores cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScoresError {
    /// Not the Parquet that a worker writes.
    #[error("cannot be read: {why}")]
    Parquet {
        /// What is wrong.
        why: String,
    },
    /// A column is missing or holds another type.
    #[error("column {column} is {found}, expected {expected}")]
    Column {
        /// The column.
        column: String,
        /// Its type, or `missing`.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A row does not fit the others, or itself.
    #[error("row {row}: {why}")]
    Row {
        /// Which, from 0.
        row: usize,
        /// What is wrong.
        why: String,
    },
}

/// An option of an item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoredOption {
    /// Log-likelihood, nats.
    pub ll: f64,
    /// Tokens that were scored.
    pub tokens: u64,
    /// Length in characters.
    pub chars: u64,
    /// Its context lost tokens.
    pub truncated: bool,
    /// Greedy decoding would give it.
    pub is_greedy: bool,
}

/// One row; an item of multiple choice has golds, a window has a log-likelihood.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ScoreRow {
    /// Of multiple choice.
    Item {
        /// Its id.
        item: String,
        /// Digest of the item as read.
        doc_sha256: String,
        /// Index of the right option.
        gold: u64,
        /// By acc's argmax.
        pred: u64,
        /// By acc_norm's.
        pred_norm: u64,
        /// Every option.
        choices: Vec<ScoredOption>,
    },
    /// Of perplexity.
    Window {
        /// Its index.
        item: String,
        /// Log-likelihood, nats.
        ll: f64,
        /// Tokens that were scored.
        tokens: u64,
    },
}

/// The rows of a cell's scores, from the bytes of its `scores.parquet`: of windows, or of items.
pub fn rows(scores: Bytes, windows: bool) -> Result<Vec<ScoreRow>, ScoresError> {
    caught(|| read(scores, windows)).unwrap_or_else(|why| Err(ScoresError::Parquet { why }))
}

fn read(scores: Bytes, windows: bool) -> Result<Vec<ScoreRow>, ScoresError> {
    let broken = |why: String| ScoresError::Parquet { why };
    let reader = columnar::open(scores).map_err(|e| broken(e.to_string()))?;
    let mut rows = Vec::new();
    for batch in reader.build().map_err(|e| broken(e.to_string()))? {
        let columns = Columns { array: StructArray::from(batch.map_err(|e| broken(e.to_string()))?) };
        for row in 0..columns.array.len() {
            rows.push(if windows { columns.window(row)? } else { columns.item(row)? });
        }
    }
    Ok(rows)
}

/// The outcome of these scores, made as a worker makes it; of the kind of `recorded`.
pub fn outcome(scores: Bytes, recorded: &Outcome) -> Result<Outcome, ScoresError> {
    let wrong = |row: usize, why: String| ScoresError::Row { row, why };
    match recorded {
        Outcome::Perplexity { seqlen, .. } => {
            let (mut lls, mut length) = (Vec::new(), None);
            for (row, scored) in rows(scores, true)?.into_iter().enumerate() {
                let ScoreRow::Window { ll, tokens, .. } = scored else { continue };
                if *length.get_or_insert(tokens) != tokens {
                    return Err(wrong(
                        row,
                        format!("found {tokens} tokens, expected as many as in the others"),
                    ));
                }
                lls.push(ll);
            }
            let seqlen = match length {
                None => *seqlen,
                Some(tokens) => u32::try_from(tokens.saturating_add(1))
                    .map_err(|_| wrong(0, format!("found {tokens} tokens, expected those of a window")))?,
            };
            Ok(Outcome::of_windows(seqlen, &lls))
        }
        Outcome::Choices { .. } => {
            let mut items = Vec::new();
            for (row, scored) in rows(scores, false)?.into_iter().enumerate() {
                let ScoreRow::Item { gold, pred, pred_norm, choices, .. } = scored else { continue };
                let index = |n: u64| {
                    let fits = u32::try_from(n).ok().filter(|n| (*n as usize) < choices.len());
                    fits.ok_or_else(|| wrong(row, format!("found option {n} of {}", choices.len())))
                };
                items.push(ItemOutcome {
                    gold: index(gold)?,
                    pred: index(pred)?,
                    pred_norm: index(pred_norm)?,
                    options: choices.len(),
                    truncated: choices.iter().any(|choice| choice.truncated),
                });
            }
            Outcome::of_items(&items).ok_or_else(|| wrong(0, "an option that is none".to_owned()))
        }
    }
}

struct Columns {
    array: StructArray,
}

impl Columns {
    fn window(&self, row: usize) -> Result<ScoreRow, ScoresError> {
        let (ll, tokens) = (self.real("ll", row)?, self.whole("tokens", row)?);
        Ok(ScoreRow::Window { item: self.index("item", row)?, ll, tokens })
    }

    fn item(&self, row: usize) -> Result<ScoreRow, ScoresError> {
        let choices = self.column("choices")?;
        let Some(list) = choices.as_list_opt::<i32>() else {
            return Err(other("choices", choices.data_type(), "a list of structs"));
        };
        let inner = list.value(row);
        let Some(inner) = inner.as_struct_opt() else {
            return Err(other("choices", inner.data_type(), "a list of structs"));
        };
        let of_option = Self { array: inner.clone() };
        let choice = |i| {
            Ok(ScoredOption {
                ll: of_option.real("ll", i)?,
                tokens: of_option.whole("tokens", i)?,
                chars: of_option.whole("chars", i)?,
                truncated: of_option.flag("truncated", i)?,
                is_greedy: of_option.flag("is_greedy", i)?,
            })
        };
        Ok(ScoreRow::Item {
            item: self.text("item", row)?,
            doc_sha256: self.text("doc_sha256", row)?,
            gold: self.whole("gold", row)?,
            pred: self.whole("pred", row)?,
            pred_norm: self.whole("pred_norm", row)?,
            choices: (0..inner.len()).map(choice).collect::<Result<_, _>>()?,
        })
    }

    fn column(&self, name: &str) -> Result<&dyn Array, ScoresError> {
        let found = self.array.column_by_name(name).map(|c| &**c);
        found.ok_or_else(|| ScoresError::Column {
            column: name.to_owned(),
            found: "missing".to_owned(),
            expected: "a column of per-item scores",
        })
    }

    fn text(&self, name: &str, row: usize) -> Result<String, ScoresError> {
        let column = self.column(name)?;
        match column.as_string_opt::<i32>() {
            Some(texts) => Ok(texts.value(row).to_owned()),
            None => Err(other(name, column.data_type(), "text")),
        }
    }

    /// A window's item: its index, or an id as items have it.
    fn index(&self, name: &str, row: usize) -> Result<String, ScoresError> {
        match self.column(name)?.data_type() {
            DataType::Utf8 => self.text(name, row),
            _ => self.whole(name, row).map(|n| n.to_string()),
        }
    }

    fn flag(&self, name: &str, row: usize) -> Result<bool, ScoresError> {
        let column = self.column(name)?;
        column
            .as_boolean_opt()
            .map(|c| c.value(row))
            .ok_or_else(|| other(name, column.data_type(), "true or false"))
    }

    fn whole(&self, name: &str, row: usize) -> Result<u64, ScoresError> {
        let column = self.column(name)?;
        let found = match column.data_type() {
            DataType::UInt32 => Some(u64::from(column.as_primitive::<UInt32Type>().value(row))),
            DataType::UInt64 => Some(column.as_primitive::<UInt64Type>().value(row)),
            DataType::Int32 => u64::try_from(column.as_primitive::<Int32Type>().value(row)).ok(),
            DataType::Int64 => u64::try_from(column.as_primitive::<Int64Type>().value(row)).ok(),
            _ => None,
        };
        found.ok_or_else(|| other(name, column.data_type(), "a whole number, not negative"))
    }

    fn real(&self, name: &str, row: usize) -> Result<f64, ScoresError> {
        let column = self.column(name)?;
        match column.data_type() {
            DataType::Float64 => Ok(column.as_primitive::<Float64Type>().value(row)),
            DataType::Float32 => Ok(f64::from(column.as_primitive::<Float32Type>().value(row))),
            found => Err(other(name, found, "a real number")),
        }
    }
}

fn other(column: &str, found: &DataType, expected: &'static str) -> ScoresError {
    ScoresError::Column { column: column.to_owned(), found: found.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these two windows of 3 scored tokens.
    fn windows(tokens: [u32; 2]) -> Bytes {
        use arrow_array::{ArrayRef, Float64Array, RecordBatch, UInt32Array, UInt64Array};
        let columns: [(&str, ArrayRef); 3] = [
            ("item", std::sync::Arc::new(UInt64Array::from(vec![0, 1]))),
            ("ll", std::sync::Arc::new(Float64Array::from(vec![-1.0, -2.5]))),
            ("tokens", std::sync::Arc::new(UInt32Array::from(tokens.to_vec()))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes.into()
    }

    #[test]
    fn the_outcome_of_windows_is_made_of_their_rows_alone() {
        let recorded = Outcome::Perplexity { seqlen: 9, windows: 0, tokens: 0, window_nll: Vec::new() };
        let expected =
            Outcome::Perplexity { seqlen: 4, windows: 2, tokens: 6, window_nll: vec![1.0 / 3.0, 2.5 / 3.0] };
        assert_eq!(outcome(windows([3, 3]), &recorded).unwrap(), expected);
        let error = outcome(windows([3, 2]), &recorded).unwrap_err().to_string();
        assert_eq!(error, "row 1: found 2 tokens, expected as many as in the others");
        let choices = Outcome::of_items(&[]).unwrap();
        let error = outcome(windows([3, 3]), &choices).unwrap_err().to_string();
        assert!(error.contains("column choices is missing"), "{error}");
    }
}
