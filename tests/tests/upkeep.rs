//! `du`, `rm`, `gc` and `repair` on a folder bucket with real records: what goes is what nobody needs, what is damaged is found.

use espalier_tests::binaries::text;
use espalier_tests::cluster::{Cluster, hide, until};
use espalier_tests::files;
use espalier_tests::sweeps::Place;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const WIKITEXT: &str = "{task: wikitext2, data: ./rows.txt, seqlen: 32}";

/// A place in which the sweep `s` has been run.
fn ran() -> Place {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    place
}

/// What a command says with `--output json`, ending with `code`.
fn json(place: &Place, args: &[&str], code: i32) -> Value {
    let output = place.espalier(&[args, &["--output", "json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// Every file of the bucket.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(all(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn age(path: &Path, days: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
}

/// The only file below `folder` with this name.
fn only(folder: &Path, name: &str) -> PathBuf {
    let found: Vec<_> = all(folder).into_iter().filter(|p| p.ends_with(name)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn records(place: &Place, folder: &str) -> usize {
    let found = files(&place.at("out").join(folder), "json");
    found.iter().filter(|p| p.ends_with("record.json")).count()
}

#[test]
fn du_adds_up_to_the_files_bytes_and_rm_frees_what_it_says_and_nothing_that_another_sweep_names() {
    let place = ran();
    place.sweep("other", "0.5, \"2:4\"", "{task: wikitext2, data: ./rows.txt, seqlen: 64}");
    place.ends(&["run", "other.yaml"], 0, &["6 of 6 cells done"]);
    let on_disk =
        |place: &Place| -> u64 { all(&place.at("out")).iter().map(|p| p.metadata().unwrap().len()).sum() };
    let du = json(&place, &["du"], 0);
    assert_eq!(du["bytes"].as_u64().unwrap(), on_disk(&place));
    assert_eq!(
        du["kinds"].as_object().unwrap().values().map(|v| v.as_u64().unwrap()).sum::<u64>(),
        on_disk(&place)
    );
    assert_eq!(du["unreferenced"], 0, "{du}");
    let [other, s] = [&du["sweeps"][0], &du["sweeps"][1]];
    assert_eq!((&other["sweep"], &s["sweep"]), (&"other".into(), &"s".into()));
    // Dense and wanda at 0.5, their cells on CommonsenseQA, that task's inputs and the calibration's.
    assert!(s["shared"] == other["shared"] && s["shared"].as_u64().unwrap() > 0, "{du}");
    place.ends(&["du"], 0, &["other", "its own", "variants"]);

    let before = all(&place.at("out"));
    let dry = json(&place, &["rm", "other", "--dry-run"], 0);
    assert_eq!(dry["bytes"], other["exclusive"], "{dry} {du}");
    assert_eq!(dry["shared_bytes"], other["shared"]);
    assert_eq!(all(&place.at("out")), before);
    place.ends(&["rm", "other"], 2, &["say --yes"]);
    place.ends(&["rm", "none", "--yes"], 3, &["holds no sweep none; it holds: other, s"]);
    assert_eq!(all(&place.at("out")), before);

    let (results, held) = (place.results("s"), on_disk(&place));
    place.ends(&["rm", "other", "--yes"], 0, &["removed", "of sweep other"]);
    // That records were deleted is said in an object of its own.
    let said = place.at("out/coordinators/records/generation.json").metadata().unwrap().len();
    assert_eq!(on_disk(&place), held + said - dry["bytes"].as_u64().unwrap());
    assert_eq!((place.cells(), records(&place, "variants")), (4, 2));
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    assert_eq!(place.results("s"), results);
    place.ends(&["rm", "s", "--yes"], 0, &["removed"]);
    let left = json(&place, &["du"], 0);
    assert_eq!(left["bytes"], left["kinds"]["coordinators"], "{left}");
}

#[test]
fn rm_refuses_a_sweep_whose_instance_may_be_at_it_unless_it_is_forced() {
    let place = ran();
    let instance = place.at("out/coordinators/run.s");
    std::fs::remove_dir_all(instance.join("ended")).unwrap();
    let epoch = only(&instance.join("epoch"), "00000001.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&epoch).unwrap()).unwrap();
    record["process"]["host"] = "another-host".into();
    std::fs::write(&epoch, record.to_string()).unwrap();
    let needles = ["belongs to instance run.s", "on host another-host", "--force"];
    place.ends(&["rm", "s", "--yes"], 5, &needles);
    assert_eq!(place.cells(), 4);
    place.ends(&["rm", "s", "--yes", "--force"], 0, &["removed"]);
    assert_eq!(place.cells(), 0);
}

#[test]
fn gc_removes_what_no_current_spec_and_no_record_names_once_it_is_a_week_old() {
    let place = ran();
    // The grid is now another: the variant at 0.5 and its cells are named by an earlier spec only.
    place.sweep("s", "\"2:4\"", WIKITEXT);
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    assert_eq!((place.cells(), records(&place, "variants")), (6, 3));
    let results = place.results("s");
    // Dense is in both grids.
    let mut variants = files(&place.at("out/variants"), "json").into_iter();
    let dense = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains("\"method\": \"dense\"");
    let variant = variants.find(|path| path.ends_with("record.json") && dense(path)).unwrap();
    let (dead, fresh) = (variant.with_file_name("main-7-1"), variant.with_file_name("main-7-2"));
    let masks = variant.with_file_name("partial").join("main-7-1");
    for folder in [&dead, &fresh, &masks] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("compact.bin"), "what an attempt left").unwrap();
    }
    std::fs::create_dir(place.at("out/notes")).unwrap();
    place.write("out/notes/mine.txt", "of no version of Espalier");

    // Nothing is a week old.
    let before = all(&place.at("out"));
    place.ends(&["gc"], 0, &["removed 0 B"]);
    assert_eq!(all(&place.at("out")), before);
    // Everything is, but for the last submission and one attempt.
    let log = files(&place.at("out/sweeps/s/log"), "json");
    for path in before.iter().filter(|p| !p.starts_with(&fresh) && *p != log.last().unwrap()) {
        age(path, 8);
    }
    let early = json(&place, &["gc", "--dry-run"], 0);
    let paths = |said: &Value| -> Vec<String> {
        said["objects"].as_array().unwrap().iter().map(|o| o["path"].as_str().unwrap().to_owned()).collect()
    };
    assert!(paths(&early).len() == 2 && paths(&early)[0].ends_with("main-7-1/compact.bin"), "{early}");
    assert!(paths(&early)[1].ends_with("partial/main-7-1/compact.bin"), "{early}");
    age(log.last().unwrap(), 8);
    let dry = json(&place, &["gc", "--dry-run"], 0);
    assert_eq!(all(&place.at("out")), before);
    let gone = json(&place, &["gc"], 0);
    assert_eq!(paths(&gone), paths(&dry));
    assert_eq!((place.cells(), records(&place, "variants")), (4, 2));
    assert!(!masks.join("compact.bin").exists());
    assert!(!dead.join("compact.bin").exists() && place.at("out/notes/mine.txt").exists());
    assert!(fresh.join("compact.bin").exists());
    assert!(paths(&json(&place, &["gc"], 0)).is_empty());
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    assert_eq!(place.results("s"), results);
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
}

#[test]
fn what_a_canary_left_stays_with_its_sweep_and_goes_with_it() {
    let place = Place::new("phi-nobos");
    place.sweep("s", "0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7", WIKITEXT);
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1}\n");
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let mut worker = cluster.worker_with("w", &[("ESPALIER_TEST_FAULTS", "die=wanda")]);
    cluster.ends(&["watch", "s"], 4, &["its canary: compute_lost"]);
    worker.signal(libc::SIGTERM);
    worker.0.wait().unwrap();
    drop(cluster);
    let left = || ["failures", "logs"].map(|folder| all(&place.at("out").join(folder)).len());
    let before = left();
    assert!(before[0] > 0 && before[1] > 0, "{before:?}");
    all(&place.at("out")).iter().for_each(|path| age(path, 8));
    place.ends(&["gc"], 0, &[]);
    assert_eq!(left(), before);
    place.ends(&["rm", "s", "--yes", "--force"], 0, &["removed"]);
    assert_eq!(left(), [0, 0]);
}

#[test]
fn repair_finds_every_damaged_blob_and_the_next_run_gives_the_same_results_again() {
    let place = ran();
    let results = place.results("s");
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
    let whole = json(&place, &["repair", "s"], 0);
    // Two variants, four cells, two tasks' inputs and a calibration's; a checkpoint and four cells' scores.
    assert_eq!((&whole["objects"], &whole["blobs"]), (&9.into(), &5.into()), "{whole}");
    assert_eq!(whole["cells"], serde_json::json!({"recorded": 4, "of": 4}));
    assert_eq!(whole["variants"], serde_json::json!({"recorded": 2, "of": 2}));

    let compact = all(&place.at("out/variants")).into_iter().find(|p| !p.ends_with("record.json")).unwrap();
    let mut bytes = std::fs::read(&compact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&compact, bytes).unwrap();
    let scores = files(&place.at("out/cells"), "parquet");
    std::fs::write(&scores[0], "short").unwrap();
    std::fs::remove_file(&scores[1]).unwrap();
    let record = scores[2].parent().unwrap().with_file_name("record.json");
    std::fs::write(&record, "{\"format\": 1, ").unwrap();
    let inputs = files(&place.at("out/inputs"), "json");
    std::fs::write(&inputs[0], "{}").unwrap();

    let needles = [
        "variant model wanda-0.5-s0",
        "sha256",
        "5 bytes",
        "is missing",
        "inputs ",
        "5 are damaged",
        "run the sweep again",
    ];
    place.ends(&["repair", "s", "--dry-run"], 4, &needles);
    assert_eq!((place.cells(), records(&place, "variants")), (4, 2));
    let repaired = json(&place, &["repair", "s"], 4);
    assert_eq!(repaired["damaged"].as_array().unwrap().len(), 5, "{repaired}");
    assert_eq!((place.cells(), records(&place, "variants")), (1, 1));
    // Lost records are nothing damaged, and are told all the same: a copy of a bucket may lack them. Inputs are needed.
    let said = "1 of 4 cells, 1 of 2 variants have a record; ";
    place.ends(&["repair", "s"], 4, &["it is missing", "1 were damaged", said, "run the sweep again"]);
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    assert_eq!(place.results("s"), results);
    assert_eq!(json(&place, &["repair", "s"], 0)["objects"], 9);
}

/// Changes a record in the bucket.
fn change(record: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(record, serde_json::to_vec_pretty(&value).unwrap()).unwrap();
}

#[test]
fn a_number_of_a_record_that_does_not_follow_from_its_scores_or_masks_is_damage() {
    let place = ran();
    let results = place.results("s");
    let records = |kind: &str| -> Vec<PathBuf> {
        files(&place.at(&format!("out/{kind}")), "json")
            .into_iter()
            .filter(|p| p.ends_with("record.json"))
            .collect()
    };
    let of = |kind: &str, holds: &str| -> PathBuf {
        let has = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains(holds);
        records(kind).into_iter().find(has).unwrap()
    };
    let (windows, choices) = (of("cells", "window_nll"), of("cells", "confusion_norm"));
    let (dense, pruned) = (of("variants", "\"method\": \"dense\""), of("variants", "\"method\": \"wanda\""));
    let linear = |record: &mut Value, field: &str, value: u64| {
        let linears = record["linears"].as_object_mut().unwrap();
        linears.values_mut().next().unwrap()[field] = value.into();
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&PathBuf, Change<'_>, &str); 9] = [
        (
            &windows,
            &|r| r["outcome"]["window_nll"][0] = 9.73.into(),
            "outcome.window_nll.0 is 9.73, its scores give ",
        ),
        (&windows, &|r| r["outcome"]["tokens"] = 9.into(), "outcome.tokens is 9, its scores give "),
        (
            &windows,
            &|r| drop(r["outcome"]["window_nll"].as_array_mut().unwrap().pop()),
            "entries, its scores give ",
        ),
        (
            &choices,
            &|r| r["outcome"]["confusion_norm"][0][0] = 7.into(),
            "outcome.confusion_norm.0.0 is 7, its ",
        ),
        (&choices, &|r| r["outcome"]["truncated"] = 3.into(), "outcome.truncated is 3, its scores give 0"),
        (&choices, &|r| r["inputs"] = r["variant"].clone(), "which are another cell's"),
        (&dense, &|r| r["weights"] = r["key"].clone(), "which are not its model's"),
        (&pruned, &|r| linear(r, "zeros", 1), "are not its mask's"),
        (&pruned, &|r| r["spec"]["method"] = "magnitude".into(), "its spec is another variant's"),
    ];
    for (record, damage, says) in cases {
        let whole = std::fs::read(record).unwrap();
        change(record, |value| damage(value));
        place.ends(&["repair", "s", "--dry-run"], 4, &[says, "1 are damaged"]);
        std::fs::write(record, whole).unwrap();
    }
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
    change(&windows, |r| r["outcome"]["window_nll"][0] = 9.73.into());
    place.ends(&["repair", "s"], 4, &["1 were damaged"]);
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done, 1 of them in this run"]);
    assert_eq!(place.results("s"), results);
}

#[test]
fn a_model_of_the_bucket_that_is_damaged_or_gone_is_found_and_put_there_anew_by_the_next_submission() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let submit = |says: &str| cluster.ends(&["submit", "s.yaml"], 0, &[says]);
    submit("4 of them to do");
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
    let weights = only(&place.at("out/models"), "model.safetensors");
    let good = std::fs::read(&weights).unwrap();
    let flip = || {
        let mut bytes = good.clone();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&weights, bytes).unwrap();
    };
    flip();
    // Who has no folder of it cannot go on, and it is told why.
    let hidden = hide(&place, "model");
    let _worker = cluster.worker("w");
    let cause = "store_error: models/";
    until("it is explained", || text(&cluster.espalier(&["explain", "s"])).contains(cause));
    cluster.ends(&["explain", "s"], 0, &["found sha256", "`espalier repair SWEEP` makes the model missing"]);
    until("status tells it", || text(&cluster.espalier(&["status"])).contains(cause));
    let damaged = ["model model: models/", "model.safetensors has sha256", "its list says", "1 are damaged"];
    place.ends(&["repair", "s", "--dry-run"], 4, &damaged);
    place.ends(
        &["repair", "s"],
        4,
        &["1 were damaged", "submit the sweep again from where its models' files are"],
    );
    place.ends(&["repair", "s"], 4, &["model model: it is missing"]);
    std::fs::rename(&hidden, place.at("model")).unwrap();
    submit("4 cells");
    hide(&place, "model");
    assert!(std::fs::read(&weights).unwrap() == good, "it was not put there anew");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);

    std::fs::remove_dir_all(place.at("out/models")).unwrap();
    place.ends(&["repair", "s", "--dry-run"], 4, &["model model: it is missing", "1 are damaged"]);
    std::fs::rename(&hidden, place.at("model")).unwrap();
    submit("0 of them to do");
    assert!(std::fs::read(&weights).unwrap() == good, "it was not put there anew");
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
}

