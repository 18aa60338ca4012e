//! Pruning time and peak memory, a bar a variant. Draws from [`Costs`], never into results.

use super::bars::{Bar, Group, draw as draw_bars};
use super::{Figure, slug};
use crate::report::costs::{Costs, NamedCost};
use crate::report::numbers;
use crate::report::view::{View, colour};

/// Two figures of a model.
pub fn draw(view: &View, costs: &Costs) -> Vec<Figure> {
    let time = bars(view, |variant| {
        let stages =
            of(costs, view, variant).filter(|s| matches!(s.cost.stage.as_str(), "calibrate" | "prune"));
        let seconds: Option<f64> =
            stages.map(|s| Some(s.cost.seconds)).sum::<Option<f64>>().filter(|s| *s > 0.0);
        seconds.map(|s| (s, numbers::seconds(s)))
    });
    let memory = bars(view, |variant| {
        let peak = of(costs, view, variant).map(peak_mib).fold(0.0, f64::max);
        (peak > 0.0).then(|| (peak, format!("{} MiB", numbers::significant(peak, 4))))
    });
    [("Pruning time, calibration included", time), ("Peak memory while pruning", memory)]
        .into_iter()
        .filter_map(|(title, bars)| {
            let id = slug(&["costs", &view.model.id, title]);
            let groups = [Group { heading: String::new(), reference: None, bars }];
            let svg = draw_bars(&id, &format!("{title} of {}", view.model.id), &groups)?;
            Some(Figure { title: title.to_owned(), svg })
        })
        .collect()
}

/// The device's peak where it tells, else the process's.
pub fn peak_mib(stage: &NamedCost) -> f64 {
    stage.cost.peak_device_mib.or(stage.cost.peak_alloc_mib).unwrap_or(stage.cost.rss_mib)
}

fn of<'c>(costs: &'c Costs, view: &View, variant: usize) -> impl Iterator<Item = &'c NamedCost> {
    let key = view.table.variants[variant].key.to_string();
    costs.stages.iter().filter(move |s| s.task.is_none() && s.cost.key == key)
}

fn bars(view: &View, value: impl Fn(usize) -> Option<(f64, String)>) -> Vec<Bar> {
    let pruned = view.settings.iter().flat_map(|s| s.variants.iter().map(move |&v| (s, v)));
    pruned
        .map(|(setting, variant)| {
            let found = value(variant);
            Bar {
                name: view.table.variants[variant].name.clone(),
                value: found.as_ref().map(|f| f.0),
                interval: None,
                text: found.map_or("missing".to_owned(), |f| f.1),
                class: colour(setting.method),
                structured: setting.structured,
            }
        })
        .collect()
}
