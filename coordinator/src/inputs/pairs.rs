//! Contexts and continuations → token ids and rows, as lm-evaluation-harness splits and truncates them.

use super::error::InputsError;
use super::tokenize::TextTokenizer;
use espalier_proto::inputs::{OptionInfo, Row, RowOption};

/// A context and a continuation in token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// At least one id.
    pub context: Vec<u32>,
    /// What is scored.
    pub continuation: Vec<u32>,
}

/// Splits as lm-evaluation-harness: blanks at the context's end go to the continuation; both are tokenised together and split
/// by the count of the context's own tokens, so that a token across the border belongs to the context.
pub fn encode_pair(
    tokenizer: &TextTokenizer,
    context: &str,
    continuation: &str,
) -> Result<Pair, InputsError> {
    if context.is_empty() {
        let prefix = tokenizer.prefix()?;
        let ids = tokenizer.encode_plain(continuation)?;
        return Ok(match ids.split_first() {
            Some((first, rest)) if *first == prefix => {
                Pair { context: vec![prefix], continuation: rest.to_vec() }
            }
            _ => Pair { context: vec![prefix], continuation: ids },
        });
    }
    let stem = context.trim_end_matches(is_python_space);
    let moved = format!("{}{continuation}", &context[stem.len()..]);
    let whole = tokenizer.encode(&format!("{stem}{moved}"))?;
    let context = tokenizer.encode(stem)?;
    let continuation = whole.get(context.len()..).unwrap_or_default().to_vec();
    Ok(Pair { context, continuation })
}

/// What Python's `str.rstrip` strips: Unicode's white space and four separators of ASCII.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The rows of one item, and what its options are for scoring.
pub struct ItemRows {
    /// One row with all options where that cannot change a number, else a row an option.
    pub rows: Vec<Row>,
    /// Each option.
    pub options: Vec<OptionInfo>,
}

/// What the model allows.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Tokens that it may be fed.
    pub max_len: usize,
    /// Where rope's frequencies change with the sequence's length.
    pub rope_switch: Option<usize>,
}

/// Lays out an item. `pairs` with the characters of each option. `Err` says which option cannot be scored, what was found and
/// what was expected.
pub fn item_rows(
    item: u32,
    pairs: Vec<(Pair, u32)>,
    room: Room,
) -> Result<ItemRows, (usize, String, String)> {
    let mut options = Vec::new();
    let mut cut = Vec::new();
    for (i, (pair, chars)) in pairs.into_iter().enumerate() {
        let tokens = pair.continuation.len();
        if tokens == 0 {
            return Err((
                i,
                "no token of its own".to_owned(),
                "at least one token after the context's".to_owned(),
            ));
        }
        if tokens > room.max_len {
            return Err((
                i,
                format!("{tokens} tokens"),
                format!("at most the model's limit {}", room.max_len),
            ));
        }
        // (context + continuation)[-(max_len + 1):], whose last token is only predicted.
        let over = (pair.context.len() + tokens).saturating_sub(room.max_len + 1);
        let truncated = over > 0;
        // An empty text under a rule without BOS has no ids: nothing would predict its continuation.
        let context = pair.context.get(over..).unwrap_or_default().to_vec();
        if context.is_empty() {
            return Err((
                i,
                "a context of no token".to_owned(),
                "at least one token before the option".to_owned(),
            ));
        }
        options.push(OptionInfo { chars, tokens: tokens as u32, truncated });
        cut.push((context, pair.continuation));
    }
    let beyond = |(context, ids): &(Vec<u32>, Vec<u32>)| {
        room.rope_switch.is_some_and(|switch| context.len() + ids.len() - 1 > switch)
    };
    let packable = options.iter().all(|o| !o.truncated)
        && cut.windows(2).all(|w| w[0].0 == w[1].0)
        && cut.windows(2).all(|w| beyond(&w[0]) == beyond(&w[1]));
    let rows = if packable && !cut.is_empty() {
        let context = cut[0].0.clone();
        let options =
            cut.into_iter().enumerate().map(|(i, (_, ids))| RowOption { index: i as u32, ids }).collect();
        vec![Row { item, context, options }]
    } else {
        cut.into_iter()
            .enumerate()
            .map(|(i, (context, ids))| Row {
                item,
                context,
                options: vec![RowOption { index: i as u32, ids }],
            })
            .collect()
    };
    Ok(ItemRows { rows, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(context: usize, continuation: usize) -> (Pair, u32) {
        let context = (0..context as u32).collect();
        let continuation = (0..continuation as u32).map(|i| 1000 + i).collect();
        (Pair { context, continuation }, 3)
    }

    #[test]
    fn an_item_that_fits_is_one_row() {
        let room = Room { max_len: 12, rope_switch: None };
        let got = item_rows(4, vec![pair(10, 1), pair(10, 3)], room).unwrap();
        assert_eq!(got.rows.len(), 1);
        assert_eq!(got.rows[0].options.len(), 2);
        assert_eq!(got.rows[0].fed_tokens(), 12);
    }

    #[test]
    fn a_truncated_option_makes_each_option_a_row_cut_by_its_own_length() {
        let room = Room { max_len: 12, rope_switch: None };
        let got = item_rows(0, vec![pair(10, 1), pair(10, 5)], room).unwrap();
        assert_eq!(got.rows.len(), 2);
        assert_eq!(got.options.iter().map(|o| o.truncated).collect::<Vec<_>>(), [false, true]);
        // (context + continuation)[-13:][:-1] of 15 tokens: the first two are gone, twelve are fed.
        assert_eq!((got.rows[1].context[0], got.rows[1].fed_tokens()), (2, 12));
    }

    #[test]
    fn options_on_two_sides_of_ropes_switch_are_rows_of_their_own() {
        let rows = |switch| {
            let room = Room { max_len: 100, rope_switch: Some(switch) };
            item_rows(0, vec![pair(10, 1), pair(10, 3)], room).unwrap().rows.len()
        };
        assert_eq!((rows(9), rows(10), rows(11), rows(12)), (1, 2, 2, 1));
    }

    #[test]
    fn an_option_longer_than_the_model_sees_is_refused() {
        let room = Room { max_len: 4, rope_switch: None };
        let (option, found, expected) = item_rows(0, vec![pair(3, 1), pair(3, 5)], room).err().unwrap();
        assert_eq!(
            (option, found.as_str(), expected.as_str()),
            (1, "5 tokens", "at most the model's limit 4")
        );
    }
}