#[test]
fn a_bucket_that_is_not_there_is_told_and_not_made() {
    let place = Place::new("phi-nobos");
    let commands = ["du", "gc", "repair s", "rm s --yes", "export wanda-0.5-s0 --to x", "logs s"];
    for command in commands {
        let args: Vec<&str> = command.split(' ').chain(["--bucket", "typo"]).collect();
        place.ends(&args, 5, &["bucket \"typo\": there is no such folder"]);
        assert!(!place.at("typo").exists() && !place.at("x").exists(), "{command}");
    }
    place.ends(&["du", "--bucket", "s.yaml"], 5, &["bucket \"s.yaml\""]);
    place.ends(&["du", "--bucket", ""], 2, &["--bucket: found nothing"]);
}

#[test]
fn a_record_of_a_later_version_is_neither_repaired_nor_collected_around() {
    let place = ran();
    let record =
        files(&place.at("out/cells"), "json").into_iter().find(|p| p.ends_with("record.json")).unwrap();
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replacen("\"format\": 1", "\"format\": 99", 1)).unwrap();
    for command in [&["repair", "s"][..], &["gc"]] {
        place.ends(command, 5, &["record", "format 99", "this is espalier", "Nothing was changed or lost"]);
    }
    assert_eq!(place.cells(), 4);
    let spec = files(&place.at("out/sweeps/s/specs"), "json").remove(0);
    let text = std::fs::read_to_string(&spec).unwrap();
    std::fs::write(&spec, text.replacen("\"format\": 2", "\"format\": 99", 1)).unwrap();
    place.ends(&["gc"], 5, &["resolved sweep of format 99", "Nothing was changed or lost"]);
    place.ends(&["rm", "s", "--yes"], 5, &["format 99"]);
    assert_eq!(place.cells(), 4);
}
