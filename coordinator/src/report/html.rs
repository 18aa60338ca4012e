//! Table → one self-contained page: no script, no font, no address outside it.
//!
//! The answer comes first, then each model's sections. `results.html` holds what keys determine; `costs.html` the doing;
//! `index.html` both.

use super::charts::svg::{dash, escape, shape, swatch};
use super::charts::{Figure, Section, costs as cost_charts, figures, slug};
use super::costs::Costs;
use super::numbers::whole;
use super::tables::{self, Entry, Sheet};
use super::view::{Family, View, colour};
use super::{answer, cost_tables};
use crate::merge::table::Table;
use std::fmt::Write;

/// What the page explains to those who read numbers.
const NOTES: &[(&str, &str)] = &[
    (
        "Perplexity",
        "ppl_token@N is the exponential of the mean negative log-likelihood over windows of N tokens that do not overlap (the protocol of the Wanda paper's code). Perplexities of other protocols or of other tokenizers do not compare. A value above the size of the vocabulary is worse than a uniform guess and is called collapsed.",
    ),
    (
        "Accuracy",
        "acc takes the option with the greatest log-likelihood, acc_norm divides it by the option's length in characters, both as lm-evaluation-harness. The dashed line is the expected accuracy of a uniform guess.",
    ),
    (
        "Macro-F1",
        "The mean of the F1 of every option position that occurs among right answers or predictions, equal to scikit-learn's macro average. It measures how evenly a model does over positions.",
    ),
    (
        "Intervals",
        "95 %: Wilson's for accuracy; percentiles of 1000 resamples with a fixed seed for F1; normal in the mean log-likelihood over windows for perplexity; of a mean over tasks from the ends of the tasks' own intervals (Zou and Donner's MOVER). They tell how far another sample of items might lie; seeds tell how far another calibration might.",
    ),
    (
        "Sparsity",
        "The share of prunable weights that a recipe asks to prune; zeros is the share that came out over all linear layers. N:M prunes N in every aligned group of M input columns. Marks of several recipes at one sparsity stand side by side, so that each can be seen.",
    ),
];

/// results.html.
pub fn results(table: &Table) -> String {
    let mut page = Page::new(table, "");
    page.results(table);
    page.finish()
}

/// costs.html.
pub fn costs(table: &Table, costs: &Costs) -> String {
    let mut page = Page::new(table, "what it cost");
    page.costs(table, costs);
    page.finish()
}

/// index.html: results and costs.
pub fn index(table: &Table, costs: &Costs) -> String {
    let mut page = Page::new(table, "");
    page.results(table);
    page.costs(table, costs);
    page.finish()
}

struct Page {
    title: String,
    body: String,
}

impl Page {
    fn new(table: &Table, what: &str) -> Self {
        let name = table.sweep.as_deref().unwrap_or("evaluation");
        let title = if what.is_empty() { name.to_owned() } else { format!("{name}: {what}") };
        let mut page = Self { title, body: String::new() };
        page.add(format_args!(
            "<header>\n<p>Espalier · sweep</p>\n<h1>{}</h1>\n",
            escape(&page.title.clone())
        ));
        page.add(format_args!(
            "<p>{}, {}, {}: {} of {} cells measured.</p>\n</header>\n",
            count(table.models.len(), "model"),
            count(table.variants.len(), "variant"),
            count(table.tasks.len(), "task"),
            table.measured,
            table.cells
        ));
        for banner in [answer::unfinished(table), answer::limited(table)].into_iter().flatten() {
            page.add(format_args!("<p class=\"banner\">{}</p>\n", escape(&banner)));
        }
        page
    }

    fn add(&mut self, text: std::fmt::Arguments) {
        self.body.write_fmt(text).expect("a string takes all of it");
    }

