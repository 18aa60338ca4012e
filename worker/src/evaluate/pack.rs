//! Resolved inputs → what the decoder is fed, micro-batch by micro-batch, exactly as composed. Plain numbers, no tensors.
//!
//! B = rows of a micro-batch, T = its longest row (rows are padded on the right), S = scored positions. A row is a context and
//! options that do not see each other, each continuing at the context's end.

use super::check::{PackError, check_coverage};
use espalier_proto::inputs::{Choices, Row, Windows};

/// Lengths of a row: a context, then options that do not see each other, each continuing at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedRow {
    /// Tokens of the context.
    pub context: usize,
    /// Tokens fed of each option: all but its last.
    pub options: Vec<usize>,
}

impl PackedRow {
    /// Tokens fed for this row.
    pub fn fed(&self) -> usize {
        self.context + self.options.iter().sum::<usize>()
    }

    /// Its highest position + 1: what rope's switch goes by.
    pub fn positions(&self) -> usize {
        self.context + self.options.iter().max().unwrap_or(&0)
    }
}

/// One micro-batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// What each row is made of, `[B]`.
    pub rows: Vec<PackedRow>,
    /// T.
    pub width: usize,
    /// Token ids, `[B, T]`; padding is 0.
    pub ids_bt: Vec<i64>,
    /// Some row holds several options: more than a causal mask is needed.
    pub tree: bool,
    /// Index into `[B · T]` of the token that predicts each scored one, `[S]`.
    pub predictors_s: Vec<i64>,
    /// The scored token ids, `[S]`.
    pub targets_s: Vec<i64>,
    /// Which part of S belongs to what, in order.
    pub spans: Vec<Span>,
}

/// The scored positions of one option, or of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Item, or window.
    pub item: usize,
    /// Option of the item; 0 for a window.
    pub option: usize,
    /// Scored positions.
    pub len: usize,
}

impl Packed {
    fn new(rows: Vec<PackedRow>) -> Self {
        let width = rows.iter().map(PackedRow::fed).max().unwrap_or(0);
        Self {
            ids_bt: vec![0; rows.len() * width],
            tree: rows.iter().any(|row| row.options.len() > 1),
            rows,
            width,
            predictors_s: Vec::new(),
            targets_s: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Position and segment of each token, `[B, T]` each. Positions restart after the context for each option; the context is
    /// segment 0, options are 1, 2, …, padding is -1.
    pub fn positions_and_segments_bt(&self) -> (Vec<i64>, Vec<i64>) {
        let (mut positions, mut segments) = (Vec::new(), Vec::new());
        for row in &self.rows {
            let context = row.context as i64;
            positions.extend(0..context);
            segments.extend((0..context).map(|_| 0));
            for (number, &option) in row.options.iter().enumerate() {
                positions.extend(context..context + option as i64);
                segments.extend((0..option).map(|_| number as i64 + 1));
            }
            let padding = self.width - row.fed();
            positions.extend((0..padding).map(|_| 0));
            segments.extend((0..padding).map(|_| -1));
        }
        (positions, segments)
    }

    fn score(&mut self, predictor: usize, target: u32) {
        self.predictors_s.push(predictor as i64);
        self.targets_s.push(i64::from(target));
    }
}

/// Splits `rows` into micro-batches of these sizes.
fn split<'a, T>(mut rows: &'a [T], batches: &[u32]) -> Result<Vec<&'a [T]>, PackError> {
    let found = batches.iter().map(|b| u64::from(*b)).sum();
    if found != rows.len() as u64 || batches.contains(&0) {
        return Err(PackError::Batches { found, expected: rows.len() as u64 });
    }
    Ok(batches
        .iter()
        .map(|&b| {
            let (now, later) = rows.split_at(b as usize);
            rows = later;
            now
        })
        .collect())
}

/// Micro-batches of windows; all tokens but the first of each are scored.
pub fn windows(windows: &Windows) -> Result<Vec<Packed>, PackError> {
    let seqlen = windows.seqlen as usize;
    let mut first = 0;
    let mut batches = Vec::with_capacity(windows.batches.len());
    for rows in split(&windows.windows, &windows.batches)? {
        let row = PackedRow { context: seqlen, options: Vec::new() };
        let mut packed = Packed::new(vec![row; rows.len()]);
        for (b, ids) in rows.iter().enumerate() {
            if ids.len() != seqlen || seqlen < 2 {
                return Err(PackError::Row {
                    row: first + b,
                    why: "its length is not the windows', or below 2",
                });
            }
            for (t, &id) in ids.iter().enumerate() {
                packed.ids_bt[b * seqlen + t] = i64::from(id);
                if t > 0 {
                    packed.score(b * seqlen + t - 1, id);
                }
            }
            packed.spans.push(Span { item: first + b, option: 0, len: seqlen - 1 });
        }
        first += rows.len();
        batches.push(packed);
    }
    Ok(batches)
}

