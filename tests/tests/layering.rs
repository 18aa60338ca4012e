//! The shape of the house: imports go one way, files stay small, what must be pure is pure.

use espalier_tests::{files, root};
use std::path::Path;

/// Modules of the coordinator, left to right: a module imports only modules to its left.
const COORDINATOR: &[&str] = &[
    "spec", "hub", "objects", "inputs", "records", "plan", "schedule", "serve", "store", "merge", "report",
    "cli",
];
/// Modules of the worker, left to right.
const WORKER: &[&str] = &[
    "device",
    "models",
    "load",
    "calibrate",
    "prune",
    "evaluate",
    "commit",
    "board",
    "journal",
    "compute",
    "execute",
    "session",
    "cli",
];
/// No file is longer.
const MOST_LINES: usize = 400;

fn sources() -> Vec<std::path::PathBuf> {
    ["proto", "telemetry", "coordinator", "worker", "tests", "fuzz"]
        .iter()
        .flat_map(|c| [files(&root().join(c).join("src"), "rs"), files(&root().join(c).join("tests"), "rs")])
        .flatten()
        .collect()
}

fn wrong_imports(krate: &str, order: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, module) in order.iter().enumerate() {
        let base = root().join(krate).join("src");
        let mut paths = files(&base.join(module), "rs");
        paths.push(base.join(format!("{module}.rs")));
        for path in paths {
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            for (number, line) in text.lines().enumerate() {
                for right in &order[place + 1..] {
                    if line.contains(&format!("crate::{right}::"))
                        || line.contains(&format!("crate::{right}}}"))
                    {
                        wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                    }
                }
            }
        }
    }
    wrong
}

#[test]
fn a_module_imports_only_modules_to_its_left() {
    let mut wrong = wrong_imports("coordinator", COORDINATOR);
    wrong.extend(wrong_imports("worker", WORKER));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_its_limit() {
    let long: Vec<String> = sources()
        .iter()
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).ok()?.lines().count();
            (lines > MOST_LINES).then(|| format!("{}: {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn the_scheduler_reads_no_clock_no_file_and_no_chance() {
    let banned = [
        "Instant::",
        "SystemTime",
        "std::fs",
        "tokio",
        "rand::",
        "thread_rng",
        "HashMap",
        "std::env",
        "println!",
    ];
    let schedule = files(&root().join("coordinator/src/schedule"), "rs");
    assert!(!schedule.is_empty(), "the scheduler is not where it was");
    for path in schedule {
        let text = std::fs::read_to_string(&path).unwrap();
        // The simulation is compiled for tests only: it is told how much to run, and tells what it found.
        let tells = path.components().any(|part| part.as_os_str() == "simulation");
        // The one map that is looked up by hash: it is read in the order of its keys, and its hasher is its own.
        let hashes = path.file_name() == Some("table.rs".as_ref());
        let may =
            |word: &str| tells && ["println!", "std::env"].contains(&word) || hashes && word == "HashMap";
        for word in banned.iter().filter(|word| !may(word)) {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn one_file_of_each_program_reads_the_clock() {
    for krate in ["coordinator", "worker"] {
        for path in files(&root().join(krate).join("src"), "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let reads = text.contains("SystemTime::now")
                || text.contains("Instant::now")
                || text.contains("Utc::now");
            let clock = path.file_name() == Some("clock.rs".as_ref());
            assert!(!reads || clock, "{} reads the clock", path.display());
        }
    }
}

#[test]
fn one_folder_opens_parquet_of_others() {
    for path in files(&root().join("coordinator/src"), "rs") {
        let opens = std::fs::read_to_string(&path).unwrap().contains("ParquetRecordBatchReader");
        let door = path.components().any(|part| part.as_os_str() == "columnar");
        assert!(!opens || door, "{} opens Parquet without columnar::open", path.display());
    }
}

#[test]
fn every_task_family_and_chart_file_is_registered() {
    let registered = |folder: &str, ext: &str, registry: &str| {
        let text = std::fs::read_to_string(root().join(registry)).unwrap_or_default();
        let found = files(&root().join(folder), ext);
        assert!(!found.is_empty(), "{folder} is empty");
        for path in found {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            assert!(stem == "mod" || text.contains(&stem), "{stem} of {folder} is not in {registry}");
        }
    };
    registered("proto/src/families", "rs", "proto/src/families/mod.rs");
    registered("coordinator/src/report/charts", "rs", "coordinator/src/report/charts/mod.rs");
    registered("worker/src/prune/methods", "rs", "worker/src/prune/methods/mod.rs");
}

#[test]
fn only_the_worker_links_torch() {
    for krate in ["proto", "telemetry", "coordinator", "tests", "fuzz"] {
        let manifest = std::fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("tch") && !manifest.contains("torch-sys"), "{krate} links torch");
    }
    assert!(Path::new(&root().join("worker/Cargo.toml")).exists());
}
