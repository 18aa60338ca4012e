//! What was given up, by canaries that fell and by cells that failed: what of it is not run, how that is told, and who has it tried again.

use espalier_tests::binaries::{ended, text};
use espalier_tests::cluster::{Cluster, until};
use espalier_tests::files;
use espalier_tests::sweeps::Place;
use serde_json::Value;

const FAULTS: &str = "ESPALIER_TEST_FAULTS";

#[test]
fn a_model_whose_canary_falls_is_not_run_and_the_others_are() {
    let place = guarded();
    let args = ["run", "s.yaml", "--devices", "cpu:2"];
    let fallen = place.command(&args).env(FAULTS, "die=wanda").output().unwrap();
    let said = ended(
        &args,
        &fallen,
        4,
        &["2 of 18 cells done", "failed: a, 8 variants: its canary: compute_lost: "],
    );
    assert!(!said.contains("max_failed_cells"), "one canary fell, not sixteen cells: {said}");
    assert_eq!(place.records("variants").len(), 1, "of the other model; of this one nothing was begun");
    assert_eq!(place.failures(), ["compute_lost"]);
    let lost = place.results("s").lines().filter(|l| l.contains(",failed,compute_lost,")).count();
    let measured = place.results("s").lines().filter(|l| l.starts_with("s,b,")).count();
    assert!(lost > 0 && measured > 0);
    let verdicts = || -> Vec<Value> {
        let read = |p| serde_json::from_slice::<Value>(&std::fs::read(p).unwrap()).unwrap();
        let entries = files(&place.at("out/sweeps/s/log"), "json").into_iter().map(read);
        entries.map(|e| e["event"].clone()).filter(|e| e["event"] == "canary").collect()
    };
    assert_eq!(verdicts().iter().map(|v| v["code"].clone()).collect::<Vec<_>>(), ["compute_lost"]);
    // Asked for again it is tried again, and passes; everything follows.
    place.ends(&args, 0, &["18 of 18 cells done"]);
    assert_eq!(verdicts().len(), 2);
    assert!(verdicts()[1]["code"].is_null());
}

