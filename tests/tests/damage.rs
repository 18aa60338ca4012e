//! What of a sweep is lost or damaged in the bucket: nothing is deleted on the strength of what is left, and the user is told the way out.

use espalier_tests::cluster::{Cluster, until};
use espalier_tests::files;
use espalier_tests::sweeps::Place;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const WIKITEXT: &str = "{task: wikitext2, data: ./rows.txt, seqlen: 32}";

/// A place in which the sweep `s` has been run with one grid after the other, each an entry of its log.
fn ran(sparsities: &[&str]) -> Place {
    let place = Place::new("phi-nobos");
    for sparsity in sparsities {
        place.sweep("s", sparsity, WIKITEXT);
        place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    }
    assert_eq!(entries(&place).len(), sparsities.len());
    place
}

/// Entries of the log of `s`.
fn entries(place: &Place) -> Vec<PathBuf> {
    files(&place.at("out/sweeps/s/log"), "json")
}

fn checkpoints(place: &Place) -> usize {
    files(&place.at("out/variants"), "safetensors").len()
}

/// Makes everything in a folder eight days old.
fn age(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            age(&path);
        } else {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(8 * 86_400)).unwrap();
        }
    }
}

#[test]
fn a_gap_in_a_log_stops_what_deletes_and_what_would_write_into_it() {
    let place = ran(&["0.5", "0.6", "0.7"]);
    place.sweep("t", "0.7", WIKITEXT);
    place.replace("t.yaml", "name: t\n", "name: t\ncheckpoints: none\n");
    age(&place.at("out"));
    let held = (place.cells(), checkpoints(&place));
    assert_eq!(held, (8, 3));
    for gap in [1, 2] {
        let name = format!("{gap:08}.json");
        let entry = place.at("out/sweeps/s/log").join(&name);
        std::fs::rename(&entry, place.at(&name)).unwrap();
        let says = [&*format!("sweeps/s/log/{name}"), "it is absent, but entry 3 is listed"];
        let export = ["export", "wanda-0.7-s0", "--sweep", "s", "--to", "x"];
        let commands: [&[&str]; 7] = [
            &["gc"],
            &["gc", "--dry-run"],
            &["du"],
            &["rm", "s", "--yes"],
            &["repair", "s"],
            &export,
            &["run", "s.yaml"],
        ];
        commands.iter().for_each(|command| drop(place.ends(command, 5, &says)));
        // What another sweep no longer needs this one may.
        place.ends(&["run", "t.yaml"], 5, &["4 of 4 cells done", says[0], says[1]]);
        assert_eq!((place.cells(), checkpoints(&place), entries(&place).len()), (held.0, held.1, 2));
        std::fs::rename(place.at(&name), &entry).unwrap();
    }
    age(&place.at("out/sweeps/s/log"));
    place.ends(&["gc"], 0, &["no sweep names it"]);
    place.ends(&["repair", "s"], 0, &["4 of 4 cells, 2 of 2 variants have a record"]);
}

#[test]
fn of_a_sweep_without_a_log_repair_says_so() {
    let place = ran(&["0.5"]);
    std::fs::remove_file(&entries(&place)[0]).unwrap();
    place.ends(
        &["repair", "s"],
        5,
        &[
            "sweep s is in bucket",
            "no entry of its log, from sweeps/s/log/00000001.json on",
            "submitting it again",
        ],
    );
    place.ends(&["repair", "none"], 3, &["holds no sweep none; it holds: s"]);
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
}

#[test]
fn inputs_that_are_missing_are_told_and_the_next_submission_writes_them_whether_or_not_the_coordinator_began_anew()
 {
    for (restarted, deleted) in [(false, true), (true, false)] {
        let place = Place::new("phi-nobos");
        let mut cluster = Cluster::start(&place, &[]);
        cluster.ends(&["submit", "s.yaml"], 0, &[]);
        place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
        let inputs = files(&place.at("out/inputs"), "json").remove(0);
        let again = "submit the sweep again, which writes its inputs anew";
        if deleted {
            std::fs::remove_file(&inputs).unwrap();
        } else {
            std::fs::write(&inputs, "{}").unwrap();
            place.ends(&["repair", "s"], 4, &["inputs ", "1 were damaged", again]);
        }
        if restarted {
            cluster.restart();
            let says = ["resolved inputs that the sweep names are not there", "`espalier repair s`"];
            cluster.ends(&["status", "s"], 5, &says);
        }
        let missing = ["inputs ", ": it is missing", "1 are damaged", again];
        place.ends(&["repair", "s", "--dry-run"], 4, &missing);
        cluster.ends(&["submit", "s.yaml"], 0, &[]);
        place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
        let _worker = cluster.worker("w");
        cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    }
}

