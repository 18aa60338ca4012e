//! The driver and its service, told call by call.

use crate::harness::{Wire, bucket, commit_cell, commit_variant, report, sweep};
use espalier::records::present;
use espalier::schedule::{Event, Millis, Timing};
use espalier::serve::driver::{self, Handle};
use espalier::serve::grid::{self, Catalog, Costs};
use espalier::serve::{Status, epoch, log, worker_api};
use espalier_proto::bucket::Bucket;
use espalier_proto::messages as m;
use espalier_proto::sweep::ResolvedSweep;
use std::sync::Arc;
use std::time::Duration;

const TIMING: Timing =
    Timing { lease: Millis(4_000), busy: Millis(50), hold: Millis(25_000), reconcile: Millis(0) };

/// A driver with its service, its sweep not submitted yet.
async fn start(bucket: &Bucket, sweep: &ResolvedSweep) -> (Handle, String) {
    let epoch = epoch::take(bucket, &sweep.name.local_instance()).await.unwrap();
    log::submit(bucket, &epoch, sweep, None, false).await.unwrap();
    let driver = driver::start(bucket.clone(), epoch, TIMING, Catalog::new(sweep));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(worker_api::serve(listener, driver.clone(), std::future::pending()));
    (driver, url)
}

async fn submit(bucket: &Bucket, sweep: &ResolvedSweep, driver: &Handle) {
    let there = present(bucket, sweep, false).await.unwrap();
    let costs = Costs::read(bucket, sweep).await.unwrap();
    driver.tell(Event::Submit(Box::new(grid::submission(sweep, &there, &costs, None, Default::default()))));
}

/// Waits until the status is as asked.
async fn until(driver: &Handle, what: &str, holds: impl FnMut(&Arc<Status>) -> bool) -> Arc<Status> {
    let mut status = driver.status();
    let waited = tokio::time::timeout(Duration::from_secs(20), status.wait_for(holds)).await;
    waited.unwrap_or_else(|_| panic!("waited in vain until {what}")).unwrap().clone()
}

/// A worker whose first call was answered at once: its next one may be held.
async fn greeted(url: &str, name: &str) -> Wire {
    let mut wire = Wire::connect(url, name).await;
    let answer = wire.sync(Vec::new()).await.unwrap();
    assert!(answer.shards.is_empty(), "{answer:?}");
    wire
}

