//! The answer as a picture: mean accuracy over all reasoning tasks, and the first perplexity beside it.

use super::axis::Scale;
use super::curve::Panel;
use super::{Figure, perplexity, slug};
use crate::report::numbers;
use crate::report::view::{Family, View};

/// At most two panels.
pub fn draw(view: &View) -> Vec<Figure> {
    let columns = view.reasoning_columns(None);
    let title = match columns.len() {
        1 => format!("{}: accuracy, %", view.heading(&columns[0])),
        n => format!("Mean accuracy over {n} tasks, %"),
    };
    let panel = Panel {
        id: slug(&["answer", &view.model.id, &title]),
        title: format!("{title}, of {}; more is better", view.model.id),
        scale: Scale::Linear,
        values: &|setting| setting.variants.iter().map(|&v| view.mean_accuracy(v, &columns)).collect(),
        reference: view.mean_chance(&columns).map(|c| (c, format!("chance {}", numbers::mark("acc", c)))),
        mark: &|v| numbers::mark("acc", v),
        tick: &|v| format!("{:.0}", v * 100.0),
    };
    let accuracy = panel.draw(view).map(|svg| Figure { svg, title });
    let first = view.columns(Family::Perplexity).into_iter().next();
    let perplexity = first.and_then(|column| perplexity::panel(view, &column, "answer"));
    accuracy.into_iter().chain(perplexity).collect()
}
