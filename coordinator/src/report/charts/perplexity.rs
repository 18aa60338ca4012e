//! Perplexity over sparsity, on a logarithmic axis; the vocabulary's size across, where a value comes near it.

use super::axis::Scale;
use super::curve::Panel;
use super::{Figure, slug};
use crate::report::numbers;
use crate::report::view::{Column, Family, View};

/// One panel for each perplexity of the model.
pub fn draw(view: &View) -> Vec<Figure> {
    view.columns(Family::Perplexity).iter().filter_map(|column| panel(view, column, "")).collect()
}

/// The panel of one perplexity; `place` tells drawings of one column apart.
pub(super) fn panel(view: &View, column: &Column, place: &str) -> Option<Figure> {
    let title = format!("Perplexity: {}", view.heading(column));
    let greatest = view.every().flat_map(|s| view.estimates(s, column)).map(|e| e.value).fold(0.0, f64::max);
    let vocabulary = view.model.vocab as f64;
    let panel = Panel {
        id: slug(&[place, &view.model.id, &title]),
        title: format!("{title} of {}, logarithmic axis; less is better", view.model.id),
        scale: Scale::Log,
        values: &|setting| {
            view.rows(setting, column).iter().map(|row| row.and_then(|r| r.estimate)).collect()
        },
        reference: (greatest * 3.0 > vocabulary)
            .then(|| (vocabulary, format!("uniform guess {}", numbers::whole(view.model.vocab)))),
        mark: &|v| numbers::mark(&column.metric, v),
        tick: &numbers::short,
    };
    Some(Figure { svg: panel.draw(view)?, title: format!("{title} (log axis)") })
}
