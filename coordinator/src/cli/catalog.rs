//! `espalier catalog`: what methods there are, from the registries themselves.

use super::{Output, print};
use crate::exit::{Exit, Failure};
use espalier_proto::methods::{METHODS, Statistics};
use serde_json::json;

/// List what can be written in a sweep file: pruning methods
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier catalog\n  espalier catalog --output json")]
pub struct Catalog {}

/// Prints the registries.
pub fn run(_: &Catalog, output: Output) -> Result<Exit, Failure> {
    match output {
        Output::Text => print::text(&methods_text()),
        Output::Json => print::json(&json!({"methods": methods_json()})),
    }
    Ok(Exit::Whole)
}

fn methods_text() -> String {
    let mut text = String::from("methods\n");
    for method in METHODS {
        let calibrated = match method.statistics {
            Statistics::None => "no calibration",
            Statistics::SumOfSquares => "calibrated",
        };
        text += &format!("  {:<12} {} ({calibrated})\n", method.name, method.about);
        for param in method.params {
            text += &format!("  {:<12}   {}: {}\n", "", param.name, param.help);
        }
    }
    text
}

fn methods_json() -> serde_json::Value {
    METHODS
        .iter()
        .map(|m| {
            let params: Vec<_> = m
                .params
                .iter()
                .map(|p| json!({"name": p.name, "default": p.default, "help": p.help}))
                .collect();
            json!({
                "name": m.name,
                "about": m.about,
                "calibrated": m.statistics != Statistics::None,
                "only_zeroes": m.only_zeroes,
                "params": params,
            })
        })
        .collect()
}
