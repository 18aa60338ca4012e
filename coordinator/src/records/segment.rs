//! A segment: records of many variants and cells of a sweep, in two Parquet objects. `keys` says what is there and on which weights,
//! and is all that a start needs; `bodies` holds the records as they lie in the bucket, row by row with their digests.
//!
//! Derived: it may be deleted at any time. One that cannot be read, or is of another generation, is as good as absent.

use crate::caught::caught;
use crate::columnar;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, RecordBatch};
use bytes::Bytes;
use espalier_proto::ids::Digest;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::sync::Arc;

/// Where the generation stands in an object's own metadata.
const GENERATION: &str = "espalier.generation.1";
/// Rows read at once: of a damaged or forged object each may hold the largest value of its pages.
const BATCH: usize = 1_024;

/// What a start needs of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// A cell's; else a variant's.
    pub cell: bool,
    /// Its key.
    pub key: Digest,
    /// The cell's variant; the variant itself.
    pub variant: Digest,
    /// The weights that it names.
    pub weights: Digest,
}

/// Why an object is no part of a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It is no Parquet, or is damaged.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Its rows cannot be read.
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
    /// It is of another generation, or of another format.
    #[error("it is of another generation")]
    Generation,
    /// Its reader gave up.
    #[error("it cannot be read: {why}")]
    Panic {
        /// What the reader said.
        why: String,
    },
    /// A column is not what it should be.
    #[error("column {name} is not as expected")]
    Column {
        /// Which.
        name: &'static str,
    },
    /// A body is not what its row says.
    #[error("row {row} has another digest")]
    Digest {
        /// Which.
        row: usize,
    },
}

fn digests(of: impl Iterator<Item = Digest>) -> Result<ArrayRef, SegmentError> {
    Ok(Arc::new(FixedSizeBinaryArray::try_from_iter(of.map(|digest| *digest.bytes()))?))
}

fn encode(
    generation: Digest,
    columns: Vec<(&str, ArrayRef)>,
    compression: Compression,
) -> Result<Bytes, SegmentError> {
    let batch = RecordBatch::try_from_iter(columns)?;
    let said = KeyValue::new(GENERATION.to_owned(), generation.to_string());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        // Digests do not repeat, and bodies do not either.
        .set_dictionary_enabled(false)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![said]))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(Bytes::from(bytes))
}

/// Both objects: keys and bodies.
pub fn write(generation: Digest, rows: &[(Row, Bytes)]) -> Result<(Bytes, Bytes), SegmentError> {
    let of = |digest: fn(&Row) -> Digest| digests(rows.iter().map(move |(row, _)| digest(row)));
    let cells: BooleanArray = rows.iter().map(|(row, _)| Some(row.cell)).collect();
    let keys = vec![
        ("cell", Arc::new(cells) as ArrayRef),
        ("key", of(|row| row.key)?),
        ("variant", of(|row| row.variant)?),
        ("weights", of(|row| row.weights)?),
    ];
    let bodies = vec![
        ("sha256", digests(rows.iter().map(|(_, body)| Digest::of(body)))?),
        ("body", Arc::new(BinaryArray::from_iter_values(rows.iter().map(|(_, body)| body))) as ArrayRef),
    ];
    let level = Compression::ZSTD(ZstdLevel::default());
    Ok((encode(generation, keys, Compression::UNCOMPRESSED)?, encode(generation, bodies, level)?))
}

fn batches(
    bytes: Bytes,
    generation: Digest,
) -> Result<impl Iterator<Item = Result<RecordBatch, arrow_schema::ArrowError>>, SegmentError> {
    let builder = columnar::open(bytes)?;
    let said = builder.metadata().file_metadata().key_value_metadata();
    let said = said.and_then(|pairs| pairs.iter().find(|pair| pair.key == GENERATION)?.value.clone());
    if said != Some(generation.to_string()) {
        return Err(SegmentError::Generation);
    }
    Ok(builder.with_batch_size(BATCH).build()?)
}

