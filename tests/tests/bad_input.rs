//! Inputs that change or fail while results are kept: what is served is never the answer to another question, and what cannot
//! be measured is a hole with its reason while everything else finishes.

use espalier_tests::files;
use espalier_tests::sweeps::Place;
use serde_json::json;
use std::process::Stdio;

/// Rows of results.csv of one variant, by column names.
fn rows(csv: &str, variant: &str, columns: &[&str]) -> Vec<String> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let lines = lines.map(|l| l.split(',').collect::<Vec<_>>());
    let ours = lines.filter(|l| l[at("method")] == variant);
    ours.map(|l| columns.iter().map(|c| l[at(c)]).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_corrected_gold_answer_is_measured_anew_and_only_it() {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done, 4 of them in this run"]);
    let before = place.results("s");
    place.replace(
        "cs.jsonl",
        "\"answerKey\": \"B\", \"id\": \"cs00\"",
        "\"answerKey\": \"C\", \"id\": \"cs00\"",
    );
    place.ends(&["plan", "s.yaml"], 0, &["2 in the bucket, 2 to do"]);
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done, 2 of them in this run"]);
    let after = place.results("s");
    let keys = |csv: &str| rows(csv, "dense", &["task", "metric", "cell_key"]);
    let (old, new) = (keys(&before), keys(&after));
    let same: Vec<&str> =
        old.iter().filter(|r| new.contains(r)).map(|r| r.split(' ').next().unwrap()).collect();
    assert_eq!(same, ["wikitext2"], "{old:?} {new:?}");
    // The old cells are kept: the answer undone is found again.
    place.replace(
        "cs.jsonl",
        "\"answerKey\": \"C\", \"id\": \"cs00\"",
        "\"answerKey\": \"B\", \"id\": \"cs00\"",
    );
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    assert_eq!(place.results("s"), before);
}

#[test]
fn an_edited_config_makes_another_model_and_no_old_cell_is_served() {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let before = rows(&place.results("s"), "dense", &["task", "value", "cell_key"]);
    place.config(|c| c["layer_norm_eps"] = json!(0.5));
    place.ends(&["plan", "s.yaml"], 0, &["0 in the bucket, 4 to do"]);
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done, 4 of them in this run"]);
    let after = rows(&place.results("s"), "dense", &["task", "value", "cell_key"]);
    assert!(before.iter().zip(&after).all(|(b, a)| b != a), "{before:?} {after:?}");
    assert_ne!(
        before[0].split(' ').nth(1),
        after[0].split(' ').nth(1),
        "the perplexity is the edited model's"
    );
}

#[test]
fn nan_in_a_weight_is_a_hole_with_its_reason_and_the_other_models_cells_finish() {
    let place = Place::new("phi-nobos");
    let good = Place::new("llama-bos");
    place.poison("model.layers.1.mlp.fc1.weight");
    place.replace("s.yaml", "[./model]", &format!("[./model, good={}]", good.at("model").display()));
    let said = place.ends(&["run", "s.yaml"], 4, &["4 of 8 cells done", "non_finite_weights"]);
    assert!(said.contains("tensor model.layers.1.mlp.fc1.weight holds NaN or infinity"), "{said}");
    assert_eq!(place.cells(), 4);
    let csv = place.results("s");
    for method in ["dense", "wanda"] {
        let rows = rows(&csv, method, &["model", "status", "reason", "value"]);
        let bad: Vec<&String> = rows.iter().filter(|r| r.starts_with("model ")).collect();
        assert!(!bad.is_empty() && bad.iter().all(|r| *r == "model failed non_finite_weights "), "{csv}");
        let good: Vec<&String> = rows.iter().filter(|r| r.starts_with("good ")).collect();
        assert!(!good.is_empty() && good.iter().all(|r| !r.contains("failed")), "{csv}");
    }
    let report = std::fs::read_to_string(place.at("out/sweeps/s/report/results.md")).unwrap();
    assert!(report.contains("non_finite_weights"), "{report}");
    assert!(!report.contains("NaN"), "{report}");
    // The weights mended, and it is filled.
    place.ends(&["report", "s"], 4, &["4 of 8 cells"]);
    std::fs::copy(
        espalier_tests::root().join("tests/goldens/scoring/phi-nobos/model.safetensors"),
        place.safetensors(),
    )
    .unwrap();
    place.ends(&["run", "s.yaml"], 0, &["8 of 8 cells done, 4 of them in this run"]);
}

#[test]
fn nan_outside_the_blocks_fails_the_cells_that_read_it_and_prune_writes_no_model_of_a_bad_block() {
    let place = Place::new("phi-nobos");
    place.poison("lm_head.weight");
    place.ends(
        &["run", "s.yaml"],
        4,
        &["0 of 4 cells done", "tensor lm_head.weight holds NaN or infinity as float32"],
    );
    // Pruning does not read the head: the variants are there.
    let variants = files(&place.at("out/variants"), "json");
    assert_eq!(variants.iter().filter(|p| p.ends_with("record.json")).count(), 2);
    let place = Place::new("phi-nobos");
    place.poison("model.layers.0.self_attn.q_proj.weight");
    let prune = "prune --model model --sparsity-ratio 0.5 --calibration rows.txt --nsamples 2 --seqlen 32 --devices cpu:1 \
                 --save-model pruned --save log";
    let args: Vec<&str> = prune.split_whitespace().collect();
    place.ends(&args, 4, &["non_finite_weights", "model.layers.0.self_attn.q_proj.weight holds NaN"]);
    assert!(!place.at("pruned").exists() && !place.at("log").exists());
    let eval = "eval --model model --task wikitext2=rows.txt --seqlen 32 --devices cpu:1";
    let args: Vec<&str> = eval.split(' ').collect();
    let said = place.ends(&args, 4, &["failed: non_finite_weights"]);
    assert!(said.contains("model.layers.0.self_attn.q_proj.weight holds NaN"), "{said}");
}

#[test]
fn a_cell_measured_on_other_weights_than_its_variants_is_measured_again() {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let before = place.results("s");
    // As if the variant had been made again elsewhere with other bits after the cell was measured.
    let records = files(&place.at("out/cells"), "json");
    let record = records.iter().find(|p| p.ends_with("record.json")).unwrap();
    let mut cell: serde_json::Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    cell["weights"] = json!("0".repeat(64));
    std::fs::write(record, cell.to_string()).unwrap();
    place.ends(&["plan", "s.yaml"], 0, &["3 in the bucket, 1 to do"]);
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done, 1 of them in this run"]);
    assert_eq!(place.results("s"), before);
}

#[test]
fn a_result_that_cannot_be_written_is_told_and_a_reader_that_has_gone_is_not() {
    let place = Place::new("phi-nobos");
    let said = |args: &[&str], out: Stdio| {
        let child = place.command(args).stdout(out).stderr(Stdio::piped()).spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for args in [&["catalog"][..], &["catalog", "--output", "json"], &["schema"], &["plan", "s.yaml"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (code, error) = said(args, full.into());
        assert!(
            code == Some(3) && error.contains("the standard output cannot be written"),
            "{args:?}: {error}"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, error) = said(args, writer.into());
        assert!(code == Some(0) && !error.contains("error"), "{args:?}: {error}");
    }
}

#[test]
fn a_record_that_is_no_record_is_told_and_not_read_as_a_result() {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let records = files(&place.at("out/cells"), "json");
    std::fs::write(records.iter().find(|p| p.ends_with("record.json")).unwrap(), "{\"half\": ").unwrap();
    place.ends(&["run", "s.yaml"], 5, &["record.json", "cannot be read"]);
    place.ends(&["plan", "s.yaml"], 5, &["record.json", "cannot be read"]);
}

#[test]
fn a_weight_that_is_nan_is_told_once_in_the_files_own_format_without_colours() {
    let place = Place::new("phi-nobos");
    place.poison("model.layers.1.mlp.fc1.weight");
    place.replace("s.yaml", "backend: cpu", "backend: cpu\ndtype: bfloat16");
    let said =
        place.ends(&["run", "s.yaml"], 4, &["failed: model dense, model wanda-0.5-s0: non_finite_weights"]);
    assert_eq!(said.matches("holds NaN or infinity as float32").count(), 1, "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains("bfloat16"), "{said}");
}
