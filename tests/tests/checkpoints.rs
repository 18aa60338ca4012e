//! What stays of pruned models: Hugging Face folders, or nothing, and what it costs to want it back.

use espalier_tests::binaries::ended;
use espalier_tests::cluster::{Cluster, until};
use espalier_tests::faults::{FaultPlan, Late};
use espalier_tests::files;
use espalier_tests::s3_server::{Creates, S3Server};
use espalier_tests::sweeps::Place;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

fn place(checkpoints: &str) -> Place {
    let place = Place::new("phi-nobos");
    place.replace("s.yaml", "name: s\n", &format!("name: s\ncheckpoints: {checkpoints}\n"));
    place
}

/// Compact checkpoints in the bucket.
fn compact(place: &Place) -> Vec<PathBuf> {
    files(&place.at("out/variants"), "safetensors")
}

#[test]
fn dense_checkpoints_are_the_folders_that_export_writes() {
    let place = place("dense");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done", "checkpoints: 1 exported"]);
    place.ends(&["export", "wanda-0.5-s0", "--sweep", "s", "--to", "mine"], 0, &[]);
    // The dense recipe's folder would be the model's own.
    let keys = place.names("out/exports");
    assert_eq!(keys.len(), 1, "{keys:?}");
    let folder = format!("out/exports/{}", keys[0]);
    let mut names = place.names("mine");
    assert!(names.contains(&"tokenizer.json".to_owned()), "{names:?}");
    for name in &names {
        let read = |folder: &str| std::fs::read(place.at(folder).join(name)).unwrap();
        assert!(read("mine") == read(&folder), "{name}");
    }
    names.push("espalier.json".to_owned());
    names.sort();
    assert_eq!(place.names(&folder), names);
    let again = place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    assert!(!again.contains("exported"), "{again}");
    // One that was broken off has no note, and is written anew.
    std::fs::remove_file(place.at(&folder).join("espalier.json")).unwrap();
    place.ends(&["run", "s.yaml"], 0, &["nothing was run", "checkpoints: 1 exported"]);
    assert_eq!(compact(&place).len(), 1);
}

#[test]
fn a_dropped_checkpoint_is_pruned_again_for_a_new_task_and_must_come_out_as_it_was() {
    let place = place("none");
    // While another sweep keeps the checkpoint it stays.
    place.ends(&["run", "s.yaml", "--set", "name=keeps", "--set", "checkpoints=compact"], 0, &[]);
    let kept = place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    assert!(!kept.contains("dropped"), "{kept}");
    let before = std::fs::read(&compact(&place)[0]).unwrap();
    place.ends(&["rm", "keeps", "--yes"], 0, &[]);
    place.ends(&["run", "s.yaml"], 0, &["nothing was run", "checkpoints: 1 dropped"]);
    assert_eq!(compact(&place), Vec::<PathBuf>::new());
    let results = place.results("s");
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
    let to = ["export", "wanda-0.5-s0", "--sweep", "s", "--to", "mine"];
    place.ends(&to, 3, &["was dropped", "checkpoints: none"]);

    place.replace("s.yaml", "limit: 4}", "limit: 4}\n  - {task: wikitext2, data: ./rows.txt, seqlen: 16}");
    // Another kind of device gives other masks.
    let mut other = place.command(&["run", "s.yaml"]);
    let other = other.env("ESPALIER_TEST_FAULTS", "kind=other").output().unwrap();
    ended(&["run"], &other, 4, &["5 of 6 cells done", "digest_mismatch", "pruned again"]);
    let holes = place.results("s");
    assert!(holes.contains(",failed,digest_mismatch,") && !holes.contains("not_run"), "{holes}");
    assert_eq!(compact(&place), Vec::<PathBuf>::new());
    // Kept from now on: what is restored has the bytes that it had.
    place.replace("s.yaml", "checkpoints: none", "checkpoints: compact");
    place.ends(&["run", "s.yaml"], 0, &["6 of 6 cells done, 1 of them in this run"]);
    assert_eq!(std::fs::read(&compact(&place)[0]).unwrap(), before);
    assert!(!files(&place.at("out/variants"), "json").iter().any(|p| p.ends_with("dropped.json")));
    let after = place.results("s");
    assert!(results.lines().all(|line| after.contains(line)), "{after}");
    place.ends(&to, 0, &[]);
}

#[test]
fn what_one_kind_of_device_cannot_make_as_it_was_is_made_by_another_as_soon_as_there_is_one() {
    let place = place("none");
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1000}\n");
    let cluster = Cluster::start(&place, &[]);
    let first = cluster.worker("first");
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    assert!(compact(&place).is_empty(), "who watches waits for that too");
    first.signal(libc::SIGTERM);
    until("it has left", || cluster.json(&["status"])["workers"][0]["state"] == "left");
    let _other = cluster.worker_with("other", &[("ESPALIER_TEST_FAULTS", "kind=other")]);
    place.replace("s.yaml", "limit: 4}", "limit: 4}\n  - {task: wikitext2, data: ./rows.txt, seqlen: 16}");
    cluster.ends(&["submit", "s.yaml"], 0, &["6 cells"]);
    until("it was tried there more than once", || place.failures().len() > 1);
    let _alike = cluster.worker("alike");
    cluster.ends(&["watch", "s"], 0, &["6 of 6 cells done"]);
    assert!(place.failures().iter().all(|code| code == "digest_mismatch"));
}

