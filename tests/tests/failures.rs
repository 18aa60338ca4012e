//! What befalls workers and their compute processes, tried with real ones: who is blamed, what is tried again and where, and that the
//! results are those of an undisturbed run.

use espalier_tests::binaries::ended;
use espalier_tests::cluster::{Cluster, Process, until};
use espalier_tests::sweeps::Place;
use std::time::{Duration, Instant};

const FAULTS: &str = "ESPALIER_TEST_FAULTS";

/// Dense and wanda on a perplexity of four micro-batches and on four questions.
fn place() -> Place {
    Place::new("phi-nobos")
}

/// An undisturbed run's results, in a bucket of its own.
fn undisturbed(place: &Place) -> String {
    place.ends(&["run", "s.yaml", "--bucket", "alone", "--devices", "cpu:1"], 0, &["4 of 4 cells done"]);
    std::fs::read_to_string(place.at("alone/sweeps/s/report/results.csv")).unwrap()
}

/// A worker holds a shard that is at this.
fn doing(cluster: &Cluster<'_>, what: &str) -> bool {
    let status = cluster.json(&["status"]);
    let workers = status["workers"].as_array().unwrap();
    workers.iter().any(|w| w["doing"].to_string().contains(what))
}

fn connected(cluster: &Cluster<'_>, workers: usize) {
    until("all workers have called", || {
        // One that has not found the bucket yet is given nothing.
        let status = cluster.json(&["status"]);
        status["workers"].as_array().unwrap().iter().filter(|w| w["state"] != "draining").count() == workers
    });
}

#[test]
fn a_preempted_worker_gives_its_shard_back_at_once_and_nobody_is_blamed() {
    let place = place();
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let mut first = cluster.worker_with("first", &[(FAULTS, "slow=400")]);
    until("a cell has begun", || doing(&cluster, "wikitext2"));
    first.signal(libc::SIGTERM);
    let told = Instant::now();
    let _second = cluster.worker("second");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    assert!(told.elapsed() < Duration::from_secs(45), "no lease of a minute was waited for");
    until("it has ended", || first.0.try_wait().unwrap().is_some());
    assert_eq!(first.0.wait().unwrap().code(), Some(8), "{}", cluster.log("first"));
    assert!(cluster.log("first").contains("the cell that has begun is finished"));
    assert!(cluster.log("first").contains("cell committed"), "{}", cluster.log("first"));
    assert!(cluster.log("second").contains("cell committed"), "{}", cluster.log("second"));
    assert!(place.failures().iter().all(|code| code == "preempted"), "{:?}", place.failures());
}

#[test]
fn a_stalled_compute_process_is_killed_and_its_shard_tried_again_and_a_slow_one_is_left_alone() {
    let place = place();
    let cluster = Cluster::start(&place, &[]);
    // Eight seconds of work and more for a cell, without ever being silent for six, in which a compute process starts too.
    let worker = cluster.worker_with("w", &[(FAULTS, "slow=1000"), ("ESPALIER_STALL", "6")]);
    cluster.ends(&["submit", "s.yaml", "--only", "method=dense,task=wikitext2"], 0, &[]);
    until("a cell has begun", || doing(&cluster, "wikitext2"));
    let stalled = worker.compute().expect("a worker with a shard has a compute process");
    worker.hold(true);
    cluster.ends(&["watch", "s"], 0, &["1 of 1 cells done"]);
    // SAFETY: sends nothing, and asks only whether it is there.
    assert_ne!(unsafe { libc::kill(stalled, 0) }, 0, "it is gone");
    assert_eq!(place.failures(), ["compute_lost"], "once, by the one that was stopped");
    assert!(cluster.log("w").contains("said nothing for 6 s"), "{}", cluster.log("w"));
    let cell = &place.records("cells")[0];
    let seconds = cell["measured"]["seconds"]["evaluate"].as_f64().unwrap();
    assert!(seconds > 6.0, "slow, and not taken for hung: {seconds} s");
}

#[test]
fn a_shard_that_kills_its_compute_process_is_given_up_and_the_rest_finishes() {
    let mut place = place();
    place.replace("s.yaml", "recipes:\n", "recipes:\n  - {method: magnitude, sparsity: 0.5}\n");
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 2}\n");
    place.add_environment(vec![(FAULTS.to_owned(), "die=magnitude".to_owned())]);
    let needles = ["4 of 6 cells done", "failed: model magnitude-0.5: compute_lost", "signal: 9"];
    place.ends(&["run", "s.yaml", "--devices", "cpu:2"], 4, &needles);
    assert_eq!(place.failures(), ["compute_lost"; 2], "as often as limits.attempts says");
    let results = place.results("s");
    for line in results.lines().skip(1) {
        let hole = line.contains(",failed,compute_lost,");
        assert_eq!(hole, line.contains(",magnitude,"), "{line}");
        assert!(hole || !line.contains(",failed,") && !line.contains(",missing,"), "{line}");
    }
}

