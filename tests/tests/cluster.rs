//! A coordinator and workers that share nothing but the network and the bucket.

use espalier_tests::cluster::{Cluster, hide, spawned, spawned_to, until};
use espalier_tests::files;
use espalier_tests::scrape::{get, samples};
use espalier_tests::sweeps::Place;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn without_a_coordinator_a_command_ends_with_6_and_says_how_to_start_one() {
    let place = Place::new("phi-nobos");
    for command in [["submit", "s.yaml"], ["status", "s"], ["watch", "s"]] {
        let args = [command.as_slice(), &["--coordinator", "http://127.0.0.1:9"]].concat();
        place.ends(&args, 6, &["no coordinator answers at http://127.0.0.1:9", "espalier coordinator"]);
    }
    place.ends(&["list", "--coordinator", "no url"], 2, &["--coordinator", "http://HOST:PORT"]);
}

#[test]
fn workers_that_see_no_file_of_the_users_give_the_results_of_a_local_run() {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml", "--bucket", "alone", "--devices", "cpu:1"], 0, &["4 of 4 cells done"]);
    let alone = std::fs::read(place.at("alone/sweeps/s/report/results.csv")).unwrap();
    let cluster = Cluster::start(&place, &["--http", "127.0.0.1:0", "--gpu-hour-price", "1.25"]);
    let nobody = "no worker is connected";
    cluster.ends(
        &["submit", "s.yaml"],
        0,
        &["s: 4 cells, 4 of them to do", "note: nothing of it runs yet: ", nobody],
    );
    cluster.ends(&["explain", "s", "--only", "method=dense"], 0, &["waiting", nobody]);
    cluster.ends(&["status"], 0, &["s waits: ", nobody]);
    assert_eq!(wanted(&cluster), serde_json::json!({"cpu": 2, "cuda": 0}));
    hide(&place, "model");
    hide(&place, "cs.jsonl");
    let _workers = ["w1", "w2"].map(|name| cluster.worker_with(name, &[("ESPALIER_HTTP", "127.0.0.1:0")]));
    until("both are there", || {
        let status = cluster.json(&["status"]);
        let workers = status["workers"].as_array().unwrap();
        workers.len() == 2 && workers.iter().all(|w| w["state"] == "idle" || w["state"] == "working")
    });
    cluster.ends(&["logs", "s", "--follow"], 0, &["wanda-0.5", "shard begun", "cell committed"]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    let report = place.at("out/sweeps/s/report/results.csv");
    until("the report is written", || report.exists() && std::fs::read(&report).unwrap() == alone);
    cluster.ends(
        &["report", "s", "--coordinator", &cluster.url, "--to", "mine", "--gpu-hour-price", "2.5"],
        0,
        &["4 of 4 cells measured"],
    );
    assert!(std::fs::read(place.at("mine/results.csv")).unwrap() == alone);
    let costs = |folder: &str| std::fs::read_to_string(place.at(folder).join("costs.md")).unwrap();
    assert!(costs("mine").contains("at 2.5 an hour"));
    assert!(costs("out/sweeps/s/report").contains("at 1.25 an hour"), "what the coordinator was told");
    // The environment says it too, where no bucket is named.
    let mut report = place.command(&["report", "s", "--to", "theirs"]);
    report.env_remove("ESPALIER_BUCKET").env("ESPALIER_COORDINATOR", &cluster.url);
    assert!(report.output().unwrap().status.success());
    assert!(std::fs::read(place.at("theirs/results.csv")).unwrap() == alone);
    cluster.ends(&["explain", "s"], 0, &["done", "its record is in the bucket"]);
    cluster.ends(&["logs", "s"], 0, &["main epoch 1: submitted"]);
    logs_of_shards(&place, &cluster);
    probes_and_metrics(&cluster);
    let status = cluster.json(&["status", "s"]);
    assert_eq!((&status["sweeps"][0]["state"], &status["sweeps"][0]["done"]), (&"whole".into(), &4.into()));
    assert_eq!(status["workers"].as_array().unwrap().len(), 2, "{status}");
}

/// What workers logged at shards is in the bucket, by variant and by attempt, and counted as such.
fn logs_of_shards(place: &Place, cluster: &Cluster<'_>) {
    let said = cluster.ends(
        &["logs", "s", "--variant", "wanda-0.5-s0"],
        0,
        &["== model wanda-0.5-s0 main-1-", "shard begun"],
    );
    assert!(!said.contains("dense"), "{said}");
    let attempt = said.split_whitespace().nth(3).unwrap();
    let lines = cluster.espalier(&["logs", "s", "--shard", attempt, "--output", "json"]).stdout;
    let lines = String::from_utf8(lines).unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((line["variant"].as_str(), line["attempt"].as_str()), (Some("wanda-0.5-s0"), Some(attempt)));
    // The same without a coordinator, as after a local run.
    let bucket = ["logs", "s", "--bucket", "out"];
    place.ends(&bucket, 0, &["main epoch 1: submitted"]);
    let there = place.ends(
        &[&bucket[..], &["--variant", "wanda-0.5-s0"]].concat(),
        0,
        &["== model wanda-0.5-s0 main-1-"],
    );
    assert_eq!(there, cluster.ends(&["logs", "s", "--variant", "wanda-0.5-s0"], 0, &[]));
    place.ends(&["logs", "t", "--bucket", "out"], 3, &["has no sweep t"]);
    let unknown = ["--shard: found main-9-99, of which sweep s has no log, expected one of ", attempt];
    cluster.ends(&["logs", "s", "--shard", "main-9-99"], 2, &unknown);
    let other = [
        &*format!("found {attempt}, an attempt at model/wanda-0.5-s0, expected one of main-1-"),
        " at dense",
    ];
    cluster.ends(&["logs", "s", "--variant", "dense", "--shard", attempt], 2, &other);
    assert_eq!(said, cluster.ends(&["logs", "s", "--variant", "model/wanda-0.5-s0"], 0, &[]));
    cluster.ends(&["logs", "s", "--shard", "main"], 2, &["--shard", "main"]);
    place.ends(&[&bucket[..], &["--shard", "main-9-99"]].concat(), 2, &unknown);
    cluster.ends(&["logs", "s", "--variant", "wanda-0.6"], 2, &["wanda-0.6", "dense, wanda-0.5-s0"]);
    let usage = place.ends(&["du", "--bucket", "out", "--output", "json"], 0, &[]);
    let usage: serde_json::Value = serde_json::from_str(&usage).unwrap();
    assert!(usage["kinds"]["logs"].as_u64() > Some(0) && usage["unreferenced"] == 0, "{usage}");
}

/// As many workers as would have something to do.
fn wanted(cluster: &Cluster<'_>) -> serde_json::Value {
    let (status, text) = get(&format!("{}/scale", cluster.http.as_deref().unwrap()));
    assert_eq!(status, 200);
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["wanted"].take()
}

/// Probes of both programs, and a scrape that says what was just done.
fn probes_and_metrics(cluster: &Cluster<'_>) {
    let coordinator = cluster.http.clone().unwrap();
    let log = cluster.log("w1");
    let worker =
        log.split("answers probes and scrapers on ").nth(1).unwrap().split_whitespace().next().unwrap();
    for program in [coordinator.as_str(), worker] {
        assert_eq!(get(&format!("{program}/healthz")), (200, "ok\n".to_owned()));
        until("it is ready", || get(&format!("{program}/readyz")) == (200, "ok\n".to_owned()));
    }
    assert_eq!(wanted(cluster), serde_json::json!({"cpu": 0, "cuda": 0}));
    let (status, text) = get(&format!("{coordinator}/metrics"));
    assert_eq!(status, 200);
    // Every sample says whose it is.
    let whose = "espalier_instance=\"main\"";
    assert!(text.lines().all(|l| l.starts_with('#') || l.contains(whose)), "{text}");
    let text = text.replace(&format!("{{{whose}}}"), "").replace(&format!("{whose},"), "");
    let said = samples(&text);
    for (name, value) in [
        ("espalier_epoch", 1.0),
        ("espalier_sweeps{sweep=\"s\",state=\"over\"}", 1.0),
        ("espalier_sweeps{sweep=\"s\",state=\"running\"}", 0.0),
        ("espalier_cells{sweep=\"s\",state=\"done\"}", 4.0),
        ("espalier_cells{sweep=\"s\",state=\"missing\"}", 0.0),
        ("espalier_shards{state=\"done\"}", 2.0),
        ("espalier_workers{state=\"idle\"}", 2.0),
    ] {
        assert_eq!(said.get(name), Some(&value), "{name}\n{text}");
    }
    for name in [
        "espalier_attempts_total",
        "espalier_sync_calls_total",
        "espalier_step_seconds_count",
        "espalier_bucket_written_bytes_total",
        "espalier_bucket_operation_seconds_count{operation=\"create\"}",
    ] {
        assert!(said[name] >= 1.0, "{name}\n{text}");
    }
    let shards = samples(&get(&format!("{worker}/metrics")).1)["espalier_worker_shards_total"];
    assert!(shards <= said["espalier_attempts_total"], "{shards} {text}");
}

#[test]
fn bad_input_is_answered_to_the_user_and_nothing_is_queued() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    place.write("cs.jsonl", "{\"id\": \"a\"}\n");
    let said = cluster.ends(&["submit", "s.yaml"], 3, &["cs.jsonl"]);
    assert!(said.contains(&place.at("cs.jsonl").display().to_string()), "the user's own path: {said}");
    place.replace("s.yaml", "sparsity", "sparsty");
    cluster.ends(&["submit", "s.yaml"], 3, &["s.yaml:", "sparsty", "sparsity"]);
    assert_eq!(cluster.json(&["list"]), serde_json::json!([]));
    assert!(!place.at("out/sweeps").exists());
    cluster.ends(&["watch", "s"], 3, &["instance main has no sweep s", "it has: none"]);
}

