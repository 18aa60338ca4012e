//! What a task or a calibration becomes for one tokenizer, BOS rule and length limit: the worker reads token ids and
//! nothing else. Written create-only to `inputs/<digest>/inputs.json`; named by canonical content, not by encoding.
//!
//! Micro-batches fix shape, order and position of every row, because all three change last bits: they are composed here,
//! once, from constants that no device chooses.

use crate::ids::{Digest, InputsDigest};
use crate::keys::Canonical;
use serde::{Deserialize, Serialize};

/// Most rows of a micro-batch.
pub const MICRO_BATCH_ROWS: usize = 16;
/// Most tokens of a micro-batch, padding included; a single longer row is a micro-batch of its own.
pub const MICRO_BATCH_TOKENS: usize = 8192;
/// Format of the inputs file.
pub const INPUTS_FORMAT: u32 = 1;

/// Resolved inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Inputs {
    /// Fixed windows that calibration runs forward over.
    Calibration(Windows),
    /// Fixed windows whose tokens, but the first of each, are scored.
    Perplexity(Windows),
    /// Multiple choice.
    Choices(Choices),
}

/// Windows of equal length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// Tokens of every window.
    pub seqlen: u32,
    /// Token ids, `seqlen` each.
    pub windows: Vec<Vec<u32>>,
    /// Windows in each micro-batch, in order; sums to the number of windows.
    pub batches: Vec<u32>,
}

/// A multiple-choice task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// Items in the data's order.
    pub items: Vec<ChoiceItem>,
    /// What the decoder runs over, in micro-batch order.
    pub rows: Vec<Row>,
    /// Rows in each micro-batch, in order; sums to the number of rows. Rows are padded on the right to the longest.
    pub batches: Vec<u32>,
    /// The length limit that truncation used: tokens of context and option that the model may see.
    pub max_len: u32,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceItem {
    /// The id as in the data, else the item's index.
    pub id: String,
    /// Digest of the item as read: a corrected answer or text is another item.
    pub doc_sha256: Digest,
    /// Index of the right option.
    pub gold: u32,
    /// What each option is for scoring.
    pub options: Vec<OptionInfo>,
}

/// One option of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionInfo {
    /// Length in characters without the delimiter: acc_norm's divisor.
    pub chars: u32,
    /// Tokens that are scored.
    pub tokens: u32,
    /// Its context lost tokens on the left to fit the limit.
    pub truncated: bool,
}

/// One row: a context, then options that do not see each other, each continuing at the context's end.
///
/// Fed to the decoder: `context`, then for each option all its tokens but the last; position ids restart after the context
/// for each option. The last context token predicts each option's first token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Index into `items`.
    pub item: u32,
    /// Token ids, at least one.
    pub context: Vec<u32>,
    /// The options of the item that this row scores.
    pub options: Vec<RowOption>,
}

/// One option in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowOption {
    /// Index into the item's options.
    pub index: u32,
    /// Token ids to score, at least one.
    pub ids: Vec<u32>,
}

impl Row {
    /// Tokens that the decoder is fed for this row.
    pub fn fed_tokens(&self) -> usize {
        self.context.len() + self.options.iter().map(|o| o.ids.len() - 1).sum::<usize>()
    }
}

/// Splits rows of these lengths, in the order given, into micro-batches: as many rows as the constants allow, counted with
/// padding to the batch's longest row.
pub fn compose_batches(lengths: &[usize]) -> Vec<u32> {
    let mut batches = Vec::new();
    let (mut rows, mut longest) = (0usize, 0usize);
    for &length in lengths {
        let padded = longest.max(length) * (rows + 1);
        if rows > 0 && (rows == MICRO_BATCH_ROWS || padded > MICRO_BATCH_TOKENS) {
            batches.push(rows as u32);
            (rows, longest) = (0, 0);
        }
        rows += 1;
        longest = longest.max(length);
    }
    if rows > 0 {
        batches.push(rows as u32);
    }
    batches
}

impl Windows {
    /// Windows in their order, with micro-batches composed.
    pub fn new(seqlen: u32, windows: Vec<Vec<u32>>) -> Self {
        let batches = compose_batches(&vec![seqlen as usize; windows.len()]);
        Self { seqlen, windows, batches }
    }

