//! Counts and window means → estimates with 95 % intervals and standard errors. Pure: equal records give equal bits.
//!
//! In: a record's confusion counts (`[gold][prediction]`) or its windows' mean negative log-likelihoods. Out: [`Estimate`].
//! It never gives a number that is not finite: what cannot be estimated is `None`.

/// 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;
/// Resamples of the bootstrap.
const RESAMPLES: usize = 1000;
/// The bootstrap's fixed seed: intervals are a function of the counts alone.
const SEED: u64 = 0x0065_7370_616c_6965;

/// A number and how well it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Standard error.
    pub stderr: Option<f64>,
}

/// Accuracy from confusion counts: the diagonal's share, Wilson's interval, and the standard error of a mean with the sample
/// standard deviation (as lm-evaluation-harness). `None` without items.
pub fn accuracy(confusion: &[Vec<u64>]) -> Option<Estimate> {
    let n = confusion.iter().flatten().sum::<u64>();
    let right =
        confusion.iter().enumerate().map(|(gold, row)| row.get(gold).copied().unwrap_or(0)).sum::<u64>();
    if n == 0 {
        return None;
    }
    let (count, p) = (n as f64, right as f64 / n as f64);
    let spread = 1.0 + Z * Z / count;
    let centre = (p + Z * Z / (2.0 * count)) / spread;
    let half = Z / spread * (p * (1.0 - p) / count + Z * Z / (4.0 * count * count)).sqrt();
    Some(Estimate {
        value: p,
        // At 0 and 1 the interval ends there exactly; rounding would leave it beside.
        low: Some(if right == 0 { 0.0 } else { centre - half }),
        high: Some(if right == n { 1.0 } else { centre + half }),
        stderr: (n > 1).then(|| (p * (1.0 - p) / (count - 1.0)).sqrt()),
    })
}

/// Macro-F1 over the option positions that occur in gold or prediction; a class without a hit counts 0: scikit-learn's
/// `f1_score(average="macro", zero_division=0)`. The interval is the bootstrap's percentiles, the standard error its standard
/// deviation. `None` without items.
pub fn macro_f1(confusion: &[Vec<u64>]) -> Option<Estimate> {
    let classes = confusion.len().max(confusion.iter().map(Vec::len).max().unwrap_or(0));
    let mut counts = vec![0u64; classes * classes];
    for (gold, row) in confusion.iter().enumerate() {
        for (prediction, &count) in row.iter().enumerate() {
            counts[gold * classes + prediction] = count;
        }
    }
    let items: Vec<usize> = counts
        .iter()
        .enumerate()
        .flat_map(|(cell, &count)| std::iter::repeat_n(cell, count as usize))
        .collect();
    if items.is_empty() {
        return None;
    }
    let mut state = SEED;
    let mut values: Vec<f64> =
        (0..RESAMPLES).map(|_| macro_f1_of(&resample(&items, counts.len(), &mut state), classes)).collect();
    values.sort_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / RESAMPLES as f64;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (RESAMPLES - 1) as f64;
    Some(Estimate {
        value: macro_f1_of(&counts, classes),
        low: Some(quantile(&values, 0.025)),
        high: Some(quantile(&values, 0.975)),
        stderr: Some(variance.sqrt()),
    })
}

/// `counts`: `[gold][prediction]`, row by row.
fn macro_f1_of(counts: &[u64], classes: usize) -> f64 {
    let (mut sum, mut present) = (0.0, 0u32);
    for class in 0..classes {
        let hits = counts[class * classes + class];
        let gold: u64 = counts[class * classes..(class + 1) * classes].iter().sum();
        let predicted: u64 = (0..classes).map(|row| counts[row * classes + class]).sum();
        if gold + predicted > 0 {
            present += 1;
            sum += 2.0 * hits as f64 / (gold + predicted) as f64;
        }
    }
    sum / f64::from(present.max(1))
}

/// The quantile between the two nearest of `sorted` (numpy's default).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Perplexity: exp of the mean over windows of equal length. The interval is normal in the mean, then exp; the standard error
/// is the first-order one. `None` without windows or where it is not finite.
pub fn perplexity(window_nll: &[f64]) -> Option<Estimate> {
    let n = window_nll.len() as f64;
    let mean = window_nll.iter().sum::<f64>() / n;
    let value = Some(mean.exp()).filter(|v| v.is_finite())?;
    let error = (window_nll.len() > 1)
        .then(|| (window_nll.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0) / n).sqrt());
    let finite = |x: Option<f64>| x.filter(|v| v.is_finite());
    Some(Estimate {
        value,
        low: finite(error.map(|e| (mean - Z * e).exp())),
        high: finite(error.map(|e| (mean + Z * e).exp())),
        stderr: finite(error.map(|e| value * e)),
    })
}

/// The mean of independent estimates (the tasks of one kind). Its interval recovers each estimate's variance from that
/// estimate's own limits (Zou and Donner's MOVER), so that it never leaves the range of what is averaged, and of one
/// estimate it is that estimate's. `None` without estimates.
pub fn mean(estimates: &[Estimate]) -> Option<Estimate> {
    let n = estimates.len() as f64;
    if estimates.is_empty() {
        return None;
    }
    let value = estimates.iter().map(|e| e.value).sum::<f64>() / n;
    let variances: Option<f64> = estimates.iter().map(|e| e.stderr.map(|s| s * s)).sum();
    let stderr = variances.map(|v| v.sqrt() / n);
    let reach = |end: fn(&Estimate) -> Option<f64>| {
        let squares: Option<f64> = estimates.iter().map(|e| end(e).map(|x| (x - e.value).powi(2))).sum();
        squares.map(|s| s.sqrt() / n)
    };
    let (low, high) = (reach(|e| e.low).map(|r| value - r), reach(|e| e.high).map(|r| value + r));
    Some(Estimate { value, low, high, stderr })
}