#[test]
fn a_killed_coordinator_comes_back_with_its_sweeps_and_what_was_asked_of_them() {
    let place = Place::new("phi-nobos");
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml", "--priority", "3"], 0, &[]);
    cluster.ends(&["pause", "s"], 0, &["paused"]);
    cluster.ends(&["list"], 0, &["priority\n", " 3\n"]);
    cluster.restart();
    let status = cluster.json(&["status", "s"]);
    assert_eq!(status["epoch"], 2);
    assert_eq!(
        (&status["sweeps"][0]["state"], &status["sweeps"][0]["priority"]),
        (&"paused".into(), &3.into())
    );
    let _worker = cluster.worker("w");
    until("the worker has called", || !cluster.json(&["status"])["workers"].as_array().unwrap().is_empty());
    cluster.ends(&["explain", "s"], 0, &["the sweep is paused; `espalier resume` goes on"]);
    cluster.ends(&["resume", "s"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    // Over, and again: nothing is left to do, by the bucket alone.
    cluster.restart();
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    cluster.ends(&["submit", "s.yaml", "--priority", "3"], 0, &["s: 4 cells, 0 of them to do"]);
    let entries = files(&place.at("out/sweeps/s/log"), "json").len();
    cluster.ends(&["submit", "s.yaml", "--priority", "3"], 0, &[]);
    assert_eq!(
        files(&place.at("out/sweeps/s/log"), "json").len(),
        entries,
        "submitting the same adds nothing"
    );
}

#[test]
fn a_cancelled_sweep_rests_until_it_is_submitted_again_and_a_name_belongs_to_one_instance() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["cancel", "s"], 0, &["stopped"]);
    for command in ["pause", "resume", "retry"] {
        cluster.ends(&[command, "s"], 3, &["sweep s was stopped", "submitting it again"]);
    }
    assert!(!cluster.ends(&["list"], 0, &["stopped"]).contains("priority"), "all are alike");
    cluster.ends(&["retry", "s", "--only", "task=none"], 2, &["--only", "no cell"]);
    cluster.ends(&["watch", "s"], 4, &["0 of 4 cells done", "stopped before its end"]);
    let other = Cluster::start(&place, &["--instance", "other"]);
    other.ends(&["submit", "s.yaml"], 5, &["belongs to instance main", "--take-over"]);
    place.ends(&["run", "s.yaml"], 5, &["belongs to instance main"]);
    other.ends(&["submit", "s.yaml", "--take-over"], 0, &["4 of them to do"]);
    let _worker = other.worker("w");
    other.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    until("its first owner has let it go", || cluster.json(&["list"]) == serde_json::json!([]));
}

