//! `sparsity:` → pattern, with the traps named: N:M that a YAML 1.1 tool turned into a number, percents, N:M that people
//! read in opposite ways.

use crate::spec::complaint::Complaint;
use crate::spec::fields::Reader;
use crate::spec::yaml::{Node, Value};
use espalier_proto::recipe::Pattern;

const EXPECTED: &str =
    "a ratio from 0 up to, not including, 1, an N:M in quotes such as \"2:4\", or {prune: 1, of: 4}";

/// One sparsity; the inner `None` is ratio 0: dense. The outer one: a complaint was kept.
pub fn read(reader: &mut Reader, node: &Node, field: &str) -> Option<Option<Pattern>> {
    match &node.value {
        Value::Integer(n) => number(reader, node, field, *n as f64),
        Value::Number(n, _) => number(reader, node, field, *n),
        Value::Text(text) => match n_of_m(text) {
            Ok(pattern) => Some(Some(pattern)),
            Err(expected) => reader.complain(node, field, expected),
        },
        Value::Map(_) => in_words(reader, node, field),
        _ => reader.complain(node, field, EXPECTED),
    }
}

fn number(reader: &mut Reader, node: &Node, field: &str, number: f64) -> Option<Option<Pattern>> {
    match ratio(number) {
        Ok(pattern) => Some(pattern),
        Err(expected) => reader.complain(node, field, expected),
    }
}

/// A ratio; `None` is 0: dense. The error says what was expected instead.
pub fn ratio(ratio: f64) -> Result<Option<Pattern>, String> {
    if ratio == 0.0 {
        return Ok(None);
    }
    if ratio > 0.0 && ratio < 1.0 {
        return Ok(Some(Pattern::Ratio(ratio)));
    }
    // YAML 1.1 reads 2:4 in base 60: 2 · 60 + 4.
    let halves = ratio / 62.0;
    Err(if halves >= 2.0 && halves.fract() == 0.0 && ratio < 10_000.0 {
        let n_m = format!("{halves}:{}", 2.0 * halves);
        format!("a ratio below 1; {ratio} looks like {n_m} rewritten by a YAML 1.1 tool: write \"{n_m}\"")
    } else if (2.0..100.0).contains(&ratio) {
        format!("a ratio below 1 (did you mean {}?)", (ratio * 1e6).round() / 1e8)
    } else {
        EXPECTED.to_owned()
    })
}

/// `2:4`; the error says what was expected instead.
pub fn n_of_m(text: &str) -> Result<Pattern, String> {
    let numbers = text.split_once(':').map(|(n, m)| (n.trim().parse::<u32>(), m.trim().parse::<u32>()));
    match numbers {
        Some((Ok(n), Ok(m))) if n > 0 && n < m => {
            if n * 2 == m {
                return Ok(Pattern::NOfM { prune: n, of: m });
            }
            let other = m - n;
            Err(format!(
                "words, because tools read {text} in opposite ways: {{prune: {n}, of: {m}}} or {{prune: {other}, of: {m}}}"
            ))
        }
        Some((Ok(_), Ok(m))) => Err(format!("N:M with 0 < N < M, such as \"2:{}\"", m.max(4))),
        _ if text.parse::<f64>().is_ok() => Err(format!("a number without quotes: {text}")),
        _ => match text.strip_suffix('%').and_then(|p| p.trim().parse::<f64>().ok()) {
            Some(percent) => Err(format!("a ratio: {}", percent / 100.0)),
            None => Err(EXPECTED.to_owned()),
        },
    }
}

/// `N:M` as wanda's command line means it, N of every M weights pruned, for any 0 < N < M.
pub fn prune_n_of_m(text: &str) -> Option<Pattern> {
    let (n, m) = text.split_once(':')?;
    let (prune, of) = (n.trim().parse().ok()?, m.trim().parse().ok()?);
    (0 < prune && prune < of && of <= 1024).then_some(Pattern::NOfM { prune, of })
}

fn in_words(reader: &mut Reader, node: &Node, field: &str) -> Option<Option<Pattern>> {
    let fields = reader.fields(node, field, &["prune", "of"])?;
    let prune = reader.required(&fields, "prune", "how many of each group become zero");
    let of = reader.required(&fields, "of", "the size of a group");
    let (prune, of) = (prune?, of?);
    let m = reader.integer(of, &fields.path_of("of"), 2..=1024);
    let n = reader.integer(prune, &fields.path_of("prune"), 1..=1023);
    let (n, m) = (n?, m?);
    if n >= m {
        let expected = format!("fewer than of: {m}");
        reader.complaints.push(Complaint::new(prune.at, &fields.path_of("prune"), n, expected));
        return None;
    }
    Some(Some(Pattern::NOfM { prune: n as u32, of: m as u32 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::yaml;

    fn of(text: &str) -> Result<Option<Pattern>, String> {
        let mut reader = Reader::default();
        let read = read(&mut reader, &yaml::parse(text).unwrap(), "sparsity");
        read.ok_or_else(|| reader.complaints.remove(0).message)
    }

    #[test]
    fn every_spelling_gives_its_pattern() {
        assert_eq!(of("0.5"), Ok(Some(Pattern::Ratio(0.5))));
        assert_eq!(of("0"), Ok(None));
        assert_eq!(of("0.0"), Ok(None));
        assert_eq!(of("\"2:4\""), Ok(Some(Pattern::NOfM { prune: 2, of: 4 })));
        assert_eq!(of("4:8"), Ok(Some(Pattern::NOfM { prune: 4, of: 8 })));
        assert_eq!(of("{prune: 1, of: 4}"), Ok(Some(Pattern::NOfM { prune: 1, of: 4 })));
    }

    #[test]
    fn on_the_command_line_n_of_every_m_is_pruned() {
        assert_eq!(prune_n_of_m("1:4"), Some(Pattern::NOfM { prune: 1, of: 4 }));
        assert_eq!(prune_n_of_m("3:8").unwrap().target_sparsity(), 0.375);
        for wrong in ["4:4", "0:4", "4:2", "2:", "a:b", "2:2048", "0.5"] {
            assert_eq!(prune_n_of_m(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_trap_is_named() {
        let said = |text: &str, part: &str| {
            let message = of(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        };
        said("124", "124 looks like 2:4 rewritten by a YAML 1.1 tool");
        said("248", "248 looks like 4:8 rewritten by a YAML 1.1 tool");
        said("20", "did you mean 0.2?");
        said("2", "did you mean 0.02?");
        said("1.5", "a ratio from 0 up to, not including, 1");
        said("1", "a ratio from 0 up to, not including, 1");
        said("-0.5", "a ratio from 0");
        said(".nan", "a ratio from 0");
        said("'0.5'", "without quotes: 0.5");
        said("50%", "a ratio: 0.5");
        said("1:4", "{prune: 1, of: 4} or {prune: 3, of: 4}");
        said("4:4", "0 < N < M");
        said("{prune: 4, of: 4}", "fewer than of: 4");
        said("{prune: 1, off: 4}", "did you mean of?");
        said("[0.5]", "a list");
    }
}
