//! Whether inputs fit together and fit the model, before anything is computed.

use espalier_proto::inputs::Choices;

/// Inputs whose parts do not fit each other: not written by `espalier`, or altered.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PackError {
    /// Micro-batches do not cover the rows.
    #[error("inputs: micro-batches hold {found} rows, expected {expected}")]
    Batches {
        /// Sum of the micro-batches.
        found: u64,
        /// Rows or windows.
        expected: u64,
    },
    /// A row is not as `Row` says.
    #[error("inputs: row {row}: {why}")]
    Row {
        /// Index of the row or window.
        row: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// A token id that the model does not have.
    #[error("inputs: token id {id}, the model's vocabulary has {vocab}")]
    Vocabulary {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// The right answer is none of the options.
    #[error("inputs: item {item}: gold is option {gold}, it has {options} options")]
    Gold {
        /// The item.
        item: usize,
        /// Its gold.
        gold: u32,
        /// Its options.
        options: usize,
    },
    /// An option is scored by no row, or by several.
    #[error("inputs: option {option} of item {item} is scored {found} times, expected once")]
    Coverage {
        /// The item.
        item: usize,
        /// Its option.
        option: usize,
        /// Rows that score it.
        found: usize,
    },
}

/// Refuses token ids that the model does not have.
pub fn check_vocabulary(max_token: Option<u32>, vocab: usize) -> Result<(), PackError> {
    match max_token {
        Some(id) if id as usize >= vocab => Err(PackError::Vocabulary { id, vocab }),
        _ => Ok(()),
    }
}

/// Every row is well formed and every option of every item is scored exactly once.
pub(super) fn check_coverage(choices: &Choices) -> Result<(), PackError> {
    let mut times: Vec<Vec<usize>> = choices.items.iter().map(|i| vec![0; i.options.len()]).collect();
    for (item, i) in choices.items.iter().enumerate() {
        if i.gold as usize >= i.options.len() {
            return Err(PackError::Gold { item, gold: i.gold, options: i.options.len() });
        }
    }
    for (row, r) in choices.rows.iter().enumerate() {
        let bad = |why| PackError::Row { row, why };
        if r.context.is_empty() || r.options.is_empty() {
            return Err(bad("no context or no option"));
        }
        for option in &r.options {
            let info = choices.items.get(r.item as usize).and_then(|i| i.options.get(option.index as usize));
            let Some(info) = info else {
                return Err(bad("it scores an option that no item has"));
            };
            if option.ids.is_empty() || info.tokens as usize != option.ids.len() {
                return Err(bad("an option's tokens are not as many as its item says"));
            }
            times[r.item as usize][option.index as usize] += 1;
        }
    }
    for (item, options) in times.iter().enumerate() {
        if let Some(option) = options.iter().position(|n| *n != 1) {
            return Err(PackError::Coverage { item, option, found: options[option] });
        }
    }
    Ok(())
}