    fn results(&mut self, table: &Table) {
        let views = View::all(table);
        for view in &views {
            self.answer(view);
        }
        for view in &views {
            self.details(view);
        }
        if let Some(sheet) = tables::holes(table) {
            self.add(format_args!("<h2 id=\"holes\">Not measured, failed, collapsed</h2>\n"));
            self.sheet(&sheet, "words");
        }
        self.add(format_args!("<h2 id=\"tasks\">Tasks</h2>\n"));
        self.sheet(&tables::tasks(table), "words");
        if let Some(sheet) = tables::sources(table) {
            self.sheet(&sheet, "words");
        }
        self.add(format_args!("<h2 id=\"reading\">How to read the numbers</h2>\n<dl>\n"));
        for (term, text) in NOTES {
            self.add(format_args!("<dt>{term}</dt><dd>{text}</dd>\n"));
        }
        self.add(format_args!("</dl>\n"));
    }

    fn answer(&mut self, view: &View) {
        let id = slug(&[&view.model.id]);
        self.add(format_args!("<section>\n<h2 id=\"{id}\">{}</h2>\n", escape(&view.model.id)));
        for (n, sentence) in answer::sentences(view).iter().enumerate() {
            let class = if n == 0 { "answer" } else { "also" };
            self.add(format_args!("<p class=\"{class}\">{}</p>\n", escape(sentence)));
        }
        self.legend(view);
        self.panels("panels few", &figures(view, Section::Answer));
        if let Some(sheet) = tables::by_kind(view) {
            self.sheet(&sheet, "numbers");
        }
        self.add(format_args!("</section>\n"));
    }

    fn details(&mut self, view: &View) {
        let name = escape(&view.model.id);
        self.add(format_args!("<section>\n<h2>{name} in detail</h2>\n"));
        let model = view.model;
        self.add(format_args!(
            "<p class=\"note\">{} · {} decoder blocks · {} parameters, {} of them prunable · computed in {} · vocabulary {}</p>\n",
            escape(&model.family),
            model.blocks,
            whole(model.parameters),
            whole(model.prunable),
            model.dtype.as_str(),
            whole(model.vocab)
        ));
        self.legend(view);
        let sections = [
            ("Perplexity", Section::Perplexity, Family::Perplexity),
            ("Accuracy", Section::Accuracy, Family::Accuracy),
            ("Macro-F1", Section::F1, Family::F1),
        ];
        for (title, section, family) in sections {
            let sheets = tables::by_task(view, family);
            if sheets.is_empty() {
                continue;
            }
            self.add(format_args!("<h3>{title}: {name}</h3>\n"));
            self.panels("panels", &figures(view, section));
            for sheet in sheets {
                self.sheet(&sheet, "numbers");
            }
        }
        let pairs = tables::structured(view);
        if !pairs.is_empty() {
            self.add(format_args!("<h3>Structured (N:M) against unstructured: {name}</h3>\n"));
            self.panels("panels few", &figures(view, Section::Structured));
            for sheet in pairs {
                self.sheet(&sheet, "numbers");
            }
        }
        self.add(format_args!("</section>\n"));
    }

    fn costs(&mut self, table: &Table, costs: &Costs) {
        self.add(format_args!("<h2 id=\"costs\">What it cost</h2>\n"));
        self.add(format_args!(
            "<p class=\"note\">Measured while it was done: not part of the results, and not the same on another machine.</p>\n"
        ));
        self.sheet(&cost_tables::total(costs), "numbers");
        for view in View::all(table) {
            self.add(format_args!("<section>\n<h3>Cost: {}</h3>\n", escape(&view.model.id)));
            self.panels("panels few", &cost_charts::draw(&view, costs));
            self.sheet(&cost_tables::pruning(&view, costs), "numbers");
            self.sheet(&cost_tables::evaluation(&view, costs), "numbers");
            self.add(format_args!("</section>\n"));
        }
        if let Some(sheet) = cost_tables::failures(costs) {
            self.sheet(&sheet, "words");
        }
    }

