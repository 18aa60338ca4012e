//! Models and data that lie only in an object store: fetched once, verified, noticed when replaced, and the same results.

use espalier_tests::binaries::text;
use espalier_tests::cluster::{Cluster, hide, until};
use espalier_tests::faults::FaultPlan;
use espalier_tests::s3_server::{Creates, S3Server};
use espalier_tests::sweeps::{Place, names};
use std::path::{Path, PathBuf};

/// Puts a file of the place into the server's bucket.
fn put(place: &Place, server: &S3Server, file: &str, key: &str) {
    let to = server.files("inputs").join(key);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(place.at(file), to).unwrap();
}

/// A place whose sweep `s` was run from local files, and a server that then holds all of them; nothing is left here but the sweep file.
fn moved() -> (Place, S3Server, String) {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let alone = place.results("s");
    for name in place.names("model") {
        put(&place, &server, &format!("model/{name}"), &format!("models/model/{name}"));
    }
    put(&place, &server, "rows.txt", "data/rows.txt");
    put(&place, &server, "cs.jsonl", "cs/deep/items.jsonl");
    put(&place, &server, "cs.jsonl", "cs/README.md");
    for name in ["model", "rows.txt", "cs.jsonl"] {
        hide(&place, name);
    }
    std::fs::rename(place.at("out"), place.at("out-alone")).unwrap();
    place.replace("s.yaml", "[./model]", &format!("[{}/]", server.url("inputs/models/model")));
    place.replace("s.yaml", "./rows.txt", &server.url("inputs/data/rows.txt"));
    place.replace("s.yaml", "./cs.jsonl", &server.url("inputs/cs"));
    place.add_environment(server.environment());
    (place, server, alone)
}

const PLAN: [&str; 4] = ["plan", "s.yaml", "--gflops", "1"];

/// Copies of objects on this machine.
fn cache(place: &Place, below: &str) -> PathBuf {
    place.at("home/.cache/espalier/s3").join(below)
}

fn blobs(place: &Place) -> Vec<String> {
    names(&cache(place, "blobs"))
}

#[test]
fn a_sweep_whose_model_and_data_lie_in_s3_gives_the_results_of_local_files_and_fetches_them_once() {
    let (place, server, alone) = moved();
    let url = server.url("inputs/models/model/model.safetensors");
    place.ends(&["run", "s.yaml"], 0, &[&format!("fetching {url}, "), "4 of 4 cells done"]);
    assert_eq!(place.results("s"), alone);
    let specs = espalier_tests::files(&place.at("out/sweeps/s/specs"), "json");
    let spec = std::fs::read_to_string(&specs[0]).unwrap();
    assert!(spec.contains(&format!("\"source\": \"{}\"", server.url("inputs/models/model"))), "{spec}");
    // No README, nothing in parts.
    let before = blobs(&place);
    assert!(before.len() >= 5 && before.iter().all(|name| name.len() == 64), "{before:?}");
    let read = server.faults().happened().requests;
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    // It was looked up, and nothing of it was fetched: three listings, and a look at the one file, which is no folder.
    assert_eq!(server.faults().happened().requests - read, 4);
    assert_eq!(blobs(&place), before);
}

#[test]
fn workers_that_share_nothing_but_the_bucket_work_on_a_model_that_lies_only_in_s3() {
    let (mut place, server, alone) = moved();
    place.add_environment(vec![("ESPALIER_BUCKET".to_owned(), server.url("team/a"))]);
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 4 of them to do"]);
    // The coordinator's copy is nobody else's.
    std::fs::remove_dir_all(cache(&place, "")).unwrap();
    let workers = ["w1", "w2"].map(|name| cluster.worker(name));
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    let report = server.files("team/a/sweeps/s/report/results.csv");
    until("the report is written", || report.exists());
    assert_eq!(std::fs::read_to_string(&report).unwrap(), alone);
    drop(workers);
}

