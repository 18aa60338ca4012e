//! Datasets that lie in the Hugging Face cache, named on the command line as models are: org/name.

use espalier_tests::sweeps::Place;
use std::path::Path;

/// A copy of a golden data file in the cache of the place's home: `path` is under `hub`.
fn cached(place: &Place, path: &str, golden: &str) {
    let file = place.at("home/.cache/huggingface/hub").join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::copy(espalier_tests::root().join("tests/goldens/scoring/data").join(golden), file).unwrap();
}

fn reference(place: &Place, path: &str, commit: &str) {
    let file = place.at("home/.cache/huggingface/hub").join(path);
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).unwrap();
    std::fs::write(file, commit).unwrap();
}

#[test]
fn eval_reads_datasets_of_the_cache_and_says_how_to_get_those_that_are_not_there() {
    let place = Place::new("phi-nobos");
    reference(&place, "datasets--org--pairs/refs/main", "abc");
    cached(&place, "datasets--org--pairs/snapshots/abc/data/test-00000-of-00001.parquet", "hf/ekar.parquet");
    let eval = |more: &[&'static str]| [&["eval", "--model", "model", "--devices", "cpu:1"], more].concat();
    place.ends(&eval(&["--dataset", "org/pairs"]), 0, &["ekar: ", " of test, ", "acc"]);
    // The same cell by its task's name: nothing is measured again.
    place.ends(&eval(&["--task", "ekar=hf://org/pairs@abc"]), 0, &["nothing was run"]);
    let get = "get it there with: hf download --repo-type dataset";
    place.ends(&eval(&["--dataset", "org/absent"]), 3, &["dataset org/absent", &format!("{get} org/absent")]);
    place.ends(&eval(&["--task", "ekar=hf://org/pairs@v2"]), 3, &[&format!("{get} org/pairs --revision v2")]);
    place.ends(&eval(&["--task", "ekar"]), 3, &[&format!("{get} jiangjiechen/ekar_english")]);
    // A task of the catalog finds its own.
    cached(&place, "datasets--jiangjiechen--ekar_english/snapshots/def/test.jsonl", "hf/ekar.jsonl");
    reference(&place, "datasets--jiangjiechen--ekar_english/refs/main", "def");
    place.ends(&eval(&["--task", "ekar"]), 0, &["nothing was run"]);
}
