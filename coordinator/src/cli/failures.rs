//! What was given up, in few lines: one for each cause, however many variants or cells it took along.

use crate::serve::local::Failed;
use espalier_proto::messages as m;
use std::collections::BTreeMap;

/// Lines at most.
const MOST: usize = 20;
/// So many of one cause are named; more are counted.
const NAMED: usize = 3;

/// A variant or a cell that was given up.
#[derive(Clone, Copy, Debug)]
pub struct Lost<'a> {
    model: &'a str,
    variant: &'a str,
    /// `None` if the variant itself failed.
    task: Option<&'a str>,
    code: &'a str,
    message: &'a str,
    canary: bool,
}

impl<'a> From<&'a Failed> for Lost<'a> {
    fn from(failed: &'a Failed) -> Self {
        Self {
            model: &failed.model,
            variant: &failed.variant,
            task: failed.task.as_deref(),
            code: failed.code.as_str(),
            message: &failed.message,
            canary: failed.canary,
        }
    }
}

impl<'a> From<&'a m::FailedState> for Lost<'a> {
    fn from(failed: &'a m::FailedState) -> Self {
        Self {
            model: &failed.model,
            variant: &failed.variant,
            task: Some(failed.task.as_str()).filter(|task| !task.is_empty()),
            code: &failed.code,
            message: &failed.message,
            canary: failed.canary,
        }
    }
}

/// One line a cause and model; of many causes the first, and `rest`, which says where the others are told.
pub fn lines<'a, L: Into<Lost<'a>>>(failed: impl IntoIterator<Item = L>, rest: &str) -> Vec<String> {
    let mut places = BTreeMap::new();
    let mut causes: Vec<(Lost<'a>, Vec<String>, usize)> = Vec::new();
    for lost in failed.into_iter().map(L::into) {
        let Lost { model, variant, task, code, message, canary } = lost;
        let place = *places.entry((model, code, message, canary, task.is_some())).or_insert(causes.len());
        if place == causes.len() {
            causes.push((lost, Vec::new(), 0));
        }
        let (_, names, count) = &mut causes[place];
        *count += 1;
        if names.len() < NAMED {
            let task = task.map(|task| format!(" {task}")).unwrap_or_default();
            names.push(format!("{model} {variant}{task}"));
        }
    }
    let more = causes.len().saturating_sub(MOST);
    let shown = causes.iter().take(MOST).map(|(lost, names, count)| line(lost, names, *count));
    shown.chain((more > 0).then(|| format!("and {more} more ({rest})"))).collect()
}

fn line(lost: &Lost<'_>, names: &[String], count: usize) -> String {
    let what = if lost.canary || count > names.len() {
        let unit = if lost.task.is_some() { "cell" } else { "variant" };
        let plural = if count == 1 { "" } else { "s" };
        format!("{}, {count} {unit}{plural}", lost.model)
    } else {
        names.join(", ")
    };
    let canary = if lost.canary { "its canary: " } else { "" };
    // What an earlier coordinator gave up is known by its code alone until its failures are read, or if they cannot be.
    let message = if lost.message.is_empty() { String::new() } else { format!(": {}", lost.message) };
    format!("failed: {what}: {canary}{}{message}", lost.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(variant: &'static str, task: Option<&'static str>, message: &'static str) -> Lost<'static> {
        Lost { model: "m", variant, task, code: "non_finite_weights", message, canary: false }
    }

    #[test]
    fn one_cause_is_told_once_with_everything_that_failed_of_it() {
        let all = [
            lost("dense", None, "tensor a"),
            lost("wanda", Some("reclor"), "tensor b"),
            lost("wanda", None, "tensor a"),
        ];
        let lines_told = [
            "m dense, m wanda: non_finite_weights: tensor a",
            "m wanda reclor: non_finite_weights: tensor b",
        ];
        assert_eq!(lines(all, "the report"), lines_told.map(|line| format!("failed: {line}")));
    }

    #[test]
    fn a_model_whose_canary_fell_takes_one_line_and_many_causes_take_twenty() {
        let fallen = Lost { canary: true, ..lost("wanda", None, "as told") };
        let told = lines((0..5001).map(|_| fallen), "");
        assert_eq!(told, ["failed: m, 5001 variants: its canary: non_finite_weights: as told"]);
        let told = lines((0..4).map(|_| lost("wanda", Some("reclor"), "")), "");
        assert_eq!(told, ["failed: m, 4 cells: non_finite_weights"]);
        let messages: Vec<String> = (0..30).map(|n| format!("message {n}")).collect();
        let each = messages.iter().map(|message| Lost { message, ..lost("wanda", None, "") });
        let told = lines(each, "espalier explain s");
        assert_eq!((told.len(), told[20].as_str()), (21, "and 10 more (espalier explain s)"));
    }
}
