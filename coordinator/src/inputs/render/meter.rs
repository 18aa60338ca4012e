//! What a template may cost. The engine counts steps; it does not bound what one step makes, and a text that is put after
//! itself forty times is a terabyte. So everything that a template touches as a whole or makes is weighed, and a
//! run that touches more than its allowance ends.

use super::python::python_method;
use minijinja::value::{Object, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, filters};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most instructions of one run. The catalog's templates take some hundreds.
pub(super) const STEPS: u64 = 100_000;
/// Most bytes that one run may touch or make. The catalog's templates take some ten times their document.
const ALLOWANCE: usize = 8 << 20;
/// A value beside what it holds.
pub(super) const VALUE_BYTES: usize = 32;
/// How deep lists may lie in lists.
const DEEPEST: usize = 32;
/// The widest number in a `format`.
const WIDEST: usize = 3;

/// Weighs a value and gives it back. No name that a template can write.
pub(super) const WEIGH: &str = "#";
/// The same for texts alone.
pub(super) const WEIGH_TEXT: &str = "#text";
/// `*`.
pub(super) const TIMES: &str = "*";

const OVER: &str = "more than its allowance of memory";

#[derive(Debug)]
struct Left(AtomicUsize);
impl Object for Left {}

/// An environment whose every run is metered. Templates must have been through [`super::rewrite`].
pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_unknown_method_callback(python_method);
    env.set_fuel(Some(STEPS));
    env.set_formatter(|out, state, value| {
        weigh(state, value)?;
        minijinja::escape_formatter(out, state, value)
    });
    // Prints every variable, those too that hold themselves.
    env.remove_global("debug");
    env.add_filter(WEIGH, |state: &State<'_, '_>, value: Value| weigh(state, &value).map(|()| value));
    env.add_filter(WEIGH_TEXT, |state: &State<'_, '_>, value: Value| {
        if value.as_str().is_some() { weigh(state, &value).map(|()| value) } else { Ok(value) }
    });
    env.add_filter(TIMES, times);
    charged(&mut env);
    env
}

/// True of an error that says: too much.
pub(super) fn is_over(error: &Error) -> bool {
    error.kind() == ErrorKind::OutOfFuel || error.detail().is_some_and(|d| d.contains(OVER))
}

/// Takes `bytes` from what the run has left.
pub(super) fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let left = &state.get_or_set_temp_object("left", || Left(AtomicUsize::new(ALLOWANCE))).0;
    match left.load(Ordering::Relaxed).checked_sub(bytes) {
        Some(rest) => {
            left.store(rest, Ordering::Relaxed);
            Ok(())
        }
        None => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("found {OVER}, expected at most {} MiB of text and lists", ALLOWANCE >> 20),
        )),
    }
}

fn weigh(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    charge(state, weight(value, ALLOWANCE, DEEPEST).unwrap_or(usize::MAX))
}

/// The bytes of a value and all that it holds, each as often as it is held; `None` past `room` or `depth`.
fn weight(value: &Value, room: usize, depth: usize) -> Option<usize> {
    let mut sum = VALUE_BYTES;
    let mut add = |n: Option<usize>| {
        sum += n?;
        (sum <= room).then_some(sum)
    };
    match value.kind() {
        ValueKind::String => add(value.as_str().map(str::len)),
        ValueKind::Bytes => add(value.as_bytes().map(<[u8]>::len)),
        kind @ (ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) => {
            let deeper = depth.checked_sub(1)?;
            let mut so_far = add(Some(0))?;
            for item in value.try_iter().into_iter().flatten() {
                if kind == ValueKind::Map {
                    let held = value.get_item(&item).unwrap_or_default();
                    so_far = add(weight(&held, room - so_far, deeper))?;
                }
                so_far = add(weight(&item, room - so_far, deeper))?;
            }
            Some(so_far)
        }
        _ => Some(sum),
    }
}

/// What a filter makes beyond what it is given, in bytes, from its arguments.
type Beyond = fn(&[Value]) -> usize;

