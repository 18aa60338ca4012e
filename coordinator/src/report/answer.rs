//! The answer in words: how much of a model each recipe prunes away before it stops reasoning. Every number in a sentence is
//! computed from the table, and nothing is said where a number that it needs is missing.

use super::numbers::{significant, value};
use super::view::{Column, Family, Pair, Setting, View};
use crate::merge::table::{Status, Table};

/// A loss of accuracy, in points, that still counts as staying with the dense model.
const TOLERANCE: f64 = 5.0;

/// Sentences about one model; the first is the headline.
pub fn sentences(view: &View) -> Vec<String> {
    let columns = view.reasoning_columns(None);
    let mut sentences = Vec::new();
    for recipe in view.recipes() {
        sentences.push(if columns.is_empty() {
            by_perplexity(view, recipe)
        } else {
            by_accuracy(view, recipe, &columns)
        });
    }
    for pair in view.structured_pairs() {
        sentences.extend(structured(view, &pair, &columns));
    }
    // A number stays with its sign.
    let mut sentences: Vec<String> =
        sentences.into_iter().filter(|s| !s.is_empty()).map(|s| s.replace(" %", "\u{a0}%")).collect();
    if sentences.is_empty() {
        sentences.push(match accuracy(view, view.dense.as_ref(), &columns) {
            Some(dense) => {
                format!("Dense, its mean accuracy over {} is {} %.", tasks(&columns), value("acc", dense))
            }
            None => "Nothing of it is measured yet that an answer could stand on.".to_owned(),
        });
    }
    sentences
}

/// How much of the grid is measured: `None` if all of it is.
pub fn unfinished(table: &Table) -> Option<String> {
    let failed = table.rows.iter().filter(|r| r.status == Status::Failed).map(|r| (r.variant, r.task));
    let failed = failed.collect::<std::collections::BTreeSet<_>>().len();
    let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    (table.measured < table.cells || !failed.is_empty()).then(|| {
        format!(
            "Unfinished: {} of {} cells are measured{failed}. What is missing is shown as missing.",
            table.measured, table.cells
        )
    })
}

/// Says if a limit cut the data of a task.
pub fn limited(table: &Table) -> Option<String> {
    let cut: Vec<&str> = table.tasks.iter().filter(|t| t.limited).map(|t| t.label.as_str()).collect();
    (!cut.is_empty()).then(|| {
        format!(
            "Limited: a limit cut the data of {}; these numbers are not those of the whole sets.",
            cut.join(", ")
        )
    })
}

/// The mean over seeds of the mean accuracy over columns, if every number of it is there.
fn accuracy(view: &View, setting: Option<&Setting>, columns: &[Column]) -> Option<f64> {
    let setting = setting?;
    let seeds: Option<Vec<f64>> =
        setting.variants.iter().map(|&v| view.mean_accuracy(v, columns).map(|e| e.value)).collect();
    seeds.filter(|s| !s.is_empty()).map(|s| s.iter().sum::<f64>() / s.len() as f64)
}

fn tasks(columns: &[Column]) -> String {
    if columns.len() == 1 { "one task".to_owned() } else { format!("{} tasks", columns.len()) }
}

/// The recipe's unstructured settings by rising target, with a number each; `None` if any lacks its own.
fn curve<'v>(
    view: &'v View,
    recipe: &str,
    number: impl Fn(&Setting) -> Option<f64>,
) -> Option<Vec<(&'v Setting<'v>, f64)>> {
    let mut own: Vec<&Setting> =
        view.settings.iter().filter(|s| s.recipe == recipe && !s.structured).collect();
    own.sort_by(|a, b| a.target.total_cmp(&b.target));
    own.into_iter().map(|s| Some((s, number(s)?))).collect()
}