#[test]
fn why_something_was_given_up_is_told_also_by_a_coordinator_that_was_started_again_and_after_its_causes() {
    let place = place();
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 2}\n");
    let mut cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker_with("w", &[(FAULTS, "die=wanda")]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 4, &["2 of 4 cells done", "wanda-0.5-s0: compute_lost: "]);
    let failed = |cluster: &Cluster<'_>| cluster.json(&["status", "s"])["sweeps"][0]["failures"].clone();
    let before = failed(&cluster);
    assert!(before[0]["message"].as_str().unwrap().contains("signal: 9"), "{before}");
    let logs = cluster.ends(&["logs", "s"], 0, &[]);
    let tries: Vec<usize> = logs.match_indices("compute_lost: ").map(|(at, _)| at).collect();
    let given_up = logs.find("given up: ").unwrap();
    assert!(tries.len() == 2 && tries[1] < given_up, "{logs}");
    cluster.restart();
    until("it is told as before", || failed(&cluster) == before);
}

#[test]
fn what_does_not_fit_memory_is_tried_with_smaller_waves_and_then_elsewhere_to_the_same_bytes() {
    let place = place();
    let results = undisturbed(&place);
    let mut small = place.command(&["run", "s.yaml", "--devices", "cpu:1", "--bucket", "waves"]);
    let small = small.env(FAULTS, "oom-above=1").output().unwrap();
    ended(&["run"], &small, 0, &["4 of 4 cells done"]);
    let read = |path: &str| std::fs::read_to_string(place.at(path)).unwrap();
    assert_eq!(read("waves/sweeps/s/report/results.csv"), results);
    let log = read("waves/coordinators/run.s/workers/00000001-0.log");
    assert!(log.contains("out of memory: a smaller wave is tried"), "{log}");
    assert!(!place.at("waves/failures").exists(), "that is nobody's failure");

    // Not even one micro-batch fits: only the worker with more memory can.
    let cluster = Cluster::start(&place, &[]);
    let _workers = [
        cluster.worker_with("small", &[(FAULTS, "oom-above=0"), ("ESPALIER_MEMORY_GIB", "1")]),
        cluster.worker_with("large", &[("ESPALIER_MEMORY_GIB", "2")]),
    ];
    connected(&cluster, 2);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    assert!(!cluster.log("small").contains("cell committed"));
    assert!(cluster.log("small").contains("out_of_memory"), "{}", cluster.log("small"));
    assert!(place.failures().iter().all(|code| code == "out_of_memory"));
    let report = place.at("out/sweeps/s/report/results.csv");
    until("the report is written", || report.exists());
    assert_eq!(read("out/sweeps/s/report/results.csv"), results);
}

#[test]
fn two_kinds_of_device_at_one_variant_leave_one_checkpoint_and_every_cell_is_measured_on_it() {
    let place = place();
    let clusters = [Cluster::start(&place, &[]), Cluster::start(&place, &["--instance", "other"])];
    let kinds = ["slow-prune=4000", "slow-prune=4000,kind=other"];
    let names = ["w0", "w1"];
    let mut workers: Vec<Process> = Vec::new();
    for (n, cluster) in clusters.iter().enumerate() {
        workers.push(cluster.worker_with(names[n], &[(FAULTS, kinds[n])]));
        connected(cluster, 1);
    }
    // Two instances know nothing of each other: both prune.
    for ((cluster, name), worker) in clusters.iter().zip(["s", "t"]).zip(&workers) {
        place.sweep(name, "0.5", "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
        let file = format!("{name}.yaml");
        cluster.ends(&["submit", &file, "--only", "method=wanda"], 0, &[]);
        until("it is pruning", || doing(cluster, "pruning"));
        worker.hold(true);
    }
    workers.iter().for_each(|worker| worker.hold(false));
    for (cluster, name) in clusters.iter().zip(["s", "t"]) {
        cluster.ends(&["watch", name], 0, &["2 of 2 cells done"]);
    }
    let logs = [clusters[0].log("w0"), clusters[1].log("w1")];
    let lost: Vec<bool> = logs.iter().map(|l| l.contains("another attempt's weights are measured")).collect();
    assert!(lost[0] != lost[1], "one of them lost the race to other weights: {logs:?}");
    let variants = place.records("variants");
    assert_eq!(variants.len(), 1, "{variants:?}");
    let winner = variants[0]["measured"]["fingerprint"].as_str().unwrap();
    assert_eq!(winner.ends_with("-other"), lost[0], "{winner}");
    let cells = place.records("cells");
    assert_eq!(cells.len(), 2);
    for cell in &cells {
        assert_eq!(cell["weights"], variants[0]["weights"], "{cell}");
    }
    assert_eq!(place.failures(), Vec::<String>::new());
}

#[test]
fn what_a_killed_worker_left_in_the_temporary_folder_goes_at_the_next_start_and_a_living_ones_stays() {
    let place = place();
    std::fs::create_dir(place.at("tmp")).unwrap();
    let cluster = Cluster::start(&place, &[]);
    let temporary = place.at("tmp").display().to_string();
    let start = |name| cluster.worker_with(name, &[("TMPDIR", &temporary)]);
    let folders = || {
        let names = place.names("tmp").into_iter();
        names.filter(|name| place.at("tmp").join(name).is_dir()).collect::<Vec<_>>()
    };
    let mut killed = start("killed");
    connected(&cluster, 1);
    let left = folders();
    let _living = start("living");
    connected(&cluster, 2);
    assert_eq!((left.len(), folders().len()), (1, 2));
    killed.kill();
    assert_eq!(folders().len(), 2, "nobody could remove it");
    let _next = start("next");
    connected(&cluster, 3);
    let now = folders();
    assert!(now.len() == 2 && !now.contains(&left[0]), "{now:?}, of the killed one {left:?}");
}
