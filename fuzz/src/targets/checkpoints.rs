//! Compact checkpoints and masks of finished blocks, as they come from a bucket.

use crate::words::{Words, digest};
use espalier_proto::checkpoint::{Compact, Mask, Partial};
use espalier_proto::ids::{ModelDigest, VariantKey};
use espalier_proto::recipe::Dtype;

/// Any bytes: what reads says what it was, written again.
pub(super) fn compact(bytes: &[u8]) {
    if let Ok(read) = Compact::decode(bytes) {
        for mask in read.masks.values() {
            let kept = mask.unpack();
            assert_eq!(&Mask::from_kept(mask.rows(), mask.columns(), &kept), mask);
            assert!(mask.pruned() <= mask.weights());
        }
        let again = Compact::decode(&read.encode()).expect("what was written is read");
        assert_eq!((&again, again.weights()), (&read, read.weights()));
        assert!(Compact::verified(bytes, read.weights()).is_ok());
    }
    if let Ok(read) = Partial::decode(bytes) {
        assert_eq!(Partial::decode(&read.encode()).expect("what was written is read"), read);
    }
}

/// Checkpoints that are whole, and then altered at one place.
pub(super) fn compact_whole(bytes: &[u8]) {
    let mut words = Words::new(bytes);
    let dtype = [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16][words.below(3)];
    let masks = (0..words.below(4)).map(|_| {
        let (rows, columns) = (words.below(5), 1 + words.below(20));
        let kept: Vec<u8> = (0..rows * columns).map(|_| words.below(2) as u8).collect();
        (words.text(), Mask::from_kept(rows, columns, &kept))
    });
    let compact = Compact { model: ModelDigest(digest(0)), dtype, masks: masks.collect() };
    let partial = Partial {
        key: VariantKey(digest(1)),
        fingerprint: words.text(),
        from: words.number() as u32,
        to: words.number() as u32,
        seconds: [(words.text(), words.number() as f64)].into(),
        compact,
    };
    let mut file = partial.encode().to_vec();
    assert_eq!(Partial::decode(&file).expect("what was written is read"), partial);
    let at = words.number() as usize % file.len();
    let by = words.number() as u8;
    file[at] ^= by;
    if let Ok(read) = Partial::decode(&file) {
        assert_eq!(read, partial, "byte {at} altered by {by} went unseen");
    }
    compact_file(&file);
}

fn compact_file(file: &[u8]) {
    compact(file);
}
