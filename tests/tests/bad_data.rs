//! Data that cannot be used: `plan` refuses it naming file, line, field, what was found and what was expected.

use espalier_tests::sweeps::Place;

fn phi() -> Place {
    Place::new("phi-nobos")
}

/// The small sweep with another calibration than `rows.txt`.
fn calibrated(place: &Place, calibration: &str) {
    place.replace("s.yaml", "{data: ./rows.txt, nsamples: 2, seqlen: 32}", calibration);
}

fn lines(ids: &[&[u32]]) -> String {
    ids.iter().map(|ids| format!("{{\"input_ids\": {ids:?}}}\n")).collect()
}

#[test]
fn a_dataset_with_a_missing_column_is_told_with_file_line_and_column() {
    let place = phi();
    let whole = std::fs::read_to_string(place.at("cs.jsonl")).unwrap();
    for (column, says) in [("answerKey", "answerKey"), ("choices", "choices"), ("stem", "stem")] {
        // In one line, then in all.
        let mut some: Vec<String> = whole.lines().map(str::to_owned).collect();
        some[2] = some[2].replace(&format!("\"{column}\""), "\"other\"");
        place.write("cs.jsonl", &some.join("\n"));
        place.plan_refuses(&["cs.jsonl: line 3: ", says, "expected"]);
        place.write("cs.jsonl", &whole.replace(&format!("\"{column}\""), "\"other\""));
        place.plan_refuses(&["cs.jsonl", says, "expected"]);
    }
}

#[test]
fn an_answer_outside_its_choices_is_told_with_what_was_possible() {
    let place = phi();
    place.replace(
        "cs.jsonl",
        "\"answerKey\": \"B\", \"id\": \"cs00\"",
        "\"answerKey\": \"Z\", \"id\": \"cs00\"",
    );
    place.plan_refuses(&[
        "cs.jsonl: line 1: answerKey: found \"Z\", expected an answer among its 5 choices: A | B | C | D | E",
    ]);
    place.replace("cs.jsonl", "\"answerKey\": \"Z\"", "\"answerKey\": 7");
    place.plan_refuses(&["cs.jsonl: line 1: answerKey: found \"7\""]);
}

#[test]
fn a_line_that_is_no_record_and_a_file_without_any_are_told() {
    let place = phi();
    let whole = std::fs::read_to_string(place.at("cs.jsonl")).unwrap();
    for broken in ["{\"id\": ", "[1, 2]", "seven"] {
        let mut lines: Vec<&str> = whole.lines().collect();
        lines[1] = broken;
        place.write("cs.jsonl", &lines.join("\n"));
        place.plan_refuses(&["cs.jsonl: line 2: "]);
    }
    for empty in ["", "\n\n"] {
        place.write("cs.jsonl", empty);
        place.plan_refuses(&["cs.jsonl: found ", "expected"]);
    }
    std::fs::write(place.at("cs.jsonl"), [0x7b, 0xff, 0xfe]).unwrap();
    place.plan_refuses(&["cs.jsonl: found bytes that are not UTF-8 at byte 1, expected UTF-8 text"]);
    std::fs::remove_file(place.at("cs.jsonl")).unwrap();
    place.plan_refuses(&["cs.jsonl"]);
}

#[test]
fn csv_and_parquet_that_lack_a_column_or_their_end_are_told() {
    let data = espalier_tests::root().join("tests/goldens/scoring/data");
    let place = phi();
    place.replace(
        "s.yaml",
        "{task: commonsense_qa, data: ./cs.jsonl, limit: 4}",
        "{task: cosmos_qa, data: ./cosmos.csv}",
    );
    let csv = std::fs::read_to_string(data.join("native/cosmos_qa.csv")).unwrap();
    place.write("cosmos.csv", &csv);
    place.ends(&["plan", "s.yaml"], 0, &["cosmos_qa"]);
    place.write("cosmos.csv", &csv.replacen("label", "lable", 1));
    place.plan_refuses(&["cosmos.csv: line 2: label: found no answer in columns "]);
    place.replace("s.yaml", "./cosmos.csv", "./cosmos.parquet");
    let parquet = std::fs::read(data.join("hf/cosmos_qa.parquet")).unwrap();
    for cut in [0, 3, parquet.len() / 2, parquet.len() - 1] {
        std::fs::write(place.at("cosmos.parquet"), &parquet[..cut]).unwrap();
        place.plan_refuses(&["cosmos.parquet: "]);
    }
}

#[test]
fn an_empty_calibration_text_is_told_as_such() {
    let place = phi();
    calibrated(&place, "{data: ./empty.txt, nsamples: 2, seqlen: 32}");
    for empty in ["", "\n", " \n\t\n\n"] {
        place.write("empty.txt", empty);
        place.plan_refuses(&["empty.txt: found no text, expected text to calibrate on"]);
    }
    place.write("empty.txt", "too short");
    place.plan_refuses(&[
        "empty.txt: found ",
        " tokens for model model, expected more than 32 (a calibration window",
    ]);
    std::fs::remove_file(place.at("empty.txt")).unwrap();
    place.plan_refuses(&["empty.txt"]);
}

