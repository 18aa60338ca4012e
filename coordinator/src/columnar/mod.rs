//! The one door to Parquet that others may have made. The parquet crate believes what such a file says of its own size: what it will
//! read is walked and counted before it reads it.

mod compact;

use bytes::Bytes;
use compact::Left;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{FooterTail, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use std::io::{Cursor, Read};
use std::sync::Arc;

/// Bytes after the footer: its length, and what tells that it is Parquet.
const TAIL: u64 = 8;
/// Values of all pages together, and how many more for each byte of the file: a run of one value takes no room, rows that are read do.
const VALUES: (u64, u64) = (1 << 18, 16);
/// Bytes of all pages together when they are unpacked, and how many more for each byte of the file.
const UNPACKED: (u64, u64) = (64 << 20, 1024);

/// Opens a Parquet file. What is wrong with its footer is told here, what is wrong with a page where it is read.
pub fn open<R: ChunkReader + 'static>(of: R) -> Result<ParquetRecordBatchReaderBuilder<Walked<R>>> {
    let length = of.len();
    let short = |found: u64| {
        ParquetError::General(format!("found {length} bytes, expected at least {found}: its end is missing"))
    };
    let end = length.checked_sub(TAIL).ok_or_else(|| short(TAIL))?;
    let tail = FooterTail::try_from(&of.get_bytes(end, TAIL as usize)?[..])?;
    if tail.is_encrypted_footer() {
        return Err(ParquetError::General("its footer is encrypted".to_owned()));
    }
    let claimed = tail.metadata_length();
    let start = end.checked_sub(claimed as u64).ok_or_else(|| short(claimed as u64 + TAIL))?;
    let footer = of.get_bytes(start, claimed)?;
    // A footer unpacks nothing; what it counts are columns, each of which is in it.
    compact::walk(&footer[..], compact::FOOTER, &Left::new(claimed as u64, 0))
        .map_err(|e| ParquetError::General(format!("its footer: {e}")))?;
    let metadata = ParquetMetaDataReader::decode_metadata(&footer)?;
    if metadata.file_metadata().schema_descr().num_columns() == 0 {
        // It would have as many empty rows as it says.
        return Err(ParquetError::General("found no column, expected one".to_owned()));
    }
    // A schema of Arrow's own could make a row of any size of a null.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options)?;
    let most = |(most, each): (u64, u64)| length.saturating_mul(each).saturating_add(most);
    let left = Arc::new(Left::new(most(VALUES), most(UNPACKED)));
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(Walked { of, left }, metadata))
}

/// A file of which only page headers that were walked are read.
pub struct Walked<R> {
    of: R,
    left: Arc<Left>,
}

impl<R: Length> Length for Walked<R> {
    fn len(&self) -> u64 {
        self.of.len()
    }
}

