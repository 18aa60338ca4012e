//! Grids from sweep files over the goldens' architectures.

use super::{CalibrationInputs, ExpandModel, expand};
use crate::spec::complaint::SpecError;
use crate::spec::parse::{Changes, parse};
use espalier_proto::families;
use espalier_proto::ids::{Digest, InputsDigest, ModelDigest};
use espalier_proto::recipe::{Backend, Dtype, ParamValue, Pattern};
use espalier_proto::sweep::VariantEntry;
use std::path::Path;

fn model(id: &str, golden: &str) -> ExpandModel {
    let path = format!("{}/../tests/goldens/families/{golden}/config.json", env!("CARGO_MANIFEST_DIR"));
    let config = std::fs::read_to_string(path).unwrap();
    let arch = families::arch(&config).unwrap();
    ExpandModel { id: id.into(), digest: ModelDigest(Digest::of(id.as_bytes())), arch, dtype: Dtype::Float32 }
}

fn grid(recipes: &str) -> Result<Vec<VariantEntry>, String> {
    let text = format!(
        "name: t\nmodels: [a=./a, b=./b]\nrecipes:\n{recipes}\ncalibration: {{data: ./c.txt}}\ncalibrations:\n  \
         other: {{data: ./o.txt}}\n  fixed: {{data: ./f.jsonl, sampler: windows}}\ntasks: [wikitext2]\n"
    );
    let file = parse(&text, Path::new("s.yaml"), Path::new("/"), &Changes::default()).unwrap();
    let models = [model("a", "phi"), model("b", "phi3")];
    let windows = |name: &str, seed: u64, model: &ExpandModel| {
        let drawn = name != "fixed";
        let of = format!("{name} {} {}", if drawn { seed } else { 0 }, model.id);
        Ok::<_, SpecError>(CalibrationInputs { digest: InputsDigest(Digest::of(of.as_bytes())), drawn })
    };
    expand(&file, &models, Backend::Cpu, windows).map_err(|e| e.to_string())
}

fn names(recipes: &str, model: &str) -> Vec<String> {
    grid(recipes).unwrap().into_iter().filter(|v| v.model == model).map(|v| v.name).collect()
}

#[test]
fn dense_comes_first_and_names_say_method_sparsity_and_seed() {
    let recipes = "  - {method: [wanda, magnitude], sparsity: [0, 0.5, \"2:4\"], seed: [0, 1]}";
    let expected = [
        "dense",
        "wanda-0.5-s0",
        "wanda-0.5-s1",
        "wanda-2:4-s0",
        "wanda-2:4-s1",
        "magnitude-0.5",
        "magnitude-2:4",
    ];
    assert_eq!(names(recipes, "a"), expected);
    assert_eq!(names(recipes, "b"), expected);
}

#[test]
fn a_variant_that_two_recipes_ask_for_is_one() {
    let recipes =
        "  - {method: wanda, sparsity: 0.5}\n  - {name: again, method: wanda, sparsity: [0.5, 0.6]}";
    assert_eq!(names(recipes, "a"), ["dense", "wanda-0.5-s0", "again-0.6"]);
}

#[test]
fn what_differs_from_the_default_is_in_the_name_and_only_that_in_the_spec() {
    let recipes = "  - {method: wanda, sparsity: 0.5, use_variant: [true, false], calibration: [other, fixed]}\n  \
                   - {method: wanda, sparsity: {prune: 1, of: 4}, models: [a]}";
    let expected = [
        "dense",
        "wanda-0.5-use_variant-other-s0",
        "wanda-0.5-other-s0",
        "wanda-0.5-use_variant-fixed",
        "wanda-0.5-fixed",
        "wanda-1of4-s0",
    ];
    assert_eq!(names(recipes, "a"), expected);
    let grid = grid(recipes).unwrap();
    assert_eq!(grid[1].spec.params["use_variant"], ParamValue::Bool(true));
    assert!(grid[2].spec.params.is_empty());
    assert_eq!((grid[3].seed, grid[3].calibration.as_deref()), (None, Some("fixed")));
    assert!(grid[0].spec.calibration.is_none() && grid[0].spec.targets.is_empty());
}