/// Counts of as many items as `items` has, drawn from it with replacement.
///
/// The generator is Steele, Lea and Flood's SplitMix64, each of its numbers good for two draws; a draw's bias is under
/// items/2³². Written as one loop, because a report makes hundreds of millions of draws.
fn resample(items: &[usize], cells: usize, state: &mut u64) -> Vec<u64> {
    let mut counts = vec![0u64; cells];
    let n = items.len() as u64;
    let mut left = items.len();
    while left > 0 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        counts[items[(((z & 0xffff_ffff) * n) >> 32) as usize]] += 1;
        left -= 1;
        if left > 0 {
            counts[items[(((z >> 32) * n) >> 32) as usize]] += 1;
            left -= 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn goldens(file: &str) -> Vec<Value> {
        let path = format!("{}/../tests/goldens/metrics/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        serde_json::from_str(&text).unwrap()
    }

    fn confusion(golds: &Value, preds: &Value) -> Vec<Vec<u64>> {
        let read = |v: &Value| {
            v.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect::<Vec<_>>()
        };
        let (golds, preds) = (read(golds), read(preds));
        let classes = golds.iter().chain(&preds).max().unwrap() + 1;
        let mut counts = vec![vec![0; classes]; classes];
        for (gold, pred) in golds.into_iter().zip(preds) {
            counts[gold][pred] += 1;
        }
        counts
    }

    #[test]
    fn accuracy_and_macro_f1_equal_those_of_scikit_learn() {
        // Oracle: scikit-learn's accuracy_score and f1_score(average="macro", zero_division=0); 1e-12 for the order of sums.
        for case in goldens("f1.json") {
            let counts = confusion(&case["golds"], &case["preds"]);
            let (acc, f1) = (accuracy(&counts).unwrap(), macro_f1(&counts).unwrap());
            assert!((acc.value - case["accuracy"].as_f64().unwrap()).abs() < 1e-12, "{case}: {acc:?}");
            assert!((f1.value - case["f1_macro"].as_f64().unwrap()).abs() < 1e-12, "{case}: {f1:?}");
        }
    }

    #[test]
    fn the_interval_of_an_accuracy_is_wilsons() {
        // Oracle: the goldens' own (see their README); 1e-9.
        for case in goldens("wilson.json") {
            let (right, n) = (case["correct"].as_u64().unwrap(), case["n"].as_u64().unwrap());
            let got = accuracy(&[vec![right, n - right], vec![0, 0]]).unwrap();
            for (end, name) in [(got.low, "low"), (got.high, "high")] {
                assert!((end.unwrap() - case[name].as_f64().unwrap()).abs() < 1e-9, "{case}: {got:?}");
            }
        }
    }

    #[test]
    fn the_bootstrap_of_f1_is_the_same_every_time_and_as_wide_as_normal_theory_says() {
        // Two balanced classes at 70 %: F1 is close to accuracy, whose standard error is sqrt(.7·.3/400) = 0.0229.
        let counts = [vec![140, 60], vec![60, 140]];
        let got = macro_f1(&counts).unwrap();
        assert_eq!(got, macro_f1(&counts).unwrap());
        assert!((got.stderr.unwrap() - 0.0229).abs() < 0.002, "{got:?}");
        assert!((got.high.unwrap() - got.low.unwrap() - 4.0 * 0.0229).abs() < 0.01, "{got:?}");
        assert!(got.low.unwrap() < got.value && got.value < got.high.unwrap(), "{got:?}");
    }

    #[test]
    fn perplexity_is_the_exponential_of_the_mean_over_windows() {
        // By hand: mean 2.0, sample sd 1, standard error 1/sqrt(3).
        let got = perplexity(&[1.0, 2.0, 3.0]).unwrap();
        assert!((got.value - 7.389_056_098_930_65).abs() < 1e-12, "{got:?}");
        assert!((got.low.unwrap() - (2.0f64 - 1.959_964 / 3f64.sqrt()).exp()).abs() < 1e-5, "{got:?}");
        assert!((got.stderr.unwrap() - 7.389_056 / 3f64.sqrt()).abs() < 1e-5, "{got:?}");
        assert_eq!(perplexity(&[1.0]).unwrap().low, None);
    }

    #[test]
    fn the_mean_of_one_accuracy_keeps_its_interval_and_no_mean_leaves_zero_to_one() {
        let all_right = accuracy(&[vec![10, 0], vec![0, 10]]).unwrap();
        let alone = mean(&[all_right]).unwrap();
        assert!((alone.low.unwrap() - all_right.low.unwrap()).abs() < 1e-15, "{alone:?}");
        assert_eq!(alone.high, Some(1.0));
        let both = mean(&[all_right, accuracy(&[vec![9, 1], vec![0, 10]]).unwrap()]).unwrap();
        assert!(both.low.unwrap() > 0.0 && both.high.unwrap() < 1.0, "{both:?}");
    }

    #[test]
    fn what_cannot_be_estimated_is_no_number() {
        assert_eq!((accuracy(&[]), macro_f1(&[]), perplexity(&[]), mean(&[])), (None, None, None, None));
        assert_eq!(perplexity(&[800.0, 800.0]), None);
    }
}
