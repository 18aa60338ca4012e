//! Data files: what a sweep evaluates on and calibrates with.

use espalier::inputs::read::{columns, logiqa, records};
use std::path::Path;

fn text_records(bytes: &[u8], name: &str) {
    let file = Path::new(name);
    let Ok(text) = records::text_of(file, bytes.to_vec()) else { return };
    if let Ok(read) = records::parse_records(file, &text) {
        let lines = bytes.iter().filter(|b| **b == b'\n').count() + 1;
        for record in read {
            if let records::Place::Line(n) = record.place {
                assert!((1..=lines).contains(&n), "line {n} of {lines}");
            }
        }
    }
}

/// JSON lines, and a JSON array.
pub(super) fn json(bytes: &[u8]) {
    text_records(bytes, "d.jsonl");
    text_records(bytes, "d.json");
}

/// Comma-separated values.
pub(super) fn csv(bytes: &[u8]) {
    text_records(bytes, "d.csv");
}

/// A Parquet file.
pub(super) fn parquet(bytes: &[u8]) {
    let _ = columns::read_parquet(Path::new("d.parquet"), bytes::Bytes::copy_from_slice(bytes));
}

/// LogiQA's text files.
pub(super) fn logiqa(bytes: &[u8]) {
    let file = Path::new("d.txt");
    let Ok(text) = records::text_of(file, bytes.to_vec()) else { return };
    if let Ok(read) = logiqa::parse_blocks(file, &text) {
        assert!(read.iter().all(|r| r.fields.len() == 4));
    }
}
