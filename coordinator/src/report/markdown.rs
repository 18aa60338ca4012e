//! Table → Markdown: the answer and the tables; no figures.

use super::costs::Costs;
use super::tables::{self, Entry, Sheet};
use super::view::{Family, View};
use super::{answer, cost_tables};
use crate::merge::table::Table;

/// results.md.
pub fn results(table: &Table) -> String {
    let mut text = head(table, "");
    let views = View::all(table);
    for view in &views {
        text += &format!("\n## {}\n\n", view.model.id);
        for sentence in answer::sentences(view) {
            text += &format!("{sentence}\n\n");
        }
        if let Some(table) = tables::by_kind(view) {
            text += &sheet(&table);
        }
        for (title, family) in
            [("Perplexity", Family::Perplexity), ("Accuracy", Family::Accuracy), ("Macro-F1", Family::F1)]
        {
            for table in tables::by_task(view, family) {
                let title = format!("{title} {}", table.title);
                text += &sheet(&Sheet { title: title.trim().to_owned(), ..table });
            }
        }
        for pair in tables::structured(view) {
            text +=
                &sheet(&Sheet { title: format!("Structured against unstructured: {}", pair.title), ..pair });
        }
    }
    if let Some(holes) = tables::holes(table) {
        text += "\n## Not measured, failed, collapsed\n";
        text += &sheet(&holes);
    }
    text += "\n## Tasks\n";
    text += &sheet(&tables::tasks(table));
    text += &tables::sources(table).as_ref().map(sheet).unwrap_or_default();
    text
}

/// costs.md.
pub fn costs(table: &Table, costs: &Costs) -> String {
    let mut text = head(table, ": what it cost") + &sheet(&cost_tables::total(costs));
    for view in View::all(table) {
        text += &format!("\n## {}\n", view.model.id);
        text += &sheet(&cost_tables::pruning(&view, costs));
        text += &sheet(&cost_tables::evaluation(&view, costs));
    }
    if let Some(failures) = cost_tables::failures(costs) {
        text += &sheet(&failures);
    }
    text
}

fn head(table: &Table, what: &str) -> String {
    let mut text = format!("# {}{what}\n\n", table.sweep.as_deref().unwrap_or("evaluation"));
    text += &format!("{} of {} cells measured.\n", table.measured, table.cells);
    for banner in [answer::unfinished(table), answer::limited(table)].into_iter().flatten() {
        text += &format!("\n**{banner}**\n");
    }
    text
}

fn sheet(sheet: &Sheet) -> String {
    let row = |entries: Vec<String>| format!("| {} |\n", entries.join(" | "));
    let mut text = if sheet.title.is_empty() { String::new() } else { format!("\n### {}\n", sheet.title) };
    if !sheet.note.is_empty() {
        text += &format!("\n{}\n", sheet.note);
    }
    text.push('\n');
    text += &row(sheet.head.iter().map(|h| escape(h)).collect());
    text += &row(sheet
        .head
        .iter()
        .enumerate()
        .map(|(i, _)| if i == 0 { ":--" } else { "--:" }.to_owned())
        .collect());
    for (_, entries) in &sheet.rows {
        text += &row(entries.iter().map(entry).collect());
    }
    text
}

fn entry(entry: &Entry) -> String {
    let pieces: Vec<String> = entry
        .iter()
        .map(|piece| match (piece.main.as_str(), piece.small.as_str()) {
            (main, "") => escape(main),
            ("", small) => escape(small),
            (main, small) => format!("{} ({})", escape(main), escape(small)),
        })
        .collect();
    pieces.join("<br>")
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;").replace('\n', " ")
}
