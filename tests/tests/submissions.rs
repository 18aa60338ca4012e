//! What a coordinator is asked for, one thing after another and two at once: its memory, the sweep's log and what a restart makes of it
//! are the same.

use espalier_tests::binaries::text;
use espalier_tests::cluster::{Cluster, spawned, until};
use espalier_tests::files;
use espalier_tests::sweeps::Place;
use serde_json::{Value, json};

/// A sweep as `list` tells it; null if it does not.
fn listed(cluster: &Cluster<'_>, name: &str) -> Value {
    let list = cluster.json(&["list"]);
    list.as_array().unwrap().iter().find(|s| s["name"] == name).cloned().unwrap_or_default()
}

/// Wanted cells, those of the grid, and the state.
fn wants(cluster: &Cluster<'_>, name: &str) -> Value {
    let listed = listed(cluster, name);
    json!([listed["cells"], listed["grid"], listed["state"]])
}

#[test]
fn a_part_of_a_grid_is_all_that_runs_also_after_a_restart_and_another_part_adds_to_it() {
    let place = Place::new("phi-nobos");
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml", "--only", "method=dense"], 0, &["s: 2 cells"]);
    cluster.restart();
    assert_eq!(wants(&cluster, "s"), json!([2, 4, "waiting"]));
    let _worker = cluster.worker("w");
    cluster.ends(&["watch", "s"], 0, &["2 of 2 cells done; 2 more of its grid are not asked for"]);
    assert_eq!(wants(&cluster, "s"), json!([2, 4, "part"]));
    cluster.restart();
    cluster.ends(&["watch", "s"], 0, &["2 of 2 cells done"]);
    cluster.ends(&["submit", "s.yaml", "--only", "method=wanda,task=wikitext2"], 0, &["3 cells"]);
    cluster.ends(&["watch", "s"], 0, &["3 of 3 cells done; 1 more"]);
    cluster.ends(
        &["logs", "s"],
        0,
        &["submitted, only method=dense", "submitted, only method=wanda,task=wikitext2"],
    );
    cluster.ends(&["submit", "s.yaml"], 0, &["4 cells"]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    // Nothing that was asked for is given up for a part.
    cluster.ends(
        &["submit", "s.yaml", "--only", "method=dense"],
        0,
        &["4 cells", "--only adds only what was cancelled"],
    );
    assert_eq!(wants(&cluster, "s"), json!([4, 4, "whole"]));
}

#[test]
fn what_is_cancelled_of_a_sweep_that_has_everything_is_not_asked_for_when_it_grows() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker("w");
    cluster.ends(&["submit", "s.yaml"], 0, &["4 cells"]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    cluster.ends(&["cancel", "s", "--only", "task=wikitext2"], 0, &["part"]);
    place.replace("s.yaml", "sparsity: [0.5]", "sparsity: [0.5, 0.6]");
    cluster.ends(&["submit", "s.yaml", "--only", "sparsity=0.5,task=commonsense_qa"], 0, &["3 cells"]);
    cluster.ends(&["watch", "s"], 0, &["3 of 3 cells done; 3 more"]);
    cluster.ends(&["cancel", "s"], 0, &["part"]);
    cluster.ends(&["submit", "s.yaml", "--only", "sparsity=0.6,task=wikitext2"], 0, &["1 cells"]);
    cluster.ends(&["watch", "s"], 0, &["1 of 1 cells done; 5 more"]);
}

#[test]
fn a_coordinator_whose_place_another_has_takes_nothing_more() {
    let place = Place::new("phi-nobos");
    let first = Cluster::start(&place, &[]);
    first.ends(&["submit", "s.yaml"], 0, &["4 cells"]);
    let second = Cluster::start(&place, &[]);
    // It learns of that within five seconds, and ends.
    place.sweep("t", "0.6", "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
    let said = first.espalier(&["submit", "t.yaml"]);
    match said.status.code() {
        Some(5) => assert!(text(&said).contains("has taken this one's place"), "{}", text(&said)),
        code => assert_eq!(code, Some(6), "{}", text(&said)),
    }
    assert_eq!(listed(&second, "t"), Value::Null);
    second.ends(&["submit", "t.yaml"], 0, &[]);
    second.ends(&["cancel", "s"], 0, &["stopped"]);
}

#[test]
fn a_cancelled_part_is_not_run_also_after_a_restart_until_it_is_asked_for_again() {
    let place = Place::new("phi-nobos");
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["4 cells"]);
    cluster.ends(&["cancel", "s", "--only", "task=none"], 2, &["--only", "no cell"]);
    for command in ["cancel", "retry", "explain"] {
        cluster.ends(&[command, "s", "--only", ""], 2, &["--only: found nothing"]);
    }
    cluster.ends(&["submit", "s.yaml", "--only", ""], 2, &["--only: found nothing"]);
    cluster.ends(&["cancel", "s", "--only", "method=wanda"], 0, &["waiting"]);
    assert_eq!(wants(&cluster, "s"), json!([2, 4, "waiting"]));
    cluster.ends(&["retry", "s", "--only", "method=wanda"], 3, &["none of these cells is asked for"]);
    cluster.restart();
    assert_eq!(wants(&cluster, "s"), json!([2, 4, "waiting"]));
    let mut worker = cluster.worker("w");
    cluster.ends(&["watch", "s"], 0, &["2 of 2 cells done; 2 more of its grid"]);
    place.espalier(&["report", "s", "--to", "part"]);
    let table = std::fs::read_to_string(place.at("part/results.csv")).unwrap();
    assert!(table.contains("missing,cancelled") && !table.contains("not_run"), "{table}");
    cluster.ends(&["submit", "s.yaml", "--only", "method=wanda,task=wikitext2"], 0, &["3 cells, 1 of them"]);
    cluster.ends(&["watch", "s"], 0, &["3 of 3 cells done; 1 more"]);
    cluster.ends(&["logs", "s"], 0, &["cancelled: method=wanda"]);
    cluster.ends(&["cancel", "s", "--only", "method=dense"], 0, &["part"]);
    assert_eq!(wants(&cluster, "s"), json!([1, 4, "part"]), "it is over");
    cluster.ends(&["submit", "s.yaml"], 0, &["4 cells"]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    // What was stopped as a whole does not go on without the part.
    worker.kill();
    place.sweep("t", "0.6", "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
    cluster.ends(&["submit", "t.yaml"], 0, &["4 cells, 2 of them"]);
    cluster.ends(&["cancel", "t"], 0, &["stopped"]);
    cluster.ends(&["cancel", "t", "--only", "method=dense"], 3, &["was stopped; submitting it again"]);
    assert_eq!(wants(&cluster, "t"), json!([4, 4, "stopped"]));
}

#[test]
fn a_priority_stays_until_another_is_said_and_a_finished_sweep_that_is_cancelled_is_whole() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml", "--priority", "7"], 0, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    assert_eq!(listed(&cluster, "s")["priority"], 7);
    cluster.ends(&["submit", "s.yaml", "--priority", "0"], 0, &[]);
    assert_eq!(listed(&cluster, "s")["priority"], 0);
    let _worker = cluster.worker("w");
    cluster.ends(&["watch", "s"], 0, &[]);
    cluster.ends(&["cancel", "s"], 0, &["whole"]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    cluster.ends(&["resume", "s"], 3, &["sweep s was stopped", "submitting it again"]);
}

#[test]
fn what_is_asked_for_while_a_large_sweep_is_taken_up_is_done_after_it() {
    let place = Place::new("phi-nobos");
    let mut cluster = Cluster::start(&place, &[]);
    let many: Vec<String> = (1..1000).map(|n| format!("{:.4}", 0.0009 * f64::from(n))).collect();
    place.sweep("big", &many.join(", "), "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
    place.replace("big.yaml", "name: big", "name: s");
    let entries = || files(&place.at("out/sweeps/s/log"), "json").len();
    let at_once = |args: &[&str], then: &[&str]| {
        let before = entries();
        let mut first = place.command(args);
        let mut first = first.env("ESPALIER_COORDINATOR", &cluster.url).spawn().unwrap();
        while entries() == before {
            std::thread::yield_now();
        }
        cluster.ends(then, 0, &[]);
        assert!(first.wait().unwrap().success());
    };
    at_once(&["submit", "big.yaml"], &["submit", "s.yaml"]);
    let first = wants(&cluster, "s");
    assert_eq!(first, json!([4, 4, "waiting"]));
    at_once(&["submit", "big.yaml"], &["cancel", "s"]);
    let second = wants(&cluster, "s");
    assert_eq!(second[2], "stopped");
    cluster.restart();
    assert_eq!(wants(&cluster, "s"), second, "the log says the same");
}

#[test]
fn whoever_lost_a_sweep_to_another_instance_cannot_steer_it() {
    let place = Place::new("phi-nobos");
    let first = Cluster::start(&place, &[]);
    first.ends(&["submit", "s.yaml"], 0, &[]);
    first.ends(&["pause", "s"], 0, &[]);
    let follow = |name: &str, args: &[&str]| {
        let mut command = place.command(args);
        command.env("ESPALIER_COORDINATOR", &first.url);
        spawned(&place, name, command)
    };
    let watches = [follow("watch", &["watch", "s"]), follow("logs", &["logs", "s", "--follow"])];
    until("it is watched", || first.log("watch").contains("0 of 4"));
    let mut second = Cluster::start(&place, &["--instance", "second"]);
    second.ends(&["submit", "s.yaml", "--take-over"], 0, &[]);
    assert_eq!(listed(&second, "s")["state"], "paused", "as its log says");
    let said = first.espalier(&["cancel", "s"]);
    // It may have seen already that the sweep is another's.
    assert!([Some(5), Some(3)].contains(&said.status.code()), "{said:?}");
    let told = "instance second has taken sweep s over from instance main: the coordinator of second tells";
    for (mut watch, name) in watches.into_iter().zip(["watch", "logs"]) {
        assert_eq!(watch.0.wait().unwrap().code(), Some(5), "{name}: {}", first.log(name));
        let said = first.log(name);
        assert!(said.contains(told) && !said.contains("does not answer"), "{name}: {said}");
    }
    first.ends(&["status", "s"], 5, &[told]);
    second.coordinator.kill();
    let second = Cluster::start(&place, &["--instance", "second"]);
    assert_eq!(listed(&second, "s")["state"], "paused");
}

#[test]
fn whoever_submits_again_and_watches_sees_nothing_of_failures_that_are_tried_again() {
    let place = Place::new("phi-nobos");
    place.poison("model.layers.0.self_attn.q_proj.weight");
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let worker = cluster.worker("w");
    cluster.ends(&["watch", "s"], 4, &[]);
    worker.signal(libc::SIGSTOP);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let listed = listed(&cluster, "s");
    assert_eq!((&listed["failed"], &listed["state"] == "holes"), (&json!(0), false), "{listed}");
    worker.signal(libc::SIGCONT);
    cluster.ends(&["watch", "s"], 4, &[]);
}

#[test]
fn what_is_tried_again_of_a_sweep_that_its_failures_stopped_goes_on_also_after_a_restart() {
    let place = Place::new("phi-nobos");
    place.replace("s.yaml", "recipes:\n", "recipes:\n  - {method: magnitude, sparsity: [0.3, 0.6, 0.7]}\n");
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1, max_failed_cells: 4}\n");
    let s = std::fs::read_to_string(place.at("s.yaml")).unwrap();
    place.write("other.yaml", &s.replace("name: s\n", "name: other\n").replace("cells: 4", "cells: 99"));
    let mut cluster = Cluster::start(&place, &[]);
    let mut dies = cluster.worker_with("w", &[("ESPALIER_TEST_FAULTS", "die=magnitude")]);
    cluster.ends(&["submit", "s.yaml", "--only", "method=magnitude"], 0, &[]);
    cluster.ends(&["watch", "s"], 4, &["limits.max_failed_cells"]);
    cluster.ends(&["explain", "s"], 0, &["failed as often", "`espalier retry`"]);
    dies.kill();
    // Others measure what failed, and only then is some of it to be tried again.
    let mut sound = cluster.worker("sound");
    cluster.ends(&["submit", "other.yaml", "--only", "sparsity=0.3"], 0, &[]);
    cluster.ends(&["submit", "other.yaml", "--only", "sparsity=0.6"], 0, &[]);
    cluster.ends(&["watch", "other"], 0, &["4 of 4 cells done"]);
    sound.kill();
    cluster.restart();
    assert_eq!(wants(&cluster, "s"), json!([6, 10, "stopped"]));
    cluster.ends(&["retry", "s", "--only", "sparsity=0.3"], 0, &["waiting"]);
    cluster.restart();
    assert_eq!(wants(&cluster, "s"), json!([6, 10, "waiting"]));
    let _worker = cluster.worker("last");
    cluster.ends(&["watch", "s"], 0, &["6 of 6 cells done"]);
    cluster.ends(&["logs", "s"], 0, &["stopped: as many cells failed as limits.max_failed_cells allows"]);
}

#[test]
fn a_failed_cell_of_a_cancelled_sweep_is_explained_with_what_tries_it_again() {
    let place = Place::new("phi-nobos");
    place.poison("model.layers.0.self_attn.q_proj.weight");
    let cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker("w");
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 4, &[]);
    cluster.ends(&["cancel", "s"], 0, &["stopped"]);
    let said = cluster.ends(&["explain", "s"], 0, &["submitting it again tries it again"]);
    assert!(!said.contains("retry"), "{said}");
    cluster.ends(&["retry", "s"], 3, &["submitting it again"]);
}

#[test]
fn a_sweep_that_cannot_be_taken_up_is_told_and_submitting_it_again_mends_it_and_a_removed_one_is_let_go() {
    let place = Place::new("phi-nobos");
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.coordinator.kill();
    let spec = files(&place.at("out/sweeps/s/specs"), "json").remove(0);
    let whole = std::fs::read(&spec).unwrap();
    std::fs::write(&spec, &whole[..20]).unwrap();
    cluster.restart();
    assert_eq!(listed(&cluster, "s")["state"], "unreadable");
    cluster.ends(&["status"], 0, &["s cannot be taken up: ", "specs/"]);
    cluster.ends(&["status", "s"], 5, &["sweep s could not be taken up", "submitting it again"]);
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    assert!(std::fs::read(&spec).unwrap() == whole);
    assert_eq!(listed(&cluster, "s")["state"], "waiting");
    cluster.restart();
    assert_eq!(listed(&cluster, "s")["state"], "waiting");
    place.ends(&["rm", "s", "--yes", "--force"], 0, &[]);
    until("it is let go", || listed(&cluster, "s").is_null());
    cluster.ends(&["pause", "s"], 3, &["sweep s was removed from the bucket"]);
    assert!(files(&place.at("out/sweeps/s"), "json").is_empty());
}

#[test]
fn a_sweep_that_cannot_be_taken_up_is_tried_again_and_told_how_to_mend_it() {
    let place = Place::new("phi-nobos");
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let mut worker = cluster.worker_with("w", &[("ESPALIER_TEST_FAULTS", "slow=600")]);
    until("a cell is done", || place.cells() > 0);
    cluster.coordinator.kill();
    worker.kill();
    let record = files(&place.at("out/cells"), "json").remove(0);
    std::fs::write(&record, "{").unwrap();
    cluster.restart();
    assert_eq!(listed(&cluster, "s")["state"], "unreadable");
    cluster.ends(
        &["status", "s"],
        5,
        &["record.json", "`espalier repair s` makes what is damaged missing again of all else"],
    );
    // What is refused is not in the log either, where the next start would find it.
    let entries = || files(&place.at("out/sweeps/s/log"), "json").len();
    let before = entries();
    place.replace("s.yaml", "sparsity: [0.5]", "sparsity: [0.5, 0.7]");
    cluster.ends(&["submit", "s.yaml"], 5, &["record.json", "espalier repair s"]);
    assert_eq!(entries(), before);
    place.replace("s.yaml", "sparsity: [0.5, 0.7]", "sparsity: [0.5]");
    place.ends(&["repair", "s"], 4, &["1 were damaged", "its coordinator does anew what is asked for"]);
    until("it is taken up by itself", || listed(&cluster, "s")["state"] == "waiting");
    // Nor is one of which an entry of the log is not there for a while, as by a store's mistake.
    cluster.ends(&["pause", "s"], 0, &[]);
    cluster.coordinator.kill();
    let first = files(&place.at("out/sweeps/s/log"), "json").remove(0);
    std::fs::rename(&first, place.at("away")).unwrap();
    cluster.restart();
    cluster.ends(&["status", "s"], 5, &["it is absent, but entry 2 is listed"]);
    std::fs::rename(place.at("away"), &first).unwrap();
    until("it is taken up again", || listed(&cluster, "s")["state"] == "paused");
    cluster.ends(&["resume", "s"], 0, &[]);
    let _worker = cluster.worker("again");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
}

#[test]
fn a_sweep_whose_backend_is_auto_needs_no_worker_where_the_coordinator_is_told_what_they_will_be() {
    let mut place = Place::new("phi-nobos");
    place.replace("s.yaml", "backend: cpu\n", "");
    let cluster = Cluster::start(&place, &[]);
    let needles = ["found auto and no worker connected", "--backend (ESPALIER_BACKEND)"];
    cluster.ends(&["submit", "s.yaml"], 3, &needles);
    drop(cluster);
    place.add_environment(vec![("ESPALIER_BACKEND".to_owned(), "cpu".to_owned())]);
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 4 of them to do"]);
}