#[test]
fn excluded_linears_stay_dense_and_lower_the_target() {
    let grid =
        grid("  - {method: magnitude, sparsity: 0.5, exclude: [\"model.layers.0.*\"], models: [a]}").unwrap();
    let variant = &grid[1];
    assert!(variant.spec.targets.keys().all(|name| !name.starts_with("model.layers.0.")));
    let arch = model("a", "phi").arch;
    let expected = 0.5 * (arch.blocks as f64 - 1.0) / arch.blocks as f64;
    assert!((variant.target_sparsity - expected).abs() < 1e-12, "{}", variant.target_sparsity);
}

#[test]
fn a_ratio_for_each_block_is_shown_as_mixed_and_a_zero_leaves_its_block_dense() {
    let blocks = model("a", "phi").arch.blocks;
    let ratios =
        std::iter::once("0").chain(std::iter::repeat_n("0.4", blocks - 1)).collect::<Vec<_>>().join(", ");
    let grid =
        grid(&format!("  - {{method: magnitude, allocation: {{per_block: [{ratios}]}}, models: [a]}}"))
            .unwrap();
    assert_eq!((grid[1].name.as_str(), grid[1].sparsity.as_str()), ("magnitude-mixed", "mixed"));
    assert!(grid[1].spec.targets.values().all(|p| *p == Pattern::Ratio(0.4)));
    assert!(!grid[1].spec.targets.keys().any(|name| name.starts_with("model.layers.0.")));
}

#[test]
fn what_a_model_cannot_do_is_refused_by_name() {
    let said = |recipe: &str, part: &str| {
        let error = grid(recipe).unwrap_err();
        assert!(error.contains(part) && error.starts_with("s.yaml:4:5: recipes[0]."), "{recipe}: {error}");
    };
    said(
        "  - {method: wanda, sparsity: 0.5, exclude: [\"*.q_prj\"]}",
        "exclude: found *.q_prj, expected a glob",
    );
    said("  - {method: wanda, sparsity: 0.5, exclude: [\"*\"]}", "found globs that match every linear of a");
    said("  - {method: wanda, sparsity: {prune: 3, of: 7}}", "found prune 3 of 7 on model.layers.0.");
    said("  - {method: wanda, allocation: {per_block: [0.5]}}", "per_block: found 1 ratios, expected");
    let twins = "  - {method: wanda, sparsity: 0.5, exclude: [\"*.fc1\", \"*.gate_up_proj\"]}\n  - {method: wanda, sparsity: 0.5}";
    assert!(grid(twins).unwrap_err().contains("two different variants shown as wanda-0.5-s0"));
}

#[test]
fn variants_that_name_too_many_linears_between_them_are_refused_before_any_window_is_drawn() {
    let text = "name: t\nmodels: [a=./a]\nrecipes:\n  - {method: wanda, sparsity: [0.1, 0.2], seed: [0, 1, 2]}\ntasks: [wikitext2]\n";
    let file = parse(text, Path::new("s.yaml"), Path::new("/"), &Changes::default()).unwrap();
    let mut large = model("a", "phi");
    let a_block = large.arch.linears(0).len();
    large.arch.blocks = 400_000 / a_block;
    let drawn =
        |_: &str, _: u64, _: &ExpandModel| -> Result<CalibrationInputs, SpecError> { panic!("drawn") };
    let error = expand(&file, &[large], Backend::Cpu, drawn).unwrap_err().to_string();
    let linears = 400_000 / a_block * a_block * 6;
    let expected = format!(
        "s.yaml:4:5: recipes[0]: found {linears} linears to prune over all variants up to here, expected at most 2000000 in a sweep"
    );
    assert_eq!(error, expected);
}
