//! Table → plain text for a terminal: one metric a line.

use super::numbers;
use crate::merge::table::Table;

/// Lines with their columns under each other: variant (with the model, where there are several), task, metric, value, interval,
/// n and status where it is not `ok`.
pub fn table(table: &Table) -> String {
    let mut lines = vec![["variant", "task", "metric", "value", "95 % interval", "n", ""].map(str::to_owned)];
    for row in &table.rows {
        let (variant, task) = (&table.variants[row.variant], &table.tasks[row.task]);
        let name = match table.models.len() {
            1 => variant.name.clone(),
            _ => format!("{} {}", variant.model, variant.name),
        };
        let value = row.estimate.map_or("–".to_owned(), |e| numbers::value(&row.metric, e.value));
        let interval = row.estimate.map_or(String::new(), |e| numbers::interval(&row.metric, &e));
        let unit = if row.estimate.is_some() && numbers::is_share(&row.metric) { " %" } else { "" };
        let remark = match row.reason {
            Some(reason) => format!("{}: {}", row.status.as_str(), reason.as_str()),
            None => String::new(),
        };
        let n = row.n.map_or(String::new(), |n| n.to_string());
        lines.push([
            name,
            task.label.clone(),
            row.metric.clone(),
            format!("{value}{unit}"),
            interval,
            n,
            remark,
        ]);
    }
    let widths: Vec<usize> =
        (0..7).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().enumerate().map(|(c, field)| {
            let fill = " ".repeat(widths[c] - field.chars().count());
            // Numbers to the right, words to the left.
            if (3..6).contains(&c) { format!("{fill}{field}") } else { format!("{field}{fill}") }
        });
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
