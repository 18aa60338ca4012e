//! Pruning that ends badly after masks of finished blocks were saved: its worker lives on, or leaves in order.

use espalier_tests::cluster::{Cluster, Process, until};
use espalier_tests::sweeps::Place;

/// Every block takes so long that there is time after the first one's masks are saved.
const SLOW: [(&str, &str); 2] = [("ESPALIER_TEST_FAULTS", "slow-prune=4000"), ("ESPALIER_SAVE_EVERY", "0")];

/// A worker that prunes and has saved the masks of its first block.
fn half_pruned(cluster: &Cluster<'_>) -> Process {
    let worker = cluster.worker_with("w", &SLOW);
    cluster.ends(&["submit", "s.yaml", "--only", "method=wanda"], 0, &[]);
    until("masks are saved", || cluster.log("w").contains("masks saved"));
    worker
}

#[test]
fn a_worker_that_leaves_after_masks_were_saved_gives_its_shard_back() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let mut worker = half_pruned(&cluster);
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(8), "{}", cluster.log("w"));
    assert!(cluster.log("w").contains("shard stopped"), "{}", cluster.log("w"));
    let _next = cluster.worker("next");
    cluster.ends(&["watch", "s"], 0, &["2 of 2 cells done"]);
    assert!(cluster.log("next").contains("pruning goes on from saved masks"), "{}", cluster.log("next"));
    assert!(place.failures().iter().all(|code| code == "preempted"), "{:?}", place.failures());
}

#[test]
fn a_compute_process_that_dies_after_masks_were_saved_is_a_failed_attempt_and_its_worker_goes_on() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let mut worker = half_pruned(&cluster);
    let child = worker.compute().expect("a worker with a shard has a compute process");
    // SAFETY: sends a signal to a process that a worker of this test started.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    // Were the worker gone, nobody would ever finish the sweep.
    until("the failure is recorded", || {
        !place.failures().is_empty() || worker.0.try_wait().unwrap().is_some()
    });
    assert!(worker.0.try_wait().unwrap().is_none(), "{}", cluster.log("w"));
    cluster.ends(&["watch", "s"], 0, &["2 of 2 cells done"]);
    assert!(cluster.log("w").contains("pruning goes on from saved masks"), "{}", cluster.log("w"));
    assert_eq!(place.failures(), ["compute_lost"]);
}
