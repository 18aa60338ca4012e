//! Parquet → records, through arrow. Only kinds that datasets hold: text, numbers, true and false, lists and structs of them.

use super::records::{Place, Record};
use crate::caught::caught;
use crate::columnar;
use crate::inputs::error::InputsError;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::file::reader::ChunkReader;
use serde_json::{Map, Value};
use std::path::Path;

/// Every row of a Parquet file that is called `file`.
pub fn read_parquet(file: &Path, opened: impl ChunkReader + 'static) -> Result<Vec<Record>, InputsError> {
    caught(|| rows(file, opened)).unwrap_or_else(|why| Err(unreadable(file, why)))
}

fn unreadable(file: &Path, why: String) -> InputsError {
    InputsError::data(file, format!("no readable Parquet ({why})"), "a Parquet table")
}

fn rows(file: &Path, opened: impl ChunkReader + 'static) -> Result<Vec<Record>, InputsError> {
    let broken = |why| unreadable(file, why);
    let reader = columnar::open(opened).and_then(|b| b.build()).map_err(|e| broken(e.to_string()))?;
    let mut records = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| broken(e.to_string()))?;
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let mut fields = Map::new();
            for (field, column) in schema.fields().iter().zip(batch.columns()) {
                let value = value_at(column, row).ok_or_else(|| {
                    broken(format!("column {} of type {}", field.name(), field.data_type()))
                })?;
                fields.insert(field.name().clone(), value);
            }
            records.push(Record {
                file: file.to_owned(),
                place: Place::Row(records.len() + 1),
                fields,
                untyped: false,
            });
        }
    }
    Ok(records)
}

/// One value, `None` if its type is none that we know.
fn value_at(column: &ArrayRef, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return Some(Value::Null);
    }
    let list = |items: ArrayRef| {
        (0..items.len()).map(|i| value_at(&items, i)).collect::<Option<Vec<_>>>().map(Value::Array)
    };
    Some(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => f64::from(column.as_primitive::<Float32Type>().value(row)).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).into(),
        DataType::Utf8View => column.as_string_view().value(row).into(),
        DataType::List(_) => list(column.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(column.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(column.as_fixed_size_list().value(row))?,
        DataType::Struct(fields) => {
            let parts = column.as_struct();
            let mut object = Map::new();
            for (field, part) in fields.iter().zip(parts.columns()) {
                object.insert(field.name().clone(), value_at(part, row)?);
            }
            Value::Object(object)
        }
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let index = value_at(&dictionary.keys().slice(row, 1), 0)?.as_u64()?;
            value_at(dictionary.values(), index as usize)?
        }
        // A type that we do not know in a column that nothing asks for must not make the file unreadable.
        DataType::Binary
        | DataType::LargeBinary
        | DataType::Timestamp(..)
        | DataType::Date32
        | DataType::Date64 => Value::Null,
        _ => return None,
    })
}