#[test]
fn of_a_sweep_that_its_failures_stopped_no_checkpoint_is_waited_for() {
    let place = place("none");
    let cluster = Cluster::start(&place, &[]);
    let mut worker = cluster.worker("w");
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    worker.kill();
    let text = std::fs::read_to_string(place.at("s.yaml")).unwrap().replace("[0.5]", "[0.5, 0.6]");
    let limits = "name: t\nlimits: {attempts: 1, max_failed_cells: 1}\n";
    place.write(
        "t.yaml",
        &text.replace("name: s\n", limits).replace("checkpoints: none", "checkpoints: dense"),
    );
    let _dies = cluster.worker_with("dies", &[("ESPALIER_TEST_FAULTS", "die=wanda")]);
    cluster.ends(&["submit", "t.yaml"], 0, &[]);
    let said = cluster.ends(&["watch", "t"], 4, &["limits.max_failed_cells of its cells failed"]);
    let state = cluster.json(&["status", "t"])["sweeps"][0].clone();
    assert!(!said.contains("not done yet") && state["settled"] == true, "{said}{state}");
}

#[test]
fn folders_that_are_asked_for_after_the_checkpoints_were_dropped_are_made_again() {
    let place = place("none");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done", "checkpoints: 1 dropped"]);
    let results = place.results("s");
    place.replace("s.yaml", "checkpoints: none", "checkpoints: dense");
    let only = ["run", "s.yaml", "--only", "method=dense"];
    assert!(!place.ends(&only, 0, &["nothing was run"]).contains("exported"));
    place.ends(&["plan", "s.yaml"], 0, &["0 to do in 1 shards", "1 variants are pruned again"]);
    place.ends(
        &["run", "s.yaml"],
        0,
        &["4 of 4 cells done, all of them before; checkpoints", "made again (1)", "checkpoints: 1 exported"],
    );
    assert_eq!(place.names("out/exports").len(), 1);
    assert!(place.results("s") == results, "nothing was measured again");
    // While the folder is there, nothing more is needed for it.
    place.ends(&["run", "s.yaml", "--set", "checkpoints=none"], 0, &["checkpoints: 1 dropped"]);
    place.ends(&["plan", "s.yaml"], 0, &["nothing is left to do"]);
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    // Of another kind of device it comes out otherwise, which is told.
    std::fs::remove_dir_all(place.at("out/exports")).unwrap();
    let mut other = place.command(&["run", "s.yaml"]);
    let other = other.env("ESPALIER_TEST_FAULTS", "kind=other").output().unwrap();
    ended(&["run"], &other, 4, &["4 of 4 cells done", "digest_mismatch"]);
    // A coordinator does the same, whatever other sweeps of the same variant that need no folder are taken up meanwhile.
    let place = self::place("none");
    let other = std::fs::read_to_string(place.at("s.yaml")).unwrap().replace("name: s\n", "name: other\n");
    place.write("other.yaml", &other);
    let mut cluster = Cluster::start(&place, &[]);
    let mut worker = cluster.worker("w");
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    worker.kill();
    assert!(compact(&place).is_empty(), "who watches waits for that too");
    place.replace("s.yaml", "checkpoints: none", "checkpoints: dense");
    cluster.ends(
        &["submit", "s.yaml"],
        0,
        &["0 of them to do", "pruned again is what `checkpoints:` asks for"],
    );
    cluster.ends(&["submit", "other.yaml"], 0, &[]);
    let state = |cluster: &Cluster<'_>| [0, 1].map(|at| cluster.json(&["list"])[at]["state"].clone());
    assert_eq!(state(&cluster), ["whole", "waiting"], "other, s");
    cluster.restart();
    assert_eq!(state(&cluster), ["whole", "waiting"]);
    let _worker = cluster.worker("again");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    assert_eq!(cluster.json(&["list"])[1]["settled"], true);
    let folder = format!("out/exports/{}", place.names("out/exports")[0]);
    assert!(place.names(&folder).contains(&"espalier.json".to_owned()));
}

/// A sweep `s` of three variants with a recipe that keeps none, and the same as `folders` with one that keeps folders; in a store.
fn stored() -> (Place, S3Server) {
    let (mut place, server) = (place("none"), S3Server::start(Creates::Atomic));
    server.holds(&mut place);
    place.replace("s.yaml", "[0.5]", "[0.4, 0.5, 0.6]");
    let text = std::fs::read_to_string(place.at("s.yaml")).unwrap();
    place.write("folders.yaml", &text.replace("name: s\n", "name: folders\n").replace(": none", ": dense"));
    (place, server)
}

