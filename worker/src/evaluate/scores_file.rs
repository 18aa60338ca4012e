//! Per-item scores as Parquet: what statistics need later, fixed from the first day.
//!
//! Multiple choice: `item, doc_sha256, gold, pred, pred_norm, choices: list<struct{ll, tokens, chars, truncated, is_greedy}>`.
//! Perplexity, a window a row: `item, ll, tokens`.

use super::EvaluateError;
use super::multiple_choice::ItemScore;
use arrow_array::builder::{BooleanBuilder, Float64Builder, ListBuilder, StructBuilder, UInt32Builder};
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Fields};
use espalier_proto::inputs::Choices;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::path::Path;
use std::sync::Arc;

/// Writes one row an item.
pub fn write_choices(file: &Path, choices: &Choices, scores: &[ItemScore]) -> Result<(), EvaluateError> {
    let fields = Fields::from(vec![
        Field::new("ll", DataType::Float64, false),
        Field::new("tokens", DataType::UInt32, false),
        Field::new("chars", DataType::UInt32, false),
        Field::new("truncated", DataType::Boolean, false),
        Field::new("is_greedy", DataType::Boolean, false),
    ]);
    let item = Arc::new(Field::new_struct("item", fields.clone(), false));
    let mut list = ListBuilder::new(StructBuilder::from_fields(fields, 0)).with_field(item);
    const KINDS: &str = "the builder was made from these fields";
    for (item, score) in choices.items.iter().zip(scores) {
        for (info, &(ll, greedy)) in item.options.iter().zip(&score.options) {
            let option = list.values();
            option.field_builder::<Float64Builder>(0).expect(KINDS).append_value(ll);
            option.field_builder::<UInt32Builder>(1).expect(KINDS).append_value(info.tokens);
            option.field_builder::<UInt32Builder>(2).expect(KINDS).append_value(info.chars);
            option.field_builder::<BooleanBuilder>(3).expect(KINDS).append_value(info.truncated);
            option.field_builder::<BooleanBuilder>(4).expect(KINDS).append_value(greedy);
            option.append(true);
        }
        list.append(true);
    }
    let items = &choices.items;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("item", Arc::new(StringArray::from_iter_values(items.iter().map(|i| &i.id)))),
        (
            "doc_sha256",
            Arc::new(StringArray::from_iter_values(items.iter().map(|i| i.doc_sha256.to_string()))),
        ),
        ("gold", Arc::new(UInt32Array::from_iter_values(items.iter().map(|i| i.gold)))),
        ("pred", Arc::new(UInt32Array::from_iter_values(scores.iter().map(|s| s.pred)))),
        ("pred_norm", Arc::new(UInt32Array::from_iter_values(scores.iter().map(|s| s.pred_norm)))),
        ("choices", Arc::new(list.finish())),
    ];
    write(file, columns)
}

/// Writes one row a window.
pub fn write_windows(file: &Path, lls: &[f64], tokens: u32) -> Result<(), EvaluateError> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("item", Arc::new(UInt64Array::from_iter_values(0..lls.len() as u64))),
        ("ll", Arc::new(Float64Array::from_iter_values(lls.iter().copied()))),
        ("tokens", Arc::new(UInt32Array::from_iter_values(lls.iter().map(|_| tokens)))),
    ];
    write(file, columns)
}

fn write(file: &Path, columns: Vec<(&str, ArrayRef)>) -> Result<(), EvaluateError> {
    let failed = |why: String| EvaluateError::ScoresFile { path: file.display().to_string(), why };
    let columns = columns.into_iter().map(|(name, array)| (name, array, false));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| failed(e.to_string()))?;
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
    let out = std::fs::File::create(file).map_err(|e| failed(e.to_string()))?;
    let mut writer =
        ArrowWriter::try_new(out, batch.schema(), Some(properties)).map_err(|e| failed(e.to_string()))?;
    writer.write(&batch).map_err(|e| failed(e.to_string()))?;
    writer.close().map(drop).map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::multiple_choice::tests::task;
    use super::*;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, UInt32Type};

    #[test]
    fn per_item_scores_read_back_with_the_names_and_kinds_that_are_documented() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let score = |pred| ItemScore { pred, pred_norm: 0, options: vec![(-1.5, true), (-0.25, false)] };
        write_choices(file.path(), &task(&[1, 0], &[3, 4]), &[score(1), score(0)]).unwrap();
        let open =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file.reopen().unwrap());
        let batch = open.unwrap().build().unwrap().next().unwrap().unwrap();
        let schema = batch.schema();
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["item", "doc_sha256", "gold", "pred", "pred_norm", "choices"]);
        assert_eq!(batch.column(3).as_primitive::<UInt32Type>().values(), &[1, 0]);
        let second = batch.column(5).as_list::<i32>().value(1);
        let options = second.as_struct();
        assert_eq!(options.column_names(), ["ll", "tokens", "chars", "truncated", "is_greedy"]);
        assert_eq!(options.column(0).as_primitive::<Float64Type>().values(), &[-1.5, -0.25]);
        assert_eq!(options.column(2).as_primitive::<UInt32Type>().values(), &[3, 4]);
        assert_eq!(options.len(), 2);
    }
}
