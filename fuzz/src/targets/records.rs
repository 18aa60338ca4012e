//! Objects of a bucket: whoever may write into it may have written them.

use crate::words::digest;
use bytes::Bytes;
use espalier::records::segment;
use espalier::serve::fold::Fold;
use espalier_proto::bucket::{Formatted, object};
use espalier_proto::inputs::Inputs;
use espalier_proto::mirror::parse_list;
use espalier_proto::records::{CellRecord, DroppedRecord, FailureRecord, VariantRecord};
use espalier_proto::sweep::{LogEntry, ResolvedSweep};
use serde::{Serialize, de::DeserializeOwned};

/// What reads is what was meant: written and read again it is the same.
fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(read: &T) {
    let written = serde_json::to_vec(read).expect("what was JSON is JSON");
    assert_eq!(&serde_json::from_slice::<T>(&written).expect("what was written is read"), read);
}

fn one<T: Formatted + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(read) = object::<T>("o.json", bytes) {
        again(&read);
    }
}

/// Records of variants, cells and failures.
pub(super) fn record(bytes: &[u8]) {
    one::<VariantRecord>(bytes);
    one::<CellRecord>(bytes);
    one::<FailureRecord>(bytes);
    one::<DroppedRecord>(bytes);
}

/// Resolved inputs.
pub(super) fn inputs(bytes: &[u8]) {
    let Ok(read) = Inputs::parse(bytes) else { return };
    again(&read);
    let _ = (read.fed_tokens(), read.count(), read.max_token(), read.digest());
    let _ = espalier::plan::load::load(&read);
}

/// Mirrored models' lists, resolved sweeps, entries of logs.
pub(super) fn objects(bytes: &[u8]) {
    if let Ok(list) = parse_list("files.json", bytes) {
        again(&list);
        for file in list.files {
            let joined = std::path::Path::new("/cache/m").join(&file.name);
            assert_eq!(joined.parent(), Some(std::path::Path::new("/cache/m")), "{:?}", file.name);
        }
    }
    one::<ResolvedSweep>(bytes);
    if let Ok(entry) = object::<LogEntry>("00000001.json", bytes) {
        again(&entry);
        let mut fold = Fold::default();
        fold.apply(1, &entry);
        assert_eq!(fold.owner, Some(entry.instance));
    }
}

/// Both objects of a segment.
pub(super) fn segment(bytes: &[u8]) {
    let (bytes, generation) = (Bytes::copy_from_slice(bytes), digest(0));
    let _ = segment::read_keys(bytes.clone(), generation);
    let _ = segment::read_bodies(bytes, generation, |_, _| {});
}