    fn canonical(&self, c: &mut Canonical) {
        c.number("seqlen", u64::from(self.seqlen));
        for window in &self.windows {
            c.tokens("window", window);
        }
        c.tokens("batches", &self.batches);
    }
}

impl Choices {
    fn canonical(&self, c: &mut Canonical) {
        c.number("max_len", u64::from(self.max_len));
        for item in &self.items {
            c.text("item", &item.id);
            c.text("doc", &item.doc_sha256.to_string());
            c.number("gold", u64::from(item.gold));
            for option in &item.options {
                c.tokens("option", &[option.chars, option.tokens, u32::from(option.truncated)]);
            }
        }
        for row in &self.rows {
            c.number("row", u64::from(row.item));
            c.tokens("context", &row.context);
            for option in &row.options {
                c.number("index", u64::from(option.index));
                c.tokens("ids", &option.ids);
            }
        }
        c.tokens("batches", &self.batches);
    }
}

/// Bytes that are no resolved inputs.
#[derive(Debug, thiserror::Error)]
pub enum InputsFileError {
    /// Not JSON of that form.
    #[error("no resolved inputs: {source}")]
    Json {
        /// Why.
        #[from]
        source: serde_json::Error,
    },
    /// A field does not fit the others.
    #[error("resolved inputs: {field}: found {found}, expected {expected}")]
    Field {
        /// Dotted path.
        field: String,
        /// What was found.
        found: u64,
        /// What was expected.
        expected: String,
    },
}

/// Refuses what is not `expected`.
fn must(holds: bool, field: &str, found: usize, expected: impl Into<String>) -> Result<(), InputsFileError> {
    if holds {
        return Ok(());
    }
    Err(InputsFileError::Field { field: field.to_owned(), found: found as u64, expected: expected.into() })
}

/// Micro-batches hold every row once.
fn check_batches(batches: &[u32], rows: usize) -> Result<(), InputsFileError> {
    let sum: u64 = batches.iter().map(|n| u64::from(*n)).sum();
    must(sum == rows as u64, "batches", sum as usize, format!("a sum of {rows}"))?;
    must(!batches.contains(&0), "batches", 0, "at least one row in each")
}

impl Windows {
    fn check(&self) -> Result<(), InputsFileError> {
        must(self.seqlen > 0, "seqlen", 0, "at least 1")?;
        for (i, window) in self.windows.iter().enumerate() {
            let seqlen = self.seqlen as usize;
            must(window.len() == seqlen, &format!("windows.{i}"), window.len(), format!("{seqlen} ids"))?;
        }
        check_batches(&self.batches, self.windows.len())
    }
}

impl Choices {
    fn check(&self) -> Result<(), InputsFileError> {
        for (i, item) in self.items.iter().enumerate() {
            let (gold, options) = (item.gold as usize, item.options.len());
            must(gold < options, &format!("items.{i}.gold"), gold, format!("below {options}"))?;
        }
        for (i, row) in self.rows.iter().enumerate() {
            let (item, items) = (row.item as usize, self.items.len());
            must(item < items, &format!("rows.{i}.item"), item, format!("below {items}"))?;
            must(!row.context.is_empty(), &format!("rows.{i}.context"), 0, "at least one id")?;
            must(!row.options.is_empty(), &format!("rows.{i}.options"), 0, "at least one")?;
            for option in &row.options {
                let (index, options) = (option.index as usize, self.items[item].options.len());
                must(index < options, &format!("rows.{i}.options.index"), index, format!("below {options}"))?;
                must(!option.ids.is_empty(), &format!("rows.{i}.options.ids"), 0, "at least one id")?;
            }
        }
        check_batches(&self.batches, self.rows.len())
    }
}

impl Inputs {
    /// Reads a file's bytes: everything in it fits together.
    pub fn parse(bytes: &[u8]) -> Result<Self, InputsFileError> {
        let this: Self = serde_json::from_slice(bytes)?;
        match &this {
            Self::Calibration(w) | Self::Perplexity(w) => w.check()?,
            Self::Choices(choices) => choices.check()?,
        }
        Ok(this)
    }