/// Filters that can make much of little. What all others make is weighed once it is there.
fn charged(env: &mut Environment<'static>) {
    env.add_filter("=replace", filters::replace);
    env.add_filter("=join", filters::join);
    env.add_filter("=indent", filters::indent);
    env.add_filter("=slice", filters::slice);
    env.add_filter("=batch", filters::batch);
    env.add_filter("=format", filters::format);
    env.add_filter("=split", filters::split);
    env.add_filter("=list", filters::list);
    env.add_filter("=lines", filters::lines);
    let beyond: [(&'static str, &'static str, Beyond); 9] = [
        ("replace", "=replace", |args| count(args.first(), args.get(1)).saturating_mul(bytes(args.get(2)))),
        ("join", "=join", |args| length(args.first()).saturating_mul(bytes(args.get(1)))),
        ("indent", "=indent", |args| length(args.first()).saturating_mul(largest(args))),
        ("slice", "=slice", |args| largest(args).saturating_mul(VALUE_BYTES)),
        ("batch", "=batch", |args| largest(args).saturating_mul(VALUE_BYTES)),
        ("format", "=format", format_widths),
        ("split", "=split", |args| bytes(args.first()).saturating_mul(VALUE_BYTES)),
        ("list", "=list", |args| bytes(args.first()).saturating_mul(VALUE_BYTES)),
        ("lines", "=lines", |args| bytes(args.first()).saturating_mul(VALUE_BYTES)),
    ];
    for (name, inner, beyond) in beyond {
        env.add_filter(name, move |state: &State<'_, '_>, args: Rest<Value>| {
            charge(state, beyond(&args))?;
            state.apply_filter(inner, &args)
        });
    }
}

/// The length of a text; 0 of anything else.
fn bytes(value: Option<&Value>) -> usize {
    value.and_then(Value::as_str).map_or(0, str::len)
}

/// Items of a list, bytes of a text.
fn length(value: Option<&Value>) -> usize {
    match value {
        Some(text) if text.as_str().is_some() => bytes(value),
        Some(list) => list.len().unwrap_or_else(|| list.try_iter().map_or(0, Iterator::count)),
        None => 0,
    }
}

fn count(text: Option<&Value>, part: Option<&Value>) -> usize {
    match (text.and_then(Value::as_str), part.and_then(Value::as_str)) {
        (Some(text), Some(part)) => text.matches(part).count(),
        (text, _) => text.map_or(1, str::len),
    }
}

/// The largest number among arguments, named ones too.
fn largest(args: &[Value]) -> usize {
    let number = |v: &Value| v.as_usize().or_else(|| v.is_number().then_some(usize::MAX)).unwrap_or(0);
    let named = |v: &Value| {
        let keys = (v.kind() == ValueKind::Map).then(|| v.try_iter().ok()).flatten().into_iter().flatten();
        keys.filter_map(|key| v.get_item(&key).ok()).map(|held| number(&held)).max().unwrap_or(0)
    };
    args.iter().skip(1).map(|v| number(v).max(named(v))).max().unwrap_or(0)
}

/// Each field of a `format` may be some hundred wide.
fn format_widths(args: &[Value]) -> usize {
    let form = args.first().and_then(Value::as_str).unwrap_or_default();
    let wide = form.contains('*') || form.split(|c: char| !c.is_ascii_digit()).any(|d| d.len() > WIDEST);
    if wide { usize::MAX } else { form.matches('%').count().saturating_mul(1000) }
}

/// `*`: a text or a list so many times, or a product.
fn times(state: &State<'_, '_>, left: Value, right: Value) -> Result<Value, Error> {
    let wrong = |why: &str| Error::new(ErrorKind::InvalidOperation, why.to_owned());
    let is_list = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    let (what, n) = if left.as_str().is_some() || is_list(&left) { (&left, &right) } else { (&right, &left) };
    if what.as_str().is_none() && !is_list(what) {
        return product(&left, &right)
            .ok_or_else(|| wrong(&format!("unable to calculate {} * {}", left.kind(), right.kind())));
    }
    let n = n.as_usize().ok_or_else(|| wrong("text and lists can only be multiplied with integers"))?;
    let one = weight(what, ALLOWANCE, DEEPEST).unwrap_or(usize::MAX);
    charge(state, one.saturating_mul(n))?;
    Ok(match what.as_str() {
        Some(text) => text.repeat(n).into(),
        None => {
            let items: Vec<Value> = what.try_iter()?.collect();
            std::iter::repeat_n(items, n).flatten().collect()
        }
    })
}

fn product(left: &Value, right: &Value) -> Option<Value> {
    if left.is_integer() && right.is_integer() {
        let (left, right) = (i128::try_from(left.clone()).ok()?, i128::try_from(right.clone()).ok()?);
        let product = left.checked_mul(right)?;
        return Some(i64::try_from(product).map_or_else(|_| product.into(), Value::from));
    }
    Some((f64::try_from(left.clone()).ok()? * f64::try_from(right.clone()).ok()?).into())
}