impl<R: ChunkReader> ChunkReader for Walked<R> {
    type T = Header<R::T>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let from = Some(self.of.get_read(start)?);
        Ok(Header { from, walked: Cursor::default(), left: self.left.clone() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.of.get_bytes(start, length)
    }
}

/// A page header: walked when the first of its bytes is asked for, for the crate also makes readers that it does not use.
pub struct Header<R> {
    from: Option<R>,
    walked: Cursor<Vec<u8>>,
    left: Arc<Left>,
}

impl<R: Read> Read for Header<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if let Some(from) = self.from.take() {
            self.walked = Cursor::new(compact::walk(from, compact::PAGE, &self.left)?);
        }
        self.walked.read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Array, ArrayRef, Int32Array, RecordBatch, StructArray};
    use arrow_schema::{ArrowError, Field};

    fn file(column: ArrayRef) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter([("column", column)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    fn rows(bytes: Vec<u8>) -> std::result::Result<usize, String> {
        let batches = open(Bytes::from(bytes)).and_then(|b| b.build()).map_err(|e| e.to_string())?;
        let batches: std::result::Result<Vec<_>, ArrowError> = batches.collect();
        Ok(batches.map_err(|e| e.to_string())?.iter().map(RecordBatch::num_rows).sum())
    }

    /// Field 100 of a type, with these bytes, many times.
    fn unknown(kind: u8, bytes: &[u8]) -> Vec<u8> {
        [&[kind, 0xc8, 1], bytes].concat().repeat(50)
    }

    /// The file with more fields at its footer's end.
    fn with_footer(mut bytes: Vec<u8>, fields: &[u8]) -> Vec<u8> {
        let end = bytes.len() - 8;
        let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) + fields.len() as u32;
        bytes[end..end + 4].copy_from_slice(&length.to_le_bytes());
        bytes.splice(end - 1..end - 1, fields.iter().copied());
        bytes
    }

    /// The file with more fields at the end of its first page's header.
    fn with_page(mut bytes: Vec<u8>, fields: &[u8]) -> Vec<u8> {
        let header = compact::walk(&bytes[4..], compact::PAGE, &Left::new(100, 1000)).unwrap();
        bytes.splice(3 + header.len()..3 + header.len(), fields.iter().copied());
        bytes
    }

    #[test]
    fn what_a_file_says_of_its_size_is_not_believed() {
        let plain = || file(Arc::new(Int32Array::from(vec![1, 2, 3])));
        assert_eq!(rows(plain()), Ok(3));
        let most = [0xff, 0xff, 0xff, 0xff, 7];
        let list = |of: u8| unknown(9, &[&[0xf0 | of], &most[..]].concat());
        // A map of true and false; a set of doubles; a text; a list of two lists of doubles.
        let map = unknown(11, &[&most[..], &[0x11]].concat());
        let text = unknown(8, &most);
        let lists = unknown(9, &[&[0x29, 0xf7], &most[..]].concat());
        for fields in [list(1), list(2), list(7), list(12), list(13), map, text, lists] {
            let found = rows(with_footer(plain(), &fields)).unwrap_err();
            assert!(found.starts_with("Parquet error: its footer: found "), "{found}");
            let found = rows(with_page(plain(), &fields)).unwrap_err();
            assert!(found.contains("found "), "{found}");
        }
        // One that is there is passed over.
        assert_eq!(rows(with_footer(plain(), &unknown(9, &[0x25, 2, 4]))), Ok(3));
        let deep = unknown(9, &[0x19; 70]);
        assert!(rows(with_footer(plain(), &deep)).unwrap_err().contains("expected at most 64 levels"));
    }

    #[test]
    fn a_field_is_of_the_type_that_is_read() {
        let mut bytes = file(Arc::new(Int32Array::from(vec![1])));
        let end = bytes.len() - 8;
        let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
        // The version, as a text of two bytes.
        assert_eq!(bytes[end - length..end - length + 2], [0x15, 2]);
        bytes[end - length] = 0x18;
        let found = rows(bytes).unwrap_err();
        assert_eq!(found, "Parquet error: its footer: found type 8 in field 1 of F, expected \"v\"");
    }

    #[test]
    fn text_in_a_delta_encoding_is_refused() {
        use parquet::basic::Encoding;
        use parquet::file::properties::{WriterProperties, WriterVersion};
        let text: ArrayRef = Arc::new(arrow_array::StringArray::from(vec!["a", "b"]));
        let batch = RecordBatch::try_from_iter([("column", text)]).unwrap();
        for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                let properties =
                    WriterProperties::builder().set_encoding(encoding).set_writer_version(version);
                let properties = properties.set_dictionary_enabled(false).build();
                let mut bytes = Vec::new();
                let writer =
                    parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties));
                let mut writer = writer.unwrap();
                writer.write(&batch).unwrap();
                writer.close().unwrap();
                let found = rows(bytes).unwrap_err();
                assert!(found.contains("found text in a delta encoding ("), "{found}");
            }
        }
    }

    #[test]
    fn rows_take_room_and_columns_are_not_nested_for_ever() {
        assert_eq!(rows(file(Arc::new(Int32Array::new_null(200_000)))), Ok(200_000));
        let found = rows(file(Arc::new(Int32Array::new_null(1 << 20)))).unwrap_err();
        assert!(found.contains(" more values, expected at most "), "{found}");
        let mut column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        for _ in 0..70 {
            let field = Field::new("inner", column.data_type().clone(), true);
            column = Arc::new(StructArray::from(vec![(Arc::new(field), column)]));
        }
        assert!(rows(file(column)).unwrap_err().contains("expected at most 64 levels of columns"));
        for short in [&b""[..], b"PAR1", b"\xff\xff\xff\x7fPAR1", b"12345678"] {
            assert!(rows(short.to_vec()).is_err());
        }
    }
}
