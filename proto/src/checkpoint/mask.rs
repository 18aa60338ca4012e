//! Which weights of one linear are kept: a bit each, row by row, every row beginning at a byte.
//!
//! Bit `c % 8` (least significant first) of byte `c / 8` of a row is column `c`; 1 = kept. Unused bits of a row's last byte
//! are 0, so that equal masks have equal bytes.

/// Kept weights of a linear.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    rows: usize,
    columns: usize,
    bits: Vec<u8>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask {}x{}, {} pruned", self.rows, self.columns, self.pruned())
    }
}

impl Mask {
    /// From one byte a weight, row-major, not zero = kept.
    ///
    /// # Panics
    /// If there are not `rows · columns` bytes: a bug in the caller.
    pub fn from_kept(rows: usize, columns: usize, kept: &[u8]) -> Self {
        assert_eq!(kept.len(), rows * columns, "one byte a weight");
        let stride = columns.div_ceil(8);
        let mut bits = vec![0u8; rows * stride];
        if columns > 0 {
            for (row, packed) in kept.chunks_exact(columns).zip(bits.chunks_exact_mut(stride)) {
                for (group, byte) in row.chunks(8).zip(packed) {
                    for (i, &k) in group.iter().enumerate() {
                        *byte |= u8::from(k != 0) << i;
                    }
                }
            }
        }
        Self { rows, columns, bits }
    }

    /// From packed bits as [`Mask::bits`] gives them; `None` if their number or an unused bit is wrong, or if rows of nothing
    /// are claimed, of which there could be any number.
    pub fn from_bits(rows: usize, columns: usize, bits: Vec<u8>) -> Option<Self> {
        let stride = columns.div_ceil(8);
        if rows.checked_mul(stride) != Some(bits.len()) || (stride == 0 && rows > 0) {
            return None;
        }
        let unused = if columns.is_multiple_of(8) { 0 } else { 0xffu8 << (columns % 8) };
        let clean = stride == 0 || bits.chunks_exact(stride).all(|row| row[stride - 1] & unused == 0);
        clean.then_some(Self { rows, columns, bits })
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Packed bits, `rows · ⌈columns / 8⌉` bytes.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Packed bits of one row.
    pub fn row(&self, row: usize) -> &[u8] {
        let stride = self.columns.div_ceil(8);
        &self.bits[row * stride..(row + 1) * stride]
    }

    /// One byte a weight, row-major, 1 = kept.
    pub fn unpack(&self) -> Vec<u8> {
        let mut kept = Vec::with_capacity(self.rows * self.columns);
        for row in 0..self.rows {
            let bits = self.row(row);
            kept.extend((0..self.columns).map(|c| bits[c / 8] >> (c % 8) & 1));
        }
        kept
    }

    /// Weights in all.
    pub fn weights(&self) -> u64 {
        self.rows as u64 * self.columns as u64
    }

    /// Weights that are not kept.
    pub fn pruned(&self) -> u64 {
        self.weights() - self.bits.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_unpacks_to_what_was_packed_at_every_width() {
        for columns in 1..40 {
            let kept: Vec<u8> = (0..3 * columns).map(|i| u8::from((i * 7 + i / 5) % 3 != 0)).collect();
            let mask = Mask::from_kept(3, columns, &kept);
            assert_eq!(mask.unpack(), kept);
            assert_eq!(mask.pruned(), kept.iter().filter(|k| **k == 0).count() as u64);
            assert_eq!(Mask::from_bits(3, columns, mask.bits().to_vec()), Some(mask));
        }
    }

    #[test]
    fn bits_are_packed_as_numpy_packs_them_little_endian() {
        // numpy.packbits([[1,0,0,0,0,0,0,1,1,0]], axis=-1, bitorder="little") = [[129, 1]]
        assert_eq!(Mask::from_kept(1, 10, &[1, 0, 0, 0, 0, 0, 0, 1, 1, 0]).bits(), [129, 1]);
    }

    #[test]
    fn a_set_bit_past_the_last_column_is_refused() {
        assert_eq!(Mask::from_bits(1, 10, vec![129, 4]), None);
        assert_eq!(Mask::from_bits(1, 10, vec![129]), None);
    }

    #[test]
    fn rows_without_columns_of_which_there_could_be_any_number_are_refused() {
        assert_eq!(Mask::from_bits(usize::MAX, 0, Vec::new()), None);
        assert_eq!(Mask::from_bits(1, 0, Vec::new()), None);
        assert_eq!(Mask::from_bits(usize::MAX, 9, vec![0; 2]), None);
        assert_eq!(Mask::from_bits(0, 0, Vec::new()).unwrap().weights(), 0);
    }
}
