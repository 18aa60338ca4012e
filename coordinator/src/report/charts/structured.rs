//! N:M against unstructured pruning: bars by task.

use super::bars::{Bar, Group, draw as draw_bars};
use super::{Figure, slug};
use crate::report::numbers;
use crate::report::view::{Column, Family, Pair, View, colour};

/// For each recipe and target of N:M: accuracies, and perplexities on an axis of their own.
pub fn draw(view: &View) -> Vec<Figure> {
    let mut figures = Vec::new();
    for pair in view.structured_pairs() {
        let what = pair.title();
        let accuracies: Vec<Column> =
            view.columns(Family::Accuracy).into_iter().filter(|c| c.metric == "acc").collect();
        let panels = [
            (accuracies, format!("{what}: accuracy, %")),
            (view.columns(Family::Perplexity), format!("{what}: perplexity")),
        ];
        for (columns, title) in panels {
            let groups: Vec<Group> = columns.iter().map(|column| group(view, column, &pair)).collect();
            let id = slug(&["structured", &view.model.id, &title]);
            let svg = draw_bars(
                &id,
                &format!("{title}, structured against unstructured, of {}", view.model.id),
                &groups,
            );
            figures.extend(svg.map(|svg| Figure { title, svg }));
        }
    }
    figures
}

fn group(view: &View, column: &Column, pair: &Pair) -> Group {
    let bars = view.dense.iter().chain(pair.settings()).map(|setting| {
        let estimates = view.estimates(setting, column);
        let value = view.mean_of(setting, column);
        let interval = match estimates[..] {
            [only] => only.low.zip(only.high),
            _ => None,
        };
        Bar {
            name: if setting.target == 0.0 { setting.recipe.clone() } else { setting.sparsity_label() },
            value,
            interval: interval.filter(|_| value.is_some()),
            text: value.map_or("missing".to_owned(), |v| numbers::value(&column.metric, v)),
            class: colour(setting.method),
            structured: setting.structured,
        }
    });
    let heading = match view.table.tasks[column.task].chance {
        Some(chance) => format!("{} (chance {})", view.heading(column), numbers::mark("acc", chance)),
        None => view.heading(column),
    };
    Group { heading, reference: view.table.tasks[column.task].chance, bars: bars.collect() }
}
