//! Token ids → windows of equal length: cut one after the other for perplexity, drawn for calibration as Wanda's loaders draw.

use super::error::InputsError;
use super::mt19937::Mt19937;
use std::collections::BTreeMap;

/// All whole windows one after the other; the tail is dropped.
pub fn disjoint(tokens: &[u32], seqlen: usize, limit: Option<u64>) -> Vec<Vec<u32>> {
    let most = limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
    tokens.chunks_exact(seqlen).take(most).map(<[u32]>::to_vec).collect()
}

/// Windows at random offsets of one text (Wanda's wikitext2 loader). `None` unless there are more tokens than a window has.
pub fn concat(tokens: &[u32], nsamples: u32, seqlen: usize, seed: u64) -> Option<Vec<Vec<u32>>> {
    let room = tokens.len().checked_sub(seqlen).filter(|room| *room > 0)?;
    let mut random = Mt19937::new(seed);
    let draw = |_| {
        let start = random.below(room);
        tokens[start..start + seqlen].to_vec()
    };
    Some((0..nsamples).map(draw).collect())
}

/// Windows at random offsets of random rows that are longer than a window (Wanda's C4 loader). Rows are tokenised when they
/// are drawn. `None` if no row is long enough.
pub fn document(
    rows: usize,
    nsamples: u32,
    seqlen: usize,
    seed: u64,
    mut tokens_of: impl FnMut(usize) -> Result<Vec<u32>, InputsError>,
) -> Result<Option<Vec<Vec<u32>>>, InputsError> {
    let mut random = Mt19937::new(seed);
    let mut known: BTreeMap<usize, Option<Vec<u32>>> = BTreeMap::new();
    let mut windows = Vec::new();
    while windows.len() < nsamples as usize {
        if known.len() == rows && known.values().all(Option::is_none) {
            return Ok(None);
        }
        let row = random.below(rows);
        if let std::collections::btree_map::Entry::Vacant(new) = known.entry(row) {
            let tokens = tokens_of(row)?;
            new.insert((tokens.len() > seqlen).then_some(tokens));
        }
        if let Some(tokens) = &known[&row] {
            let start = random.below(tokens.len() - seqlen);
            windows.push(tokens[start..start + seqlen].to_vec());
        }
    }
    Ok(Some(windows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disjoint_windows_drop_the_tail_and_keep_the_limit() {
        let tokens: Vec<u32> = (0..11).collect();
        assert_eq!(disjoint(&tokens, 4, None), [[0, 1, 2, 3], [4, 5, 6, 7]]);
        assert_eq!(disjoint(&tokens, 4, Some(1)).len(), 1);
        assert!(disjoint(&tokens, 12, None).is_empty());
    }

    #[test]
    fn drawn_windows_start_where_cpythons_generator_says() {
        // Oracle: CPython 3.11, random.seed(0); random.randint(0, 341469 - 2048 - 1).
        let tokens: Vec<u32> = (0..341_469).collect();
        let starts: Vec<u32> = concat(&tokens, 5, 2048, 0).unwrap().iter().map(|w| w[0]).collect();
        assert_eq!(starts, [201_979, 220_500, 21_225, 135_746, 268_055]);
    }

    #[test]
    fn as_many_tokens_as_a_window_has_are_too_few_to_draw_from() {
        assert!(concat(&[1, 2, 3, 4], 1, 4, 0).is_none());
        assert_eq!(concat(&[1, 2, 3, 4, 5], 1, 4, 0).unwrap(), [[1, 2, 3, 4]]);
    }

    #[test]
    fn documents_no_longer_than_a_window_are_drawn_again_or_given_up() {
        let lengths = [3usize, 9, 4];
        let tokens_of = |row: usize| Ok((0..lengths[row] as u32).map(|i| row as u32 * 100 + i).collect());
        let windows = document(3, 6, 4, 0, tokens_of).unwrap().unwrap();
        assert!(windows.iter().all(|w| w.len() == 4 && w[0] >= 100 && w[0] < 105), "{windows:?}");
        assert!(document(1, 1, 4, 0, |_| Ok(vec![1, 2, 3])).unwrap().is_none());
    }
}