#[test]
fn drained_workers_end_and_leave_nothing_half_done() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &["--lease", "20"]);
    let workers = || cluster.json(&["status"])["workers"].as_array().unwrap().len();
    let mut leaving = cluster.worker("l");
    until("a worker has called", || workers() == 1);
    leaving.signal(libc::SIGTERM);
    assert_eq!(leaving.0.wait().unwrap().code(), Some(8), "{}", cluster.log("l"));
    // What says goodbye leaves, and has left eight seconds later.
    until("it said goodbye", || {
        let state = &cluster.json(&["status"])["workers"][0]["state"];
        state == "draining" || state == "left"
    });
    let mut worker = cluster.worker("w");
    until("the other worker has called", || workers() == 2);
    until("it is told as gone, and not as silent", || {
        cluster.json(&["status"])["workers"].to_string().contains("\"left\"")
    });
    cluster.ends(&["drain"], 0, &["workers finish what they hold and end"]);
    until("the worker has ended", || worker.0.try_wait().unwrap().is_some());
    assert_eq!(worker.0.wait().unwrap().code(), Some(0), "{}", cluster.log("w"));
    until("who said goodbye is gone", || workers() == 0);
    let draining = ["note: nothing of it runs yet: workers were told to finish and end (`espalier drain`)"];
    cluster.ends(&["submit", "s.yaml"], 0, &draining);
}

