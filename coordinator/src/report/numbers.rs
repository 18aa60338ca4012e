//! How numbers look to people. The files for programs hold them whole (see [`super::data`]).

use crate::merge::statistics::Estimate;
use crate::merge::table::{Row, Status};

/// True of the metrics whose values are shares of one.
pub fn is_share(metric: &str) -> bool {
    metric.starts_with("acc") || metric.starts_with("f1")
}

/// A metric's value for tables: shares in percent.
pub fn value(metric: &str, value: f64) -> String {
    if is_share(metric) { format!("{:.2}", value * 100.0) } else { significant(value, 4) }
}

/// The same, shorter, for marks in figures.
pub fn mark(metric: &str, value: f64) -> String {
    if is_share(metric) { format!("{:.1}", value * 100.0) } else { compact(value) }
}

/// Three significant digits; thousands and millions as `104k`, `3.2M`.
pub fn compact(x: f64) -> String {
    match x.abs() {
        1e4..1e6 => format!("{}k", significant(x / 1e3, 3).split('.').next().unwrap_or_default()),
        1e6..1e9 => format!("{:.1}M", x / 1e6),
        _ => significant(x, 3),
    }
}

/// The shortest of these forms without needless zeros, for ticks: `1.5`, `20`, `100k`.
pub fn short(x: f64) -> String {
    let text = compact(x).replace(".0M", "M");
    if text.contains('.') && !text.contains('e') && !text.ends_with('M') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// A count with its thousands apart.
pub fn whole(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && digits.len() > 4 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The 95 % interval of a value; empty where there is none.
pub fn interval(metric: &str, estimate: &Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{}–{}", value(metric, low), value(metric, high)),
        _ => String::new(),
    }
}

/// What stands where a number is missing: the status with its reason.
pub fn hole(row: Option<&Row>) -> String {
    match row {
        None => "–".to_owned(),
        Some(row) => match row.reason {
            Some(reason) if row.status == Status::Failed => format!("failed: {}", reason.as_str()),
            _ => row.status.as_str().to_owned(),
        },
    }
}

/// `digits` significant digits, thousands apart, no exponent below a million.
pub fn significant(x: f64, digits: i32) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    let decade = x.abs().log10().floor() as i32;
    if decade >= 6 {
        let mantissa = x / 10f64.powi(decade);
        return format!("{mantissa:.*}e{decade}", (digits - 2).max(0) as usize);
    }
    let decimals = (digits - 1 - decade).max(0) as usize;
    let plain = format!("{:.*}", decimals, x.abs());
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), ""), |(w, r)| (w, r));
    let grouped = whole.parse().map_or(whole.to_owned(), self::whole);
    let sign = if x < 0.0 { "−" } else { "" };
    if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{rest}") }
}

/// A share as a percentage without needless digits: `20 %`, `12.5 %`.
pub fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// Seconds for people: `0.42 s`, `12.3 s`, `4 min 5 s`, `2 h 3 min`.
pub fn seconds(s: f64) -> String {
    let whole = s.round() as u64;
    match whole {
        0..60 => format!("{} s", significant(s, if s < 10.0 { 2 } else { 3 })),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let cases = [
            (9.712_34, "9.712"),
            (132.44, "132.4"),
            (130_412.3, "130,412"),
            (0.5, "0.5000"),
            (3.4e7, "3.40e7"),
        ];
        for (x, expected) in cases {
            assert_eq!(significant(x, 4), expected);
        }
        assert_eq!(
            (compact(103_713.0), compact(9.712), compact(3_240_000.0)),
            ("104k".into(), "9.71".into(), "3.2M".into())
        );
        assert_eq!(
            (short(1.5), short(20.0), short(1e5), short(1e6)),
            ("1.5".into(), "20".into(), "100k".into(), "1M".into())
        );
        assert_eq!(
            (percent(0.2), percent(0.125), percent(0.0)),
            ("20 %".into(), "12.5 %".into(), "0 %".into())
        );
        assert_eq!((seconds(0.4234), seconds(245.0)), ("0.42 s".into(), "4 min 5 s".into()));
    }
}
