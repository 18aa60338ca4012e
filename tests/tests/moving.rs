//! What may move on the hub, `main` of models and datasets, stays what a sweep first read until it is resolved anew.

use espalier_tests::cluster::Cluster;
use espalier_tests::hub_server::HubServer;
use espalier_tests::sweeps::Place;
use espalier_tests::{files, stand_ins};

/// A hub and the sweep `s.yaml` of four cells, everything that it reads under names of the hub.
fn named() -> (HubServer, Place) {
    let hub = HubServer::start();
    stand_ins::named(&hub);
    let mut place = Place::new("phi-nobos");
    place.add_environment(hub.environment());
    place.add_environment(vec![("HF_HOME".to_owned(), place.at("hf").display().to_string())]);
    place.replace("s.yaml", "[./model]", "[org/m]");
    place.replace("s.yaml", "calibration: {data: ./rows.txt", "calibration: {data: org/rows");
    place.replace("s.yaml", "data: ./rows.txt", "data: org/rows");
    place.replace("s.yaml", ", data: ./cs.jsonl", "");
    (hub, place)
}

/// `main` of all of that is another commit, and the cache is empty.
fn moves(hub: &HubServer, place: &Place) {
    stand_ins::moved(hub);
    std::fs::remove_dir_all(place.at("hf")).unwrap();
    hub.asked();
}

/// What is told once all of it has moved.
fn notes(hub: &HubServer) -> [String; 3] {
    let moved = |what: &str, repository: &str, cells: &str| {
        let [from, to] = ["before", "main"].map(|revision| hub.commit(repository, revision)[..12].to_owned());
        format!("note: {what} moved from {from} to {to}: {cells}")
    };
    [
        moved("model org/m@main", "models/org/m", "4 cells are to be measured anew"),
        // Both variants on its text, and the pruned one on the other task.
        moved("dataset org/rows", "datasets/org/rows", "3 cells are to be measured anew"),
        moved("dataset tau/commonsense_qa", "datasets/tau/commonsense_qa", "no cell changes"),
    ]
}

#[test]
fn what_moves_on_the_hub_stays_as_first_resolved_until_update() {
    let (hub, place) = named();
    let run = |more: &[&'static str]| [&["run", "s.yaml", "--devices", "cpu:1"], more].concat();
    place.ends(&run(&[]), 0, &["4 of 4 cells done, 4 of them in this run"]);
    let results = place.results("s");
    let first = hub.commit("models/org/m", "main");
    moves(&hub, &place);
    let changed = ["report", "s.yaml", "--set", "limits.attempts=2"];
    place.ends(
        &["plan", "s.yaml", "--gflops", "1"],
        0,
        &["fetching org/m: ", "4 cells: 4 in the bucket, 0 to do"],
    );
    place.ends(&changed, 0, &["4 of 4 cells measured"]);
    let said = place.ends(&run(&[]), 0, &["4 of 4 cells done, all of them before"]);
    assert!(!said.contains("note: ") && place.results("s") == results, "{said}");
    assert_eq!(place.names("hf/hub/models--org--m/snapshots"), [first.as_str()]);
    let asked = hub.asked();
    assert!(!asked.iter().any(|a| a.path.ends_with("/revision/main")), "{asked:?}");
    // What is new in the sweep is what it is now.
    stand_ins::other_phi(&hub, "models/org/n", 2);
    place.replace("s.yaml", "[org/m]", "[org/m, new=org/n]");
    place.ends(&run(&[]), 0, &["8 of 8 cells done, 4 of them in this run"]);
    // Also where it is here: the hub is asked.
    let said = place.ends(&run(&["--update"]), 0, &["8 of 8 cells done, 7 of them in this run"]);
    let told: Vec<&str> = said.lines().filter(|line| line.starts_with("note: ")).collect();
    let mut expected = notes(&hub);
    expected[1] = expected[1].replace("3 cells", "6 cells");
    assert!(expected.iter().all(|note| told.contains(&note.as_str())) && told.len() == 3, "{told:?}");
    place.ends(&run(&[]), 0, &["8 of 8 cells done, all of them before"]);
    // What is nowhere any more is told with the way out of it.
    let gone = hub.commit("models/org/m", "main");
    stand_ins::other_phi(&hub, "models/org/m", 4);
    std::fs::remove_dir_all(place.at("hf")).unwrap();
    let needles = [
        &format!("has no model org/m at revision {gone}"),
        "run or submit it with --update to take what hf://org/m@main is now",
    ];
    place.ends(&run(&[]), 3, &needles);
    place.ends(&["plan", "s.yaml", "--gflops", "1"], 3, &needles);
    place.ends(
        &run(&["--update"]),
        0,
        &["note: model org/m@main moved from ", "8 of 8 cells done, 4 of them in this run"],
    );
}

#[test]
fn a_coordinator_keeps_what_moves_on_the_hub_until_update() {
    let (hub, place) = named();
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 4 of them to do"]);
    let mut worker = cluster.worker("w");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    worker.kill();
    moves(&hub, &place);
    cluster.restart();
    let said = cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 0 of them to do"]);
    assert!(!said.contains(" moved from "), "{said}");
    let expected = notes(&hub);
    let needles: Vec<&str> =
        expected.iter().map(String::as_str).chain(["s: 4 cells, 4 of them to do"]).collect();
    cluster.ends(&["submit", "s.yaml", "--update"], 0, &needles);
    assert_eq!(files(&place.at("out/sweeps/s/specs"), "json").len(), 2);
}