#[test]
fn what_was_repaired_under_a_living_coordinator_is_done_again_by_itself_or_when_its_sweep_is_submitted_again()
{
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let worker = cluster.worker("w");
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    let damage = || {
        // What was damaged before is left to `gc`.
        let whole = |path: &PathBuf| std::fs::read(path).unwrap() != b"short";
        let blob = files(&place.at("out/cells"), "parquet").into_iter().find(whole).unwrap();
        std::fs::write(blob, "short").unwrap();
    };
    worker.signal(libc::SIGSTOP);
    damage();
    let dry = place.ends(
        &["repair", "s", "--dry-run"],
        4,
        &["1 are damaged; `espalier repair s` makes them missing"],
    );
    assert!(
        dry.contains("its coordinator does anew what is asked for") && !dry.contains("run the sweep"),
        "{dry}"
    );
    place.ends(&["repair", "s"], 4, &["1 were damaged", "submit the sweep again"]);
    cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 1 of them to do"]);
    worker.signal(libc::SIGCONT);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    worker.signal(libc::SIGSTOP);
    damage();
    place.ends(&["repair", "s"], 4, &["1 were damaged"]);
    assert_eq!(place.cells(), 3);
    until("the coordinator has seen it", || cluster.json(&["list"])[0]["done"] == 3);
    worker.signal(libc::SIGCONT);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    assert_eq!(place.cells(), 4);
    cluster.ends(
        &["report", "s", "--coordinator", &cluster.url, "--to", "mine"],
        0,
        &["4 of 4 cells measured"],
    );
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
    // Another sweep's cells on the same variants leave what this one measured alone.
    worker.signal(libc::SIGSTOP);
    place.sweep("t", "0.5", "{task: wikitext2, data: ./rows.txt, seqlen: 16}");
    cluster.ends(&["submit", "t.yaml"], 0, &["t: 4 cells, 2 of them to do"]);
    cluster.ends(&["cancel", "t"], 0, &["stopped"]);
    assert_eq!(cluster.json(&["list"])[0]["done"], 4);
    // What is deleted under a stopped one is missing there too.
    let done = |cluster: &Cluster<'_>| [0, 1].map(|at| cluster.json(&["list"])[at]["done"].clone());
    assert_eq!(done(&cluster), [4, 2]);
    for _ in 0..4 {
        damage();
    }
    place.ends(&["repair", "s"], 4, &["4 were damaged"]);
    until("both have seen it", || done(&cluster) == [0, 0]);
    worker.signal(libc::SIGCONT);
    // The worker may have been given another of the stopped one's before that was stopped.
    until("what is wanted is done anew", || done(&cluster)[0] == 4 && done(&cluster)[1].as_u64() >= Some(2));
    // Removed under the coordinator, it is as unknown to it as one that never was.
    place.ends(&["rm", "s", "--yes", "--force"], 0, &["removed"]);
    for unknown in ["s", "none"] {
        let args = ["report", unknown, "--coordinator", &cluster.url, "--to", "gone"];
        let said = cluster.ends(&args, 3, &[]);
        // In a while it is known of the one that it was removed.
        let removed = unknown == "s" && said.contains("sweep s was removed");
        assert!(said.contains("no sweep") || removed, "{said}");
    }
}