fn column<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a FixedSizeBinaryArray, SegmentError> {
    let found = batch.column_by_name(name).and_then(|column| column.as_fixed_size_binary_opt());
    found.filter(|column| column.value_length() == 32).ok_or(SegmentError::Column { name })
}

fn digest(column: &FixedSizeBinaryArray, at: usize) -> Digest {
    Digest::from_bytes(column.value(at).try_into().expect("the column was found to hold 32 bytes a value"))
}

/// What `keys` says.
pub fn read_keys(bytes: Bytes, generation: Digest) -> Result<Vec<Row>, SegmentError> {
    caught(|| keys(bytes, generation)).unwrap_or_else(|why| Err(SegmentError::Panic { why }))
}

fn keys(bytes: Bytes, generation: Digest) -> Result<Vec<Row>, SegmentError> {
    let mut rows = Vec::new();
    for batch in batches(bytes, generation)? {
        let batch = batch?;
        let cells = batch.column_by_name("cell").and_then(|column| column.as_boolean_opt());
        let cells = cells.ok_or(SegmentError::Column { name: "cell" })?;
        let (keys, variants) = (column(&batch, "key")?, column(&batch, "variant")?);
        let weights = column(&batch, "weights")?;
        rows.extend((0..batch.num_rows()).map(|at| Row {
            cell: cells.value(at),
            key: digest(keys, at),
            variant: digest(variants, at),
            weights: digest(weights, at),
        }));
    }
    Ok(rows)
}

/// What `bodies` says, row by row, each held against its digest.
pub fn read_bodies(
    bytes: Bytes,
    generation: Digest,
    take: impl FnMut(usize, &[u8]),
) -> Result<(), SegmentError> {
    caught(|| bodies(bytes, generation, take)).unwrap_or_else(|why| Err(SegmentError::Panic { why }))
}

fn bodies(bytes: Bytes, generation: Digest, mut take: impl FnMut(usize, &[u8])) -> Result<(), SegmentError> {
    let mut row = 0;
    for batch in batches(bytes, generation)? {
        let batch = batch?;
        let sha256 = column(&batch, "sha256")?;
        let bodies = batch.column_by_name("body").and_then(|column| column.as_binary_opt::<i32>());
        let bodies = bodies.ok_or(SegmentError::Column { name: "body" })?;
        for at in 0..batch.num_rows() {
            if Digest::of(bodies.value(at)) != digest(sha256, at) {
                return Err(SegmentError::Digest { row });
            }
            take(row, bodies.value(at));
            row += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_at_which_its_reader_panics_is_none() {
        let found = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/segment/found-negative");
        let bytes = Bytes::from(std::fs::read(found).unwrap());
        // The generation of the inputs that are kept.
        let generation = Digest::of(&[0]);
        assert!(read_keys(bytes.clone(), generation).is_err());
        assert!(read_bodies(bytes, generation, |_, _| {}).is_err());
    }

    #[test]
    fn what_was_written_is_read_and_another_generations_segment_is_not() {
        let rows: Vec<(Row, Bytes)> = (0..40_000u32)
            .map(|n| {
                let of = |what: &str| Digest::of(format!("{what}{n}").as_bytes());
                let row = Row { cell: n % 3 > 0, key: of("k"), variant: of("v"), weights: of("w") };
                (row, Bytes::from(format!("{{\"n\": {n}}}\n")))
            })
            .collect();
        let generation = Digest::of(b"now");
        let (keys, bodies) = write(generation, &rows).unwrap();
        let read = read_keys(keys.clone(), generation).unwrap();
        assert!(read.iter().eq(rows.iter().map(|(row, _)| row)));
        let mut seen = 0;
        read_bodies(bodies, generation, |row, body| {
            assert_eq!(body, rows[row].1);
            seen += 1;
        })
        .unwrap();
        assert_eq!(seen, rows.len());
        assert!(matches!(read_keys(keys, Digest::of(b"later")), Err(SegmentError::Generation)));
        assert!(matches!(read_keys(Bytes::from_static(b"no"), generation), Err(SegmentError::Parquet(_))));
    }
}