#[test]
fn a_fallen_canary_is_told_in_a_line_and_explained_also_by_a_coordinator_that_was_started_again() {
    let place = guarded();
    let mut cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker_with("w", &[(FAULTS, "die=wanda")]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let told = "failed: a, 8 variants: its canary: compute_lost: ";
    cluster.ends(&["watch", "s"], 4, &["2 of 18 cells done", told]);
    cluster.ends(&["status", "s"], 0, &[told, "100 %"]);
    let (list, status) = (cluster.json(&["list"]), cluster.json(&["status", "s"]));
    assert!(list[0].get("failures").is_none() && list[0]["failed"] == 16, "{list}");
    assert_eq!(status["sweeps"][0]["failures"].as_array().unwrap().len(), 8, "{status}");
    let why = "it was not tried: its model's canary, one variant that is tried before all others, failed (compute_lost: ";
    let only = ["explain", "s", "--only", "model=a,sparsity=0.1"];
    let first = cluster.ends(&only, 0, &[why]);
    cluster.restart();
    assert_eq!(cluster.ends(&only, 0, &[why]), first);
    until("it is told as before", || cluster.json(&["status", "s"])["sweeps"] == status["sweeps"]);
    // Also where too few are left for a canary of their own.
    cluster.ends(&["cancel", "s", "--only", "model=a,sparsity=0.1,sparsity=0.2"], 0, &[]);
    cluster.ends(&["explain", "s", "--only", "model=a,sparsity=0.1"], 0, &["does not ask for it now"]);
    let only = ["explain", "s", "--only", "model=a,sparsity=0.3"];
    let left = cluster.ends(&only, 0, &[why]);
    cluster.restart();
    assert_eq!(cluster.ends(&only, 0, &[why]), left);
    // What another sweep has made of the model is not measured either, and the report says why.
    place.sweep("t", "0.9", "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
    place.replace("t.yaml", "models: [./model]", "models: [a=./model]");
    cluster.ends(&["submit", "t.yaml", "--only", "method=dense,task=wikitext2"], 0, &[]);
    cluster.ends(&["watch", "t"], 0, &["1 of 1 cells done"]);
    place.espalier(&["report", "s", "--to", "report"]);
    let table = std::fs::read_to_string(place.at("report/results.csv")).unwrap();
    let dense = |line: &&str| line.starts_with("s,a,dense,") && line.contains(",failed,compute_lost,");
    assert!(table.lines().any(|line| dense(&line)) && !table.contains("not_run"), "{table}");
    // What the canary tried is not asked for any more: the rest goes on, and nothing fell.
    cluster.ends(&["cancel", "s", "--only", "method=wanda"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    place.espalier(&["report", "s", "--to", "report"]);
    let table = std::fs::read_to_string(place.at("report/results.csv")).unwrap();
    assert!(table.contains("missing,cancelled") && !table.contains("failed,"), "{table}");
}

#[test]
fn what_was_given_up_and_is_made_by_another_instance_is_not_run_yet_and_no_failure() {
    let place = Place::new("phi-nobos");
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1}\n");
    let mut cluster = Cluster::start(&place, &[]);
    let mut dies = cluster.worker_with("w", &[(FAULTS, "die=wanda")]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 4, &["2 of 4 cells done", "compute_lost"]);
    dies.kill();
    let failed = || {
        place.espalier(&["report", "s", "--to", "report"]);
        let table = std::fs::read_to_string(place.at("report/results.csv")).unwrap();
        table.contains(",failed,compute_lost,")
    };
    assert!(failed());
    let one = ["run", "s.yaml", "--set", "name=t", "--only", "method=wanda,task=wikitext2"];
    place.ends(&one, 0, &["1 of 1 cell done"]);
    cluster.restart();
    let list = cluster.json(&["list"]);
    assert!(list[0]["failed"] == 0 && list[0]["done"] == 3, "{list}");
    assert!(!failed());
    let _worker = cluster.worker("next");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
}

#[test]
fn what_two_sweeps_share_is_tried_again_for_both_when_one_asks_also_after_a_restart() {
    let place = guarded();
    let s = std::fs::read_to_string(place.at("s.yaml")).unwrap();
    place.write("t.yaml", &s.replace("name: s\n", "name: t\n"));
    place.write("n.yaml", &s.replace("name: s\n", "name: n\n").replace("wanda", "magnitude"));
    let mut cluster = Cluster::start(&place, &[]);
    let mut dies = cluster.worker_with("w", &[(FAULTS, "die=wanda")]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 4, &["2 of 18 cells done"]);
    cluster.ends(&["submit", "t.yaml"], 0, &[]);
    cluster.ends(&["watch", "t"], 4, &["2 of 18 cells done", "its canary: compute_lost"]);
    cluster.ends(&["submit", "n.yaml"], 0, &[]);
    cluster.ends(&["watch", "n"], 0, &["18 of 18 cells done"]);
    dies.kill();
    let state = |cluster: &Cluster<'_>, at: usize| cluster.json(&["list"])[at]["state"].clone();
    cluster.ends(&["retry", "t", "--only", "sparsity=0.1"], 0, &["waiting"]);
    cluster.ends(&["cancel", "s", "--only", "sparsity=0.8"], 0, &["waiting"]);
    until("the other log says so", || {
        text(&cluster.espalier(&["logs", "s"])).contains("tried again: 1 keys")
    });
    place.espalier(&["report", "s", "--to", "between"]);
    let between = std::fs::read_to_string(place.at("between/results.csv")).unwrap();
    assert!(between.contains("missing,not_run") && !between.contains("failed,"), "{between}");
    cluster.restart();
    assert_eq!([1, 2].map(|at| state(&cluster, at)), ["waiting", "waiting"]);
    let _worker = cluster.worker("sound");
    cluster.ends(&["watch", "s"], 0, &["16 of 16 cells done"]);
    cluster.ends(&["watch", "t"], 0, &["18 of 18 cells done"]);
}

#[test]
fn a_stopped_sweep_stays_so_whatever_others_try_again_and_its_report_has_what_they_measure() {
    let place = Place::new("phi-nobos");
    place.replace("s.yaml", "recipes:\n", "recipes:\n  - {method: magnitude, sparsity: [0.3, 0.6]}\n");
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1, max_failed_cells: 99}\n");
    let s = std::fs::read_to_string(place.at("s.yaml")).unwrap();
    place.write(
        "doomed.yaml",
        &s.replace("name: s\n", "name: doomed\n")
            .replace("cells: 99", "cells: 1")
            .replace("0.6]", "0.6, 0.7]"),
    );
    place.write("small.yaml", &s.replace("name: s\n", "name: small\n").replace("[0.3, 0.6]", "[0.3]"));
    let mut cluster = Cluster::start(&place, &[]);
    let mut dies = cluster.worker_with("w", &[(FAULTS, "die=magnitude")]);
    cluster.ends(&["submit", "doomed.yaml", "--only", "method=magnitude"], 0, &[]);
    cluster.ends(&["watch", "doomed"], 4, &["limits.max_failed_cells"]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 4, &["4 of 8 cells done"]);
    // It is over, and some of it failed: to stop it is to be remembered.
    cluster.ends(&["cancel", "s"], 0, &["stopped"]);
    dies.kill();
    let _worker = cluster.worker("sound");
    cluster.ends(&["submit", "small.yaml"], 0, &[]);
    cluster.ends(&["watch", "small"], 0, &["6 of 6 cells done"]);
    let states = |cluster: &Cluster<'_>| {
        let list = cluster.json(&["list"]);
        [0, 1, 2].map(|at| (list[at]["state"].clone(), list[at]["done"].clone()))
    };
    let expected = [("stopped", 2), ("stopped", 6), ("whole", 6)];
    let expected = expected.map(|(state, done)| (Value::from(state), Value::from(done)));
    // In the order of names: doomed, s, small.
    assert_eq!(states(&cluster), expected);
    let measured = |l: &&str| l.contains("magnitude,0.3") && !l.contains("missing") && !l.contains("failed");
    until("the report of the stopped one has them", || {
        place.results("s").lines().filter(measured).count() == 3
    });
    cluster.restart();
    assert_eq!(states(&cluster), expected);
}

#[test]
fn a_sweep_that_is_over_and_of_which_a_part_is_cancelled_then_gets_a_report_that_says_so() {
    let place = Place::new("phi-nobos");
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1, max_failed_cells: 1}\n");
    let cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker_with("w", &[(FAULTS, "die=magnitude")]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    place.replace("s.yaml", "recipes:\n", "recipes:\n  - {method: magnitude, sparsity: [0.3, 0.6]}\n");
    cluster.ends(&["submit", "s.yaml"], 0, &["8 cells, 4 of them to do"]);
    cluster.ends(&["watch", "s"], 4, &["limits.max_failed_cells"]);
    let reasons =
        || (place.results("s").contains("not_run"), place.results("s").contains("missing,cancelled"));
    assert_eq!(reasons(), (true, false), "the second one was not tried: {}", place.results("s"));
    cluster.ends(&["cancel", "s", "--only", "method=magnitude"], 0, &["part"]);
    until("its report is written anew", || reasons() == (false, true));
}

#[test]
fn where_failed_cells_stopped_a_sweep_cancelling_the_part_that_fails_lets_the_rest_go_on() {
    let place = Place::new("phi-nobos");
    place.replace("s.yaml", "recipes:\n", "recipes:\n  - {method: magnitude, sparsity: [0.3, 0.6]}\n");
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1, max_failed_cells: 1}\n");
    let mut cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker_with("w", &[(FAULTS, "die=magnitude")]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 4, &["limits.max_failed_cells"]);
    cluster.ends(&["cancel", "s", "--only", "method=magnitude"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done; 4 more of its grid are not asked for"]);
    cluster.restart();
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
}

/// A model `a` with variants enough for a canary, and a model `b` with its dense one; one failure is enough.
fn guarded() -> Place {
    let place = Place::new("phi-nobos");
    copy_model(&place, "llama-bos", "other");
    place.replace("s.yaml", "models: [./model]", "models: [a=./model, b=./other]");
    let many = "recipes:\n  - {method: wanda, sparsity: [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8], models: [a]}\n";
    place.replace("s.yaml", "recipes:\n  - {method: wanda, sparsity: [0.5]}\n", many);
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1, max_failed_cells: 1}\n");
    place
}

/// A golden model as a folder of the place.
fn copy_model(place: &Place, golden: &str, name: &str) {
    let from = espalier_tests::root().join("tests/goldens/scoring").join(golden);
    std::fs::create_dir(place.at(name)).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), place.at(name).join(file.file_name())).unwrap();
    }
}
