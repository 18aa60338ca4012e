//! Horizontal bars in groups, each with its name before it and its value behind it.

use super::axis::Axis;
use super::svg::{Anchor, Area, Drawing, WIDTH, text_width};

const BAR: f64 = 15.0;
const STEP: f64 = 20.0;
const HEAD: f64 = 22.0;

/// One bar.
pub struct Bar {
    /// Before it.
    pub name: String,
    /// Its length; `None` is missing.
    pub value: Option<f64>,
    /// Interval, drawn over its end.
    pub interval: Option<(f64, f64)>,
    /// Behind it.
    pub text: String,
    /// Its colour.
    pub class: String,
    /// Hatched: N:M.
    pub structured: bool,
}

/// Bars under one heading.
pub struct Group {
    /// The heading; empty for none.
    pub heading: String,
    /// A line across the group's bars.
    pub reference: Option<f64>,
    /// Top to bottom.
    pub bars: Vec<Bar>,
}

/// Draws groups on one axis from 0. `None` if no bar has a value.
pub fn draw(id: &str, title: &str, groups: &[Group]) -> Option<String> {
    let bars = || groups.iter().flat_map(|g| &g.bars);
    bars().find(|b| b.value.is_some())?;
    let name = bars().map(|b| text_width("tick", &b.name)).fold(0.0, f64::max) + 8.0;
    let text = bars().map(|b| text_width("value", &b.text)).fold(0.0, f64::max) + 8.0;
    let ends = bars().flat_map(|b| [b.value, b.interval.map(|i| i.1)]).flatten();
    let axis = Axis::from_zero(ends.chain(groups.iter().filter_map(|g| g.reference)), (name, WIDTH - text));
    let height = groups.iter().map(|g| head(g) + g.bars.len() as f64 * STEP + 6.0).sum::<f64>() + 4.0;
    let mut drawing = Drawing::new(height);
    let (mut y, mut words) = (2.0, Vec::new());
    for group in groups {
        if !group.heading.is_empty() {
            drawing.text("heading", Anchor::Start, (0.0, y + 14.0), &group.heading);
            words.push(group.heading.clone());
        }
        y += head(group);
        let top = y;
        for bar in &group.bars {
            drawing.text("tick", Anchor::End, (name - 6.0, y + 12.0), &bar.name);
            let end = bar.value.map_or(name, |v| axis.place(v));
            let kind = if bar.structured { "bar hatched" } else { "bar" };
            drawing.rect(
                &format!("{kind} {}", bar.class),
                Area { x: name, y, w: (end - name).max(0.8), h: BAR },
            );
            let mut right = end;
            if let Some((low, high)) = bar.interval {
                let middle = y + BAR / 2.0;
                drawing.line("over", (axis.place(low), middle), (axis.place(high), middle));
                for at in [low, high] {
                    drawing.line("over", (axis.place(at), middle - 2.5), (axis.place(at), middle + 2.5));
                }
                right = right.max(axis.place(high));
            }
            drawing.text("value ink", Anchor::Start, (right + 5.0, y + 12.0), &bar.text);
            words.push(format!("{} {}", bar.name, bar.text));
            y += STEP;
        }
        if let Some(at) = group.reference.map(|v| axis.place(v)) {
            drawing.line("reference", (at, top - 1.0), (at, y - 4.0));
        }
        drawing.line("base", (name, top - 2.0), (name, y - 3.0));
        y += 6.0;
    }
    Some(drawing.finish(id, title, &words.join("; ")))
}

fn head(group: &Group) -> f64 {
    if group.heading.is_empty() { 0.0 } else { HEAD }
}