#[test]
fn a_sweep_whose_log_or_spec_is_damaged_stops_what_must_know_its_needs_and_forced_rm_removes_it_alone() {
    for folder in ["log", "specs"] {
        let place = ran(&["0.5"]);
        place.sweep("other", "0.6", WIKITEXT);
        place.ends(&["run", "other.yaml"], 0, &["4 of 4 cells done"]);
        let (results, held) = (place.results("s"), (place.cells(), checkpoints(&place)));
        let object = files(&place.at("out/sweeps/s").join(folder), "json").remove(0);
        let whole = std::fs::read_to_string(&object).unwrap();
        let name = format!("sweeps/s/{folder}/{}", object.file_name().unwrap().to_str().unwrap());
        // What another version wrote is no damage.
        std::fs::write(&object, whole.replacen("\"format\": ", "\"format\": 9", 1)).unwrap();
        place.ends(&["rm", "s", "--yes", "--force"], 5, &[&name, "Nothing was changed or lost"]);
        std::fs::write(&object, "{\"x\":").unwrap();
        let commands: [&[&str]; 6] = [
            &["gc"],
            &["du"],
            &["rm", "s", "--yes"],
            &["rm", "s", "--dry-run"],
            &["rm", "other", "--yes"],
            &["rm", "other", "--yes", "--force"],
        ];
        let says = ["sweep s cannot be read", &name, "`espalier rm s --force`"];
        commands.iter().for_each(|command| drop(place.ends(command, 5, &says)));
        assert!(object.exists() && (place.cells(), checkpoints(&place)) == held);
        place.ends(&["rm", "s", "--force", "--dry-run"], 0, &["would remove", &name]);
        assert!(object.exists());
        place.ends(&["rm", "s", "--force", "--yes"], 0, &["removed", &name, "all that it measured stays"]);
        assert!(files(&place.at("out/sweeps/s"), "json").is_empty());
        place.ends(&["du"], 0, &["other"]);
        place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
        assert_eq!((place.results("s"), place.cells(), checkpoints(&place)), (results, held.0, held.1));
    }
}

#[test]
fn a_coordinator_takes_a_sweep_up_again_that_was_removed_for_its_damaged_log() {
    let place = Place::new("phi-nobos");
    let mut cluster = Cluster::start(&place, &[]);
    let worker = cluster.worker("w");
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    drop(worker);
    std::fs::write(&entries(&place)[0], "{").unwrap();
    cluster.restart();
    cluster.ends(&["status", "s"], 5, &["sweeps/s/log/00000001.json cannot be read"]);
    place.ends(&["repair", "s"], 5, &["`espalier rm s --force`"]);
    place.ends(&["rm", "s", "--yes", "--force"], 0, &["removed"]);
    cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 0 of them to do"]);
    place.ends(&["gc"], 0, &[]);
}

#[test]
fn what_is_repaired_while_a_worker_is_at_its_variant_is_done_again_once_nobody_is() {
    for restarted in [false, true] {
        let place = Place::new("phi-nobos");
        // Two cells of seconds.
        place.replace(
            "s.yaml",
            "{task: commonsense_qa, data: ./cs.jsonl, limit: 4}",
            "{task: wikitext2, data: ./rows.txt, seqlen: 16}",
        );
        let mut cluster = Cluster::start(&place, &[]);
        let submit = ["submit", "s.yaml", "--only", "method=wanda"];
        cluster.ends(&submit, 0, &[]);
        let worker = cluster.worker_with("w", &[("ESPALIER_TEST_FAULTS", "slow=300")]);
        until("one of two cells is done", || place.cells() > 0);
        worker.hold(true);
        let blob = files(&place.at("out/cells"), "parquet").remove(0);
        std::fs::write(blob, "short").unwrap();
        place.ends(&["repair", "s"], 4, &["1 were damaged"]);
        if restarted {
            // It reads what is left, and is told by the worker what that had done.
            cluster.restart();
            until("the worker goes on", || cluster.json(&["list"])[0]["done"] == 1);
        } else {
            cluster.ends(&submit, 0, &[]);
        }
        assert_eq!(place.cells(), 0, "the other one is not done yet");
        worker.hold(false);
        until("both are there", || place.cells() == 2);
    }
}
