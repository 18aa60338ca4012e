//! How variants are called in tables: `wanda-0.5-s0`, `wanda-2:4-s0`, or the user's name with the axes that vary.

use super::{Point, RecipeDecl};
use crate::spec::file::Allocation;
use crate::spec::validate::DEFAULT_CALIBRATION;
use espalier_proto::methods::Method;
use espalier_proto::recipe::{ParamValue, Pattern};
use std::collections::BTreeMap;

/// The variant's name.
pub(super) fn of(recipe: &RecipeDecl, point: &Point, seed: Option<u64>) -> String {
    let own = recipe.name.is_some();
    let shown = |varies: bool, part: String| (!own || varies).then_some(part);
    let mut parts: Vec<String> = recipe.name.iter().cloned().collect();
    parts.extend(shown(recipe.methods.len() > 1, point.method.name.to_owned()));
    parts.extend(shown(recipe.sparsity.len() > 1, word(recipe, point.sparsity)));
    for (name, value) in &point.params {
        parts.extend(shown(recipe.params.get(name).is_some_and(|v| v.len() > 1), param(name, value)));
    }
    let calibrated = point.reads_windows() && point.calibration != DEFAULT_CALIBRATION;
    parts.extend(
        calibrated.then(|| shown(recipe.calibrations.len() > 1, point.calibration.clone())).flatten(),
    );
    parts.extend(seed.and_then(|seed| shown(recipe.seeds.len() > 1, format!("s{seed}"))));
    parts.join("-")
}

/// The sparsity as tables show it.
pub(super) fn sparsity(recipe: &RecipeDecl, pattern: Option<Pattern>) -> String {
    match (&recipe.allocation, pattern) {
        (Allocation::PerBlock(_), _) => "mixed".to_owned(),
        (Allocation::Uniform, Some(pattern)) => pattern.to_string(),
        (Allocation::Uniform, None) => "0".to_owned(),
    }
}

/// The same without spaces: `1of4` where N:M would be ambiguous.
fn word(recipe: &RecipeDecl, pattern: Option<Pattern>) -> String {
    match pattern {
        Some(Pattern::NOfM { prune, of }) if prune * 2 != of => format!("{prune}of{of}"),
        _ => sparsity(recipe, pattern),
    }
}

fn param(name: &str, value: &ParamValue) -> String {
    match value {
        ParamValue::Bool(true) => name.to_owned(),
        ParamValue::Bool(false) => format!("no_{name}"),
        ParamValue::Integer(n) => format!("{name}={n}"),
        ParamValue::Number(n) => format!("{name}={n}"),
        ParamValue::Text(text) => format!("{name}={text}"),
    }
}

/// The product of the parameters that this method has; those at their default are left out.
pub(super) fn param_points(
    method: &Method,
    axes: &BTreeMap<String, Vec<ParamValue>>,
) -> Vec<BTreeMap<String, ParamValue>> {
    let mut points = vec![BTreeMap::new()];
    for param in method.params {
        let Some(values) = axes.get(param.name) else {
            continue;
        };
        points = points
            .iter()
            .flat_map(|point| {
                values.iter().map(|value| {
                    let mut point = point.clone();
                    if *value != param.default {
                        point.insert(param.name.to_owned(), value.clone());
                    }
                    point
                })
            })
            .collect();
    }
    points
}