    /// Which mark is what, once a section: in the page's own text, so that it never lies over a figure.
    fn legend(&mut self, view: &View) {
        let mut items = Vec::new();
        if view.dense.is_some() {
            items.push((swatch("mark ink", "", super::charts::svg::Shape::Circle), "dense".to_owned()));
        }
        for recipe in view.recipes() {
            let Some(setting) = view.settings.iter().find(|s| s.recipe == recipe) else {
                continue;
            };
            let nth = view.nth_of_method(recipe, setting.method);
            let class = colour(setting.method);
            let curve = format!("curve {class} dash{}", dash(nth));
            items.push((swatch(&format!("mark {class}"), &curve, shape(nth)), recipe.to_owned()));
        }
        let mut add = |there: bool, mark: &str, line: &str, kind, words: &str| {
            if there {
                items.push((swatch(mark, line, kind), words.to_owned()));
            }
        };
        use super::charts::svg::Shape;
        add(
            view.settings.iter().any(|s| s.structured),
            "mark hollow ink",
            "",
            Shape::Circle,
            "hollow: N:M (structured)",
        );
        add(
            view.settings.iter().any(|s| s.variants.len() > 1),
            "dot ink",
            "",
            Shape::Dot,
            "one seed; curves join means",
        );
        add(view.table.measured < view.table.cells, "cross ink", "", Shape::Cross, "missing");
        for (swatch, words) in &items {
            let open = if swatch == &items[0].0 { "<ul class=\"legend\">\n" } else { "" };
            self.add(format_args!("{open}<li>{swatch}{}</li>\n", escape(words)));
        }
        self.add(format_args!("<li class=\"small\">upright strokes: 95 % intervals</li>\n</ul>\n"));
    }

    fn panels(&mut self, class: &str, figures: &[Figure]) {
        if figures.is_empty() {
            return;
        }
        self.add(format_args!("<div class=\"{class}\">\n"));
        for Figure { title, svg } in figures {
            self.add(format_args!("<figure><figcaption>{}</figcaption>\n{svg}</figure>\n", escape(title)));
        }
        self.add(format_args!("</div>\n"));
    }

    fn sheet(&mut self, sheet: &Sheet, class: &str) {
        if !sheet.title.is_empty() {
            self.add(format_args!("<h4>{}</h4>\n", escape(&sheet.title)));
        }
        if !sheet.note.is_empty() {
            self.add(format_args!("<p class=\"note\">{}</p>\n", escape(&sheet.note)));
        }
        self.add(format_args!("<div class=\"table\"><table class=\"{class}\">\n<thead><tr>"));
        for head in &sheet.head {
            self.add(format_args!("<th scope=\"col\">{}</th>", escape(head)));
        }
        self.add(format_args!("</tr></thead>\n<tbody>\n"));
        for (colour, row) in &sheet.rows {
            self.add(format_args!("<tr>"));
            for (column, entry) in row.iter().enumerate() {
                let inner = pieces(entry);
                if column == 0 {
                    self.add(format_args!("<th scope=\"row\" class=\"{colour}\">{inner}</th>"));
                } else {
                    let label = sheet.head.get(column).map_or(String::new(), |h| escape(h));
                    self.add(format_args!("<td data-label=\"{label}\">{inner}</td>"));
                }
            }
            self.add(format_args!("</tr>\n"));
        }
        self.add(format_args!("</tbody></table></div>\n"));
    }

    fn finish(self) -> String {
        format!(
            concat!(
                "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
                "<link rel=\"icon\" href=\"data:,\">\n<title>{} · Espalier</title>\n<style>\n{}</style>\n</head>\n",
                "<body>\n<main>\n{}<footer>Made by Espalier from the sweep's records; results.csv beside this page holds every ",
                "number whole.</footer>\n</main>\n</body>\n</html>\n"
            ),
            escape(&self.title),
            include_str!("style.css"),
            self.body
        )
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn pieces(entry: &Entry) -> String {
    let mut text = String::new();
    for piece in entry {
        let (main, small) = (escape(&piece.main), escape(&piece.small));
        let class = if piece.hole { " class=\"hole\"" } else { "" };
        if !main.is_empty() {
            write!(text, "<span{class}>{main}</span>").expect("a string takes all of it");
        }
        if !small.is_empty() {
            write!(text, "<span class=\"small\">{small}</span>").expect("a string takes all of it");
        }
    }
    text
}