#[test]
fn another_content_under_the_same_address_is_noticed_told_and_never_answered_with_old_results() {
    let (place, server, alone) = moved();
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    // As many bytes as before.
    let weights = server.files("inputs/models/model/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let before = blobs(&place).len();
    let said =
        place.ends(&["run", "s.yaml"], 0, &["another content than before", "4 of 4 cells done, 4 of them"]);
    assert!(said.contains(&server.url("inputs/models/model")), "{said}");
    assert_eq!(blobs(&place).len(), before + 1, "what did not change is not fetched again");
    assert_ne!(place.results("s"), alone);
}

#[test]
fn a_fetch_that_broke_off_goes_on_where_it_ended_in_the_next_process() {
    let (place, server, _) = moved();
    let plan = place.ends(&PLAN, 0, &["fetching s3://"]);
    // As a process leaves it that was killed in the middle.
    let blob = cache(&place, "blobs").join(std::fs::read_link(link(&place)).unwrap().file_name().unwrap());
    let whole = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(blob.with_extension("incomplete"), &whole[..whole.len() / 2]).unwrap();
    let before = server.faults().happened().sent;
    place.ends(&PLAN, 0, &["fetching s3://"]);
    let sent = server.faults().happened().sent - before;
    assert!(sent < whole.len() as u64 * 3 / 4, "{sent} of {} bytes were sent again: {plan}", whole.len());
    assert!(std::fs::read(&blob).unwrap() == whole);
    // A server that breaks off and refuses costs time and nothing else.
    std::fs::remove_dir_all(cache(&place, "")).unwrap();
    server.faults().plan(FaultPlan { fail_every: 3, cut_body: 4, ..FaultPlan::default() });
    place.ends(&PLAN, 0, &["fetching s3://"]);
    assert!(std::fs::read(&blob).unwrap() == whole);
    assert!(server.faults().happened().cut > 0);
}

/// The model's weights in the one snapshot that has them.
fn link(place: &Place) -> PathBuf {
    let snapshots = cache(place, "snapshots");
    let folder =
        names(&snapshots).into_iter().find(|name| name.starts_with("model-")).expect("a model was fetched");
    snapshots.join(folder).join("model.safetensors")
}

#[test]
fn what_is_missing_or_closed_is_told_with_its_address_and_what_was_expected_all_of_it_at_once() {
    let (place, server, _) = moved();
    std::fs::remove_dir_all(server.files("inputs/models")).unwrap();
    std::fs::remove_file(server.files("inputs/data/rows.txt")).unwrap();
    let model = format!("{}: found no object there, expected config.json", server.url("inputs/models/model"));
    let rows = format!("{}: found no object there, expected a data file", server.url("inputs/data/rows.txt"));
    let said = place.ends(&PLAN, 3, &[&model, &rows, "model.safetensors, or its index and shards"]);
    assert!(!Path::new(&cache(&place, "blobs")).exists(), "something was fetched: {said}");
    // Another's keys.
    let mut command = place.command(&PLAN);
    let output = command.env("AWS_SECRET_ACCESS_KEY", "anothers").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    for needle in ["the store refuses these credentials", "s3:GetObject", &server.url("inputs/models/model")]
    {
        assert!(text(&output).contains(needle), "{needle}: {}", text(&output));
    }
    place.replace("s.yaml", &server.url("inputs/models/model/"), "s3://no-such-bucket/m");
    place.ends(&PLAN, 3, &["s3://no-such-bucket/m: found no object there, expected the address of a bucket"]);
    place.replace("s.yaml", "s3://no-such-bucket/m", "s3:///m");
    place.ends(&PLAN, 3, &["s.yaml:3:10: models[0]: found s3:///m, expected hf://org/name"]);
}

#[test]
fn a_model_that_does_not_fit_on_the_disk_is_refused_before_any_byte_of_its_weights_comes() {
    let (place, server, _) = moved();
    // Holes take no room there; here they would.
    let weights = std::fs::File::create(server.files("inputs/models/model/model.safetensors")).unwrap();
    weights.set_len(8 << 40).unwrap();
    let folder = cache(&place, "").display().to_string();
    let said = place.ends(
        &PLAN,
        3,
        &[folder.trim_end_matches('/'), "bytes free on its disk, expected at least 87960", "XDG_CACHE_HOME"],
    );
    let came = espalier_tests::sweeps::names(&cache(&place, "blobs"));
    assert_eq!(came.len(), 1, "more than its config.json was fetched: {came:?}: {said}");
}

#[test]
fn shards_are_those_that_the_index_names_and_eval_takes_addresses_too() {
    let (place, server, _) = moved();
    let (from, to) = ("model-hidden/model.safetensors", server.files("inputs/models/model"));
    std::fs::rename(to.join("model.safetensors"), to.join("model-00001-of-00001.safetensors")).unwrap();
    let bytes = std::fs::read(place.at(from)).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensors = header.as_object().unwrap().keys().filter(|name| *name != "__metadata__");
    let map: serde_json::Map<_, _> =
        tensors.map(|name| (name.clone(), "model-00001-of-00001.safetensors".into())).collect();
    let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
    std::fs::write(to.join("model.safetensors.index.json"), index).unwrap();
    std::fs::write(to.join("training_state.safetensors"), "not asked for").unwrap();
    let model = server.url("inputs/models/model");
    let eval = [
        "eval",
        "--model",
        &model,
        "--dataset",
        &server.url("inputs/cs"),
        "--limit",
        "4",
        "--devices",
        "cpu:1",
    ];
    let said = place.ends(&eval, 0, &["commonsense_qa: ", "acc", "model-00001-of-00001.safetensors"]);
    assert!(!said.contains("training_state"), "{said}");
    std::fs::remove_file(to.join("model-00001-of-00001.safetensors")).unwrap();
    place.ends(&eval, 3, &["found a shard \"model-00001-of-00001.safetensors\" that is not there"]);
}
