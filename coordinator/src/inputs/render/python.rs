//! The methods of Python's texts and lists that task files call.

use super::meter::{VALUE_BYTES, charge};
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// Calls `method` of `value`.
pub(super) fn python_method(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let unknown = || Error::new(ErrorKind::UnknownMethod, format!("{} has no method {method}", value.kind()));
    let arg = |i: usize| {
        args.get(i)
            .and_then(|a| a.as_str())
            .ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("{method} needs text")))
    };
    if let Some(text) = value.as_str() {
        match (method, args.len()) {
            ("replace", 2) => {
                charge(state, text.matches(arg(0)?).count().saturating_mul(arg(1)?.len()))?;
            }
            ("split", 1) => charge(state, text.matches(arg(0)?).count().saturating_mul(VALUE_BYTES))?,
            _ => {}
        }
        return Ok(match (method, args.len()) {
            ("strip", 0) => text.trim().into(),
            ("lstrip", 0) => text.trim_start().into(),
            ("rstrip", 0) => text.trim_end().into(),
            ("lower", 0) => text.to_lowercase().into(),
            ("upper", 0) => text.to_uppercase().into(),
            ("replace", 2) => text.replace(arg(0)?, arg(1)?).into(),
            ("startswith", 1) => text.starts_with(arg(0)?).into(),
            ("endswith", 1) => text.ends_with(arg(0)?).into(),
            ("split", 1) => text.split(arg(0)?).map(Value::from).collect::<Vec<_>>().into(),
            ("index", 1) => match text.find(arg(0)?) {
                Some(at) => text[..at].chars().count().into(),
                None => return Err(absent(&args[0])),
            },
            _ => return Err(unknown()),
        });
    }
    match (value.kind(), method, args) {
        (ValueKind::Seq, "index", [wanted]) => {
            value.try_iter()?.position(|v| v == *wanted).map(Value::from).ok_or_else(|| absent(wanted))
        }
        _ => Err(unknown()),
    }
}

fn absent(wanted: &Value) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{wanted} is not there"))
}
