//! The report's tables, free of any format: HTML, Markdown and the terminal show the same.

use super::answer;
use super::numbers;
use super::view::{Column, Family, KINDS, Pair, Setting, View, colour};
use crate::merge::statistics::{Estimate, mean};
use crate::merge::table::{Row, Status, Table};

/// A line of an entry: a number and what stands small beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// The number or word.
    pub main: String,
    /// Interval, seed, unit.
    pub small: String,
    /// True if a number is missing here or is not what it seems (collapsed).
    pub hole: bool,
}

/// One square of a sheet.
pub type Entry = Vec<Piece>;

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// Its heading; empty if the section's is enough.
    pub title: String,
    /// What its reader must know.
    pub note: String,
    /// Column headings.
    pub head: Vec<String>,
    /// Rows: their colour, their entries. The first entry names the row.
    pub rows: Vec<(String, Vec<Entry>)>,
}

impl Sheet {
    /// A sheet without rows.
    pub fn new(title: &str, note: &str, head: &[&str]) -> Self {
        let head = head.iter().map(|h| (*h).to_owned()).collect();
        Self { title: title.to_owned(), note: note.to_owned(), head, rows: Vec::new() }
    }
}

/// An entry of one word.
pub fn plain(text: impl Into<String>) -> Entry {
    vec![Piece { main: text.into(), ..Piece::default() }]
}

fn number(metric: &str, estimate: &Estimate, small: String) -> Piece {
    Piece { main: numbers::value(metric, estimate.value), small, hole: false }
}

/// One piece a seed; above them their mean, where there are several.
fn entry(view: &View, setting: &Setting, column: &Column) -> Entry {
    let rows = view.rows(setting, column);
    let one = |row: &Option<&Row>| match row.and_then(|r| r.estimate) {
        Some(e) => {
            let mut piece = number(&column.metric, &e, numbers::interval(&column.metric, &e));
            if row.is_some_and(|r| r.status == Status::Collapsed) {
                piece.small = format!("{} collapsed", piece.small).trim().to_owned();
                piece.hole = true;
            }
            piece
        }
        None => Piece { main: numbers::hole(*row), small: String::new(), hole: row.is_some() },
    };
    seeds(
        view,
        setting,
        rows.iter().map(one).collect(),
        view.mean_of(setting, column).map(|m| numbers::value(&column.metric, m)),
    )
}

fn seeds(view: &View, setting: &Setting, mut pieces: Vec<Piece>, mean: Option<String>) -> Entry {
    if pieces.len() < 2 {
        return pieces;
    }
    for (piece, &variant) in pieces.iter_mut().zip(&setting.variants) {
        let seed = view.table.variants[variant].seed.map_or(String::new(), |s| format!("s{s}: "));
        piece.small = format!("{seed}{} {}", piece.main, piece.small).trim().to_owned();
        piece.main.clear();
    }
    let mean = mean.map_or(Piece { main: "missing".into(), small: String::new(), hole: true }, |main| {
        Piece { main, small: "mean of seeds".into(), hole: false }
    });
    [mean].into_iter().chain(pieces).collect()
}

fn measured(view: &View, setting: &Setting) -> Entry {
    let pieces: Vec<String> = setting
        .variants
        .iter()
        .map(|&v| view.table.variants[v].measured.map_or("–".to_owned(), |m| format!("{:.2} %", m * 100.0)))
        .collect();
    let same = pieces.windows(2).all(|p| p[0] == p[1]);
    pieces.into_iter().take(if same { 1 } else { usize::MAX }).flat_map(plain).collect()
}

/// So many columns of numbers stand on a page without scrolling.
const WIDEST: usize = 6;

/// Perplexity, accuracy or F1 by task and sparsity: one sheet, or one a metric where one would be too wide.
pub fn by_task(view: &View, family: Family) -> Vec<Sheet> {
    let columns = view.columns(family);
    if columns.len() <= WIDEST {
        let sheet = (!columns.is_empty()).then(|| columns_sheet(view, family, "", &columns));
        return sheet.into_iter().collect();
    }
    let mut metrics: Vec<&str> = Vec::new();
    for column in &columns {
        if !metrics.contains(&column.metric.as_str()) {
            metrics.push(&column.metric);
        }
    }
    let of = |metric: &str| columns.iter().filter(|c| c.metric == metric).cloned().collect::<Vec<_>>();
    metrics.iter().map(|metric| columns_sheet(view, family, metric, &of(metric))).collect()
}

