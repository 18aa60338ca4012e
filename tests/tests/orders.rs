//! Sweeps that share variants and cells, steered at random while workers come, fail and die and their coordinator is killed: how they
//! stand is the same after every restart, and in the end each has the bytes that an undisturbed run of it gives.

use espalier_tests::binaries::text;
use espalier_tests::cluster::{Cluster, until};
use espalier_tests::sweeps::Place;
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const NAMES: [&str; 3] = ["a", "b", "c"];
const TASKS: [&str; 3] = [
    "{task: commonsense_qa, data: ./cs.jsonl, limit: 4}",
    "{task: wikitext2, data: ./rows.txt, seqlen: 32}",
    "{task: wikitext2, data: ./rows.txt, seqlen: 16}",
];
const PARTS: [&str; 7] = [
    "sparsity=0.1",
    "sparsity=0.2,method=wanda",
    "method=wanda",
    "method=magnitude",
    "method=dense",
    "task=commonsense_qa",
    "task=wikitext2",
];
const ROUNDS: usize = 4;

/// Writes a sweep file: `sparsities` of the first nine tenths, with eight of which a model has a canary.
fn write(
    place: &Place,
    file: &str,
    name: &str,
    methods: &str,
    sparsities: usize,
    tasks: &[&str],
    more: &str,
) {
    let ratios: Vec<String> = (1..=sparsities).map(|n| format!("0.{n}")).collect();
    let text = format!(
        "name: {name}\nbackend: cpu\nmodels: [./model]\n{more}\n\
         calibration: {{data: ./rows.txt, nsamples: 2, seqlen: 32}}\n\
         recipes:\n  - {{method: [{methods}], sparsity: [{}]}}\n\
         tasks:\n  - {}\n",
        ratios.join(", "),
        tasks.join("\n  - ")
    );
    place.write(file, &text);
}

/// The sweeps as they are wanted in the end.
fn whole(place: &Place) {
    write(place, "a.yaml", "a", "wanda", 3, &TASKS, "checkpoints: none");
    write(place, "b.yaml", "b", "wanda, magnitude", 9, &TASKS[..2], "checkpoints: none");
    write(place, "c.yaml", "c", "magnitude", 2, &TASKS[1..], "checkpoints: dense");
}

/// A sweep as it is wanted for a while.
fn some(place: &Place, file: &str, name: &str, dice: &mut Rng) {
    let methods = ["wanda", "magnitude", "wanda, magnitude"][dice.usize(0..3)];
    let tasks = [&TASKS[..1], &TASKS[1..], &TASKS[..]][dice.usize(0..3)];
    let checkpoints = ["none", "none", "compact", "dense"][dice.usize(0..4)];
    let failed = [1, 2, 3, 5, 50][dice.usize(0..5)];
    let attempts = dice.u32(1..3);
    let more =
        format!("checkpoints: {checkpoints}\nlimits: {{attempts: {attempts}, max_failed_cells: {failed}}}");
    write(place, file, name, methods, [2, 3, 9][dice.usize(0..3)], tasks, &more);
}

/// Somebody asks for something; what makes no sense just then is refused.
fn order(cluster: &Cluster<'_>, dice: &mut Rng) -> String {
    let name = NAMES[dice.usize(0..3)];
    let file = format!("{name}{}.yaml", ["", "1", "2"][dice.usize(0..3)]);
    let part = PARTS[dice.usize(0..PARTS.len())];
    let args: &[&str] = match dice.u32(0..14) {
        0..=3 => &["submit", &file],
        4 | 5 => &["submit", &file, "--only", part],
        6 => &["cancel", name],
        7 | 8 => &["cancel", name, "--only", part],
        9 => &["pause", name],
        10 => &["resume", name],
        11 => &["retry", name],
        _ => &["retry", name, "--only", part],
    };
    let output = cluster.espalier(args);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 2 | 3)), "{args:?} ended with {code:?}: {}", text(&output));
    format!("{} {}", args.join(" "), code.unwrap_or_default())
}

