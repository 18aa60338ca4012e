//! Whole local runs. Their workers are real processes: this test binary, called by a script as if it were a worker.

use crate::harness::{Habits, bucket, sweep, work};
use espalier::serve::{Devices, LocalError, LocalRun, Outcome, epoch, local, log};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Digest;
use espalier_proto::records::{CellRecord, FailureCode};
use espalier_proto::sweep::ResolvedSweep;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A script that is called like a worker and becomes this binary's `a_worker`.
fn worker_script(folder: &Path, environment: &str) -> PathBuf {
    let path = folder.join("worker.sh");
    let exe = std::env::current_exe().unwrap();
    let log = folder.join("pids");
    let text = format!(
        "#!/bin/sh\necho $$ >> {}\nexport FAKE_COORDINATOR=\"$2\" {environment}\nexec {} --exact local::a_worker --ignored --nocapture\n",
        log.display(),
        exe.display(),
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn habits() -> Habits {
    let get = |name: &str| std::env::var(name).ok();
    Habits {
        slow: Duration::from_millis(get("FAKE_SLOW").map_or(0, |ms| ms.parse().unwrap())),
        fails: get("FAKE_FAILS").map(|d| d.parse().unwrap()),
        dies_once: get("FAKE_DIES_ONCE").map(PathBuf::from),
    }
}

#[tokio::test]
#[ignore = "not a test: what a local run starts as its worker"]
async fn a_worker() {
    let Ok(url) = std::env::var("FAKE_COORDINATOR") else {
        return;
    };
    work(&url, &format!("fake-{}", std::process::id()), &habits()).await;
}

/// A run in a process of its own, for tests that kill it.
#[tokio::test]
#[ignore = "not a test: a run that tests kill"]
async fn a_run() {
    let Ok(folder) = std::env::var("FAKE_FOLDER") else {
        return;
    };
    let bucket = Bucket::open(&format!("{folder}/bucket")).unwrap();
    let sweep = sweep(&bucket, 3, 3).await;
    let script = worker_script(Path::new(&folder), &std::env::var("FAKE_HABITS").unwrap());
    std::process::exit(match run(&bucket, &sweep, &script).await {
        Ok(outcome) if outcome.interrupted => 130,
        Ok(_) => 0,
        Err(LocalError::TakenOver { .. }) => 3,
        Err(error) => panic!("{error}"),
    });
}

fn run_in_a_process(folder: &Path, slow_ms: u32) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "local::a_run", "--ignored"])
        .env("FAKE_FOLDER", folder)
        .env("FAKE_HABITS", format!("FAKE_SLOW={slow_ms}"))
        .spawn()
        .unwrap()
}

fn options<'a>(bucket: &'a Bucket, sweep: &'a ResolvedSweep, worker: &Path) -> LocalRun<'a> {
    LocalRun {
        sweep,
        bucket,
        only: None,
        take_over: false,
        worker_bin: Some(worker.to_owned()),
        devices: Devices::Cpu(2),
    }
}

async fn run(bucket: &Bucket, sweep: &ResolvedSweep, worker: &Path) -> Result<Outcome, LocalError> {
    local::run(options(bucket, sweep, worker), |_| {}).await
}

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

/// Waits until `holds`.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain until {what}");
}

fn records(bucket: &Bucket) -> usize {
    let mut found = 0;
    let mut folders = vec![bucket.folder().unwrap().join("cells")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found += usize::from(entry.file_name() == "record.json"),
            }
        }
    }
    found
}

#[tokio::test]
async fn a_sweep_runs_to_its_end_and_a_second_run_finds_everything_done_without_any_worker() {
    let (folder, bucket) = bucket();
    let sweep = sweep(&bucket, 3, 4).await;
    let script = worker_script(folder.path(), "");
    let outcome = run(&bucket, &sweep, &script).await.unwrap();
    assert!(outcome.whole() && outcome.failed.is_empty(), "{outcome:?}");
    assert_eq!((outcome.wanted, outcome.before), (12, 0));
    let again = run(&bucket, &sweep, Path::new("/nowhere")).await.unwrap();
    assert_eq!((again.before, again.done), (12, 12));
}

#[tokio::test]
async fn only_limits_what_is_run_and_the_rest_is_run_later() {
    let (folder, bucket) = bucket();
    let sweep = sweep(&bucket, 2, 2).await;
    let script = worker_script(folder.path(), "");
    let mut some = options(&bucket, &sweep, &script);
    some.only = Some([sweep.cells[0].key, sweep.cells[3].key].into());
    let outcome = local::run(some, |_| {}).await.unwrap();
    assert_eq!((outcome.wanted, outcome.done, records(&bucket)), (2, 2, 2));
    let outcome = run(&bucket, &sweep, &script).await.unwrap();
    assert_eq!((outcome.before, outcome.done), (2, 4));
}

#[tokio::test]
async fn a_failing_task_leaves_holes_with_their_reason_and_a_second_run_tries_it_again() {
    let (folder, bucket) = bucket();
    let sweep = sweep(&bucket, 2, 2).await;
    let bad = worker_script(folder.path(), &format!("FAKE_FAILS={}", sweep.cells[1].inputs));
    let outcome = run(&bucket, &sweep, &bad).await.unwrap();
    assert_eq!((outcome.done, outcome.failed.len()), (2, 2), "{outcome:?}");
    let failed = &outcome.failed[0];
    assert_eq!((failed.task.as_deref(), failed.code), (Some("task1"), FailureCode::NonFiniteScores));
    assert_eq!(failed.message, "item 3 scores NaN");
    assert_eq!(log::read(&bucket, &sweep.name).await.unwrap().given_up.len(), 2);
    let mended = worker_script(folder.path(), "");
    assert!(run(&bucket, &sweep, &mended).await.unwrap().whole());
}

