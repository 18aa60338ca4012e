//! Accuracy over sparsity, a panel a task, with 95 % intervals and a line at chance.

use super::axis::Scale;
use super::curve::Panel;
use super::{Figure, slug};
use crate::report::numbers;
use crate::report::view::{Column, Family, View};

/// One panel for each accuracy of the model.
pub fn draw(view: &View) -> Vec<Figure> {
    let chance = |column: &Column| {
        let chance = view.table.tasks[column.task].chance?;
        Some((chance, format!("chance {}", numbers::mark("acc", chance))))
    };
    shares(view, Family::Accuracy, "accuracy, %", &chance)
}

/// Panels of metrics that are shares of one, all on axes from 0.
pub(super) fn shares(
    view: &View,
    family: Family,
    title: &str,
    reference: &dyn Fn(&Column) -> Option<(f64, String)>,
) -> Vec<Figure> {
    let panel = |column: &Column| {
        let title = format!("{}: {title}", view.heading(column));
        let panel = Panel {
            id: slug(&[&view.model.id, &title]),
            title: format!("{title}, of {}; more is better", view.model.id),
            scale: Scale::Linear,
            values: &|setting| {
                view.rows(setting, column).iter().map(|row| row.and_then(|r| r.estimate)).collect()
            },
            reference: reference(column),
            mark: &|v| numbers::mark("acc", v),
            tick: &|v| format!("{:.0}", v * 100.0),
        };
        Some(Figure { svg: panel.draw(view)?, title })
    };
    view.columns(family).iter().filter_map(panel).collect()
}
