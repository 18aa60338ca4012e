//! What versions leave in buckets for one another: this one reads what earlier ones wrote, and refuses what a later one wrote without
//! touching it.
//!
//! `tests/goldens/formats/<version>/bucket` is what that version wrote, recorded once by [`record`] and never changed.

use espalier_tests::cluster::{Cluster, until};
use espalier_tests::sweeps::Place;
use espalier_tests::{files, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn goldens() -> Vec<PathBuf> {
    let folder = root().join("tests/goldens/formats");
    let names = espalier_tests::sweeps::names(&folder);
    names.into_iter().map(|version| folder.join(version)).collect()
}

/// Every file under a folder with its content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(tree(&path)),
            path => drop(all.insert(path.clone(), std::fs::read(path).unwrap())),
        }
    }
    all
}

fn copy(from: &Path, to: &Path) {
    for (path, body) in tree(from) {
        let to = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, body).unwrap();
    }
}

/// A place with an earlier version's bucket, and the sweep files that filled it.
fn with(golden: &Path) -> Place {
    let place = place();
    copy(&golden.join("bucket"), &place.at("out"));
    place
}

/// Sweeps `s` (checkpoints as folders), `n` (none kept) and `p` (weights that are not finite).
fn place() -> Place {
    let place = Place::new("phi-nobos");
    for (name, checkpoints) in [("s", "dense"), ("n", "none")] {
        place.sweep(
            name,
            if name == "s" { "0.5" } else { "0.25" },
            "{task: wikitext2, data: ./rows.txt, seqlen: 32}",
        );
        let text = std::fs::read_to_string(place.at(&format!("{name}.yaml"))).unwrap();
        place.write(&format!("{name}.yaml"), &format!("{text}checkpoints: {checkpoints}\n"));
    }
    place
}

