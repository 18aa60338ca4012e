//! How much resolved inputs ask of a decoder: exact counts, read from the token ids themselves.

use espalier_proto::inputs::{Choices, Inputs, Row, Windows};

/// What one pass over inputs is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Windows or items.
    pub count: u64,
    /// Tokens that the decoder is fed, padding not counted.
    pub tokens: u64,
    /// Positions whose logits are needed.
    pub scored: u64,
    /// Pairs of a token and one that it sees, itself included, without a sliding window.
    pub pairs: u64,
    /// Tokens of the largest micro-batch, padding included.
    pub batch_tokens: u64,
    /// Tokens of the longest row.
    pub longest: u64,
}

/// The load of one pass over `inputs`.
pub fn load(inputs: &Inputs) -> Load {
    match inputs {
        Inputs::Calibration(windows) => Load { scored: 0, ..of_windows(windows) },
        Inputs::Perplexity(windows) => of_windows(windows),
        Inputs::Choices(choices) => of_choices(choices),
    }
}

fn of_windows(windows: &Windows) -> Load {
    let (count, length) = (windows.windows.len() as u64, u64::from(windows.seqlen));
    let rows = u64::from(windows.batches.iter().copied().max().unwrap_or(0));
    Load {
        count,
        tokens: count * length,
        scored: count * length.saturating_sub(1),
        pairs: count * triangle(length),
        batch_tokens: rows * length,
        longest: length,
    }
}

fn of_choices(choices: &Choices) -> Load {
    let mut load = Load { count: choices.items.len() as u64, ..Load::default() };
    for row in &choices.rows {
        load.tokens += row.fed_tokens() as u64;
        load.scored += 1 + fed_of_options(row);
        load.pairs += pairs(row);
    }
    let mut rest = &choices.rows[..];
    for &rows in &choices.batches {
        let (batch, later) = rest.split_at((rows as usize).min(rest.len()));
        let longest = batch.iter().map(|r| r.fed_tokens() as u64).max().unwrap_or(0);
        load.batch_tokens = load.batch_tokens.max(longest * batch.len() as u64);
        load.longest = load.longest.max(longest);
        rest = later;
    }
    load
}

/// Options see the context and themselves, never each other.
fn pairs(row: &Row) -> u64 {
    let context = row.context.len() as u64;
    let options = row.options.iter().map(|o| o.ids.len() as u64 - 1).map(|t| t * context + triangle(t));
    triangle(context) + options.sum::<u64>()
}

fn fed_of_options(row: &Row) -> u64 {
    row.options.iter().map(|o| o.ids.len() as u64 - 1).sum()
}

fn triangle(n: u64) -> u64 {
    n * (n + 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::inputs::RowOption;

    #[test]
    fn windows_are_counted_as_they_are_fed() {
        let windows = Inputs::Perplexity(Windows::new(4, vec![vec![1, 2, 3, 4]; 3]));
        let expected = Load { count: 3, tokens: 12, scored: 9, pairs: 30, batch_tokens: 12, longest: 4 };
        assert_eq!(load(&windows), expected);
    }

    #[test]
    fn options_share_their_context_and_do_not_see_each_other() {
        // By hand: context 3, options of 1 and 3 scored tokens feed 0 and 2 tokens more.
        let option = |index, ids: &[u32]| RowOption { index, ids: ids.to_vec() };
        let row =
            Row { item: 0, context: vec![1, 2, 3], options: vec![option(0, &[4]), option(1, &[5, 6, 7])] };
        let choices = Choices { items: Vec::new(), rows: vec![row], batches: vec![1], max_len: 9 };
        let expected = Load { count: 0, tokens: 5, scored: 3, pairs: 6 + 6 + 3, batch_tokens: 5, longest: 5 };
        assert_eq!(load(&Inputs::Choices(choices)), expected);
    }
}