    /// The digest that names these inputs.
    pub fn digest(&self) -> InputsDigest {
        let kind = match self {
            Self::Calibration(_) => "inputs.calibration",
            Self::Perplexity(_) => "inputs.perplexity",
            Self::Choices(_) => "inputs.choices",
        };
        let mut c = Canonical::new(kind);
        c.number("format", u64::from(INPUTS_FORMAT));
        match self {
            Self::Calibration(w) | Self::Perplexity(w) => w.canonical(&mut c),
            Self::Choices(choices) => choices.canonical(&mut c),
        }
        InputsDigest(c.finish())
    }

    /// Tokens that the decoder is fed, padding not counted.
    pub fn fed_tokens(&self) -> u64 {
        match self {
            Self::Calibration(w) | Self::Perplexity(w) => w.windows.len() as u64 * u64::from(w.seqlen),
            Self::Choices(c) => c.rows.iter().map(|r| r.fed_tokens() as u64).sum(),
        }
    }

    /// Windows or items.
    pub fn count(&self) -> u64 {
        match self {
            Self::Calibration(w) | Self::Perplexity(w) => w.windows.len() as u64,
            Self::Choices(c) => c.items.len() as u64,
        }
    }

    /// The largest token id.
    pub fn max_token(&self) -> Option<u32> {
        match self {
            Self::Calibration(w) | Self::Perplexity(w) => w.windows.iter().flatten().copied().max(),
            Self::Choices(c) => c
                .rows
                .iter()
                .flat_map(|r| r.context.iter().chain(r.options.iter().flat_map(|o| &o.ids)))
                .copied()
                .max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_keep_order_and_never_pass_either_limit() {
        let lengths: Vec<usize> = (0..500).map(|i| 1 + (i * 7919) % 3000).collect();
        let batches = compose_batches(&lengths);
        assert_eq!(batches.iter().sum::<u32>() as usize, lengths.len());
        let mut rest = &lengths[..];
        for batch in batches {
            let (now, later) = rest.split_at(batch as usize);
            assert!(now.len() <= MICRO_BATCH_ROWS);
            assert!(now.len() == 1 || now.len() * now.iter().max().unwrap() <= MICRO_BATCH_TOKENS);
            rest = later;
        }
    }

    #[test]
    fn inputs_whose_parts_do_not_fit_are_refused_by_field() {
        let windows = r#"{"kind": "perplexity", "seqlen": 2, "windows": [[1, 2], [3, 4]], "batches": [2]}"#;
        assert!(Inputs::parse(windows.as_bytes()).is_ok());
        let row = r#"{"item": 0, "context": [1], "options": [{"index": 0, "ids": [2]}]}"#;
        let item = format!(
            r#"{{"id": "a", "doc_sha256": "{}", "gold": 0, "options": [{{"chars": 1, "tokens": 1, "truncated": false}}]}}"#,
            "0".repeat(64)
        );
        let choices = format!(
            r#"{{"kind": "choices", "items": [{item}], "rows": [{row}], "batches": [1], "max_len": 9}}"#
        );
        assert!(Inputs::parse(choices.as_bytes()).is_ok());
        for (text, from, to, expected) in [
            (windows, "[3, 4]", "[3]", "windows.1: found 1, expected 2 ids"),
            (windows, "[2]}", "[3]}", "batches: found 3, expected a sum of 2"),
            (windows, "[2]}", "[2, 0]}", "batches: found 0, expected at least one row in each"),
            (&choices, "\"gold\": 0", "\"gold\": 1", "items.0.gold: found 1, expected below 1"),
            (&choices, "\"item\": 0", "\"item\": 7", "rows.0.item: found 7, expected below 1"),
            (
                &choices,
                "\"ids\": [2]",
                "\"ids\": []",
                "rows.0.options.ids: found 0, expected at least one id",
            ),
        ] {
            let error = Inputs::parse(text.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("resolved inputs: {expected}"));
        }
    }

    #[test]
    fn calibration_and_perplexity_over_the_same_windows_are_two_inputs() {
        let windows = Windows::new(2, vec![vec![1, 2], vec![3, 4]]);
        assert_ne!(Inputs::Calibration(windows.clone()).digest(), Inputs::Perplexity(windows).digest());
    }
}
