//! Decides which values options take: what makes no sense is refused before anything begins.

/// `--device`.
pub(super) fn device(text: &str) -> Result<String, String> {
    let index = if text == "cuda" { Some("0") } else { text.strip_prefix("cuda:") };
    let is_number = |n: &str| n.bytes().all(|b| b.is_ascii_digit()) && n.parse::<u32>().is_ok();
    match text == "cpu" || index.is_some_and(is_number) {
        true => Ok(text.to_owned()),
        false => Err(format!("found {text}, expected cpu or cuda:N")),
    }
}

/// Seconds, also none.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    number(text, "seconds", "from 0", |found| (0.0..1e9).contains(&found))
}

/// Seconds of a time that nothing can be done in none of.
pub(super) fn past(text: &str) -> Result<f64, String> {
    number(text, "seconds", "above 0", |found| found > 0.0 && found < 1e9)
}

/// GiB of a memory or a folder.
pub(super) fn gib(text: &str) -> Result<f64, String> {
    number(text, "GiB", "above 0", |found| found > 0.0 && found < 1e9)
}

fn number(text: &str, unit: &str, from: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    let found: f64 = text.parse().map_err(|_| format!("found {text}, expected a number of {unit}"))?;
    match fits(found) {
        true => Ok(found),
        false => Err(format!("found {text}, expected {unit} {from} to 10^9")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_the_cpu_or_a_gpu_by_its_number() {
        for known in ["cpu", "cuda", "cuda:0", "cuda:11"] {
            assert_eq!(device(known).unwrap(), known);
        }
        for wrong in ["", "gpu", "cpu:0", "cuda:", "cuda:x", "cuda0", "cuda:-1", "cuda:0 ", "CUDA:0"] {
            assert_eq!(device(wrong).unwrap_err(), format!("found {wrong}, expected cpu or cuda:N"));
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        assert_eq!((seconds("0"), past("0.5"), gib("1.5")), (Ok(0.0), Ok(0.5), Ok(1.5)));
        for wrong in ["-1", "NaN", "inf", "1e9", "x", ""] {
            for read in [seconds, past, gib] {
                assert!(
                    read(wrong).is_err_and(|e| e.starts_with(&format!("found {wrong}, expected "))),
                    "{wrong}"
                );
            }
        }
        assert_eq!(past("0").unwrap_err(), "found 0, expected seconds above 0 to 10^9");
        assert_eq!(gib("0").unwrap_err(), "found 0, expected GiB above 0 to 10^9");
    }
}
