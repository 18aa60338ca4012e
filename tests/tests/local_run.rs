//! `espalier run` with the real worker: to the end, a second time, killed with -9, interrupted.

use espalier_tests::binaries::{espalier, text};
use espalier_tests::{files, root};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

/// One demo model, dense and pruned, two tasks cut to a few items.
fn sweep_file(folder: &Path, name: &str) -> PathBuf {
    let demo = root().join("examples/demo");
    let demo = demo.display();
    let text = format!(
        "name: {name}\nmodels: [{demo}/models/phi-demo]\n\
         calibration: {{data: {demo}/data/calibration.txt, nsamples: 4, seqlen: 64}}\n\
         recipes:\n  - {{method: [wanda, magnitude], sparsity: [0.5]}}\n\
         tasks:\n  - {{task: wikitext2, data: {demo}/data/heldout.txt, seqlen: 64}}\n  \
         - {{task: commonsense_qa, data: {demo}/data/commonsense_qa.jsonl}}\n"
    );
    let path = folder.join(format!("{name}.yaml"));
    std::fs::write(&path, text).unwrap();
    path
}

fn command(folder: &Path, name: &str) -> std::process::Command {
    let (sweep, bucket) = (sweep_file(folder, name), folder.join("out"));
    espalier(&["run", sweep.to_str().unwrap(), "--bucket", bucket.to_str().unwrap(), "--limit", "6"])
}

fn run(folder: &Path) -> Output {
    command(folder, "small").output().unwrap()
}

/// A run that is met in the middle.
fn start(folder: &Path) -> Child {
    let mut command = command(folder, "small");
    command
        .env("ESPALIER_TEST_FAULTS", "slow=1000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn cells(folder: &Path) -> usize {
    let records = files(&folder.join("out/cells"), "json");
    records.iter().filter(|p| p.file_name() == Some("record.json".as_ref())).count()
}

fn results(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("out/sweeps/small/report/results.csv")).unwrap()
}

/// Parent and start time of a living process.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    (fields[0] != "Z").then(|| (fields[1].parse().unwrap(), fields[19].parse().unwrap()))
}

/// Every process below `pid`, with its start time: ids are given again.
fn below(pid: u32) -> Vec<(u32, u64)> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids: Vec<u32> = pids.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    let mut found: Vec<(u32, u64)> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in &pids {
            if let Some((of, started)) = stat(*child)
                && of == parent
            {
                found.push((*child, started));
                parents.push(*child);
            }
        }
    }
    found
}

fn alive((pid, started): &(u32, u64)) -> bool {
    stat(*pid).is_some_and(|(_, now)| now == *started)
}

/// Waits until `holds`, two minutes at most: a debug build on a busy machine is slow.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain until {what}");
}

#[test]
fn a_sweep_ends_in_a_report_and_a_second_run_finds_everything_done_and_writes_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path());
    assert!(first.status.success(), "{}", text(&first));
    assert_eq!(cells(folder.path()), 6);
    let report = folder.path().join("out/sweeps/small/report/index.html");
    assert!(text(&first).contains(report.canonicalize().unwrap().to_str().unwrap()), "{}", text(&first));
    let before = results(folder.path());
    let second = run(folder.path());
    assert!(second.status.success() && text(&second).contains("nothing was run"), "{}", text(&second));
    assert_eq!(results(folder.path()), before);
    // Only the first run had workers.
    let logs = files(&folder.path().join("out/coordinators/run.small/workers"), "log");
    assert!(!logs.is_empty() && logs.iter().all(|l| l.to_str().unwrap().contains("/00000001-")), "{logs:?}");
}

#[test]
fn a_main_process_killed_with_9_leaves_no_worker_and_no_compute_process_and_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut main = start(folder.path());
    until("a cell is in the bucket", || cells(folder.path()) >= 1);
    let processes = below(main.id());
    // At least a supervisor and its compute process.
    assert!(processes.len() >= 2, "{processes:?}");
    main.kill().unwrap();
    main.wait().unwrap();
    until("nothing is left", || !processes.iter().any(alive));
    let next = run(folder.path());
    assert!(next.status.success(), "{}", text(&next));
    assert_eq!(cells(folder.path()), 6);
}

#[test]
fn an_interrupted_run_ends_with_130_leaves_nothing_running_and_keeps_what_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path(), "small");
    command.env("ESPALIER_TEST_FAULTS", "slow=500");
    let main = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("a cell is in the bucket", || cells(folder.path()) >= 1);
    let processes = below(main.id());
    // SAFETY: the child has not been waited for, so its id is still its own.
    unsafe { libc::kill(main.id() as libc::pid_t, libc::SIGINT) };
    let ended = main.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    // What was given back is nobody's failure.
    assert!(!text(&ended).contains("WARN") && text(&ended).contains("interrupted: "), "{}", text(&ended));
    until("nothing is left", || !processes.iter().any(alive));
    assert!(cells(folder.path()) >= 1);
}

#[test]
fn two_sweeps_at_once_in_one_bucket_share_their_cells_and_report_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut other =
        command(folder.path(), "other").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let small = run(folder.path());
    assert!(small.status.success(), "{}", text(&small));
    assert!(other.wait().unwrap().success());
    // Three variants of two tasks, once each.
    assert_eq!(cells(folder.path()), 6);
    let numbers = |name: &str| {
        let csv = folder.path().join(format!("out/sweeps/{name}/report/results.csv"));
        let text = std::fs::read_to_string(csv).unwrap();
        text.lines().map(|l| l.split_once(',').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(numbers("small"), numbers("other"));
}

#[test]
fn a_second_run_beside_a_running_one_stops_and_says_who_is_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut main = start(folder.path());
    until("the first run has begun", || {
        !files(&folder.path().join("out/coordinators/run.small/workers"), "log").is_empty()
    });
    let second = run(folder.path());
    let said = text(&second);
    assert_eq!(second.status.code(), Some(5), "{said}");
    assert!(said.contains(&format!("process {}", main.id())) && said.contains("--take-over"), "{said}");
    main.kill().unwrap();
    main.wait().unwrap();
}

#[test]
fn what_plan_says_of_memory_is_enough_and_at_most_three_times_what_a_worker_takes() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = sweep_file(folder.path(), "small");
    let empty = folder.path().join("empty");
    let plan = espalier(&["plan", sweep.to_str().unwrap(), "--limit", "6", "--output", "json", "--bucket"])
        .arg(&empty)
        .output()
        .unwrap();
    assert!(plan.status.success(), "{}", text(&plan));
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let most = |field: &str| {
        plan["shards"].as_array().unwrap().iter().map(|s| s[field].as_f64().unwrap()).fold(0.0, f64::max)
    };
    let (least, predicted) = (most("device_bytes"), most("resident_bytes"));
    let done = run(folder.path());
    assert!(done.status.success(), "{}", text(&done));
    // Oracle: the kernel's own account of the compute process, VmHWM, in the records.
    let records =
        files(&folder.path().join("out"), "json").into_iter().filter(|p| p.ends_with("record.json"));
    let measured = records
        .map(|path| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap())
        .map(|record| record["measured"]["rss_mib"].as_f64().unwrap() * 1_048_576.0)
        .fold(0.0, f64::max);
    assert!(
        least <= predicted && predicted >= measured && predicted <= 3.0 * measured,
        "{least} {predicted} {measured}"
    );
}
