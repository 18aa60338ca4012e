//! When a worker leaves unasked, and what its exit code says: the built worker against a small coordinator.

#[expect(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use espalier_proto::inputs::Inputs;
use harness::{World, dense, golden, windows};
use std::process::Stdio;

const VOCAB: u32 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_work_leaves_after_idle_exit_and_only_then() {
    let (world, model) = (World::new().await, golden("families/phi"));
    let ppl = world.put(&Inputs::Perplexity(windows(400, 24, VOCAB))).await;
    let cells = world.order("test-1-1", &dense(&model), &model, &[ppl]);
    let mut worker = world.worker_with(&[("ESPALIER_IDLE_EXIT", "0.5")], Stdio::inherit());
    assert_eq!(worker.ended().await.code(), Some(0));
    assert!(world.cell(cells[0]).await.is_some(), "it left with work to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_not_idle_while_work_is_held_back() {
    let world = World::new().await;
    world.state.lock().unwrap().held_back = true;
    let mut worker = world.worker_with(&[("ESPALIER_IDLE_EXIT", "0.5")], Stdio::inherit());
    world.until("it calls", |_| true).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let calls = world.state.lock().unwrap().calls;
    world.state.lock().unwrap().held_back = false;
    assert_eq!(worker.ended().await.code(), Some(0));
    assert!(world.state.lock().unwrap().calls > calls, "it was there until nothing was held back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_time_is_over_finishes_its_cell_and_says_that_work_is_left() {
    let (world, model) = (World::new().await, golden("families/llama"));
    let long = world.put(&Inputs::Perplexity(windows(300, 24, VOCAB))).await;
    let short = world.put(&Inputs::Perplexity(windows(2, 8, VOCAB))).await;
    let cells = world.order("test-1-1", &dense(&model), &model, &[long, short]);
    // The time starts when the worker is ready, and the first cell takes longer than this.
    let slow = [("ESPALIER_TIME_LIMIT", "5"), ("ESPALIER_TEST_FAULTS", "slow=250")];
    let mut worker = world.worker_with(&slow, Stdio::inherit());
    world.until("a cell begins", |r| r.shards.iter().any(|s| !s.cells_begun.is_empty())).await;
    assert_eq!(worker.ended().await.code(), Some(8));
    assert!(world.cell(cells[0]).await.is_some(), "the begun cell is in the bucket");
    assert!(world.cell(cells[1]).await.is_none(), "no other was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_nobody_answers_leaves_after_orphan_timeout() {
    let world = World::new().await;
    let mut worker = world.worker_with(&[("ESPALIER_ORPHAN_TIMEOUT", "1")], Stdio::inherit());
    world.until("it calls", |_| true).await;
    world.silence();
    assert_eq!(worker.ended().await.code(), Some(6));
}