/// How the sweeps stand, by name. What a killed worker had measured and not told is found at the restart, where what it held was paused meanwhile;
/// of a cancelled sweep more may be given up then, if others have tried its canary again.
fn standing(cluster: &Cluster<'_>) -> BTreeMap<String, Vec<Value>> {
    let list = cluster.json(&["list"]);
    let keys = ["cells", "grid", "stopped_by_failures", "priority"];
    let one = |sweep: &Value| {
        let name = sweep["name"].as_str().unwrap().to_owned();
        (name, keys.map(|key| sweep[key].clone()).into())
    };
    list.as_array().unwrap().iter().map(one).collect()
}

fn history(seed: u64) -> BTreeMap<&'static str, BTreeMap<String, Vec<u8>>> {
    let mut dice = Rng::with_seed(seed);
    let mut place = Place::new("phi-nobos");
    place.add_environment(vec![("ESPALIER_LEASE".to_owned(), "10".to_owned())]);
    whole(&place);
    for name in NAMES {
        for other in [1, 2] {
            some(&place, &format!("{name}{other}.yaml"), name, &mut dice);
        }
    }
    let mut cluster = Cluster::start(&place, &[]);
    for round in 0..ROUNDS {
        for step in 0..dice.usize(2..5) {
            println!("seed {seed}: {}", order(&cluster, &mut dice));
            if dice.u32(0..10) < 6 {
                let fault = ["die=wanda", "die=magnitude", "slow=10"][dice.usize(0..3)];
                let faults = [("ESPALIER_TEST_FAULTS", fault)];
                let mut worker = cluster.worker_with(&format!("w{round}.{step}"), &faults);
                std::thread::sleep(Duration::from_millis(dice.u64(500..3500)));
                let killed = dice.u32(0..10) < 3;
                println!(
                    "seed {seed}: a worker with {fault}, {}",
                    if killed { "killed" } else { "asked to leave" }
                );
                if !killed {
                    worker.signal(libc::SIGTERM);
                    until("it leaves", || !matches!(worker.0.try_wait(), Ok(None)));
                }
                worker.kill();
            }
        }
        // What a killed worker held, and had written and not told, is found out.
        until("nobody is at anything", || {
            let status = cluster.json(&["status"]);
            status["workers"].as_array().unwrap().iter().all(|worker| worker["doing"] == json!([]))
        });
        std::thread::sleep(Duration::from_secs(1));
        let before = standing(&cluster);
        cluster.restart();
        println!("seed {seed}: restarted");
        let patience = Instant::now();
        while standing(&cluster) != before && patience.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(
            standing(&cluster),
            before,
            "seed {seed}: otherwise after a restart, second the same before"
        );
    }
    let _worker = cluster.worker("last");
    for name in NAMES {
        cluster.ends(&["submit", &format!("{name}.yaml")], 0, &[]);
        cluster.espalier(&["resume", name]);
    }
    NAMES
        .map(|name| {
            let said = cluster.ends(&["watch", name], 0, &[]);
            assert!(!said.contains("not asked for"), "seed {seed}: {said}");
            (name, place.all_results(name))
        })
        .into()
}

#[test]
#[ignore = "takes a minute a seed: `make chaos`"]
fn whatever_is_asked_of_sweeps_that_share_each_ends_with_the_bytes_of_an_undisturbed_run() {
    let seeds =
        std::env::var("ESPALIER_SEEDS").map_or(20, |s| s.parse().expect("ESPALIER_SEEDS is a number"));
    let alone = NAMES.map(|name| {
        let place = Place::new("phi-nobos");
        whole(&place);
        place.ends(&["run", &format!("{name}.yaml"), "--devices", "cpu:1"], 0, &[]);
        (name, place.all_results(name))
    });
    let alone: BTreeMap<_, _> = alone.into();
    assert!(alone.values().all(|results| results.len() >= 4));
    // A third of the storms that one sweep goes through.
    for seed in 0..u64::div_ceil(seeds, 3) {
        let results = history(seed);
        for name in NAMES {
            assert!(results[name] == alone[name], "seed {seed}: {name}");
        }
    }
}
