//! Answers of a store that say something false, or break off: each costs time and nothing else.

use bytes::Bytes;
use espalier_proto::bucket::Bucket;
use espalier_tests::binaries::text;
use espalier_tests::cluster::{Cluster, spawned, until};
use espalier_tests::faults::{FaultPlan, Late, Refusal};
use espalier_tests::files;
use espalier_tests::s3_server::{Creates, S3Server};
use espalier_tests::sweeps::Place;
use object_store::path::Path;
use std::time::Duration;

/// A place, all of whose programs use the server's bucket.
fn place() -> (Place, S3Server) {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    place.add_environment(server.environment());
    place.add_environment(vec![("ESPALIER_BUCKET".to_owned(), server.url("team/a"))]);
    (place, server)
}

fn refuse(
    method: &'static str,
    part: &'static str,
    status: u16,
    code: &'static str,
    times: u32,
) -> FaultPlan {
    FaultPlan { refuse: vec![Refusal { method, part, status, code, times }], ..FaultPlan::default() }
}

/// So many bytes that say nothing.
fn noise(bytes: u32) -> Bytes {
    (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn with_bucket(test: impl AsyncFnOnce(&S3Server, Bucket)) {
    let server = S3Server::start(Creates::Atomic);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(&server, server.bucket("p")));
}

#[test]
fn an_upload_whose_last_answer_is_lost_is_known_by_what_lies_there() {
    with_bucket(async |server, bucket| {
        let folder = tempfile::tempdir().unwrap();
        let (body, file) = (noise(40 << 20), folder.path().join("file"));
        std::fs::write(&file, &body).unwrap();
        let lost = || FaultPlan {
            drop_answer_after_upload: 1,
            ..refuse("POST", "uploadId=", 404, "NoSuchUpload", 1)
        };
        for (name, from_file) in [("memory", false), ("file", true)] {
            let path = Path::from(name);
            server.faults().plan(lost());
            match from_file {
                false => bucket.put(&path, body.clone()).await.unwrap(),
                true => bucket.put_file(&path, &file).await.unwrap(),
            }
            assert!(bucket.read(&path).await.unwrap().unwrap() == body, "{name}: the body is another");
        }
        assert_eq!((server.faults().happened().unanswered, server.faults().happened().refused), (2, 2));
        // What lies there is another body of the same size: the parts are sent again.
        let (path, other) = (Path::from("memory"), noise(40 << 20).iter().map(|b| !b).collect::<Bytes>());
        let before = server.faults().happened().writes;
        server.faults().plan(refuse("POST", "uploadId=", 404, "NoSuchUpload", 1));
        bucket.put(&path, other.clone()).await.unwrap();
        assert_eq!(server.faults().happened().writes - before, 6);
        assert!(bucket.read(&path).await.unwrap().unwrap() == other);
        // Refused for good it stays refused.
        server.faults().plan(refuse("POST", "uploadId=", 403, "AccessDenied", u32::MAX));
        let error = bucket.put(&path, body).await.unwrap_err();
        assert!(format!("{error:?}").contains("AccessDenied"), "{error:?}");
    });
}

#[test]
fn lists_and_bodies_that_break_off_are_asked_for_again_also_without_tags() {
    with_bucket(async |server, bucket| {
        let body = noise(1 << 20);
        for name in ["a/x", "a/y", "b/z"] {
            bucket.put(&Path::from(name), body.clone()).await.unwrap();
        }
        for no_tags in [false, true] {
            let cut = || server.faults().plan(FaultPlan { cut_body: 2, no_tags, ..FaultPlan::default() });
            cut();
            assert_eq!(bucket.list(&Path::from("a")).await.unwrap(), [Path::from("a/x"), Path::from("a/y")]);
            cut();
            assert_eq!(bucket.folders(&Path::default()).await.unwrap(), ["a", "b"]);
            cut();
            assert!(bucket.read(&Path::from("a/x")).await.unwrap().unwrap() == body);
        }
        assert_eq!(server.faults().happened().cut, 12);
    });
}

#[test]
fn of_a_bucket_that_is_not_there_nothing_is_absent() {
    with_bucket(async |server, bucket| {
        let path = Path::from("a");
        assert_eq!(bucket.read(&path).await.unwrap(), None);
        server.faults().plan(refuse("", "", 404, "NoSuchBucket", u32::MAX));
        let error = bucket.read(&path).await.unwrap_err();
        assert!(format!("{error:?}").contains("NoSuchBucket"), "{error:?}");
    });
}

#[test]
fn no_false_answer_makes_a_coordinator_forget_a_sweep() {
    let (place, server) = place();
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    let log = || std::fs::read_to_string(place.at("coordinator.log")).unwrap();
    // Whoever asks for its log is told that it is not there.
    server.faults().plan(refuse("HEAD", "sweeps/s/log/", 404, "NoSuchBucket", 1));
    until("it was told so", || server.faults().happened().refused == 1);
    // Everything is answered so for a while.
    server.faults().plan(refuse("", "", 404, "NoSuchBucket", u32::MAX));
    until("it has looked", || log().contains("the sweep's log cannot be read"));
    server.faults().plan(FaultPlan::default());
    assert!(!log().contains("removed from the bucket"), "{}", log());
    assert_eq!(cluster.json(&["list"])[0]["state"], "waiting");
    let _worker = cluster.worker("w");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    // One that is removed indeed is let go.
    place.ends(&["rm", "s", "--yes", "--force"], 0, &["removed"]);
    until("it is let go", || cluster.json(&["list"]).as_array().unwrap().is_empty());
}

#[test]
fn a_report_and_exports_that_fail_are_told_and_tried_again_and_watch_waits_for_the_report() {
    let (place, server) = place();
    place.replace("s.yaml", "name: s\n", "name: s\ncheckpoints: dense\n");
    place.replace("s.yaml", "[0.5]", "[0.4, 0.5]");
    let cluster = Cluster::start(&place, &[]);
    let report = server.files("team/a/sweeps/s/report/index.html");
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let spec = files(&server.files("team/a/sweeps/s/specs"), "json").remove(0);
    let spec: serde_json::Value = serde_json::from_slice(&std::fs::read(spec).unwrap()).unwrap();
    let pruned = spec["variants"].as_array().unwrap().last().unwrap()["key"].as_str().unwrap();
    let export: &str = format!("exports/{pruned}").leak();
    let denied = |part| Refusal { method: "PUT", part, status: 403, code: "AccessDenied", times: u32::MAX };
    let deny = |refuse| server.faults().plan(FaultPlan { refuse, ..FaultPlan::default() });
    deny(vec![denied("sweeps/s/report/"), denied(export)]);
    let _worker = cluster.worker("w");
    let unfinished = || cluster.json(&["list"])[0]["unfinished"].as_str().unwrap_or_default().to_owned();
    until("the report has failed", || {
        unfinished().contains("its report is not written yet: bucket: writing sweeps/s/report/")
    });
    assert!(!report.exists());
    assert_eq!(cluster.json(&["list"])[0]["reported"], false);
    cluster.ends(
        &["status", "s"],
        0,
        &["s: its report is not written yet", "AccessDenied", "it is tried again"],
    );
    deny(vec![denied(export)]);
    let waits = ["6 of 6 cells done", "that it asks for its checkpoints is done yet", "it is tried again"];
    cluster.ends(&["watch", "s"], 0, &waits);
    assert!(report.exists(), "watch ended before its report was there");
    // One of two exports failed, and kept the other from nothing.
    until("an export has failed", || {
        unfinished().contains("not all that it asks for its checkpoints is done yet")
    });
    let exports = || {
        files(&server.files("team/a/exports"), "json").iter().filter(|p| p.ends_with("espalier.json")).count()
    };
    assert_eq!(exports(), 1);
    deny(Vec::new());
    until("all is done", || unfinished().is_empty());
    assert_eq!(exports(), 2);
    assert_eq!(cluster.json(&["list"])[0]["reported"], true);
}

#[test]
fn a_prefix_is_the_key_as_it_is_written_for_who_writes_and_who_reads() {
    let (mut place, server) = place();
    let prefix = "größe x/é%20~";
    place.add_environment(vec![("ESPALIER_BUCKET".to_owned(), server.url("meine é/a"))]);
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    assert!(server.files("meine é/a/sweeps/s/report/index.html").exists());
    let to = server.url(prefix);
    place.ends(&["export", "wanda-0.5-s0", "--to", &to], 0, &[&format!("is in {to}")]);
    assert!(server.files(prefix).join("config.json").exists());
    place.replace("s.yaml", "[./model]", &format!("[{{id: half, source: \"{to}\"}}]"));
    let mut plan = place.command(&["plan", "s.yaml", "--gflops", "1"]);
    let output = plan.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn what_a_user_asks_for_is_written_after_what_was_decided_before_it_and_holds_over_a_restart() {
    let late = |server: &S3Server, part| {
        let late = vec![Late { method: "PUT", part, times: 1, by: Duration::from_secs(10) }];
        server.faults().plan(FaultPlan { late, ..FaultPlan::default() });
    };
    let failed = |cluster: &Cluster<'_>| cluster.json(&["list"])[0]["failed"].as_u64().unwrap();
    let dies = [("ESPALIER_TEST_FAULTS", "die=wanda")];
    for ask in [&["retry", "s"][..], &["submit", "s.yaml"]] {
        let (place, server) = place();
        place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1}\n");
        let mut cluster = Cluster::start(&place, &[]);
        late(&server, "sweeps/s/log/00000002");
        cluster.ends(&["submit", "s.yaml"], 0, &[]);
        let mut worker = cluster.worker_with("w", &dies);
        until("it is given up", || failed(&cluster) == 2);
        worker.kill();
        cluster.ends(ask, 0, &[]);
        let entries = || files(&server.files("team/a/sweeps/s/log"), "json").len();
        until("all is written", || entries() == 3);
        cluster.restart();
        assert_eq!(failed(&cluster), 0, "{ask:?}");
    }
    // What is decided while that is being written comes before it too.
    let (place, server) = place();
    place.replace("s.yaml", "name: s\n", "name: s\nlimits: {attempts: 1, max_failed_cells: 100}\n");
    place.replace("s.yaml", "[0.5]", "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]");
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let mut worker = cluster.worker_with("w", &dies);
    until("one is given up", || failed(&cluster) > 0);
    worker.signal(libc::SIGSTOP);
    let entries = || files(&server.files("team/a/sweeps/s/log"), "json").len() as u64;
    until("the log says so", || entries() == 1 + failed(&cluster) / 2);
    late(&server, "sweeps/s/log/");
    let mut command = place.command(&["retry", "s"]);
    command.env("ESPALIER_COORDINATOR", &cluster.url);
    let mut retry = spawned(&place, "retry", command);
    until("it is being written", || server.faults().happened().late == 1);
    let before = failed(&cluster);
    worker.signal(libc::SIGCONT);
    until("another is given up", || failed(&cluster) > before);
    worker.kill();
    assert!(retry.0.wait().unwrap().success(), "{}", cluster.log("retry"));
    assert_eq!(failed(&cluster), 0);
    until("all is written", || entries() >= 2 + before / 2 + 2);
    cluster.restart();
    assert_eq!(failed(&cluster), 0);
}
