//! Axes → variants: for each model its dense one, then every recipe's product, equal ones once.
//!
//! In: the checked file, models with their architecture, a way to the calibration's windows. Out: entries with targets by
//! linear and content keys. Must never read a file: whoever calls has read what it needs.

mod name;
pub mod size;
mod targets;
#[cfg(test)]
mod tests;

use super::complaint::{Complaint, SpecError};
use super::file::{RecipeDecl, SweepFile};
use espalier_proto::arch::Arch;
use espalier_proto::ids::{InputsDigest, ModelDigest, VariantKey};
use espalier_proto::keys::variant_key;
use espalier_proto::methods::{DENSE, Method, Statistics, method};
use espalier_proto::recipe::{Backend, Dtype, ParamValue, Pattern, VariantSpec};
use espalier_proto::sweep::VariantEntry;
use std::collections::{BTreeMap, BTreeSet};

/// What expanding must know of a model.
#[derive(Clone, Debug)]
pub struct ExpandModel {
    /// As in the file.
    pub id: String,
    /// Content.
    pub digest: ModelDigest,
    /// Names and shapes of its linears.
    pub arch: Arch,
    /// The number format of pruning and evaluation.
    pub dtype: Dtype,
}

/// Resolved calibration windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalibrationInputs {
    /// Their digest.
    pub digest: InputsDigest,
    /// A seed drove their draw; windows taken in file order have none.
    pub drawn: bool,
}

/// Every variant of the sweep, in table order. `calibration` gives the windows of (name, seed, model).
pub fn expand<E: From<SpecError>>(
    file: &SweepFile,
    models: &[ExpandModel],
    backend: Backend,
    mut calibration: impl FnMut(&str, u64, &ExpandModel) -> Result<CalibrationInputs, E>,
) -> Result<Vec<VariantEntry>, E> {
    let mut complaints = targets::check(file, models);
    complaints.extend(size::check_targets(file, models));
    if !complaints.is_empty() {
        return Err(SpecError::new(&file.path, complaints).into());
    }
    let mut grid = Grid {
        file,
        backend,
        entries: Vec::new(),
        keys: BTreeSet::new(),
        shown: BTreeMap::new(),
        clashing: Vec::new(),
    };
    let mut complaints = Vec::new();
    for model in models {
        let dense = grid.spec(model, DENSE);
        grid.add(model, dense, Shown::dense());
        for (index, recipe) in file.recipes.iter().enumerate().filter(|(_, r)| applies(r, &model.id)) {
            for point in points(recipe) {
                let windows = match point.reads_windows() {
                    true => Some(calibration(&point.calibration, point.seed, model)?),
                    false => None,
                };
                grid.point(model, recipe, &point, windows);
            }
            complaints.extend(grid.clashes(index, recipe));
        }
    }
    if complaints.is_empty() { Ok(grid.entries) } else { Err(SpecError::new(&file.path, complaints).into()) }
}

/// True if the recipe is for this model.
pub fn applies(recipe: &RecipeDecl, model: &str) -> bool {
    recipe.models.as_ref().is_none_or(|models| models.iter().any(|m| m == model))
}

/// One point of a recipe's product.
struct Point {
    method: &'static Method,
    sparsity: Option<Pattern>,
    calibration: String,
    params: BTreeMap<String, ParamValue>,
    seed: u64,
}

impl Point {
    fn reads_windows(&self) -> bool {
        self.method.statistics != Statistics::None
    }
}

/// The product of a recipe's axes, seeds innermost. Points that prune nothing are left out: dense is always there.
fn points(recipe: &RecipeDecl) -> Vec<Point> {
    let mut points = Vec::new();
    let mixed = matches!(recipe.allocation, super::file::Allocation::PerBlock(_));
    for method in recipe.methods.iter().filter_map(|m| method(m)) {
        // Without windows neither calibration nor seed drives anything: all of them would be the first.
        let drawn = if method.statistics == Statistics::None { 1 } else { usize::MAX };
        for sparsity in recipe.sparsity.iter().filter(|s| mixed || s.is_some()) {
            for calibration in recipe.calibrations.iter().take(drawn) {
                for params in name::param_points(method, &recipe.params) {
                    for &seed in recipe.seeds.iter().take(drawn) {
                        let (calibration, params) = (calibration.clone(), params.clone());
                        points.push(Point { method, sparsity: *sparsity, calibration, params, seed });
                    }
                }
            }
        }
    }
    points
}

/// What tables show of a variant.
struct Shown {
    name: String,
    sparsity: String,
    target: f64,
    calibration: Option<String>,
    seed: Option<u64>,
}

impl Shown {
    fn dense() -> Self {
        Self { name: DENSE.to_owned(), sparsity: "0".to_owned(), target: 0.0, calibration: None, seed: None }
    }
}

struct Grid<'f> {
    file: &'f SweepFile,
    backend: Backend,
    entries: Vec<VariantEntry>,
    keys: BTreeSet<VariantKey>,
    /// Keys by (model, name).
    shown: BTreeMap<(String, String), BTreeSet<VariantKey>>,
    /// Names that a second variant has taken, not told yet.
    clashing: Vec<String>,
}

impl Grid<'_> {
    fn spec(&self, model: &ExpandModel, method: &str) -> VariantSpec {
        VariantSpec {
            model: model.digest,
            method: method.to_owned(),
            params: BTreeMap::new(),
            targets: BTreeMap::new(),
            calibration: None,
            dtype: model.dtype,
            backend: self.backend,
            threads: (self.backend == Backend::Cpu).then_some(self.file.threads),
            device_kind: self.file.device_kind.clone(),
            tf32: self.file.tf32 && self.backend == Backend::Cuda,
        }
    }

    fn point(
        &mut self,
        model: &ExpandModel,
        recipe: &RecipeDecl,
        point: &Point,
        windows: Option<CalibrationInputs>,
    ) {
        let targets = targets::of(recipe, point.sparsity, &model.arch);
        if targets.is_empty() {
            return;
        }
        let target = targets::share(&targets, &model.arch);
        let mut spec = self.spec(model, point.method.name);
        spec.params = point.params.clone();
        spec.targets = targets;
        spec.calibration = windows.map(|w| w.digest);
        let seed = windows.filter(|w| w.drawn).map(|_| point.seed);
        let shown = Shown {
            name: name::of(recipe, point, seed),
            sparsity: name::sparsity(recipe, point.sparsity),
            target,
            calibration: windows.map(|_| point.calibration.clone()),
            seed,
        };
        self.add(model, spec, shown);
    }

    fn add(&mut self, model: &ExpandModel, spec: VariantSpec, shown: Shown) {
        let key = variant_key(&spec);
        if !self.keys.insert(key) {
            return;
        }
        let named = self.shown.entry((model.id.clone(), shown.name.clone())).or_default();
        named.insert(key);
        if named.len() == 2 {
            self.clashing.push(shown.name.clone());
        }
        self.entries.push(VariantEntry {
            key,
            spec,
            model: model.id.clone(),
            name: shown.name,
            sparsity: shown.sparsity,
            target_sparsity: shown.target,
            calibration: shown.calibration,
            seed: shown.seed,
        });
    }

    /// Two variants that a table could not tell apart, said of the recipe that brought the second.
    fn clashes(&mut self, index: usize, recipe: &RecipeDecl) -> Vec<Complaint> {
        let said = |name: String| {
            let found = format!("two different variants shown as {name}");
            Complaint::new(recipe.at, &format!("recipes[{index}]"), found, "a name: for one of their recipes")
        };
        std::mem::take(&mut self.clashing).into_iter().map(said).collect()
    }
}