fn late(part: &'static str, seconds: u64) -> Late {
    Late { method: "PUT", part, times: 1, by: Duration::from_secs(seconds) }
}

/// Folders that are whole, compact checkpoints, and notes of dropped ones.
fn left(server: &S3Server) -> [usize; 3] {
    let named = |folder: &str, kind: &str, name: &str| {
        files(&server.files(folder), kind)
            .iter()
            .filter(|path| path.to_string_lossy().ends_with(name))
            .count()
    };
    let notes = named("team/a/variants", "json", "dropped.json");
    [named("team/a/exports", "json", "/espalier.json"), named("team/a/variants", "safetensors", ""), notes]
}

#[test]
fn what_is_dropped_while_a_sweep_that_needs_it_is_submitted_is_kept_or_pruned_again() {
    // Who drops sees the submission; who submits sees the drop.
    for (own, kept) in [
        (vec![late("dropped.json", 15)], true),
        (vec![late("dropped.json", 3), late("sweeps/folders/log/", 7)], false),
    ] {
        let (place, server) = stored();
        let cluster = Cluster::start(&place, &[]);
        let _worker = cluster.worker("w");
        server.faults().plan(FaultPlan { late: own, ..FaultPlan::default() });
        cluster.ends(&["submit", "s.yaml"], 0, &[]);
        until("a note is being written", || server.faults().happened().late == 1);
        cluster.ends(&["submit", "folders.yaml"], 0, &[]);
        cluster.ends(&["watch", "folders"], 0, &["8 of 8 cells done"]);
        until("both have ended", || {
            cluster.json(&["list"]).as_array().unwrap().iter().all(|s| s["settled"] == true)
        });
        assert_eq!(left(&server), [3, 3, 0], "kept: {kept}");
        assert_eq!(cluster.log("w").contains("the checkpoint was dropped, and is pruned again"), !kept);
    }
}

#[test]
fn what_was_dropped_is_pruned_again_by_one_worker_whoever_is_submitted_meanwhile() {
    let place = place("none");
    let s = std::fs::read_to_string(place.at("s.yaml")).unwrap();
    let more = "limit: 4}\n  - {task: wikitext2, data: ./rows.txt, seqlen: 16}\n  - {task: wikitext2, data: ./rows.txt, seqlen: 8}";
    place.write("t.yaml", &s.replace("name: s\n", "name: t\n").replace("limit: 4}", more));
    let mut cluster = Cluster::start(&place, &[]);
    let mut worker = cluster.worker("w");
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    let notes =
        || files(&place.at("out/variants"), "json").iter().filter(|p| p.ends_with("dropped.json")).count();
    until("its checkpoint is dropped", || notes() == 1);
    worker.kill();
    cluster.ends(&["submit", "t.yaml", "--only", "method=wanda"], 0, &["4 cells, 2 of them"]);
    // Both say of the variant that its record is there, and need nothing of it.
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.restart();
    let slow = [("ESPALIER_TEST_FAULTS", "slow=300")];
    let _workers = ["x", "y"].map(|name| cluster.worker_with(name, &slow));
    cluster.ends(&["watch", "t"], 0, &["cells done"]);
    let again = ["x", "y"].map(|name| cluster.log(name).matches("is pruned again").count());
    assert_eq!(again.iter().sum::<usize>(), 1, "{again:?}");
}

#[test]
fn an_export_that_finds_a_checkpoint_dropped_is_told_as_not_done_and_the_variant_pruned_again() {
    let (place, server) = stored();
    let cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker("w");
    server.faults().plan(FaultPlan { late: vec![late("/exports/", 10)], ..FaultPlan::default() });
    cluster.ends(&["submit", "folders.yaml"], 0, &[]);
    until("the first is being written", || server.faults().happened().late == 1);
    for record in files(&server.files("team/a/variants"), "json") {
        let folder = record.parent().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
        for blob in files(folder, "safetensors") {
            std::fs::remove_file(blob).unwrap();
            let note = json!({"format": 1, "key": said["key"], "weights": said["weights"], "at": "2026-01-01T00:00:00Z"});
            std::fs::write(folder.join("dropped.json"), note.to_string()).unwrap();
        }
    }
    cluster.ends(&["watch", "folders"], 0, &["8 of 8 cells done"]);
    until("all is done", || cluster.json(&["list"])[0]["settled"] == true);
    // Who watches is told it as long as it is so, which may be for a moment.
    let log = cluster.log("coordinator");
    let told = log.lines().find(|line| line.contains("that it asks for its checkpoints is done yet"));
    let told = told.unwrap_or_else(|| panic!("{log}"));
    assert!(told.contains("was dropped") && told.contains("it is tried again"), "{told}");
    assert_eq!(left(&server)[0], 3);
}
