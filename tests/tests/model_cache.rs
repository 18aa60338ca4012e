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

#[test]
fn a_damaged_copy_of_a_model_is_fetched_anew_whether_it_is_found_so_or_becomes_so_and_no_cell_is_lost() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    for (name, sparsity) in [("s", "0.5"), ("t", "0.6"), ("u", "0.7")] {
        place.sweep(name, sparsity, "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
        cluster.ends(&["submit", &format!("{name}.yaml")], 0, &[]);
        cluster.ends(&["pause", name], 0, &[]);
    }
    let runs = |name: &str| {
        cluster.ends(&["resume", name], 0, &[]);
        cluster.ends(&["watch", name], 0, &["4 of 4 cells done"]);
    };
    let whole = std::fs::read(place.safetensors()).unwrap();
    hide(&place, "model");
    let mut worker = cluster.worker("w");
    runs("s");
    let copy = files(&place.at("w/.cache/espalier/models"), "safetensors").remove(0);
    let is_whole = || std::fs::read(&copy).unwrap() == whole;
    assert!(is_whole());
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    // While a worker has it open.
    std::fs::write(&copy, &flipped).unwrap();
    runs("t");
    assert!(is_whole(), "{}", cluster.log("w"));
    worker.kill();
    // And where the next one finds it.
    std::fs::write(&copy, &flipped[..1000]).unwrap();
    let mut next = worker_command(&place, "next", &cluster.url);
    next.env("HOME", place.at("w"));
    let _next = spawned(&place, "next", next);
    runs("u");
    assert!(is_whole());
    assert!(cluster.log("next").contains("this copy of a model is damaged, and is fetched anew"));
    assert_eq!(failures(&place), []);
}

#[test]
fn what_fails_since_its_copy_of_the_model_is_damaged_meanwhile_is_the_nodes_failure_and_tried_again() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml", "--only", "method=wanda"], 0, &[]);
    hide(&place, "model");
    let slow = [("ESPALIER_TEST_FAULTS", "slow-prune=4000"), ("ESPALIER_SAVE_EVERY", "0")];
    let _worker = cluster.worker_with("w", &slow);
    until("the first of two blocks is pruned", || cluster.log("w").contains("masks saved"));
    let copy = files(&place.at("w/.cache/espalier/models"), "safetensors").remove(0);
    let open = std::fs::File::options().write(true).open(&copy).unwrap();
    open.set_len(1000).unwrap();
    cluster.ends(&["watch", "s"], 0, &["2 of 2 cells done"]);
    let failures = failures(&place);
    assert!(!failures.is_empty(), "{}", cluster.log("w"));
    for (code, message) in failures {
        assert_eq!(code, "node_fault", "{message}");
        assert!(message.contains("copy of a model") && message.contains("is damaged: "), "{message}");
    }
}

#[test]
fn what_came_of_a_copy_that_was_exchanged_for_other_weights_meanwhile_does_not_count() {
    let place = Place::new("phi-nobos");
    let only = ["--only", "method=wanda"];
    place.ends(&[&["run", "s.yaml", "--bucket", "alone"][..], &only].concat(), 0, &["2 of 2 cells done"]);
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&[&["submit", "s.yaml"][..], &only].concat(), 0, &[]);
    let mut weights = std::fs::read(place.safetensors()).unwrap();
    hide(&place, "model");
    let slow = [("ESPALIER_TEST_FAULTS", "slow-prune=4000"), ("ESPALIER_SAVE_EVERY", "0")];
    let _worker = cluster.worker_with("w", &slow);
    until("the first of two blocks is pruned", || cluster.log("w").contains("masks saved"));
    // Every number is another one and still finite: a bit of its mantissa is turned, where the file is open.
    let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    weights[header..].chunks_exact_mut(4).for_each(|number| number[2] ^= 0x40);
    let copy = files(&place.at("w/.cache/espalier/models"), "safetensors").remove(0);
    let mut open = std::fs::File::options().write(true).open(&copy).unwrap();
    std::io::Write::write_all(&mut open, &weights).unwrap();
    cluster.ends(&["watch", "s"], 0, &["2 of 2 cells done"]);
    let failures = failures(&place);
    assert!(failures.iter().any(|(_, why)| why.contains("nothing that came of it counts")), "{failures:?}");
    let alone = std::fs::read_to_string(place.at("alone/sweeps/s/report/results.csv")).unwrap();
    assert_eq!(place.results("s"), alone);
}
