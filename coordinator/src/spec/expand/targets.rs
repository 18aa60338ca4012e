//! Which linears a recipe prunes and how: excludes taken out, allocation spread, widths checked against N:M.

use super::{ExpandModel, applies};
use crate::spec::complaint::Complaint;
use crate::spec::file::{Allocation, RecipeDecl, SweepFile};
use espalier_proto::arch::Arch;
use espalier_proto::recipe::Pattern;
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::collections::BTreeMap;

/// The pattern of every linear that the recipe prunes at this point of its product.
pub(super) fn of(recipe: &RecipeDecl, sparsity: Option<Pattern>, arch: &Arch) -> BTreeMap<String, Pattern> {
    let excluded = globs(&recipe.exclude);
    let mut targets = BTreeMap::new();
    for block in 0..arch.blocks {
        let pattern = match &recipe.allocation {
            Allocation::Uniform => sparsity,
            Allocation::PerBlock(ratios) => {
                ratios.get(block).filter(|ratio| **ratio > 0.0).map(|ratio| Pattern::Ratio(*ratio))
            }
        };
        let Some(pattern) = pattern else { continue };
        let kept = arch.linears(block).into_iter().filter(|linear| !excluded.is_match(&linear.name));
        targets.extend(kept.map(|linear| (linear.name, pattern)));
    }
    targets
}

/// The share of all prunable weights that these targets prune.
pub(super) fn share(targets: &BTreeMap<String, Pattern>, arch: &Arch) -> f64 {
    // One pattern over everything is its own share, to the last bit.
    let mut patterns = targets.values();
    let first = patterns.next();
    let linears: Vec<_> = (0..arch.blocks).flat_map(|i| arch.linears(i)).collect();
    if let Some(first) = first
        && targets.len() == linears.len()
        && patterns.all(|p| p == first)
    {
        return first.target_sparsity();
    }
    let pruned = linears
        .iter()
        .filter_map(|l| targets.get(&l.name).map(|p| p.target_sparsity() * (l.out * l.inp) as f64))
        .sum::<f64>();
    pruned / arch.prunable() as f64
}

/// What cannot be done on these models.
pub(super) fn check(file: &SweepFile, models: &[ExpandModel]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (i, model) in models.iter().enumerate() {
        if let Some(twin) = models[..i].iter().find(|m| m.digest == model.digest && m.dtype == model.dtype) {
            let at = file.models.iter().find(|m| m.id == model.id).map(|m| m.at).unwrap_or_default();
            let found = format!("{} with the same weights as {}", model.id, twin.id);
            complaints.push(Complaint::new(at, "models", found, "each model once"));
        }
    }
    for (i, recipe) in file.recipes.iter().enumerate() {
        let models: Vec<&ExpandModel> = models.iter().filter(|m| applies(recipe, &m.id)).collect();
        let field = |key: &str| format!("recipes[{i}].{key}");
        for glob in unmatched(recipe, &models) {
            let expected = format!("a glob that matches a linear, such as {}", example(&models));
            complaints.push(Complaint::new(recipe.at, &field("exclude"), glob, expected));
        }
        for model in models {
            complaints.extend(blocks(recipe, model, &field("allocation.per_block")));
            complaints.extend(nothing_left(recipe, model, &field("exclude")));
            let patterns = recipe.sparsity.iter().flatten();
            complaints.extend(patterns.filter_map(|p| width(recipe, *p, model, &field("sparsity"))));
        }
    }
    complaints
}

fn globs(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in patterns.iter().filter_map(|p| Glob::new(p).ok()) {
        set.add(glob);
    }
    set.build().unwrap_or_default()
}

fn unmatched<'r>(recipe: &'r RecipeDecl, models: &[&ExpandModel]) -> Vec<&'r String> {
    let names: Vec<String> = models
        .iter()
        .flat_map(|m| (0..m.arch.blocks).flat_map(|i| m.arch.linears(i)))
        .map(|linear| linear.name)
        .collect();
    let matches_none = |glob: &&String| {
        let set = globs(std::slice::from_ref(*glob));
        !names.is_empty() && !names.iter().any(|name| set.is_match(name))
    };
    recipe.exclude.iter().filter(matches_none).collect()
}

fn example(models: &[&ExpandModel]) -> String {
    let linears = models.first().map(|m| m.arch.linears(0)).unwrap_or_default();
    linears.last().map(|l| l.name.clone()).unwrap_or_default()
}

fn blocks(recipe: &RecipeDecl, model: &ExpandModel, field: &str) -> Option<Complaint> {
    let Allocation::PerBlock(ratios) = &recipe.allocation else {
        return None;
    };
    let (found, expected) = (ratios.len(), model.arch.blocks);
    (found != expected).then(|| {
        let found = format!("{found} ratios");
        Complaint::new(recipe.at, field, found, format!("{expected}, one for each block of {}", model.id))
    })
}

fn nothing_left(recipe: &RecipeDecl, model: &ExpandModel, field: &str) -> Option<Complaint> {
    let everything = of(&RecipeDecl { allocation: Allocation::Uniform, ..recipe.clone() }, ANY, &model.arch);
    everything.is_empty().then(|| {
        let found = format!("globs that match every linear of {}", model.id);
        Complaint::new(recipe.at, field, found, "something left to prune")
    })
}

const ANY: Option<Pattern> = Some(Pattern::Ratio(0.5));

/// N:M needs whole groups in every row.
fn width(recipe: &RecipeDecl, pattern: Pattern, model: &ExpandModel, field: &str) -> Option<Complaint> {
    let Pattern::NOfM { of: m, .. } = pattern else {
        return None;
    };
    let targets = of(recipe, Some(pattern), &model.arch);
    let linears = (0..model.arch.blocks).flat_map(|i| model.arch.linears(i));
    let odd = linears.into_iter().find(|l| targets.contains_key(&l.name) && l.inp % m as usize != 0)?;
    let found = format!("{pattern} on {} of {}, whose rows have {} weights", odd.name, model.id, odd.inp);
    let expected = format!("rows that groups of {m} divide: exclude it or take another sparsity");
    Some(Complaint::new(recipe.at, field, found, expected))
}
