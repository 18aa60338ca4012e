//! `espalier catalog`: what can be written in a sweep file, from the registries themselves.

use super::{Output, print};
use crate::exit::{Exit, Failure};
use crate::inputs::catalog::tasks;
use espalier_proto::families;
use espalier_proto::methods::{METHODS, Statistics};
use serde_json::json;

/// List what can be written in a sweep file: model families, pruning methods, tasks
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier catalog\n  espalier catalog --output json")]
pub struct Catalog {}

/// Prints the registries.
pub fn run(_: &Catalog, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Text => print::text(&[families_text(), methods_text(), tasks_text()].join("\n")),
        Output::Json => print::json(&json!({
            "families": families::supported(),
            "methods": methods_json(),
            "tasks": tasks_json(),
        })),
    }
    Ok(Exit::Whole)
}

fn families_text() -> String {
    format!("model families (model_type of config.json)\n  {}\n", families::supported().join(", "))
}

fn methods_text() -> String {
    let mut text = String::from("methods\n");
    for method in METHODS {
        let calibrated = match method.statistics {
            Statistics::None => "no calibration",
            Statistics::SumOfSquares => "calibrated",
        };
        text += &format!("  {:<15} {} ({calibrated})\n", method.name, method.about);
        for param in method.params {
            text += &format!("  {:<15}   {}: {}\n", "", param.name, param.help);
        }
    }
    text
}

fn tasks_text() -> String {
    let mut text = String::from("tasks\n");
    for task in tasks() {
        text += &format!("  {:<15} {}\n", task.name, task.about);
        let styles: Vec<&str> =
            task.styles.iter().map(|s| s.name.as_str()).filter(|s| !s.is_empty()).collect();
        if !styles.is_empty() {
            text += &format!("  {:<15}   styles: {}\n", "", styles.join(", "));
        }
        if !task.aliases.is_empty() {
            text += &format!("  {:<15}   also: {}\n", "", task.aliases.join(", "));
        }
    }
    text
}

fn methods_json() -> serde_json::Value {
    let one = |m: &espalier_proto::methods::Method| {
        let param = |p: &espalier_proto::methods::Param| json!({"name": p.name, "default": p.default, "help": p.help});
        json!({
            "name": m.name,
            "about": m.about,
            "calibrated": m.statistics != Statistics::None,
            "only_zeroes": m.only_zeroes,
            "params": m.params.iter().map(param).collect::<Vec<_>>(),
        })
    };
    METHODS.iter().map(one).collect()
}

fn tasks_json() -> serde_json::Value {
    let one = |task: &crate::inputs::task::Task| {
        let style = |s: &crate::inputs::task::Style| json!({"name": s.name, "metrics": s.metrics});
        json!({
            "name": task.name,
            "about": task.about,
            "aliases": task.aliases,
            "kind": task.kind,
            "reasoning": task.reasoning,
            "datasets": task.datasets,
            "styles": task.styles.iter().map(style).collect::<Vec<_>>(),
        })
    };
    tasks().iter().map(one).collect()
}
