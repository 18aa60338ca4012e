//! What runs while a coordinator dies goes on, and the next one takes it up: nothing is begun twice.

use espalier_tests::cluster::{Cluster, Process, until};
use espalier_tests::sweeps::Place;
use espalier_tests::{files, root};
use serde_json::Value;

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

const REPEATS: usize = 8;
const NSAMPLES: usize = 1600;

/// Process ids of the children of these workers that own tensors.
fn children(workers: &[Process]) -> Vec<String> {
    let of = |p: &Process| {
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", p.0.id())).unwrap_or_default()
    };
    workers.iter().map(|p| of(p).trim().to_owned()).collect()
}

/// Shares of the shards that are pruning and of those that are evaluating.
fn shares(status: &Value) -> (Vec<f64>, Vec<f64>) {
    let (mut pruning, mut evaluating) = (Vec::new(), Vec::new());
    for line in status["sweeps"][0]["running"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let share = line.rsplit(' ').next().and_then(|last| {
            let (done, total) = last.split_once('/')?;
            Some(done.parse::<f64>().ok()? / total.parse::<f64>().ok()?)
        });
        if let Some(share) = share {
            if line.contains("pruning") { pruning.push(share) } else { evaluating.push(share) }
        }
    }
    (pruning, evaluating)
}

#[test]
fn a_killed_coordinator_s_successor_credits_every_shard_that_was_running() {
    let place = Place::new("phi-nobos");
    sweep(&place);
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "long.yaml"], 0, &["4 of them to do"]);
    let workers: Vec<Process> = ["w1", "w2", "w3", "w4"].iter().map(|name| cluster.worker(name)).collect();
    let half = |shares: &[f64]| shares.len() == 2 && shares.iter().all(|s| *s >= 0.5);
    until("two shards are half pruned and two half evaluated", || {
        let (pruning, evaluating) = shares(&cluster.json(&["status", "long"]));
        half(&pruning) && half(&evaluating)
    });
    let before = children(&workers);
    assert!(before.iter().all(|child| !child.is_empty()), "{before:?}");
    cluster.restart();
    // Some may finish before their worker has called again; what they did then counts by its records.
    until("running shards are taken up", || {
        let (pruning, evaluating) = shares(&cluster.json(&["status", "long"]));
        pruning.len() + evaluating.len() >= 2
    });
    assert_eq!(children(&workers), before, "the same processes go on");
    cluster.ends(&["watch", "long"], 0, &["4 of 4 cells done"]);
    let mut attempts = 0;
    for record in files(&place.at("out"), "json").iter().filter(|p| p.ends_with("record.json")) {
        let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
        let attempt = record["attempt"].as_str().unwrap();
        assert!(attempt.starts_with("main-1-"), "begun by the first coordinator: {attempt}");
        attempts += 1;
    }
    assert_eq!(attempts, 8, "four variants and four cells");
    let begun: usize =
        ["w1", "w2", "w3", "w4"].iter().map(|w| cluster.log(w).matches("shard begun").count()).sum();
    assert_eq!(begun, 4, "no key was started twice");
}