#[test]
fn a_perplexity_text_without_a_whole_window_is_told_in_tokens() {
    let place = phi();
    place.replace(
        "s.yaml",
        "{task: wikitext2, data: ./rows.txt, seqlen: 32}",
        "{task: wikitext2, data: ./t.txt, seqlen: 32}",
    );
    place.write("t.txt", "a short one");
    place.plan_refuses(&[
        "t.txt",
        "found 7 tokens for model model, expected more than 31 (one window of perplexity)",
    ]);
    place.write("t.txt", "");
    place.plan_refuses(&["t.txt", "found ", "expected"]);
}

#[test]
fn too_few_calibration_windows_are_told_with_how_many_there_are() {
    let place = phi();
    calibrated(&place, "{data: ./w.jsonl, sampler: windows, nsamples: 3, seqlen: 4}");
    place.write("w.jsonl", &lines(&[&[1, 2, 3, 4], &[5, 6, 7, 8]]));
    place.plan_refuses(&["w.jsonl", "found 2", "expected", "3"]);
    // One that is too short.
    place.write("w.jsonl", &lines(&[&[1, 2, 3, 4], &[5, 6], &[5, 6, 7, 8]]));
    place.plan_refuses(&["w.jsonl", "found 2", "expected", "4"]);
}

#[test]
fn token_ids_outside_the_vocabulary_are_told_before_a_model_sees_them() {
    let place = phi();
    calibrated(&place, "{data: ./w.jsonl, sampler: windows, nsamples: 2, seqlen: 4}");
    place.write("w.jsonl", &lines(&[&[1, 2, 3, 4], &[5, 6, 384, 8]]));
    place.plan_refuses(&[
        "w.jsonl: found token id 384 for model model, expected ids below its vocabulary 384",
    ]);
    for ids in ["[1, 2, -3, 4]", "[1, 2, 3.5, 4]", "[1, 2, 99999999999, 4]", "\"1 2 3 4\""] {
        place.write("w.jsonl", &format!("{{\"input_ids\": [1, 2, 3, 4]}}\n{{\"input_ids\": {ids}}}\n"));
        place.plan_refuses(&["w.jsonl: line 2: input_ids", "found ", "expected"]);
    }
}

#[test]
fn sequences_longer_than_the_models_limit_are_told_with_the_limit() {
    let place = phi();
    place.replace("s.yaml", "rows.txt, seqlen: 32}", "rows.txt, seqlen: 161}");
    place.plan_refuses(&[
        "s.yaml:8:5: tasks.seqlen: found 161, expected at most 160, the limit of model model",
    ]);
    let place = phi();
    calibrated(&place, "{data: ./rows.txt, nsamples: 2, seqlen: 4096}");
    place.plan_refuses(&[
        "s.yaml:4:",
        "calibration.seqlen: found 4096, expected at most 160, the limit of model model",
    ]);
    // An option that no model of this limit can see whole: in letters only the letter is scored, in cloze the option.
    let place = phi();
    place.replace("cs.jsonl", "\"fridge\"", &format!("\"{}\"", "fridge and ".repeat(100)));
    place.replace("s.yaml", "limit: 4}", "limit: 4, style: cloze}");
    place.plan_refuses(&[
        "commonsense_qa/cloze: item cs00",
        "found ",
        "tokens, expected at most the model's limit 160",
    ]);
}

#[test]
fn eval_says_which_schemas_it_knows_where_a_folder_holds_none() {
    let place = phi();
    std::fs::create_dir(place.at("data")).unwrap();
    let args = ["eval", "--model", "model", "--dataset", "data"];
    let said = place.ends(&args, 3, &["data", "commonsense_qa", "cosmos_qa", "logiqa", "reclor", "ekar"]);
    place.write("data/x.jsonl", "{\"a\": 1}\n");
    place.ends(&args, 3, &["data", "commonsense_qa", "cosmos_qa", "logiqa", "reclor", "ekar"]);
    assert!(!place.at("out").exists(), "{said}");
}

#[test]
fn what_the_command_line_gets_wrong_is_usage_and_ends_with_2() {
    let place = phi();
    place.ends(&["plan"], 2, &["SWEEP"]);
    place.ends(&["plan", "s.yaml", "--gflops", "0"], 2, &["--gflops: expected a number above 0"]);
    place.ends(&["prune", "--model", "model"], 2, &["--sparsity-ratio: found nothing, expected a ratio"]);
    place.ends(&["prune", "--model", "model", "--sparsity-ratio", "50"], 2, &["--sparsity-ratio: found 50"]);
    place.ends(
        &["prune", "--model", "model", "--sparsity-type", "4:2"],
        2,
        &["--sparsity-type: found 4:2, expected"],
    );
    place.ends(&["eval", "--model", "model", "--task", "wikitext3"], 2, &["found wikitext3", "wikitext2"]);
    place.ends(&["plan", "absent.yaml"], 3, &["absent.yaml"]);
    // Programs read the same as JSON.
    let output = place.espalier(&["plan", "absent.yaml", "--output", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(told["exit"] == 3 && told["error"].as_str().unwrap().contains("absent.yaml"), "{told}");
    assert!(!place.at("out").exists());
}
