//! Tables of what was measured about the doing; see [`super::tables`] for those of results.

use super::charts::costs::peak_mib;
use super::costs::{Costs, NamedCost};
use super::numbers;
use super::tables::{Entry, Piece, Sheet, plain};
use super::view::{View, colour};
use std::ops::Add;

const PRUNING: [&str; 3] = ["load", "calibrate", "prune"];

/// Everything together, by stage, in hours; and in money where an hour has a price.
pub fn total(costs: &Costs) -> Sheet {
    let note = "Time of the attempts whose results count; what was lost or failed is not in it.";
    let mut sheet = Sheet::new("In all", note, &["stage", "hours of devices"]);
    sheet.head.extend(costs.gpu_hour_price.map(|price| format!("at {price} an hour")));
    let hours = |stage: &str| -> f64 {
        let of = costs.stages.iter().filter(|s| s.cost.stage == stage);
        // Not `sum`, by which nothing adds up to −0.
        of.map(|s| s.cost.seconds).fold(0.0, Add::add) / 3600.0
    };
    let stages = PRUNING.into_iter().chain(["evaluate"]).map(|stage| (stage, hours(stage)));
    for (stage, hours) in stages.chain([("all", costs.device_hours)]) {
        let mut row = vec![plain(stage), plain(format!("{hours:.4}"))];
        row.extend(costs.gpu_hour_price.map(|price| plain(format!("{:.2}", hours * price))));
        sheet.rows.push((String::new(), row));
    }
    sheet
}

/// Pruning: time by stage, peak memory, checkpoint.
pub fn pruning(view: &View, costs: &Costs) -> Sheet {
    let note = "Peak memory: the device's; on a CPU that of the process, with what its earlier work left there. * another kind of device than the dense model's.";
    let mut sheet = Sheet::new(
        "Pruning",
        note,
        &["variant", "load", "calibrate", "prune", "peak memory", "checkpoint", "device"],
    );
    for setting in view.every() {
        for &index in &setting.variants {
            let variant = &view.table.variants[index];
            let key = variant.key.to_string();
            let stages: Vec<&NamedCost> =
                costs.stages.iter().filter(|s| s.task.is_none() && s.cost.key == key).collect();
            let mut row = vec![plain(variant.name.as_str())];
            row.extend(PRUNING.map(|name| seconds(stages.iter().filter(|s| s.cost.stage == name).copied())));
            row.push(memory(stages.iter().copied()));
            row.push(plain(stages.first().map_or("–".into(), |s| mib(s.cost.bytes as f64 / 1048576.0))));
            row.push(device(stages.first().copied()));
            sheet.rows.push((colour(setting.method), row));
        }
    }
    sheet
}

/// Evaluation: time by task.
pub fn evaluation(view: &View, costs: &Costs) -> Sheet {
    let note = "Seconds of evaluating; small: peak memory. * another kind of device than the dense cell's.";
    let mut sheet = Sheet::new("Evaluation", note, &["variant"]);
    sheet.head.extend(view.table.tasks.iter().map(|t| t.label.clone()));
    for setting in view.every() {
        for &index in &setting.variants {
            let variant = &view.table.variants[index];
            let mut row = vec![plain(variant.name.as_str())];
            for task in &view.table.tasks {
                let of_cell = |s: &&NamedCost| {
                    s.model == variant.model
                        && s.variant == variant.name
                        && s.task.as_ref() == Some(&task.label)
                };
                let stages: Vec<&NamedCost> = costs.stages.iter().filter(of_cell).collect();
                let mut entry = seconds(stages.iter().copied());
                entry[0].small = memory(stages.iter().copied()).swap_remove(0).main.replace('–', "");
                if stages.iter().any(|s| s.other_device) {
                    entry[0].main.push('*');
                }
                row.push(entry);
            }
            sheet.rows.push((colour(setting.method), row));
        }
    }
    sheet
}

/// Attempts that failed, of the whole sweep; `None` if there are none.
pub fn failures(costs: &Costs) -> Option<Sheet> {
    let mut sheet = Sheet::new(
        "Failed attempts",
        "",
        &["model", "variant", "task", "code", "attempt", "when", "message"],
    );
    for failure in &costs.failures {
        let task = failure.task.as_deref().unwrap_or("(pruning)");
        let words = [
            &failure.model,
            &failure.variant,
            task,
            &failure.code,
            &failure.attempt,
            &failure.at,
            &failure.message,
        ];
        sheet.rows.push((String::new(), words.into_iter().map(plain).collect()));
    }
    (!sheet.rows.is_empty()).then_some(sheet)
}

fn seconds<'c>(stages: impl Iterator<Item = &'c NamedCost>) -> Entry {
    let found: Vec<f64> = stages.map(|s| s.cost.seconds).collect();
    plain(if found.is_empty() { "–".into() } else { numbers::seconds(found.iter().sum()) })
}

fn memory<'c>(stages: impl Iterator<Item = &'c NamedCost>) -> Entry {
    let peak = stages.map(peak_mib).fold(0.0, f64::max);
    plain(if peak > 0.0 { mib(peak) } else { "–".into() })
}

fn mib(mib: f64) -> String {
    format!("{} MiB", numbers::significant(mib, 3))
}

fn device(stage: Option<&NamedCost>) -> Entry {
    let Some(stage) = stage else { return plain("–") };
    let mark = if stage.other_device { "*" } else { "" };
    let fingerprint: String = stage.cost.fingerprint.chars().take(12).collect();
    vec![Piece { main: format!("{}{mark}", stage.cost.device), small: fingerprint, hole: false }]
}