#[tokio::test]
async fn a_cell_measured_on_other_weights_than_its_variant_records_is_measured_again() {
    let (folder, bucket) = bucket();
    let sweep = sweep(&bucket, 2, 2).await;
    let script = worker_script(folder.path(), "");
    run(&bucket, &sweep, &script).await.unwrap();
    let path = espalier_proto::layout::cell_record(sweep.cells[0].key);
    let mut record: CellRecord = bucket.read_json(&path).await.unwrap().unwrap();
    record.weights = Digest::of(b"of a checkpoint that is no more");
    bucket.put(&path, espalier_proto::bucket::json_bytes(&record)).await.unwrap();
    let outcome = run(&bucket, &sweep, &script).await.unwrap();
    assert_eq!((outcome.before, outcome.done), (3, 4));
}

#[tokio::test]
async fn a_worker_that_dies_is_started_again() {
    let (folder, bucket) = bucket();
    let sweep = sweep(&bucket, 2, 2).await;
    let mark = folder.path().join("died");
    let script = worker_script(folder.path(), &format!("FAKE_DIES_ONCE={}", mark.display()));
    let outcome = run(&bucket, &sweep, &script).await.unwrap();
    assert!(outcome.whole() && mark.exists(), "{outcome:?}");
}

#[tokio::test]
async fn workers_that_cannot_start_end_the_run_with_the_end_of_their_log() {
    let (folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 1).await;
    let script = folder.path().join("broken.sh");
    std::fs::write(&script, "#!/bin/sh\necho no library here >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = run(&bucket, &sweep, &script).await.unwrap_err().to_string();
    assert!(error.contains("no library here") && error.contains("exit status: 1"), "{error}");
}

#[tokio::test]
async fn a_sweep_of_another_instance_is_refused_and_taken_over_on_demand() {
    let (folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 1).await;
    let main = epoch::take(&bucket, &"main".parse().unwrap()).await.unwrap();
    log::submit(&bucket, &main, &sweep, None, false).await.unwrap();
    let script = worker_script(folder.path(), "");
    let error = run(&bucket, &sweep, &script).await.unwrap_err();
    assert!(error.to_string().contains("belongs to instance main"), "{error}");
    let mut forced = options(&bucket, &sweep, &script);
    forced.take_over = true;
    assert!(local::run(forced, |_| {}).await.unwrap().whole());
}

#[tokio::test]
async fn a_killed_run_leaves_no_worker_and_the_next_goes_on_with_what_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(folder.path().join("bucket").to_str().unwrap()).unwrap();
    let mut process = run_in_a_process(folder.path(), 1500);
    until("two cells are there", || records(&bucket) >= 2).await;
    // While it runs, a second run stops and says who is at it.
    let sweep = sweep(&bucket, 3, 3).await;
    let script = worker_script(folder.path(), "");
    let error = run(&bucket, &sweep, &script).await.unwrap_err().to_string();
    assert!(error.contains(&format!("process {}", process.id())), "{error}");
    let pids: Vec<String> =
        std::fs::read_to_string(folder.path().join("pids")).unwrap().lines().map(str::to_owned).collect();
    assert!(pids.len() == 2 && pids.iter().any(|p| alive(p)), "{pids:?}");
    process.kill().unwrap();
    process.wait().unwrap();
    until("no worker is left", || pids.iter().all(|p| !alive(p))).await;
    let finished = records(&bucket);
    let outcome = run(&bucket, &sweep, &script).await.unwrap();
    assert!(outcome.whole() && outcome.before == finished && finished < 9, "{finished} before, {outcome:?}");
}

#[tokio::test]
async fn a_run_that_is_taken_over_ends_and_the_newer_one_finishes_the_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(folder.path().join("bucket").to_str().unwrap()).unwrap();
    let mut older = run_in_a_process(folder.path(), 3000);
    until("a cell is there", || records(&bucket) >= 1).await;
    let sweep = sweep(&bucket, 3, 3).await;
    let script = worker_script(folder.path(), "FAKE_SLOW=1500");
    let mut newer = options(&bucket, &sweep, &script);
    newer.take_over = true;
    let outcome = local::run(newer, |_| {}).await.unwrap();
    assert!(outcome.whole(), "{outcome:?}");
    // 3: a run that was taken over, in `a_run`.
    assert_eq!(older.wait().unwrap().code(), Some(3));
}

#[tokio::test]
async fn an_interrupted_run_ends_its_workers_in_order_and_keeps_what_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(folder.path().join("bucket").to_str().unwrap()).unwrap();
    let mut process = run_in_a_process(folder.path(), 1500);
    until("a cell is there", || records(&bucket) >= 1).await;
    let interrupted = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(process.wait().unwrap().code(), Some(130));
    let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
    assert!(pids.lines().all(|p| !alive(p)), "{pids}");
    let sweep = sweep(&bucket, 3, 3).await;
    let outcome = run(&bucket, &sweep, &worker_script(folder.path(), "")).await.unwrap();
    assert!(outcome.whole() && outcome.before >= 1, "{outcome:?}");
}
