//! Seven workers and their coordinator, killed at random: the bytes of the results are those of one worker that nobody killed.

use espalier_tests::cluster::{Cluster, Process, until};
use espalier_tests::faults::{FaultPlan, Happened};
use espalier_tests::files;
use espalier_tests::s3_server::{Creates, S3Server};
use espalier_tests::sweeps::{Place, results_in};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const WORKERS: usize = 7;
const CELLS: usize = 24;
/// Deaths of a storm: enough that all seven are hit, few enough that it ends.
const DEATHS: usize = 14;

/// Every `results.*`, by name.
type Results = BTreeMap<String, Vec<u8>>;

/// Twelve variants, two tasks.
fn place() -> Place {
    let place = Place::new("phi-nobos");
    place.replace(
        "s.yaml",
        "  - {method: wanda, sparsity: [0.5]}\n",
        "  - {method: wanda, sparsity: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, \"2:4\"]}\n  - {method: magnitude, sparsity: [0.3, 0.5, \"2:4\"]}\n",
    );
    place
}

/// What one worker on this machine measures, nobody killed.
fn alone() -> Results {
    let place = place();
    place.ends(&["run", "s.yaml", "--devices", "cpu:1"], 0, &["24 of 24 cells done"]);
    place.all_results("s")
}

/// Starts a new worker in the place of each that has ended.
fn replace_the_dead(cluster: &Cluster<'_>, workers: &mut [Process], hired: &mut usize) {
    for worker in workers.iter_mut().filter_map(|w| (!matches!(w.0.try_wait(), Ok(None))).then_some(w)) {
        *worker = cluster.worker(&format!("w{hired}"));
        *hired += 1;
    }
}

/// A sweep on seven workers through `deaths` deaths that `seed` draws; gives the bytes of its results, and what the store saw.
fn storm(seed: u64, deaths: usize) -> (Results, Happened) {
    let (mut place, server) = (place(), S3Server::start(Creates::Atomic));
    place.add_environment(server.environment());
    let more = [("ESPALIER_BUCKET", server.url("storm")), ("ESPALIER_LEASE", "10".to_owned())];
    place.add_environment(more.map(|(name, value)| (name.to_owned(), value)).into());
    let slow = FaultPlan { delay: Duration::from_millis(15), ..FaultPlan::default() };
    server.faults().plan(slow);
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["s: 24 cells, 24 of them to do"]);
    let mut dice = fastrand::Rng::with_seed(seed);
    let begun = Instant::now();
    let mut workers: Vec<_> = (0..WORKERS).map(|n| cluster.worker(&format!("w{n}"))).collect();
    let mut hired = WORKERS;
    let over = |cluster: &Cluster<'_>| cluster.json(&["status", "s"])["sweeps"][0]["state"] == "whole";
    for death in 0..deaths {
        std::thread::sleep(Duration::from_millis(dice.u64(100..900)));
        if over(&cluster) {
            break;
        }
        let victim = dice.usize(0..WORKERS);
        let what = match dice.u32(0..10) {
            0..=3 => {
                workers[victim].kill();
                "a worker is killed"
            }
            4 => {
                workers[victim].signal(libc::SIGTERM);
                "a worker is preempted"
            }
            5 | 6 => {
                server.faults().kill_writer(false);
                "who next writes a record is killed before it is there"
            }
            7 | 8 => {
                server.faults().kill_writer(true);
                "who next writes a record is killed before it tells anybody"
            }
            _ => {
                cluster.restart();
                "the coordinator is killed and restarted"
            }
        };
        println!("seed {seed}, death {death} at {:.3} s: {what}", begun.elapsed().as_secs_f64());
        replace_the_dead(&cluster, &mut workers, &mut hired);
    }
    until("the sweep is over", || {
        replace_the_dead(&cluster, &mut workers, &mut hired);
        over(&cluster)
    });
    println!(
        "seed {seed}: over at {:.1} s, {hired} workers hired, {:?}",
        begun.elapsed().as_secs_f64(),
        server.faults().happened()
    );
    cluster.ends(&["watch", "s"], 0, &["24 of 24 cells done"]);
    let report = server.files("storm/sweeps/s/report");
    let log = place.at("coordinator.log");
    until("the report is written", || {
        std::fs::read_to_string(&log).expect("it logs").contains("its report is written")
    });
    let records = |folder: &str| {
        let found = files(&server.files("storm").join(folder), "json");
        found.iter().filter(|p| p.file_name() == Some("record.json".as_ref())).count()
    };
    assert_eq!((records("variants"), records("cells")), (12, CELLS));
    (results_in(&report), server.faults().happened())
}

#[test]
#[ignore = "takes half a minute a seed: `make chaos`"]
fn seven_workers_give_the_bytes_of_one_through_many_storms() {
    let seeds =
        std::env::var("ESPALIER_SEEDS").map_or(20, |s| s.parse().expect("ESPALIER_SEEDS is a number"));
    let alone = alone();
    assert!(alone.len() >= 4, "{:?}", alone.keys());
    let (results, happened) = storm(0, 0);
    assert!(results == alone, "nobody was killed");
    assert_eq!((happened.killed_before, happened.killed_after), (0, 0));
    let (mut before, mut after) = (0, 0);
    for seed in 1..=seeds {
        let (results, happened) = storm(seed, DEATHS);
        assert!(results == alone, "seed {seed}");
        (before, after) = (before + happened.killed_before, after + happened.killed_after);
    }
    println!("{before} were killed between blob and record, {after} between record and call");
    assert!(before > 0 && after > 0, "deaths at records are among them: {before}, {after}");
}
