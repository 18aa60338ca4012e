//! How large a sweep is, by multiplication alone: a file that asks for too much is refused before any of it is made.

use super::{ExpandModel, applies};
use crate::spec::complaint::Complaint;
use crate::spec::file::{Allocation, RecipeDecl, SweepFile};
use espalier_proto::methods::{Method, Statistics, method};

/// Variants of a sweep at most: a start over as many, with nine cells each, is measured in docs/scale.md.
pub const MOST_VARIANTS: u64 = 100_000;
/// Cells of a sweep at most.
pub const MOST_CELLS: u64 = 1_000_000;
/// Linears to prune at most, over all variants of a sweep: each variant's are in the resolved sweep by name, and that is what a
/// coordinator's memory goes into. docs/scale.md has the figures.
pub const MOST_TARGETS: u64 = 2_000_000;

/// Variants of one model at most, from the file alone: what is known before the model is.
pub fn at_most(file: &SweepFile, model: &str) -> u64 {
    let recipes = file.recipes.iter().filter(|recipe| applies(recipe, model));
    recipes.map(points).fold(1, u64::saturating_add)
}

/// A grid that is too large, from the file alone.
pub fn check(file: &SweepFile) -> Option<Complaint> {
    let tasks = |model: &str| {
        let asked = |task: &&crate::spec::file::TaskDecl| {
            task.models.as_ref().is_none_or(|ids| ids.iter().any(|id| id == model))
        };
        file.tasks.iter().filter(asked).count() as u64
    };
    let models: Vec<(&str, u64)> = file.models.iter().map(|m| (m.id.as_str(), tasks(&m.id))).collect();
    let (mut variants, mut cells) = (0u64, 0u64);
    let dense = models.iter().map(|(_, tasks)| (None, 1, *tasks));
    let pruned = file.recipes.iter().enumerate().flat_map(|(i, recipe)| {
        let models = models.iter().filter(|(id, _)| applies(recipe, id));
        models.map(move |(_, tasks)| (Some((i, recipe)), points(recipe), *tasks))
    });
    for (recipe, more, tasks) in dense.chain(pruned) {
        variants = variants.saturating_add(more);
        cells = cells.saturating_add(more.saturating_mul(tasks));
        for (found, what, most) in [(variants, "variants", MOST_VARIANTS), (cells, "cells", MOST_CELLS)] {
            if found > most {
                return Some(too_many(file, recipe, &format!("{found} {what}"), most));
            }
        }
    }
    None
}

/// Variants that name too many linears between them, once the models are known.
pub(super) fn check_targets(file: &SweepFile, models: &[ExpandModel]) -> Option<Complaint> {
    let mut targets = 0u64;
    for (i, recipe) in file.recipes.iter().enumerate() {
        for model in models.iter().filter(|m| applies(recipe, &m.id)) {
            let a_block = model.arch.linears(0).len() as u64;
            let linears = (model.arch.blocks as u64).saturating_mul(a_block);
            targets = targets.saturating_add(points(recipe).saturating_mul(linears));
            if targets > MOST_TARGETS {
                let found = format!("{targets} linears to prune over all variants");
                return Some(too_many(file, Some((i, recipe)), &found, MOST_TARGETS));
            }
        }
    }
    None
}

/// Said of the recipe with which it is too much.
fn too_many(file: &SweepFile, recipe: Option<(usize, &RecipeDecl)>, found: &str, most: u64) -> Complaint {
    let (at, field) = match recipe {
        Some((i, recipe)) => (recipe.at, format!("recipes[{i}]")),
        None => (file.models.last().map(|m| m.at).unwrap_or_default(), "models".to_owned()),
    };
    Complaint::new(at, &field, format!("{found} up to here"), format!("at most {most} in a sweep"))
}

/// Points of a recipe's product: as many as are made of it.
fn points(recipe: &RecipeDecl) -> u64 {
    let mixed = matches!(recipe.allocation, Allocation::PerBlock(_));
    let sparsities = recipe.sparsity.iter().filter(|s| mixed || s.is_some()).count() as u64;
    let of = |method: &Method| {
        let axes = method.params.iter().filter_map(|param| recipe.params.get(param.name));
        let params = axes.map(|values| values.len() as u64).fold(1, u64::saturating_mul);
        let drawn = match method.statistics {
            Statistics::None => 1,
            _ => (recipe.calibrations.len() as u64).saturating_mul(recipe.seeds.len() as u64),
        };
        sparsities.saturating_mul(params).saturating_mul(drawn)
    };
    recipe.methods.iter().filter_map(|name| method(name)).map(of).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use crate::spec::parse::{Changes, parse};
    use std::path::Path;

    fn said(recipe: &str, tasks: &str) -> Option<String> {
        let text = format!("name: t\nmodels: [a=./a, b=./b]\nrecipes:\n{recipe}\ntasks: {tasks}\n");
        parse(&text, Path::new("s.yaml"), Path::new("/"), &Changes::default()).err().map(|e| e.to_string())
    }

    fn numbers(n: usize, of: impl Fn(usize) -> String) -> String {
        (0..n).map(of).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_grid_is_counted_and_refused_before_it_is_made() {
        let (ratios, seeds) =
            (numbers(3_000, |i| format!("{}", (i + 1) as f64 / 4_000.0)), numbers(3_000, |i| i.to_string()));
        let recipe = format!("  - {{method: wanda, sparsity: [{ratios}], seed: [{seeds}]}}");
        let expected =
            "s.yaml:4:5: recipes[0]: found 9000002 variants up to here, expected at most 100000 in a sweep";
        assert_eq!(said(&recipe, "[wikitext2]").unwrap(), expected);
        // Without windows no seed drives anything: these are 3,000 variants a model.
        assert_eq!(said(&recipe.replace("wanda", "magnitude"), "[wikitext2]"), None);
        let seeds = numbers(15, |i| i.to_string());
        let recipe = format!(
            "  - {{method: magnitude, sparsity: 0.5}}\n  - {{method: wanda, sparsity: [{ratios}], seed: [{seeds}], models: [b]}}"
        );
        assert_eq!(said(&recipe, "[wikitext2]"), None);
        let tasks = numbers(23, |i| format!("{{task: wikitext2, seqlen: {}, models: [b]}}", i + 2));
        let expected =
            "s.yaml:5:5: recipes[1]: found 1035046 cells up to here, expected at most 1000000 in a sweep";
        assert_eq!(said(&recipe, &format!("[{tasks}]")).unwrap(), expected);
    }
}
