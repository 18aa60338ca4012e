//! Log-likelihoods of windows → mean negative log-likelihood of each (wanda's protocol: over `seqlen - 1` tokens).

use super::pack::Span;
use super::score::SpanScore;
use super::{EvaluateError, scores_file};
use espalier_proto::inputs::Windows;
use espalier_proto::records::Outcome;
use std::path::Path;

/// Scores → outcome, with a row for each window written to `file`. `spans` holds every window once, in order.
pub fn finish(windows: &Windows, spans: &[(Span, SpanScore)], file: &Path) -> Result<Outcome, EvaluateError> {
    if let Some((span, score)) = spans.iter().find(|(_, score)| !score.ll.is_finite()) {
        return Err(EvaluateError::NonFiniteScore { what: format!("window {}", span.item), ll: score.ll });
    }
    let lls: Vec<f64> = spans.iter().map(|(_, score)| score.ll).collect();
    scores_file::write_windows(file, &lls, windows.seqlen - 1)?;
    Ok(Outcome::of_windows(windows.seqlen, &lls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_value_is_the_mean_over_its_scored_tokens() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let windows = Windows::new(3, vec![vec![1, 2, 3], vec![4, 5, 6]]);
        let span = |item, ll| (Span { item, option: 0, len: 2 }, SpanScore { ll, greedy: false });
        let outcome = finish(&windows, &[span(0, -4.0), span(1, -1.0)], file.path()).unwrap();
        let expected = Outcome::Perplexity { seqlen: 3, windows: 2, tokens: 4, window_nll: vec![2.0, 0.5] };
        assert_eq!(outcome, expected);
        assert!(finish(&windows, &[span(0, f64::NAN), span(1, -1.0)], file.path()).is_err());
    }
}
