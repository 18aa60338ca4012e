//! The built worker against a small coordinator: one process talks gRPC to another over a real socket.

#[expect(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use espalier_proto::checkpoint::{Compact, FILE_NAME, dense_weights};
use espalier_proto::inputs::Inputs;
use espalier_proto::messages::{FailureKind, Phase};
use espalier_proto::records::{FailureRecord, Outcome};
use espalier_proto::{keys, layout};
use harness::{World, choices, dense, golden, wanda, windows, worker_binary};

const VOCAB: u32 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn shards_of_one_model_leave_variants_and_cells_and_are_found_done_the_second_time() {
    let (world, model) = (World::new().await, golden("families/llama"));
    let calibration = world.put(&Inputs::Calibration(windows(4, 16, VOCAB))).await;
    let ppl = world.put(&Inputs::Perplexity(windows(3, 16, VOCAB))).await;
    let task = world.put(&Inputs::Choices(choices(9, 4, VOCAB, true))).await;
    let (dense, pruned) = (dense(&model), wanda(&model, 0.5, calibration));
    let cells = [
        world.order("test-1-1", &dense, &model, &[ppl, task]),
        world.order("test-1-2", &pruned, &model, &[ppl, task]),
    ];
    let mut worker = world.worker();
    let finished = |n| {
        move |r: &espalier_proto::messages::SyncRequest| {
            r.shards.len() == n && r.shards.iter().all(|s| s.phase() == Phase::Finished)
        }
    };
    world.until("both shards end", finished(2)).await;

    let record = world.variant(keys::variant_key(&pruned)).await.unwrap();
    let path = layout::variant_blob(record.key, &record.attempt, FILE_NAME);
    let compact =
        Compact::verified(&world.bucket.read(&path).await.unwrap().unwrap(), record.weights).unwrap();
    assert_eq!(compact.masks.len(), pruned.targets.len());
    for (linear, mask) in &compact.masks {
        // Wanda prunes floor(columns / 2) of each row.
        let expected = (mask.rows() * (mask.columns() / 2)) as u64;
        assert_eq!((mask.pruned(), record.linears[linear].zeros), (expected, expected), "{linear}");
    }
    let base = world.variant(keys::variant_key(&dense)).await.unwrap();
    assert_eq!((base.weights, base.blobs.len()), (dense_weights(dense.model), 0));
    let mut nll = Vec::new();
    for (cells, weights) in cells.iter().zip([base.weights, record.weights]) {
        let (ppl, task) = (world.cell(cells[0]).await.unwrap(), world.cell(cells[1]).await.unwrap());
        assert_eq!((ppl.weights, task.weights), (weights, weights));
        let Outcome::Perplexity { windows: 3, tokens: 45, window_nll, .. } = ppl.outcome else {
            panic!("{ppl:?}")
        };
        assert!(window_nll.iter().all(|x| x.is_finite() && *x > 0.0), "{window_nll:?}");
        nll.push(window_nll);
        let Outcome::Choices { items: 9, confusion, .. } = task.outcome else { panic!("{task:?}") };
        assert_eq!(confusion.iter().flatten().sum::<u64>(), 9);
        for blob in &task.blobs {
            let blob_path = layout::cell_blob(task.key, &task.attempt, &blob.name);
            assert_eq!(world.bucket.read(&blob_path).await.unwrap().unwrap().len() as u64, blob.size);
        }
        assert!(
            task.measured.seconds["evaluate"] > 0.0 && task.measured.rss_mib > 1.0,
            "{:?}",
            task.measured
        );
    }
    assert_ne!(nll[0], nll[1], "pruning changes the numbers");

    // Without the cells' records, but with the variants': the compact checkpoint is read back and gives the same bits.
    let before = world.cell(cells[1][0]).await.unwrap();
    world.bucket.delete(&layout::cell_record(cells[1][0])).await.unwrap();
    world.state.lock().unwrap().orders.clear();
    world.until("shards are let go", |r| r.shards.is_empty()).await;
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.ended().await.code(), Some(8), "left on a signal");
    world.order("test-1-3", &pruned, &model, &[ppl, task]);
    let _second = world.worker();
    world.until("the shard ends again", finished(1)).await;
    let after = world.cell(cells[1][0]).await.unwrap();
    assert_eq!(after.outcome, before.outcome, "bit by bit");
    assert_eq!(after.attempt.to_string(), "test-1-3");
    assert_eq!(world.cell(cells[1][1]).await.unwrap().attempt.to_string(), "test-1-2", "found done");
    assert_eq!(world.variant(record.key).await.unwrap(), record);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_coordinator_stops_nothing() {
    let (world, model) = (World::new().await, golden("families/phi"));
    let mut inputs = Vec::new();
    for n in 2..8 {
        inputs.push(world.put(&Inputs::Perplexity(windows(n, 16, VOCAB))).await);
    }
    let cells = world.order("test-1-1", &dense(&model), &model, &inputs);
    let slow = [("ESPALIER_TEST_FAULTS", "slow=200")];
    let _worker = world.worker_with(&slow, std::process::Stdio::inherit());
    world.until("the shard is held", |r| r.shards.len() == 1).await;
    world.silence();
    let start = std::time::Instant::now();
    while world.cell(*cells.last().unwrap()).await.is_none() {
        assert!(start.elapsed() < harness::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_fails_is_told_and_recorded_and_its_siblings_go_on() {
    let (world, model) = (World::new().await, golden("families/phi3"));
    let bad = world.put(&Inputs::Perplexity(windows(2, 8, 1_000_000))).await;
    let good = world.put(&Inputs::Perplexity(windows(2, 8, VOCAB))).await;
    let cells = world.order("test-1-1", &dense(&model), &model, &[bad, good]);
    let _worker = world.worker();
    world.until("the shard ends", |r| r.shards.iter().any(|s| s.phase() == Phase::Finished)).await;
    let report = world.state.lock().unwrap().last.clone().unwrap().shards.remove(0);
    assert_eq!(report.cells_done, [cells[1].to_string()]);
    let failure = &report.failures[0];
    assert_eq!((failure.key.clone(), failure.code.as_str()), (cells[0].to_string(), "bad_inputs"));
    assert_eq!(failure.kind(), FailureKind::CellError);
    assert!(failure.message.contains("vocabulary"), "{}", failure.message);
    let path = layout::failure(cells[0].0, &"test-1-1".parse().unwrap());
    let record: FailureRecord = world.bucket.read_json(&path).await.unwrap().unwrap();
    assert_eq!(record.message, failure.message);
    assert!(world.cell(cells[1]).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_model_is_refused_by_its_digest() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("families/llama").join(file), folder.path().join(file)).unwrap();
    }
    let spec = dense(folder.path());
    let config = folder.path().join("config.json");
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + "\n").unwrap();
    let ppl = world.put(&Inputs::Perplexity(windows(2, 8, VOCAB))).await;
    world.order("test-1-1", &spec, folder.path(), &[ppl]);
    let _worker = world.worker();
    world.until("the variant fails", |r| r.shards.iter().any(|s| !s.failures.is_empty())).await;
    let report = world.state.lock().unwrap().last.clone().unwrap().shards.remove(0);
    assert_eq!(
        (report.failures[0].key.clone(), report.failures[0].code.as_str()),
        (report.variant_key, "model_changed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_share_the_bucket_refuses_to_work_and_asks_for_none_before_it_has_looked() {
    let world = World::with_nonce("another").await;
    let status = world.worker().ended().await;
    assert_eq!(status.code(), Some(7));
    let last = world.state.lock().unwrap().last.clone().unwrap();
    assert!(last.draining, "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_compute_child_outlives_a_killed_supervisor() {
    let world = World::new().await;
    let mut worker = world.worker();
    world.until("the worker calls", |_| true).await;
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", worker.0.id())).unwrap();
    let child: u32 = children.split_whitespace().next().expect("a compute child").parse().unwrap();
    worker.signal(libc::SIGKILL);
    worker.ended().await;
    let start = std::time::Instant::now();
    let alive = || std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|s| !s.contains(") Z"));
    while alive() {
        assert!(start.elapsed().as_secs() < 20, "compute child {child} lives on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_the_cell_that_has_begun_and_gives_the_rest_back() {
    let (world, model) = (World::new().await, golden("families/llama"));
    // Long enough to be caught in the middle.
    let long = world.put(&Inputs::Perplexity(windows(300, 24, VOCAB))).await;
    let short = world.put(&Inputs::Perplexity(windows(2, 8, VOCAB))).await;
    let cells = world.order("test-1-1", &dense(&model), &model, &[long, short]);
    world.order("test-1-2", &dense(&golden("families/phi")), &golden("families/phi"), &[short]);
    let mut worker =
        world.worker_with(&[("ESPALIER_TEST_FAULTS", "slow=150")], std::process::Stdio::inherit());
    world.until("a cell begins", |r| r.shards.iter().any(|s| !s.cells_begun.is_empty())).await;
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.ended().await.code(), Some(8), "left on a signal");
    assert!(world.cell(cells[0]).await.is_some(), "the begun cell is in the bucket");
    assert!(world.cell(cells[1]).await.is_none(), "no other was begun");
    let last = world.state.lock().unwrap().last.clone().unwrap();
    assert!(last.draining);
    let preempted = |s: &espalier_proto::messages::ShardReport| {
        s.failures.iter().any(|f| f.kind() == FailureKind::Preempted)
    };
    assert_eq!(last.shards.iter().filter(|s| preempted(s)).count(), 2, "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_memory_is_a_typed_failure_and_the_worker_stays_healthy() {
    let (world, model) = (World::new().await, golden("families/phi"));
    // A mask of a byte for each pair of 2,000,000 tokens: 4 TB.
    let mut huge = choices(1, 2, VOCAB, true);
    huge.rows[0].context = harness::ids(1, 2_000_000, VOCAB);
    let huge = world.put(&Inputs::Choices(huge)).await;
    let good = world.put(&Inputs::Perplexity(windows(2, 8, VOCAB))).await;
    let cells = world.order("test-1-1", &dense(&model), &model, &[huge, good]);
    let _worker = world.worker();
    world.until("the shard ends", |r| r.shards.iter().any(|s| s.phase() == Phase::Finished)).await;
    let report = world.state.lock().unwrap().last.clone().unwrap().shards.remove(0);
    assert_eq!(report.failures[0].kind(), FailureKind::OutOfMemory, "{report:?}");
    assert_eq!(report.cells_done, [cells[1].to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_weights_are_a_typed_failure_that_names_the_tensor() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let source = golden("families/llama");
    std::fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut bytes = std::fs::read(source.join("model.safetensors")).unwrap();
    let name = "model.layers.1.mlp.down_proj.weight";
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let at = 8 + header + metadata.info(name).unwrap().data_offsets.0;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let ppl = world.put(&Inputs::Perplexity(windows(2, 8, VOCAB))).await;
    world.order("test-1-1", &dense(folder.path()), folder.path(), &[ppl]);
    let _worker = world.worker();
    world.until("the variant fails", |r| r.shards.iter().any(|s| !s.failures.is_empty())).await;
    let failure = world.state.lock().unwrap().last.clone().unwrap().shards.remove(0).failures.remove(0);
    assert_eq!((failure.code.as_str(), failure.kind()), ("non_finite_weights", FailureKind::CellError));
    assert!(failure.message.contains(name), "{}", failure.message);
}

#[test]
fn doctor_says_what_this_device_is_as_json() {
    let output =
        std::process::Command::new(worker_binary()).args(["doctor", "--output", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((info["backend"].as_str(), info["threads"].as_u64()), (Some("cpu"), Some(2)));
    assert!(info["fingerprint"].as_str().is_some_and(|f| f.starts_with("cpu-")), "{info}");
    assert!(info["memory_bytes"].as_u64().is_some_and(|m| m > 1 << 30) && info["gpus"].is_array(), "{info}");
}