fn columns_sheet(view: &View, family: Family, title: &str, columns: &[Column]) -> Sheet {
    let note = match family {
        Family::Perplexity => "Less is better. Small: 95 % interval.",
        Family::Accuracy => "Percent. Small: 95 % interval (Wilson).",
        Family::F1 => "Macro-F1 over option positions, percent. Small: 95 % interval (bootstrap).",
    };
    let mut sheet = Sheet::new(title, note, &["variant", "zeros"]);
    sheet.head.extend(columns.iter().map(|c| view.heading(c)));
    for setting in view.every() {
        let mut row = vec![plain(setting.label()), measured(view, setting)];
        row.extend(columns.iter().map(|c| entry(view, setting, c)));
        sheet.rows.push((colour(setting.method), row));
    }
    sheet
}

/// Mean accuracy by kind of reasoning.
pub fn by_kind(view: &View) -> Option<Sheet> {
    let mut kinds: Vec<(String, Vec<Column>)> = KINDS
        .iter()
        .map(|(kind, name)| ((*name).to_owned(), view.reasoning_columns(Some(*kind))))
        .filter(|(_, columns)| !columns.is_empty())
        .collect();
    let all = view.reasoning_columns(None);
    if all.is_empty() {
        return None;
    }
    kinds.push(("All tasks".to_owned(), all));
    let of: Vec<String> = kinds[..kinds.len() - 1]
        .iter()
        .map(|(name, columns)| {
            let labels: Vec<&str> = columns.iter().map(|c| view.table.tasks[c.task].label.as_str()).collect();
            format!("{name}: {}", labels.join(", "))
        })
        .collect();
    let note = format!(
        "Mean of the tasks' accuracies, percent; small: 95 % interval of the mean. {}.",
        of.join("; ")
    );
    let mut sheet = Sheet::new("Accuracy by kind of reasoning", &note, &["variant"]);
    sheet.head.extend(kinds.iter().map(|(name, _)| name.clone()));
    for setting in view.every() {
        let mut row = vec![plain(setting.label())];
        row.extend(kinds.iter().map(|(_, columns)| kind_entry(view, setting, columns)));
        sheet.rows.push((colour(setting.method), row));
    }
    let chances = kinds.iter().map(|(_, columns)| view.mean_chance(columns));
    let mut row = vec![plain("uniform guess")];
    row.extend(chances.map(|c| plain(c.map_or("–".to_owned(), |c| numbers::value("acc", c)))));
    sheet.rows.push((String::new(), row));
    Some(sheet)
}

fn kind_entry(view: &View, setting: &Setting, columns: &[Column]) -> Entry {
    let found: Vec<Option<Estimate>> =
        setting.variants.iter().map(|&v| view.mean_accuracy(v, columns)).collect();
    let one = |e: &Option<Estimate>| match e {
        Some(e) => number("acc", e, numbers::interval("acc", e)),
        None => Piece { main: "missing".into(), small: "not every task is measured".into(), hole: true },
    };
    let all: Option<Vec<Estimate>> = found.iter().copied().collect();
    let over_seeds = all.and_then(|all| mean(&all)).map(|m| numbers::value("acc", m.value));
    seeds(view, setting, found.iter().map(one).collect(), over_seeds)
}

/// N:M beside unstructured pruning, a sheet for each recipe and target of N:M.
pub fn structured(view: &View) -> Vec<Sheet> {
    let families = [(Family::Perplexity, ""), (Family::Accuracy, "accuracy, %"), (Family::F1, "macro-F1, %")];
    let sheet = |pair: Pair| {
        let mut sheet = Sheet::new(&pair.title(), "Small: 95 % interval.", &["metric"]);
        let settings: Vec<&Setting> = view.dense.iter().chain(pair.settings()).collect();
        sheet.head.extend(settings.iter().map(|s| match (s.structured, s.target == 0.0) {
            (true, _) => s.sparsity.to_owned(),
            (false, true) => s.recipe.clone(),
            (false, false) => format!("unstructured {}", s.sparsity_label()),
        }));
        for (family, unit) in families {
            for column in view.columns(family) {
                let name = format!("{} {unit}", view.heading(&column));
                let mut row = vec![plain(name.trim())];
                row.extend(settings.iter().map(|s| entry(view, s, &column)));
                sheet.rows.push((String::new(), row));
            }
        }
        sheet
    };
    view.structured_pairs().into_iter().map(sheet).collect()
}