fn by_accuracy(view: &View, recipe: &str, columns: &[Column]) -> String {
    let Some(dense) = accuracy(view, view.dense.as_ref(), columns) else {
        return String::new();
    };
    let Some(curve) = curve(view, recipe, |s| accuracy(view, Some(s), columns)) else {
        return String::new();
    };
    let Some((sparsest, least)) = curve.last() else {
        return String::new();
    };
    let loss = |accuracy: f64| (dense - accuracy) * 100.0;
    let kept = curve.iter().take_while(|(_, a)| loss(*a) <= TOLERANCE).count();
    let over = tasks(columns);
    let chance = view.mean_chance(columns).filter(|_| view.recipes().first() == Some(&recipe));
    let guess = chance.map_or(String::new(), |c| format!(" A uniform guess gives {} %.", value("acc", c)));
    if kept == 0 {
        let (first, a) = &curve[0];
        let tail = match curve.len() {
            1 => String::new(),
            _ => format!(", and to {} % at {}", value("acc", *least), sparsest.at()),
        };
        return format!(
            "With {recipe}, mean accuracy over {over} falls from {} % dense to {} % already at {} sparsity{tail}.{guess}",
            value("acc", dense),
            value("acc", *a),
            first.at()
        );
    }
    let (last, a) = &curve[kept - 1];
    let worst = curve[..kept].iter().map(|(_, a)| loss(*a)).fold(0.0, f64::max);
    let tail = match kept == curve.len() {
        true => ", the sparsest measured".to_owned(),
        false => {
            let (next, b) = &curve[kept];
            format!("; at {} it is {} %", next.at(), value("acc", *b))
        }
    };
    let kept = match worst > 0.0 {
        // Rounded up: "at most" must be true of the number that is shown.
        true => format!("loses at most {:.1} points against dense", (worst * 10.0 - 1e-9).ceil() / 10.0),
        false => "is not below dense".to_owned(),
    };
    format!(
        "With {recipe}, mean accuracy over {over} {kept} ({} %) up to {} sparsity ({} %){tail}.{guess}",
        value("acc", dense),
        last.at(),
        value("acc", *a)
    )
}

fn by_perplexity(view: &View, recipe: &str) -> String {
    let Some(column) = view.columns(Family::Perplexity).into_iter().next() else {
        return String::new();
    };
    let Some(dense) = view.dense.as_ref().and_then(|s| view.mean_of(s, &column)) else {
        return String::new();
    };
    let Some(curve) = curve(view, recipe, |s| view.mean_of(s, &column)) else {
        return String::new();
    };
    let steps: Vec<String> =
        curve.iter().map(|(s, ppl)| format!("{} at {}", significant(*ppl, 4), s.at())).collect();
    if steps.is_empty() {
        return String::new();
    }
    format!(
        "With {recipe}, perplexity ({}) goes from {} dense to {}.",
        view.heading(&column),
        significant(dense, 4),
        steps.join(", ")
    )
}

/// `wanda 2:4, mean accuracy: 73.10 % at perplexity 4.766, beside 74.60 % at perplexity 4.581 (unstructured 50 %).`
fn structured(view: &View, pair: &Pair, columns: &[Column]) -> Option<String> {
    let first = view.columns(Family::Perplexity).into_iter().next();
    let said = |setting: &Setting| {
        let accuracy = accuracy(view, Some(setting), columns).map(|a| format!("{} %", value("acc", a)));
        let perplexity = first
            .as_ref()
            .and_then(|c| view.mean_of(setting, c))
            .map(|p| format!("perplexity {}", significant(p, 4)));
        let said: Vec<String> = accuracy.into_iter().chain(perplexity).collect();
        (!said.is_empty()).then(|| said.join(" at "))
    };
    let beside: Option<Vec<String>> = pair
        .beside
        .iter()
        .map(|s| Some(format!("{} (unstructured {})", said(s)?, s.sparsity_label())))
        .collect();
    let beside = beside?.join(" and ");
    let what = if columns.is_empty() { "" } else { ", mean accuracy" };
    let of = |s: &&Setting| Some(format!("{} {}{what}: {}", s.recipe, s.at(), said(s)?));
    let own: Option<Vec<String>> = pair.structured.iter().map(of).collect();
    Some(format!("{}, beside {beside}.", own?.join("; ")))
}