#[test]
fn who_follows_a_sweep_or_its_logs_waits_for_a_coordinator_that_was_killed_to_come_back() {
    let place = Place::new("phi-nobos");
    // Long enough that it is not over when its worker is stopped.
    let many: Vec<String> = (1..=30).map(|n| format!("{:.2}", 0.03 * f64::from(n))).collect();
    place.sweep("s", &many.join(", "), "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let follow = |name: &str, args: &[&str], to: &str| {
        let mut command = place.command(args);
        command.env("ESPALIER_COORDINATOR", &cluster.url);
        spawned_to(&place, name, command, std::fs::File::create(place.at(to)).unwrap())
    };
    let mut watch = follow("watch", &["watch", "s"], "watched");
    let mut logs = follow("logs", &["logs", "s", "--follow"], "followed");
    let followed = || std::fs::read_to_string(place.at("followed")).unwrap();
    until("it shows the sweep", || cluster.log("watch").contains("0 of 62"));
    assert!(cluster.log("watch").contains("waiting: no worker is connected"), "{}", cluster.log("watch"));
    let worker = cluster.worker_with("w", &[("ESPALIER_TEST_FAULTS", "slow=30")]);
    until("a few shards are done", || cluster.log("w").matches("cell committed").count() > 4);
    worker.signal(libc::SIGSTOP);
    until("it shows what was logged", || followed().contains("cell committed"));
    cluster.coordinator.kill();
    for name in ["watch", "logs"] {
        until("it says that it waits", || cluster.log(name).contains("the coordinator does not answer"));
    }
    cluster.restart();
    worker.signal(libc::SIGCONT);
    assert!(watch.0.wait().unwrap().success(), "{}", cluster.log("watch"));
    assert!(cluster.log("watch").contains("62 of 62 cells done"), "{}", cluster.log("watch"));
    assert!(logs.0.wait().unwrap().success(), "{}", cluster.log("logs"));
    let first = followed().split_whitespace().nth(2).unwrap().to_owned();
    let all = place.ends(&["logs", "s", "--variant", &first, "--bucket", "out"], 0, &["cell committed"]);
    for line in all.lines().filter(|line| !line.starts_with("== ")) {
        let times = followed().lines().filter(|shown| *shown == line).count();
        assert_eq!(times, 1, "{line}\nin\n{}", followed());
    }
}

#[test]
fn a_coordinator_that_hangs_is_told_within_half_a_minute_and_waited_for_by_who_follows() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let encrypted = cluster.url.replace("http://", "https://");
    place.ends(&["list", "--coordinator", &encrypted], 6, &["speaks plaintext", "begins with http://"]);
    let mut command = place.command(&["watch", "s"]);
    command.env("ESPALIER_COORDINATOR", &cluster.url);
    let mut watch = spawned(&place, "watch", command);
    until("it shows the sweep", || cluster.log("watch").contains("0 of 4"));
    // Longer than it takes to call silence what hangs: nothing changes, and the stream is not cut.
    std::thread::sleep(Duration::from_secs(22));
    assert!(!cluster.log("watch").contains("does not answer"), "{}", cluster.log("watch"));

    cluster.coordinator.signal(libc::SIGSTOP);
    let began = Instant::now();
    let mute = format!("the coordinator at {} accepts connections but does not answer", cluster.url);
    cluster.ends(&["list"], 6, &[&mute]);
    assert!(began.elapsed() < Duration::from_secs(35), "{:?}", began.elapsed());
    cluster.ends(&["submit", "s.yaml"], 6, &[&mute]);
    until("it is waited for", || cluster.log("watch").contains("the coordinator does not answer"));
    cluster.coordinator.signal(libc::SIGCONT);
    cluster.ends(&["cancel", "s"], 0, &[]);
    assert_eq!(watch.0.wait().unwrap().code(), Some(4), "{}", cluster.log("watch"));
    assert!(cluster.log("watch").contains("0 of 4 cells done"), "{}", cluster.log("watch"));
}
