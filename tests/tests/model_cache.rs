//! The folder in which the workers of a node keep models: what befalls it is that node's, never the sweep's.

use espalier_tests::cluster::{Cluster, Process, hide, spawned, until, worker_command};
use espalier_tests::files;
use espalier_tests::sweeps::Place;
use serde_json::Value;
use std::os::unix::process::CommandExt;

/// Failures in the bucket: code and message.
fn failures(place: &Place) -> Vec<(String, String)> {
    let read = |p| serde_json::from_slice::<Value>(&std::fs::read(p).unwrap()).unwrap();
    let text = |failure: &Value, field: &str| failure[field].as_str().unwrap().to_owned();
    let all = files(&place.at("out/failures"), "json").into_iter().map(read);
    all.map(|failure| (text(&failure, "code"), text(&failure, "message"))).collect()
}

/// A worker on whose node no file can have more than 16 KiB, which is less than the model has.
fn with_full_disk(place: &Place, cluster: &Cluster<'_>, name: &str) -> Process {
    let mut command = worker_command(place, name, &cluster.url);
    let limited = || {
        let most = libc::rlimit { rlim_cur: 1 << 14, rlim_max: 1 << 14 };
        // SAFETY: both calls touch no memory but their arguments. Without the signal a write fails with an error.
        let failed = unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN) == libc::SIG_ERR
                || libc::setrlimit(libc::RLIMIT_FSIZE, &most) != 0
        };
        if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec nothing is called but the two system calls.
    unsafe { command.pre_exec(limited) };
    spawned(place, name, command)
}

#[test]
fn a_node_that_cannot_write_a_models_copy_is_left_alone_and_the_others_finish_the_sweep() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    hide(&place, "model");
    let _full = with_full_disk(&place, &cluster, "full");
    until("it has failed", || !failures(&place).is_empty());
    let _sound = cluster.worker("sound");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    let copies = place.at("full/.cache/espalier/models").display().to_string();
    for (code, message) in failures(&place) {
        assert_eq!(code, "node_fault", "{message}");
        assert!(
            message.starts_with(&copies) && message.contains("model.safetensors cannot be written"),
            "{message}"
        );
    }
}
