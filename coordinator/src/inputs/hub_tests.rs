//! Datasets of the hub's cache: which is read, at which revision, of which split, and what is said where there is none.

use super::Before;
use super::resolve_tests::{Case, golden};
use crate::inputs::lack::CONVERTED;
use std::path::Path;

#[test]
fn datasets_of_the_hub_are_read_from_its_cache_under_their_own_name_or_the_tasks() {
    let case = Case::new();
    let put = |path: &str, golden_file: &str, change: &dyn Fn(String) -> String| {
        let path = case.folder.path().join("hub").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match golden_file {
            "" => std::fs::write(path, change(String::new())).unwrap(),
            parquet if parquet.ends_with(".parquet") => drop(std::fs::copy(golden(parquet), path).unwrap()),
            text => std::fs::write(path, change(std::fs::read_to_string(golden(text)).unwrap())).unwrap(),
        }
    };
    let text = |text: &'static str| move |_: String| text.to_owned();
    let same = |text: String| text;
    // A set as exported, its test split without answers: validation is read.
    put("datasets--me--mine/refs/main", "", &text("a1"));
    let withheld = |text: String| text.replace("\"answerKey\": \"", "\"answerKey\": \"\", \"was\": \"");
    put("datasets--me--mine/snapshots/a1/data/test.jsonl", "data/hf/ekar.jsonl", &withheld);
    put("datasets--me--mine/snapshots/a1/data/validation.jsonl", "data/hf/ekar.jsonl", &same);
    // The catalog's own, its main only a script: its conversion is read.
    put("datasets--EleutherAI--logiqa/refs/main", "", &text("b1"));
    put("datasets--EleutherAI--logiqa/snapshots/b1/logiqa.py", "", &text("code"));
    let lacks = |case: &Case| case.error("recipes: [{method: magnitude, sparsity: 0.5}]\ntasks: [logiqa]\n");
    let before = lacks(&case);
    put("datasets--EleutherAI--logiqa/refs/refs/convert/parquet", "", &text("b2"));
    put(
        "datasets--EleutherAI--logiqa/snapshots/b2/logiqa/test/0000.parquet",
        "data/hf/logiqa.parquet",
        &same,
    );
    // A text to calibrate on and to measure, pinned.
    put("datasets--me--text/snapshots/c1/train.txt", "data/rows.txt", &same);
    put("datasets--me--text/snapshots/c1/test.txt", "data/rows.txt", &same);
    let got = case
        .prepare(
            "recipes: [{method: wanda, sparsity: 0.5}]\ncalibration: {data: me/text@c1, nsamples: 2, seqlen: 32}\n\
             tasks: [{task: ekar, data: me/mine}, logiqa, {task: wikitext2, data: hf://me/text@c1, seqlen: 32}]\n",
        )
        .unwrap();
    let splits: Vec<(&str, &str)> =
        got.sweep.tasks.iter().map(|t| (t.label.as_str(), t.split.as_str())).collect();
    assert_eq!(splits, [("ekar", "validation"), ("logiqa", "test"), ("wikitext2@32", "test")]);
    let data = &got.sweep.data;
    let pinned: Vec<&str> =
        data.tasks.values().chain(data.calibrations.values()).map(String::as_str).collect();
    assert_eq!(
        pinned,
        [
            "hf://datasets/me/mine@a1",
            "hf://datasets/EleutherAI/logiqa@b2",
            "hf://datasets/me/text@c1",
            "hf://datasets/me/text@c1"
        ]
    );
    // The same cells as from the files themselves.
    let local = case
        .prepare(&format!(
            "recipes: [{{method: magnitude, sparsity: 0.5}}]\ntasks: [{{task: ekar, data: {}}}]\n",
            golden("data/hf/ekar.jsonl").display()
        ))
        .unwrap();
    assert_eq!(local.sweep.cells[0].inputs, got.sweep.cells[0].inputs);
    assert_eq!(local.sweep.data.tasks["ekar"], golden("data/hf/ekar.jsonl").display().to_string());
    assert!(local.sweep.data.calibrations.is_empty());
    assert!(
        before.ends_with("--repo-type dataset EleutherAI/logiqa --revision refs/convert/parquet"),
        "{before}"
    );
    let pinned = case.error(
        "recipes: [{method: magnitude, sparsity: 0.5}]\ntasks: [{task: wikitext2, data: me/text@c2}]\n",
    );
    assert_eq!(
        pinned,
        "dataset me/text@c2, no file or folder here either, is not in the Hugging Face cache hub; get it there with: hf \
         download --repo-type dataset me/text --revision c2"
    );
}