#[tokio::test]
async fn an_idle_call_is_held_and_answered_at_once_when_there_is_work() {
    let (_folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 2).await;
    let (driver, url) = start(&bucket, &sweep).await;
    let mut wire = greeted(&url, "w1").await;
    let call = tokio::spawn(async move { wire.sync(Vec::new()).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!call.is_finished());
    submit(&bucket, &sweep, &driver).await;
    let answer = call.await.unwrap().unwrap();
    let [order] = &answer.shards[..] else { panic!("{answer:?}") };
    assert_eq!((order.attempt.as_str(), order.cells.len()), ("run.demo-1-1", 2));
    assert_eq!((order.model_folder.as_str(), answer.bucket_url.as_str()), ("/m", bucket.url()));
    let probe = espalier_proto::layout::probe(&sweep.name.local_instance(), 1);
    assert_eq!(bucket.read(&probe).await.unwrap().unwrap(), answer.probe_nonce.as_bytes());
}

#[tokio::test]
async fn a_call_that_is_given_up_takes_nothing_with_it() {
    let (_folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 1).await;
    let (driver, url) = start(&bucket, &sweep).await;
    let mut wire = greeted(&url, "w1").await;
    // Given up while it is held: the answer never arrives.
    let held = tokio::time::timeout(Duration::from_millis(200), wire.sync(Vec::new())).await;
    assert!(held.is_err());
    submit(&bucket, &sweep, &driver).await;
    let first = wire.sync(Vec::new()).await.unwrap();
    // As if that answer had been lost on its way.
    let second = wire.sync(Vec::new()).await.unwrap();
    assert_eq!(first.shards, second.shards);
}

#[tokio::test]
async fn a_silent_workers_shard_goes_to_another_and_comes_back_to_the_one_further_on() {
    let (_folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 2).await;
    let (driver, url) = start(&bucket, &sweep).await;
    submit(&bucket, &sweep, &driver).await;
    let mut first = Wire::connect(&url, "w1").await;
    let order = first.sync(Vec::new()).await.unwrap().shards.remove(0);
    first.sync(vec![report(&order, m::Phase::Pruning)]).await.unwrap();
    let mut second = greeted(&url, "w2").await;
    let other = second.sync(Vec::new()).await.unwrap().shards.remove(0);
    assert_eq!(other.attempt, "run.demo-1-2");
    // The first is back, its checkpoint in the bucket: it goes on, and the second is stopped.
    let mut further = report(&order, m::Phase::Evaluating);
    further.variant_done = true;
    further.cells_begun = vec![order.cells[0].cell_key.clone()];
    let answer = first.sync(vec![further]).await.unwrap();
    assert_eq!(answer.shards[0].attempt, order.attempt);
    let answer = second.sync(vec![report(&other, m::Phase::Pruning)]).await.unwrap();
    assert!(answer.shards.iter().all(|o| o.attempt != other.attempt), "{answer:?}");
}

#[tokio::test]
async fn what_a_lost_worker_had_committed_is_found_and_not_run_again() {
    let (_folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 2).await;
    let (driver, url) = start(&bucket, &sweep).await;
    submit(&bucket, &sweep, &driver).await;
    let mut wire = Wire::connect(&url, "w1").await;
    let order = wire.sync(Vec::new()).await.unwrap().shards.remove(0);
    wire.sync(vec![report(&order, m::Phase::Pruning)]).await.unwrap();
    // Between the records and the next call the worker dies.
    commit_variant(&bucket, &sweep.variants[0].spec, &order.attempt).await;
    for cell in &sweep.cells {
        commit_cell(&bucket, cell.variant, cell.inputs, &order.attempt).await;
    }
    let status = until(&driver, "the sweep is over", |s| s.over()).await;
    assert_eq!(status.view.sweeps[&sweep.name].done, 2);
}

#[tokio::test]
async fn a_cell_that_fails_for_good_is_in_the_log_with_its_reason_and_the_rest_finishes() {
    let (_folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 2).await;
    let (driver, url) = start(&bucket, &sweep).await;
    submit(&bucket, &sweep, &driver).await;
    let mut wire = Wire::connect(&url, "w1").await;
    let order = wire.sync(Vec::new()).await.unwrap().shards.remove(0);
    let mut state = report(&order, m::Phase::Evaluating);
    state.variant_done = true;
    state.cells_done = vec![order.cells[1].cell_key.clone()];
    state.failures = vec![m::Failure {
        key: order.cells[0].cell_key.clone(),
        kind: m::FailureKind::CellError.into(),
        code: "bad_inputs".into(),
        message: "as told".into(),
    }];
    wire.sync(vec![state]).await.unwrap();
    until(&driver, "the sweep is over", |s| s.over()).await;
    assert_eq!(driver.stop(Duration::from_secs(60)).await, 0);
    let key = order.cells[0].cell_key.parse().unwrap();
    assert!(log::read(&bucket, &sweep.name).await.unwrap().given_up.contains_key(&key));
    let failures = espalier::records::failures(&bucket, [key]).await.unwrap();
    assert_eq!((failures[&key].len(), failures[&key][0].message.as_str()), (1, "as told"));
}

#[tokio::test]
async fn a_newer_epoch_heard_of_by_a_worker_is_known_at_once() {
    let (_folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 1).await;
    let (driver, url) = start(&bucket, &sweep).await;
    epoch::take(&bucket, &sweep.name.local_instance()).await.unwrap();
    let mut wire = Wire::connect(&url, "w1").await;
    let call = tokio::spawn(async move { wire.sync_at(Vec::new(), 2).await });
    until(&driver, "it is superseded", |s| s.superseded).await;
    call.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_message_that_is_not_of_the_protocol_is_refused_by_field() {
    let (_folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 1).await;
    let (_driver, url) = start(&bucket, &sweep).await;
    let mut wire = Wire::connect(&url, "w1").await;
    let shard = m::ShardReport { attempt: "x".into(), phase: m::Phase::Loading.into(), ..Default::default() };
    let error = wire.sync(vec![shard]).await.unwrap_err();
    assert!(error.code() == tonic::Code::InvalidArgument && error.message().contains("shards."), "{error}");
}

#[tokio::test]
async fn a_worker_that_has_heard_of_a_later_epoch_of_another_bucket_ends_nobody() {
    let (_folder, bucket) = bucket();
    let sweep = sweep(&bucket, 1, 2).await;
    let (driver, url) = start(&bucket, &sweep).await;
    submit(&bucket, &sweep, &driver).await;
    let mut wire = Wire::connect(&url, "w1").await;
    let answer = wire.sync_at(Vec::new(), 7).await.unwrap();
    assert_eq!((answer.epoch, answer.shards.len()), (1, 1));
    assert!(!driver.status().borrow().superseded);
}
