//! This version and an earlier one together: on one bucket, and as coordinator and workers of each other.
//!
//! `OLD=FOLDER make check-upgrade`, where FOLDER holds the earlier version's `espalier` and `espalier-worker`.

use espalier_tests::cluster::{Cluster, until};
use espalier_tests::files;
use espalier_tests::sweeps::Place;
use std::path::PathBuf;

/// The earlier version's programs.
fn old() -> PathBuf {
    let folder = std::env::var_os("OLD")
        .map(PathBuf::from)
        .expect("OLD names the folder of an earlier version's programs");
    assert!(folder.join("espalier-worker").exists(), "{} holds no espalier-worker", folder.display());
    std::fs::canonicalize(folder).unwrap()
}

/// Bodies of all records, which nobody may change.
fn records(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let all = ["cells", "variants"].map(|kind| files(&place.at("out").join(kind), "json"));
    all.concat().into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// What this version alone measures.
fn alone() -> String {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    place.results("s")
}

#[test]
#[ignore = "needs an earlier version's programs"]
fn a_sweep_goes_on_in_an_earlier_versions_bucket_and_what_the_earlier_one_then_finds_stays() {
    let (old, place) = (old(), Place::new("phi-nobos"));
    place.programs(Some(&old));
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let before = records(&place);
    place.programs(None);
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done, all of them before"]);
    place.ends(&["report", "s"], 0, &["4 of 4 cells measured"]);
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
    place.replace("s.yaml", "[0.5]", "[0.5, 0.25]");
    place.ends(&["run", "s.yaml"], 0, &["6 of 6 cells done, 2 of them in this run"]);
    let after = records(&place);
    assert!(before.iter().all(|record| after.contains(record)), "a record was changed");
    // Whoever goes back finds everything, or is told that it is a later version's.
    place.programs(Some(&old));
    let output = place.espalier(&["run", "s.yaml"]);
    let said = espalier_tests::binaries::text(&output);
    match output.status.code() {
        Some(0) => assert!(said.contains("6 of 6 cells done"), "{said}"),
        code => assert!(code == Some(5) && said.contains("format"), "{code:?}: {said}"),
    }
    assert!(records(&place) == after, "a record was changed");
}

#[test]
#[ignore = "needs an earlier version's programs"]
fn workers_and_coordinators_of_both_versions_end_a_sweep_whole_with_the_same_results() {
    let (old, alone) = (old(), alone());
    for (coordinator, worker) in [(None, Some(&old)), (Some(&old), None)] {
        let place = Place::new("phi-nobos");
        place.programs(coordinator.map(PathBuf::as_path));
        let cluster = Cluster::start(&place, &[]);
        cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 4 of them to do"]);
        place.programs(worker.map(PathBuf::as_path));
        let workers = ["w1", "w2"].map(|name| cluster.worker(name));
        // Users of both versions watch.
        cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
        until("the report is written", || place.at("out/sweeps/s/report/results.csv").exists());
        assert_eq!(place.results("s"), alone, "coordinator {coordinator:?}, workers {worker:?}");
        assert!(files(&place.at("out/failures"), "json").is_empty());
        drop(workers);
    }
}

#[test]
#[ignore = "needs an earlier version's programs"]
fn a_coordinator_is_replaced_by_this_version_under_a_running_worker_whose_work_is_taken_up() {
    let (old, alone, place) = (old(), alone(), Place::new("phi-nobos"));
    place.programs(Some(&old));
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let mut worker = cluster.worker_with("w", &[("ESPALIER_TEST_FAULTS", "slow=200")]);
    until("a cell has begun", || {
        let status = cluster.json(&["status"]);
        status["workers"].as_array().unwrap().iter().any(|w| w["doing"].to_string().contains("wikitext2"))
    });
    place.programs(None);
    cluster.restart();
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    until("the report is written", || place.at("out/sweeps/s/report/results.csv").exists());
    assert_eq!(place.results("s"), alone);
    // The attempt that the earlier coordinator ordered is the one that ended: its shard was not begun anew.
    let first = records(&place)
        .iter()
        .filter(|(_, body)| String::from_utf8_lossy(body).contains("\"main-1-"))
        .count();
    assert!(first > 0, "nothing of the first epoch's attempts was kept");
    // The worker is replaced too.
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(8));
    place.replace("s.yaml", "[0.5]", "[0.25]");
    let _worker = cluster.worker("new");
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
}
