//! A store that does not answer: who says so, and that nobody's end waits for it.

use espalier_tests::cluster::{Cluster, spawned, until};
use espalier_tests::faults::FaultPlan;
use espalier_tests::s3_server::{Creates, S3Server};
use espalier_tests::sweeps::Place;
use std::time::{Duration, Instant};

#[test]
fn a_worker_that_cannot_reach_its_store_says_so_goes_on_calling_and_leaves_when_it_is_told_to() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    server.holds(&mut place);
    let cluster = Cluster::start(&place, &[]);
    let dead = ("AWS_ENDPOINT", "http://127.0.0.1:1");
    let said = |name: &str| cluster.log(name).contains("the bucket cannot be reached; it is tried again");
    let mut worker = cluster.worker_with("w", &[dead]);
    let (mut timed, mut given_up) = (
        cluster.worker_with("timed", &[dead, ("ESPALIER_TIME_LIMIT", "6")]),
        cluster.worker_with("given-up", &[dead, ("ESPALIER_BUCKET_TIMEOUT", "6")]),
    );
    let began = Instant::now();
    until("it says so", || said("w"));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for words in [" WARN ", "127.0.0.1:1", "look at this worker's AWS_ENDPOINT_URL"] {
        assert!(cluster.log("w").contains(words), "{words}: {}", cluster.log("w"));
    }
    // One that has nothing is given nothing, and is not missed either.
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    let states = || -> Vec<String> {
        let status = cluster.json(&["status"]);
        let workers = status["workers"].as_array().unwrap().iter();
        workers.map(|worker| worker["state"].as_str().unwrap().to_owned()).collect()
    };
    until("it is seen", || states().contains(&"draining".to_owned()));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        assert!(worker.0.try_wait().unwrap().is_none(), "{}", cluster.log("w"));
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(given_up.0.wait().unwrap().code(), Some(5), "{}", cluster.log("given-up"));
    let log = cluster.log("given-up");
    assert!(
        log.contains("error: bucket: reading coordinators/main/") && log.contains("127.0.0.1:1"),
        "{log}"
    );
    assert_eq!(timed.0.wait().unwrap().code(), Some(8), "{}", cluster.log("timed"));
    let began = Instant::now();
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(8), "{}", cluster.log("w"));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    for noise in ["backing off", "18446744073709551615", "coordinator is silent"] {
        assert!(!cluster.log("w").contains(noise), "{noise}: {}", cluster.log("w"));
    }
    let _well = cluster.worker("well");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
}

#[test]
fn a_worker_whose_store_went_away_leaves_within_seconds_where_nothing_is_lost_by_it() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    server.holds(&mut place);
    let cluster = Cluster::start(&place, &[]);
    let mut worker = cluster.worker("w");
    until("it has its bucket", || cluster.log("w").contains("bucket is shared"));
    // It hears of its shard once the store is away.
    worker.signal(libc::SIGSTOP);
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    server.faults().plan(FaultPlan { fail_every: 1, ..FaultPlan::default() });
    worker.signal(libc::SIGCONT);
    until("it reads what it needs", || cluster.log("w").contains("shard begun"));
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(8), "{}", cluster.log("w"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    server.faults().plan(FaultPlan::default());
    let _well = cluster.worker("well");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
}

#[test]
fn a_store_that_does_not_answer_is_told_in_a_line_and_keeps_no_coordinator_from_its_end() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    server.holds(&mut place);
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    let trouble = || cluster.json(&["status"])["trouble"].as_array().unwrap().clone();
    assert_eq!(trouble().len(), 0);
    // Every request is refused, and tried again for minutes.
    server.faults().plan(FaultPlan { fail_every: 1, ..FaultPlan::default() });
    let began = Instant::now();
    until("it is told", || !trouble().is_empty());
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    cluster.ends(&["status"], 0, &["bucket: the bucket has not answered for "]);
    let watch = spawned(&place, "watch", {
        let mut command = place.command(&["watch", "s"]);
        command.env("ESPALIER_COORDINATOR", &cluster.url);
        command
    });
    until("who watches is told", || {
        cluster.log("watch").contains("bucket: the bucket has not answered for ")
    });
    drop(watch);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(trouble().len(), 1, "{:?}", trouble());
    assert_eq!(cluster.log("coordinator").matches("the bucket has not answered").count(), 1);
    server.faults().plan(FaultPlan::default());
    until("all is well", || trouble().is_empty());

    // It takes requests, and never answers.
    server.faults().plan(FaultPlan { delay: Duration::from_secs(3600), ..FaultPlan::default() });
    let began = Instant::now();
    cluster.coordinator.signal(libc::SIGTERM);
    assert_eq!(cluster.coordinator.0.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let log = cluster.log("coordinator");
    for said in
        ["SIGTERM: what is being written", "the end of this coordinator could not be written", "ended; "]
    {
        assert!(log.contains(said), "{said}: {log}");
    }

    server.faults().plan(FaultPlan::default());
    cluster.restart();
    until("it serves", || cluster.espalier(&["list"]).status.success());
    server.faults().plan(FaultPlan { delay: Duration::from_secs(3600), ..FaultPlan::default() });
    let began = Instant::now();
    cluster.coordinator.signal(libc::SIGTERM);
    until("it says so", || cluster.log("coordinator").matches("SIGTERM: what").count() == 2);
    cluster.coordinator.signal(libc::SIGINT);
    assert_eq!(cluster.coordinator.0.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(cluster.log("coordinator").contains("told again: "), "{}", cluster.log("coordinator"));
}
