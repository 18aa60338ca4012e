//! What a machine is told of itself and of the command line.

use espalier_tests::cluster::Cluster;
use espalier_tests::sweeps::Place;
use serde_json::Value;

#[test]
fn doctor_looks_at_worker_device_bucket_clock_caches_and_coordinator() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let looked = ["doctor", "--coordinator", &cluster.url, "--output", "json"];
    let found: Value = serde_json::from_str(&place.ends(&looked, 0, &[])).unwrap();
    let found: Vec<(&str, bool)> =
        found.as_array().unwrap().iter().map(|f| (f["what"].as_str().unwrap(), f["ok"] == true)).collect();
    let all = ["worker", "device", "bucket", "clock", "hub cache", "cache", "coordinator"];
    assert_eq!(found, all.map(|what| (what, true)));
    place.ends(
        &["doctor", "--coordinator", "http://127.0.0.1:9"],
        6,
        &["wrong  coordinator: no coordinator answers"],
    );
    place.write("file", "");
    place.ends(&["doctor", "--bucket", "file"], 5, &["wrong  bucket"]);
}

#[test]
fn shells_and_manuals_know_every_command() {
    let place = Place::new("phi-nobos");
    for shell in ["bash", "zsh", "fish"] {
        place.ends(&["completions", shell], 0, &["submit", "gpu-hour-price"]);
    }
    place.ends(&["man", "--to", "man"], 0, &["man/espalier.1"]);
    let pages = place.names("man");
    for page in ["espalier.1", "espalier-run.1", "espalier-coordinator.1"] {
        assert!(pages.iter().any(|p| p == page), "{pages:?}");
    }
}
