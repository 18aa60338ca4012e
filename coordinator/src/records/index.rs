//! What is committed, by key.

use espalier_proto::ids::{CellKey, VariantKey};
use espalier_proto::records::{CellRecord, VariantRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Records of variants, and of cells that were measured on the weights that their variant's record names.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// By key.
    pub variants: BTreeMap<VariantKey, VariantRecord>,
    /// By key.
    pub cells: BTreeMap<CellKey, CellRecord>,
    /// Cells whose record names other weights than their variant's record: measured on a checkpoint that is no more.
    pub stale: BTreeSet<CellKey>,
    /// Variants whose checkpoint was dropped and that are to be pruned again, since a cell of theirs, or they themselves, are wanted.
    pub dropped: BTreeSet<VariantKey>,
}

impl Committed {
    /// Takes cells only where their variant's record is there and names the weights that they were measured on.
    pub fn new(
        variants: impl IntoIterator<Item = (VariantKey, VariantRecord)>,
        cells: impl IntoIterator<Item = (CellKey, CellRecord)>,
    ) -> Self {
        let variants: BTreeMap<_, _> = variants.into_iter().collect();
        let mut there = Self { variants, ..Self::default() };
        for (key, cell) in cells {
            match there.variants.get(&cell.variant) {
                Some(variant) if variant.weights == cell.weights => drop(there.cells.insert(key, cell)),
                Some(_) => drop(there.stale.insert(key)),
                None => {}
            }
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::ids::{Digest, InputsDigest, ModelDigest};
    use espalier_proto::recipe::{Backend, Dtype, VariantSpec};
    use espalier_proto::records::{Measured, Outcome, RECORD_FORMAT};

    fn measured() -> Measured {
        Measured {
            fingerprint: "f".into(),
            device: "d".into(),
            seconds: BTreeMap::new(),
            peak_alloc_mib: None,
            peak_device_mib: None,
            rss_mib: 1.0,
            joules: None,
            ended: "2026-01-01T00:00:00Z".into(),
            resumed_blocks: 0,
        }
    }

    fn variant(weights: &[u8]) -> (VariantKey, VariantRecord) {
        let key = VariantKey(Digest::of(b"v"));
        let spec = VariantSpec {
            model: ModelDigest(Digest::of(b"m")),
            method: "dense".into(),
            params: BTreeMap::new(),
            targets: BTreeMap::new(),
            calibration: None,
            dtype: Dtype::Float32,
            backend: Backend::Cpu,
            threads: Some(2),
            device_kind: None,
            tf32: false,
        };
        let record = VariantRecord {
            format: RECORD_FORMAT,
            key,
            spec,
            attempt: "main-1-1".parse().unwrap(),
            blobs: Vec::new(),
            weights: Digest::of(weights),
            linears: BTreeMap::new(),
            bytes: 0,
            measured: measured(),
        };
        (key, record)
    }

    fn cell(weights: &[u8]) -> (CellKey, CellRecord) {
        let key = CellKey(Digest::of(b"c"));
        let record = CellRecord {
            format: RECORD_FORMAT,
            key,
            variant: VariantKey(Digest::of(b"v")),
            inputs: InputsDigest(Digest::of(b"i")),
            weights: Digest::of(weights),
            attempt: "main-1-1".parse().unwrap(),
            blobs: Vec::new(),
            outcome: Outcome::Choices {
                items: 0,
                truncated: 0,
                confusion: Vec::new(),
                confusion_norm: Vec::new(),
            },
            measured: measured(),
        };
        (key, record)
    }

    #[test]
    fn a_cell_measured_on_other_weights_than_its_variant_records_is_missing() {
        assert_eq!(Committed::new([variant(b"w")], [cell(b"w")]).cells.len(), 1);
        let there = Committed::new([variant(b"w")], [cell(b"other")]);
        assert!(there.cells.is_empty() && there.stale.len() == 1);
    }

    #[test]
    fn a_cell_whose_variant_has_no_record_is_missing() {
        let there = Committed::new([], [cell(b"w")]);
        assert!(there.cells.is_empty() && there.stale.is_empty());
    }
}
