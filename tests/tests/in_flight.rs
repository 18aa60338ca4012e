//! What runs while a coordinator dies goes on, and the next one takes it up: nothing is begun twice.

use espalier_tests::cluster::{Cluster, until};
use espalier_tests::sweeps::Place;
use espalier_tests::{files, root};
use serde_json::Value;
use std::collections::BTreeMap;

/// Two variants to prune and two dense ones to evaluate, each long enough to be met half done.
fn sweep(place: &Place) {
    let demo = root().join("examples/demo");
    let rows = std::fs::read_to_string(demo.join("data/calibration.txt")).unwrap();
    place.write("long.txt", &rows.repeat(REPEATS));
    let models = demo.join("models");
    place.write(
        "long.yaml",
        &format!(
            "name: long\nbackend: cpu\nmodels: [a={0}/phi-demo, b={0}/phi3-demo]\n\
             calibration: {{data: ./long.txt, nsamples: {NSAMPLES}, seqlen: 128}}\n\
             recipes:\n  - {{method: wanda, sparsity: [0.4, 0.5], models: [a]}}\n\
             tasks:\n  - {{task: wikitext2, data: ./long.txt, seqlen: 128}}\n",
            models.display()
        ),
    );
}

const REPEATS: usize = 2;
const NSAMPLES: usize = 300;

/// Who is half done stays so for seconds, however fast the machine is: time enough to be seen and held.
const SLOW: [(&str, &str); 1] = [("ESPALIER_TEST_FAULTS", "slow=200,slow-prune=4000")];

/// What the worker with this process id is doing: whether it prunes, and how much of it is done.
fn doing(status: &Value, pid: u32) -> Option<(bool, f64)> {
    let workers = status["workers"].as_array()?;
    let of = |w: &&Value| w["id"].as_str().is_some_and(|id| id.rsplit('-').nth(1) == Some(&pid.to_string()));
    let line = workers.iter().find(of)?["doing"][0].as_str()?;
    let (done, total) = line.rsplit(' ').next()?.split_once('/')?;
    Some((line.contains("pruning"), done.parse::<f64>().ok()? / total.parse::<f64>().ok()?))
}

#[test]
fn a_killed_coordinators_successor_credits_every_shard_that_was_running() {
    let place = Place::new("phi-nobos");
    sweep(&place);
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "long.yaml"], 0, &["4 of them to do"]);
    let names = ["w1", "w2", "w3", "w4"];
    let workers = names.map(|name| cluster.worker_with(name, &SLOW));
    // Whoever is half done is held there until all four are.
    let mut held = BTreeMap::new();
    until("four shards are half done", || {
        let status = cluster.json(&["status"]);
        for worker in &workers {
            let half = doing(&status, worker.0.id()).is_some_and(|(_, share)| share >= 0.5);
            if half && !held.contains_key(&worker.0.id()) {
                let child = worker.compute().expect("a worker with a shard has a child");
                worker.hold(true);
                held.insert(worker.0.id(), child);
            }
        }
        held.len() == workers.len()
    });
    let running = |cluster: &Cluster<'_>| {
        let status = cluster.json(&["status"]);
        let all: Vec<_> = workers.iter().filter_map(|w| doing(&status, w.0.id())).collect();
        (all.len(), all.iter().filter(|(pruning, _)| *pruning).count())
    };
    until("all four have told how far they are", || running(&cluster) == (4, 2));
    cluster.restart();
    until("four shards are taken up, two of them pruning", || running(&cluster) == (4, 2));
    assert_eq!(cluster.json(&["status"])["epoch"], 2);
    workers.iter().for_each(|worker| worker.hold(false));
    for worker in &workers {
        assert_eq!(worker.compute(), Some(held[&worker.0.id()]), "the same process goes on");
    }
    cluster.ends(&["watch", "long"], 0, &["4 of 4 cells done"]);
    let mut attempts = 0;
    for record in files(&place.at("out"), "json").iter().filter(|p| p.ends_with("record.json")) {
        let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
        let attempt = record["attempt"].as_str().unwrap();
        assert!(attempt.starts_with("main-1-"), "begun by the first coordinator: {attempt}");
        attempts += 1;
    }
    assert_eq!(attempts, 8, "four variants and four cells");
    let begun: usize = names.iter().map(|w| cluster.log(w).matches("shard begun").count()).sum();
    assert_eq!(begun, 4, "no key was started twice");
}
