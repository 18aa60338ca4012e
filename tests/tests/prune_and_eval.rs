//! `prune` and `eval`, one model without a sweep file: the flags of wanda's `main.py`, and what a pruned folder is called.

use espalier_tests::sweeps::Place;
use serde_json::Value;

const PRUNE: &str = "prune --model model --calibration rows.txt --nsamples 2 --seqlen 32 --devices cpu:1";

fn prune<'a>(more: &[&'a str]) -> Vec<&'a str> {
    PRUNE.split(' ').chain(more.iter().copied()).collect()
}

fn read(place: &Place, file: &str) -> String {
    std::fs::read_to_string(place.at(file)).unwrap()
}

#[test]
fn the_log_always_has_the_perplexity_or_the_reason_why_not() {
    let place = Place::new("phi-nobos");
    let said =
        place.ends(&prune(&["--sparsity_type", "1:4", "--save", "log"]), 0, &["ppl_test is not measured: "]);
    assert!(said.contains("hf download --repo-type dataset Salesforce/wikitext"), "{said}");
    let log = read(&place, "log/log_wanda.txt");
    assert!(
        log.starts_with("method\tactual_sparsity\tppl_test\nwanda\t0.2500\t-\n# ppl_test is not"),
        "{log}"
    );
    let metrics: Value = serde_json::from_str(&read(&place, "log/metrics.json")).unwrap();
    assert!(metrics["ppl_test"].is_null() && metrics["ppl_test_reason"].is_string(), "{metrics}");
    // Where the text is in the cache that --cache_dir names, it is measured without being asked for, and so is what else is there.
    let put = |path: &str, golden: &str| {
        let file = place.at("llm_weights").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::copy(espalier_tests::root().join("tests/goldens/scoring/data").join(golden), file).unwrap();
    };
    put("datasets--Salesforce--wikitext/snapshots/main/wikitext-2-raw-v1/test.txt", "rows.txt");
    put("datasets--tau--commonsense_qa/snapshots/main/data/validation.parquet", "hf/commonsense_qa.parquet");
    let ratio = ["--sparsity_type", "1:4", "--sparsity_ratio", "0.25"];
    let more = ["--save", "log2", "--cache_dir", "llm_weights", "--eval_zero_shot"];
    let said = place.ends(
        &prune(&[&ratio[..], &more[..]].concat()),
        0,
        &["ppl_token@32", "commonsense_qa acc", "--eval-zero-shot leaves one out: dataset allenai/cosmos_qa"],
    );
    assert!(!said.contains("is not measured"), "{said}");
    let log = read(&place, "log2/log_wanda.txt");
    let metrics: Value = serde_json::from_str(&read(&place, "log2/metrics.json")).unwrap();
    let ppl = metrics["ppl_test"].as_f64().unwrap();
    assert_eq!(log.lines().nth(1), Some(format!("wanda\t0.2500\t{ppl:.4}").as_str()), "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
    // None of the sets at all: told with all that is missing.
    place.ends(
        &prune(&["--sparsity_type", "1:4", "--eval_zero_shot"]),
        3,
        &["ekar_english", "metaeval/reclor"],
    );
    place.ends(
        &prune(&["--sparsity_type", "1:4", "--sparsity_ratio", "0.75"]),
        2,
        &["--sparsity-ratio: found 0.75, expected nothing or 0.25 beside 1:4"],
    );
}

#[test]
fn eval_calls_a_pruned_folder_by_its_name_and_shows_its_measured_sparsity() {
    let place = Place::new("phi-nobos");
    place.ends(&prune(&["--sparsity_ratio", "0.5", "--save_model", "pruned"]), 0, &["pruned model: pruned"]);
    let eval = "eval --model pruned --task wikitext2=rows.txt --seqlen 32 --devices cpu:1 --json out.json";
    let said = place.ends(
        &eval.split(' ').collect::<Vec<_>>(),
        0,
        &["pruned as given: 50.00 % of its prunable weights are zero"],
    );
    assert!(!said.contains("dense"), "{said}");
    let results: Value = serde_json::from_str(&read(&place, "out.json")).unwrap();
    let cell = &results["cells"][0];
    assert_eq!(
        (&cell["model"], &cell["method"], &cell["sparsity"]),
        (&"pruned".into(), &"as given".into(), &"".into())
    );
    assert!(cell["target_sparsity"].is_null(), "{cell}");
    assert!((cell["measured_sparsity"].as_f64().unwrap() - 0.5).abs() < 0.01, "{cell}");
}