/// Micro-batches of a multiple-choice task.
pub fn choices(choices: &Choices) -> Result<Vec<Packed>, PackError> {
    check_coverage(choices)?;
    let mut batches = Vec::with_capacity(choices.batches.len());
    for rows in split(&choices.rows, &choices.batches)? {
        let made_of = |row: &Row| PackedRow {
            context: row.context.len(),
            options: row.options.iter().map(|o| o.ids.len() - 1).collect(),
        };
        let mut packed = Packed::new(rows.iter().map(made_of).collect());
        for (b, row) in rows.iter().enumerate() {
            let (start, context) = (b * packed.width, row.context.len());
            for (t, &id) in row.context.iter().enumerate() {
                packed.ids_bt[start + t] = i64::from(id);
            }
            let mut next = start + context;
            for option in &row.options {
                packed.score(start + context - 1, option.ids[0]);
                for pair in option.ids.windows(2) {
                    packed.ids_bt[next] = i64::from(pair[0]);
                    packed.score(next, pair[1]);
                    next += 1;
                }
                let (item, index) = (row.item as usize, option.index as usize);
                packed.spans.push(Span { item, option: index, len: option.ids.len() });
            }
        }
        batches.push(packed);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::super::check::check_vocabulary;
    use super::*;
    use espalier_proto::ids::Digest;
    use espalier_proto::inputs::{ChoiceItem, OptionInfo, RowOption};

    /// Item 0: context 7 8, options [1 2 3] and [4]; item 1: context 9, option [5 6].
    fn task() -> Choices {
        let info = |tokens| OptionInfo { chars: 1, tokens, truncated: false };
        let item = |options: Vec<OptionInfo>| ChoiceItem {
            id: String::new(),
            doc_sha256: Digest::of(b""),
            gold: 0,
            options,
        };
        let option = |index, ids: &[u32]| RowOption { index, ids: ids.to_vec() };
        Choices {
            items: vec![item(vec![info(3), info(1)]), item(vec![info(2)])],
            rows: vec![
                Row { item: 0, context: vec![7, 8], options: vec![option(0, &[1, 2, 3]), option(1, &[4])] },
                Row { item: 1, context: vec![9], options: vec![option(0, &[5, 6])] },
            ],
            batches: vec![2],
            max_len: 16,
        }
    }

    #[test]
    fn a_row_is_fed_all_but_each_options_last_token_and_padded_on_the_right() {
        let packed = choices(&task()).unwrap().remove(0);
        assert_eq!((packed.width, packed.tree), (4, true));
        assert_eq!(packed.rows[0], PackedRow { context: 2, options: vec![2, 0] });
        assert_eq!(packed.ids_bt, [7, 8, 1, 2, 9, 5, 0, 0]);
        // Tokens 1 2 3 after 8 1 2; 4 after 8; 5 6 after 9 5.
        assert_eq!(packed.predictors_s, [1, 2, 3, 1, 4, 5]);
        assert_eq!(packed.targets_s, [1, 2, 3, 4, 5, 6]);
        assert_eq!(
            packed.spans.iter().map(|s| (s.item, s.option, s.len)).collect::<Vec<_>>(),
            [(0, 0, 3), (0, 1, 1), (1, 0, 2)]
        );
    }

    #[test]
    fn positions_restart_after_the_context_for_each_option() {
        let mut t = task();
        t.rows[0].options[1].ids = vec![4, 5];
        t.items[0].options[1].tokens = 2;
        let packed = choices(&t).unwrap().remove(0);
        let (positions, segments) = packed.positions_and_segments_bt();
        assert_eq!(positions, [0, 1, 2, 3, 2, 0, 1, 0, 0, 0]);
        assert_eq!(segments, [0, 0, 1, 1, 2, 0, 1, -1, -1, -1]);
        assert_eq!(packed.rows[0].positions(), 4);
    }

    #[test]
    fn inputs_that_do_not_fit_together_are_refused() {
        let mut twice = task();
        twice.rows[0].options[1] = RowOption { index: 0, ids: vec![1, 2, 3] };
        assert_eq!(choices(&twice), Err(PackError::Coverage { item: 0, option: 0, found: 2 }));
        let mut short = task();
        short.batches = vec![1];
        assert_eq!(choices(&short), Err(PackError::Batches { found: 1, expected: 2 }));
        assert!(check_vocabulary(Some(10), 10).is_err() && check_vocabulary(Some(9), 10).is_ok());
        let ragged = Windows { seqlen: 3, windows: vec![vec![1, 2]], batches: vec![1] };
        assert!(matches!(windows(&ragged), Err(PackError::Row { row: 0, .. })));
    }

    #[test]
    fn windows_score_every_token_but_the_first() {
        let packed = windows(&Windows::new(3, vec![vec![1, 2, 3], vec![4, 5, 6]])).unwrap().remove(0);
        assert_eq!((packed.predictors_s, packed.targets_s), (vec![0, 1, 3, 4], vec![2, 3, 5, 6]));
        assert!(!packed.tree);
    }
}