#[test]
fn a_dataset_of_several_configurations_is_read_only_where_one_is_named() {
    let case = Case::new();
    for name in ["en", "zh"] {
        let folder = case.folder.path().join("hub/datasets--me--two/snapshots/a1").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(golden("data/hf/ekar.jsonl"), folder.join("test.jsonl")).unwrap();
    }
    let ekar = |source: &str| {
        format!(
            "recipes: [{{method: magnitude, sparsity: 0.5}}]\ntasks: [{{task: ekar, data: \"{source}\"}}]\n"
        )
    };
    let said = case.error(&ekar("me/two@a1"));
    assert!(
        said.ends_with("found configurations en, zh, expected one of them: hf://me/two/CONFIGURATION"),
        "{said}"
    );
    let chosen = case.prepare(&ekar("hf://me/two/zh@a1")).unwrap().sweep;
    assert_eq!(
        (chosen.tasks[0].split.as_str(), chosen.data.tasks["ekar"].as_str()),
        ("test", "hf://datasets/me/two/zh@a1")
    );
    // What a sweep says of its data can be asked for again.
    assert_eq!(case.prepare(&ekar(&chosen.data.tasks["ekar"])).unwrap().sweep.cells, chosen.cells);
    let said = case.error(&ekar("hf://me/two/fr@a1"));
    assert!(said.contains("en, zh"), "{said}");
}

/// Copies a golden file into the hub's cache.
fn put(case: &Case, path: &str, golden_file: &str) {
    let path = case.folder.path().join("hub").join(path);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
    std::fs::copy(golden(golden_file), path).unwrap();
}

fn refer(case: &Case, path: &str, commit: &str) {
    let path = case.folder.path().join("hub").join(path);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
    std::fs::write(path, commit).unwrap();
}

#[test]
fn what_moves_is_recorded_with_its_commit_kept_by_it_and_told_when_it_has_moved() {
    let case = Case::new();
    // The catalog's own, at its conversion; a text under a branch and under a tag.
    for (commit, file) in [("b1", "data/hf/logiqa.parquet"), ("b2", "data/hf/logiqa.parquet")] {
        put(
            &case,
            &format!("datasets--EleutherAI--logiqa/snapshots/{commit}/logiqa/test/0000.parquet"),
            file,
        );
    }
    let converted = format!("datasets--EleutherAI--logiqa/refs/{CONVERTED}");
    refer(&case, &converted, "b1");
    for (commit, file) in [("c1", "data/rows.txt"), ("c2", "data/native/reclor.json")] {
        for split in ["train", "test"] {
            put(&case, &format!("datasets--me--text/snapshots/{commit}/{split}.txt"), file);
        }
    }
    refer(&case, "datasets--me--text/refs/main", "c1");
    refer(&case, "datasets--me--text/refs/v2", "c1");
    let rest = |tasks: &str| {
        format!(
            "recipes: [{{method: wanda, sparsity: 0.5}}]\ncalibration: {{data: me/text, nsamples: 2, seqlen: 32}}\n\
             tasks: [logiqa, {{task: wikitext2, data: me/text@v2, seqlen: 32}}{tasks}]\n"
        )
    };
    let first = case.prepare(&rest("")).unwrap().sweep;
    let recorded: Vec<(&str, &str)> =
        first.revisions.iter().map(|(key, commit)| (key.as_str(), commit.as_str())).collect();
    let all = [
        ("hf://datasets/EleutherAI/logiqa", "b1"),
        ("hf://datasets/me/text", "c1"),
        ("hf://datasets/me/text@v2", "c1"),
    ];
    assert_eq!(recorded, all);
    // All of it moves.
    refer(&case, &converted, "b2");
    refer(&case, "datasets--me--text/refs/main", "c2");
    refer(&case, "datasets--me--text/refs/v2", "c2");
    let before = |update| Before::new(Some(first.clone()), update);
    let again = case.prepare_with(&rest(""), before(false).revisions()).unwrap().sweep;
    assert_eq!(again, first);
    assert!(before(false).moved(&again).is_empty());
    // Another revision is the one that was written; what is not read now stays kept.
    let fixed = rest("").replace("me/text@v2", "me/text@c2").replace("data: me/text,", "data: ./text.txt,");
    let fixed = case.prepare_with(&fixed, before(false).revisions()).unwrap().sweep;
    assert_eq!(fixed.data.tasks["wikitext2@32"], "hf://datasets/me/text@c2");
    assert_eq!(fixed.revisions, first.revisions);
    let anew = case.prepare_with(&rest(""), before(true).revisions()).unwrap().sweep;
    assert_eq!(
        before(true).moved(&anew),
        [
            "dataset EleutherAI/logiqa moved from b1 to b2: no cell changes",
            // Both are one commit, which the pruned one of two models reads for two tasks and the dense one for one.
            "dataset me/text moved from c1 to c2: 6 cells are to be measured anew",
            "dataset me/text@v2 moved from c1 to c2: 6 cells are to be measured anew",
        ]
    );
    assert_eq!(Before::default().moved(&anew), [""; 0]);
}
