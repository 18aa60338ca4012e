//! What a machine is told of itself and of the command line.

use espalier_tests::binaries::ended;
use espalier_tests::cluster::Cluster;
use espalier_tests::sweeps::Place;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

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
    // The worker's likewise.
    let worker = |args: &[&str]| {
        let output =
            std::process::Command::new(place.program("espalier-worker")).args(args).output().unwrap();
        ended(args, &output, 0, &[])
    };
    for shell in ["bash", "zsh", "fish"] {
        let said = worker(&["completions", shell]);
        assert!(said.contains("orphan-timeout") && said.contains("doctor"), "{said}");
    }
    let to = place.at("man").display().to_string();
    assert!(worker(&["man", "--to", &to]).contains("man/espalier-worker.1"));
    let page = std::fs::read_to_string(place.at("man/espalier-worker.1")).unwrap();
    assert!(page.contains("idle") && page.contains("Exit codes"), "{page}");
}

#[test]
fn plan_starts_the_worker_once_to_know_device_and_speed() {
    let place = Place::new("phi-nobos");
    let script = format!(
        "#!/bin/sh\necho x >> {}\nexec {} \"$@\"\n",
        place.at("starts").display(),
        place.program("espalier-worker").display()
    );
    place.write("worker", &script);
    std::fs::set_permissions(place.at("worker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    place.replace("s.yaml", "backend: cpu\n", "");
    let worker = place.at("worker").display().to_string();
    place.ends(
        &["plan", "s.yaml", "--worker-bin", &worker],
        0,
        &["a short measurement of this machine's device"],
    );
    let starts = std::fs::read_to_string(place.at("starts")).unwrap().lines().count();
    // Where there is a driver it is also asked which GPUs there are.
    let driver = std::path::Path::new("/dev/nvidiactl").exists();
    assert_eq!(starts, if driver { 2 } else { 1 });
}