/// Cells that have no number, or one that needs a word; `None` if there are none.
pub fn holes(table: &Table) -> Option<Sheet> {
    let mut sheet = Sheet::new("", "", &["model", "variant", "task", "status", "reason"]);
    let mut last = None;
    for row in table.rows.iter().filter(|r| !matches!(r.status, Status::Ok | Status::Limited)) {
        let line = (row.variant, row.task, row.status);
        if last.replace(line) == Some(line) {
            continue;
        }
        let (variant, task) = (&table.variants[row.variant], &table.tasks[row.task]);
        let reason = row.reason.map_or("", |r| r.as_str());
        let words = [&variant.model, &variant.name, &task.label, row.status.as_str(), reason];
        sheet.rows.push((String::new(), words.into_iter().map(plain).collect()));
    }
    sheet.note = answer::unfinished(table).unwrap_or_default();
    (!sheet.rows.is_empty()).then_some(sheet)
}

/// Where models and data came from; `None` where nothing is known.
pub fn sources(table: &Table) -> Option<Sheet> {
    let mut sheet = Sheet::new("Models and data", "", &["read", "from"]);
    let models = table.models.iter().map(|m| (format!("model {}", m.id), &m.source));
    let tasks = table
        .tasks
        .iter()
        .filter_map(|t| Some((format!("task {}", t.label), table.data.tasks.get(&t.label)?)));
    let calibrations =
        table.data.calibrations.iter().map(|(name, source)| (format!("calibration {name}"), source));
    for (what, source) in models.chain(tasks).chain(calibrations) {
        sheet.rows.push((String::new(), vec![plain(what), plain(source_shown(source))]));
    }
    (!sheet.rows.is_empty()).then_some(sheet)
}

/// A name of the hub with as much of its commit as tells it from others, a place in a store; of a path, which is another on every machine,
/// the last part. No address: a page refers to nothing outside of it.
fn source_shown(source: &str) -> String {
    if let Some(named) = source.strip_prefix("hf://") {
        let named = named.strip_prefix("datasets/").unwrap_or(named);
        let (name, commit) = named.split_once('@').unwrap_or((named, ""));
        return format!("{name}@{}", commit.chars().take(COMMIT).collect::<String>());
    }
    match source.strip_prefix('/') {
        Some(path) => path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned(),
        None => source.replacen("://", ": ", 1),
    }
}

/// Characters of a commit that are shown.
const COMMIT: usize = 12;

/// What each task is.
pub fn tasks(table: &Table) -> Sheet {
    let mut sheet = Sheet::new(
        "",
        "",
        &["task", "asks for", "split", "few-shot", "items or windows", "chance", "metrics"],
    );
    for (index, task) in table.tasks.iter().enumerate() {
        let kind = task.reasoning.and_then(|r| KINDS.iter().find(|(kind, _)| *kind == r));
        let asks =
            kind.map_or("next tokens".to_owned(), |(_, name)| format!("{} reasoning", name.to_lowercase()));
        let counts: std::collections::BTreeSet<u64> =
            table.rows.iter().filter(|r| r.task == index).filter_map(|r| r.n).collect();
        let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
        let limited = if task.limited { " (limited)" } else { "" };
        sheet.rows.push((
            String::new(),
            vec![
                plain(format!("{}{limited}", task.label)),
                plain(asks),
                plain(task.split.as_str()),
                plain(task.fewshot.to_string()),
                plain(if counts.is_empty() { "–".to_owned() } else { counts.join(", ") }),
                plain(task.chance.map_or("–".to_owned(), numbers::percent)),
                plain(task.metrics.join(", ")),
            ],
        ));
    }
    sheet
}