/// Rows of a table as column → value.
fn rows(csv: &[u8]) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv);
    let header = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| {
        header.iter().zip(record.iter()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

#[test]
fn what_an_earlier_version_left_in_a_bucket_is_whole_to_this_one_and_nothing_is_run_again() {
    for golden in goldens() {
        let place = with(&golden);
        let results =
            |sweep: &str| std::fs::read(place.at(&format!("out/sweeps/{sweep}/report/results.csv"))).unwrap();
        for sweep in ["s", "n"] {
            let before = rows(&results(sweep));
            place.ends(&["report", sweep], 0, &["4 of 4 cells measured"]);
            let now = rows(&results(sweep));
            assert_eq!(before.len(), now.len());
            for (before, now) in before.iter().zip(&now) {
                // Later versions may add columns.
                assert!(
                    before.iter().all(|(column, value)| now.get(column) == Some(value)),
                    "{before:?}\n{now:?}"
                );
            }
            let run = ["run", &format!("{sweep}.yaml"), "--take-over"];
            place.ends(&run, 0, &["4 of 4 cells done, all of them before"]);
            place.ends(&["repair", sweep], 0, &["nothing is damaged"]);
        }
        place.ends(&["report", "p"], 4, &["non_finite_weights"]);
        place.ends(&["export", "wanda-0.5-s0", "--sweep", "s", "--to", "folder"], 0, &["is in folder"]);
        place.ends(&["du"], 0, &["its own"]);
        place.ends(&["gc", "--dry-run"], 0, &[]);
        // A coordinator takes up what it finds: whose sweeps these are, what was given up, retried and cancelled.
        let place = with(&golden);
        let cluster = Cluster::start(&place, &[]);
        let list = cluster.json(&["list"]).as_array().unwrap().clone();
        let told: Vec<String> = list.iter().map(|s| format!("{} {}", s["name"], s["state"])).collect();
        assert_eq!(told.len(), 3, "{list:?}");
        cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
        cluster.ends(&["status", "p"], 0, &["stopped", "non_finite_weights"]);
    }
}

/// Commands, word by word.
type Commands = &'static [&'static [&'static str]];

/// One object of each kind, by its path under the bucket, and commands that read it.
fn kinds(bucket: &Path) -> Vec<(PathBuf, Commands)> {
    let json =
        |path: &str| -> Value { serde_json::from_slice(&std::fs::read(bucket.join(path)).unwrap()).unwrap() };
    let log = "sweeps/s/log/00000001.json";
    let entry = json(log);
    let spec = format!("sweeps/s/specs/{}.json", entry["event"]["spec"].as_str().unwrap());
    let grid = json(&spec);
    let record = |kind: &str, key: &Value| {
        let key = key.as_str().unwrap();
        format!("{kind}/{}/{key}/record.json", &key[..2])
    };
    let cases: [(String, Commands); 5] = [
        (record("cells", &grid["cells"][0]["key"]), &[&["repair", "s"], &["gc"], &["report", "s"]]),
        (
            record("variants", &grid["variants"][1]["key"]),
            &[
                &["repair", "s"],
                &["gc"],
                &["report", "s"],
                &["export", "wanda-0.5-s0", "--sweep", "s", "--to", "x"],
            ],
        ),
        (
            log.to_owned(),
            &[
                &["report", "s"],
                &["gc"],
                &["rm", "s", "--yes"],
                &["repair", "s"],
                &["run", "s.yaml", "--take-over"],
            ],
        ),
        (spec, &[&["report", "s"], &["gc"], &["rm", "s", "--yes"]]),
        ("coordinators/main/epoch/00000001.json".to_owned(), &[&["rm", "s", "--yes"]]),
    ];
    cases.into_iter().map(|(path, commands)| (PathBuf::from(path), commands)).collect()
}

#[test]
fn what_a_later_version_wrote_is_refused_by_its_name_and_every_byte_of_it_stays() {
    let golden = goldens().pop().expect("a version was recorded");
    for (object, commands) in kinds(&golden.join("bucket")) {
        let place = with(&golden);
        // The last epoch was ended in order, which is why nobody asks who holds it.
        let _ = std::fs::remove_dir_all(place.at("out/coordinators/main/ended"));
        let path = place.at("out").join(&object);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        value["format"] = 9.into();
        value["written_by"] = "espalier 9.9.9".into();
        value["only_later_versions_know"] = Value::Bool(true);
        std::fs::write(&path, value.to_string()).unwrap();
        let kept = |place: &Place| {
            let mut tree = tree(&place.at("out"));
            // Who came by leaves a mark there; nothing else may.
            tree.retain(|path, _| !path.starts_with(place.at("out/coordinators")));
            tree
        };
        let before = kept(&place);
        for command in commands {
            let says =
                ["of format 9, written by espalier 9.9.9", "this is espalier", "Nothing was changed or lost"];
            let said = place.ends(command, 5, &says);
            assert!(said.contains(object.to_str().unwrap()), "{command:?} on {}: {said}", object.display());
            assert!(before == kept(&place), "{command:?} changed the bucket at {}", object.display());
        }
    }
}

/// `ESPALIER_RECORD=1` writes what this version leaves in a bucket to tests/goldens/formats/<version>, which must be absent.
#[test]
#[ignore = "records goldens, once a release"]
fn record() {
    let to = root().join("tests/goldens/formats").join(env!("CARGO_PKG_VERSION"));
    assert!(!to.exists(), "{} is recorded already, and what is recorded does not change", to.display());
    let place = place();
    let mut cluster = Cluster::start(&place, &[]);
    let mut worker = cluster.worker("w");
    for sweep in ["s", "n"] {
        cluster.ends(&["submit", &format!("{sweep}.yaml")], 0, &[]);
        cluster.ends(&["pause", sweep], 0, &[]);
        cluster.ends(&["resume", sweep], 0, &[]);
        cluster.ends(&["watch", sweep], 0, &["4 of 4 cells done"]);
    }
    until("checkpoints are as asked", || {
        let all = files(&place.at("out"), "json");
        let has = |name: &str| all.iter().any(|p| p.ends_with(name));
        has("dropped.json") && has("espalier.json")
    });
    place.poison("model.layers.0.self_attn.q_proj.weight");
    place.replace("s.yaml", "name: s", "name: p");
    std::fs::rename(place.at("s.yaml"), place.at("p.yaml")).unwrap();
    cluster.ends(&["submit", "p.yaml", "--priority", "3"], 0, &[]);
    cluster.ends(&["watch", "p"], 4, &[]);
    cluster.ends(&["retry", "p"], 0, &[]);
    cluster.ends(&["watch", "p"], 4, &[]);
    cluster.ends(&["cancel", "p"], 0, &[]);
    worker.signal(libc::SIGTERM);
    worker.0.wait().unwrap();
    cluster.coordinator.signal(libc::SIGTERM);
    cluster.coordinator.0.wait().unwrap();
    for page in files(&place.at("out/sweeps"), "html") {
        std::fs::remove_file(page).unwrap();
    }
    copy(&place.at("out"), &to.join("bucket"));
}
