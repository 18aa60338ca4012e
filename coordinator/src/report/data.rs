//! The table as data: `results.csv` and `results.json`, one metric a row, the same fields in both.
//!
//! Floats are the shortest that read back to the same bits; what is missing is empty (null); never NaN.

use crate::merge::table::{AS_GIVEN, Row, Table};
use serde::Serialize;

/// Names the form of results.json.
pub const RESULTS_SCHEMA: &str = "espalier.results/1";

/// One row, as both files hold it; the order of the fields is that of the columns.
#[derive(Serialize)]
struct Line<'a> {
    sweep: Option<&'a str>,
    model: &'a str,
    method: &'a str,
    sparsity: &'a str,
    target_sparsity: Option<f64>,
    measured_sparsity: Option<f64>,
    calibration: Option<&'a str>,
    seed: Option<u64>,
    task: &'a str,
    style: &'a str,
    split: &'a str,
    fewshot: u32,
    metric: &'a str,
    value: Option<f64>,
    ci_low: Option<f64>,
    ci_high: Option<f64>,
    stderr: Option<f64>,
    n: Option<u64>,
    truncated: Option<u64>,
    status: &'static str,
    reason: Option<&'static str>,
    cell_key: String,
}

#[derive(Serialize)]
struct Results<'a> {
    schema: &'static str,
    sweep: Option<&'a str>,
    cells: Vec<Line<'a>>,
}

fn line<'a>(table: &'a Table, row: &'a Row) -> Line<'a> {
    let (variant, task) = (&table.variants[row.variant], &table.tasks[row.task]);
    Line {
        sweep: table.sweep.as_deref(),
        model: &variant.model,
        method: &variant.method,
        sparsity: &variant.sparsity,
        target_sparsity: (variant.method != AS_GIVEN).then_some(variant.target),
        measured_sparsity: variant.measured,
        calibration: variant.calibration.as_deref(),
        seed: variant.seed,
        task: &task.task,
        style: &task.style,
        split: &task.split,
        fewshot: task.fewshot,
        metric: &row.metric,
        value: row.estimate.map(|e| e.value),
        ci_low: row.estimate.and_then(|e| e.low),
        ci_high: row.estimate.and_then(|e| e.high),
        stderr: row.estimate.and_then(|e| e.stderr),
        n: row.n,
        truncated: row.truncated,
        status: row.status.as_str(),
        reason: row.reason.map(|r| r.as_str()),
        cell_key: row.cell.to_string(),
    }
}

/// results.csv.
pub fn results_csv(table: &Table) -> String {
    to_csv(table.rows.iter().map(|row| line(table, row)))
}

/// results.json; of a single evaluation (`eval --json`) with `"sweep": null`.
pub fn results_json(table: &Table) -> String {
    to_json(&Results {
        schema: RESULTS_SCHEMA,
        sweep: table.sweep.as_deref(),
        cells: table.rows.iter().map(|row| line(table, row)).collect(),
    })
}

/// Rows with a header, line ends of one byte.
pub(crate) fn to_csv<T: Serialize>(lines: impl Iterator<Item = T>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.serialize(line).expect("rows are flat and memory takes all of them");
    }
    let bytes = writer.into_inner().expect("memory takes all of it");
    String::from_utf8(bytes).expect("every field is text")
}

/// Pretty JSON with a final line end.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("our own types have string keys");
    text.push('\n');
    text
}
