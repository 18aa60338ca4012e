//! Log-likelihoods of options → predictions, counts and per-item rows, by lm-evaluation-harness's rules: `acc` takes the
//! first largest log-likelihood, `acc_norm` the first largest log-likelihood per character.

use super::pack::Span;
use super::score::SpanScore;
use super::{EvaluateError, scores_file};
use espalier_proto::inputs::{ChoiceItem, Choices};
use espalier_proto::records::{ItemOutcome, Outcome};
use std::path::Path;

/// What came out for one item.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemScore {
    /// Index of the first option with the largest log-likelihood.
    pub pred: u32,
    /// The same by log-likelihood per character.
    pub pred_norm: u32,
    /// Log-likelihood of each option, nats, and whether greedy decoding would give it.
    pub options: Vec<(f64, bool)>,
}

/// Index of the first largest value.
fn first_argmax(values: impl Iterator<Item = f64>) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, value) in values.enumerate() {
        if value > best.1 {
            best = (i as u32, value);
        }
    }
    best.0
}

/// Gives equal options of an item the first one's score: the same text after the same context has one likelihood, but where it
/// stands in a row or a micro-batch changes last bits, and a tie must stay a tie.
fn share_equal(choices: &Choices, options: &mut [Vec<(f64, bool)>]) {
    let texts = choices.rows.iter().flat_map(|row| row.options.iter().map(move |o| (row, o)));
    let mut texts: Vec<_> = texts.map(|(row, o)| (row.item, &row.context, &o.ids, o.index)).collect();
    texts.sort_unstable();
    for pair in 1..texts.len() {
        let (first, second) = (texts[pair - 1], texts[pair]);
        if (first.0, first.1, first.2) == (second.0, second.1, second.2) {
            let item = &mut options[first.0 as usize];
            item[second.3 as usize] = item[first.3 as usize];
        }
    }
}

/// Sorts scores to their items and predicts. `spans` covers every option once, as `pack` has checked.
pub fn predict(choices: &Choices, spans: &[(Span, SpanScore)]) -> Result<Vec<ItemScore>, EvaluateError> {
    let mut options: Vec<Vec<(f64, bool)>> =
        choices.items.iter().map(|item| vec![(f64::NAN, false); item.options.len()]).collect();
    for (span, score) in spans {
        options[span.item][span.option] = (score.ll, score.greedy);
    }
    share_equal(choices, &mut options);
    let predict = |(item, options): (usize, Vec<(f64, bool)>)| {
        if let Some(option) = options.iter().position(|(ll, _)| !ll.is_finite()) {
            let id = choices.items[item].id.clone();
            return Err(EvaluateError::NonFiniteScore {
                what: format!("option {option} of item {id}"),
                ll: options[option].0,
            });
        }
        let chars = choices.items[item].options.iter().map(|o| f64::from(o.chars));
        let pred = first_argmax(options.iter().map(|o| o.0));
        let pred_norm = first_argmax(options.iter().zip(chars).map(|(o, chars)| o.0 / chars));
        Ok(ItemScore { pred, pred_norm, options })
    };
    options.into_iter().enumerate().map(predict).collect()
}

/// The counts from which every metric follows.
pub fn outcome(choices: &Choices, scores: &[ItemScore]) -> Outcome {
    let one = |(item, score): (&ChoiceItem, &ItemScore)| ItemOutcome {
        gold: item.gold,
        pred: score.pred,
        pred_norm: score.pred_norm,
        options: item.options.len(),
        truncated: item.options.iter().any(|o| o.truncated),
    };
    let all: Vec<ItemOutcome> = choices.items.iter().zip(scores).map(one).collect();
    Outcome::of_items(&all)
        .expect("golds were checked when the inputs were read, predictions are of their options")
}

/// Scores → outcome, with per-item rows written to `file`.
pub fn finish(choices: &Choices, spans: &[(Span, SpanScore)], file: &Path) -> Result<Outcome, EvaluateError> {
    let scores = predict(choices, spans)?;
    scores_file::write_choices(file, choices, &scores)?;
    Ok(outcome(choices, &scores))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use espalier_proto::ids::Digest;
    use espalier_proto::inputs::{OptionInfo, Row, RowOption};

    pub(crate) fn task(golds: &[u32], chars: &[u32]) -> Choices {
        let options =
            || chars.iter().map(|&chars| OptionInfo { chars, tokens: 1, truncated: chars == 9 }).collect();
        let item = |(i, &gold): (usize, &u32)| ChoiceItem {
            id: i.to_string(),
            doc_sha256: Digest::of(&[i as u8]),
            gold,
            options: options(),
        };
        Choices {
            items: golds.iter().enumerate().map(item).collect(),
            rows: vec![],
            batches: vec![],
            max_len: 0,
        }
    }

    fn spans(lls: &[&[f64]]) -> Vec<(Span, SpanScore)> {
        let one = |(item, lls): (usize, &&[f64])| {
            let span = move |(option, &ll): (usize, &f64)| {
                (Span { item, option, len: 1 }, SpanScore { ll, greedy: false })
            };
            lls.iter().enumerate().map(span).collect::<Vec<_>>()
        };
        lls.iter().enumerate().flat_map(one).collect()
    }

    #[test]
    fn ties_go_to_the_first_option_and_norm_divides_by_characters() {
        // By hand, as numpy.argmax: [-2,-2,-3] → 0; per character [-2/1,-2/2,-3/4] → 2.
        let t = task(&[2, 0], &[1, 2, 4]);
        let scores = predict(&t, &spans(&[&[-2.0, -2.0, -3.0], &[-5.0, -1.0, -2.0]])).unwrap();
        assert_eq!(scores.iter().map(|s| (s.pred, s.pred_norm)).collect::<Vec<_>>(), [(0, 2), (1, 1)]);
        let Outcome::Choices { items, truncated, confusion, confusion_norm } = outcome(&t, &scores) else {
            panic!()
        };
        assert_eq!((items, truncated), (2, 0));
        assert_eq!(confusion, [[0, 1, 0], [0, 0, 0], [1, 0, 0]]);
        assert_eq!(confusion_norm, [[0, 1, 0], [0, 0, 0], [0, 0, 1]]);
    }

    #[test]
    fn equal_options_tie_whatever_their_last_bits() {
        let mut t = task(&[0], &[1, 1, 1]);
        let option = |index, id| RowOption { index, ids: vec![id] };
        let row = |options| Row { item: 0, context: vec![1], options };
        t.rows = vec![row(vec![option(0, 7), option(2, 7)]), row(vec![option(1, 8)])];
        let scores = predict(&t, &spans(&[&[-2.000_001, -3.0, -2.0]])).unwrap();
        assert_eq!((scores[0].pred, scores[0].options[2].0), (0, -2.000_001));
    }

    #[test]
    fn a_score_that_is_no_number_names_its_item_and_option() {
        let error = predict(&task(&[0], &[1, 1]), &spans(&[&[-1.0, f64::NAN]])).unwrap_err();
        assert!(error.to_string().contains("option 1 of item 0"), "{error}");
    }

    #[test]
    fn truncated_counts_items_not_options() {
        let t = task(&[0, 0], &[9, 9]);
        let scores = predict(&t, &spans(&[&[-1.0, -2.0], &[-1.0, -2.0]])).unwrap();
        assert!(matches!(outcome(&t, &scores), Outcome::Choices { truncated: 2, .. }));
    }
}
