//! Workers that start: ready, unable to, or waiting.

use espalier_tests::cluster::{Cluster, spawned, until, worker_command};
use espalier_tests::guarded::guarded;
use espalier_tests::scrape::get;
use espalier_tests::sweeps::Place;
use std::time::{Duration, Instant};

#[test]
fn an_idle_worker_is_ready_once_its_coordinator_has_accepted_it() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker_with("w", &[("ESPALIER_HTTP", "127.0.0.1:0")]);
    let at = || {
        Some(
            cluster
                .log("w")
                .split("answers probes and scrapers on ")
                .nth(1)?
                .split_whitespace()
                .next()?
                .to_owned(),
        )
    };
    until("it answers probes", || at().is_some());
    let (ready, began) = (format!("{}/readyz", at().unwrap()), Instant::now());
    until("it is ready", || get(&ready).0 == 200);
    // Its next call is held for 25 s.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_worker_whose_cache_cannot_be_written_ends_at_once_and_says_so() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    place.write("file", "");
    let cache = place.at("file/cache").display().to_string();
    let mut worker = cluster.worker_with("w", &[("ESPALIER_CACHE", &cache)]);
    assert_eq!(worker.0.wait().unwrap().code(), Some(7));
    let log = cluster.log("w");
    assert!(
        log.contains(&format!(
            "error: --cache cannot be used, expected a folder that can be written: {cache} cannot be written"
        )),
        "{log}"
    );
}

#[test]
fn a_worker_that_was_told_plaintext_for_tls_or_tls_for_plaintext_ends_at_once_and_says_so() {
    let place = Place::new("phi-nobos");
    let guarded = guarded(&place, &[]);
    let open = Cluster::start(&place, &["--instance", "open"]);
    let told = [
        (guarded.url.replace("https://", "http://"), "its address begins with https://"),
        (open.url.replace("http://", "https://"), "its address begins with http://"),
    ];
    for (n, (address, says)) in told.iter().enumerate() {
        let name = format!("w{n}");
        let mut worker = spawned(&place, &name, worker_command(&place, &name, address));
        assert_eq!(worker.0.wait().unwrap().code(), Some(3));
        let log = std::fs::read_to_string(place.at(&format!("{name}.log"))).unwrap();
        assert!(
            log.contains(&format!("error: {address}: what listens there")) && log.contains(says),
            "{log}"
        );
    }
}

#[test]
fn a_worker_waits_for_a_name_that_is_not_known_yet_and_says_which() {
    let place = Place::new("phi-nobos");
    let command = worker_command(&place, "w", "http://no-such-host.invalid:7420");
    let mut worker = spawned(&place, "w", command);
    let log = || std::fs::read_to_string(place.at("w.log")).unwrap();
    until("it says so", || {
        log().matches("the name no-such-host.invalid is not known on this machine").count() >= 2
    });
    assert!(worker.0.try_wait().unwrap().is_none(), "{}", log());
}
