//! A worker killed while it prunes, and the one after it: blocks whose masks were saved are not pruned again, and no bit differs.

#[expect(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use espalier_proto::checkpoint::{FILE_NAME, Partial};
use espalier_proto::inputs::Inputs;
use espalier_proto::layout::PartialPlace;
use espalier_proto::messages::Phase;
use espalier_proto::records::VariantRecord;
use espalier_proto::{keys, layout};
use harness::{PATIENCE, World, golden, wanda, windows};
use std::time::{Duration, Instant};

const VOCAB: u32 = 60;

/// Waits until this attempt has ended, and gives the record that its variant then has.
async fn record(world: &World, attempt: &str, key: espalier_proto::ids::VariantKey) -> VariantRecord {
    let ended = |r: &espalier_proto::messages::SyncRequest| {
        r.shards.iter().any(|s| s.attempt == attempt && s.phase() == Phase::Finished)
    };
    world.until("the shard ends", ended).await;
    world.variant(key).await.expect("its variant has a record")
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_goes_on_from_the_last_saved_block_after_kill_9_and_gives_the_same_bytes() {
    let (world, model) = (World::new().await, golden("families/llama"));
    let calibration = world.put(&Inputs::Calibration(windows(4, 16, VOCAB))).await;
    let ppl = world.put(&Inputs::Perplexity(windows(2, 16, VOCAB))).await;
    let spec = wanda(&model, 0.5, calibration);
    let key = keys::variant_key(&spec);
    let saved = async || world.bucket.list(&layout::partials(key)).await.unwrap();
    let log = |name: &str| world.folder.path().join(name);
    let worker = |name: &str, faults: &str| {
        let file = std::fs::File::create(log(name)).unwrap();
        world.worker_with(&[("ESPALIER_SAVE_EVERY", "0"), ("ESPALIER_TEST_FAULTS", faults)], file.into())
    };

    world.order("test-1-1", &spec, &model, &[ppl]);
    // Of its two blocks the first is saved; the second is never reached.
    let mut first = worker("first", "slow=600000");
    let start = Instant::now();
    while saved().await.is_empty() {
        assert!(start.elapsed() < PATIENCE, "nothing is saved");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.0.kill().unwrap();
    first.ended().await;
    let path = saved().await.remove(0);
    let place = PartialPlace::parse(&path).unwrap();
    assert_eq!((place.attempt.to_string().as_str(), place.from, place.to), ("test-1-1", 0, 1));
    let file = world.bucket.read(&path).await.unwrap().unwrap();
    let partial = Partial::decode(&file).unwrap();
    assert_eq!((partial.key, partial.compact.masks.len()), (key, spec.targets.len() / 2));

    // What is damaged, and what another kind of device saved, is not gone on from, though it goes further.
    let fingerprint = partial.fingerprint.as_str();
    let bad = PartialPlace::new("test-1-8".parse().unwrap(), (0, 2), fingerprint);
    world.bucket.put(&bad.path(key), file.slice(..file.len() - 3)).await.unwrap();
    let other = Partial { fingerprint: "other".to_owned(), to: 2, ..partial.clone() };
    let elsewhere = PartialPlace::new("test-1-9".parse().unwrap(), (0, 2), "other");
    world.bucket.put(&elsewhere.path(key), other.encode()).await.unwrap();

    world.state.lock().unwrap().orders.clear();
    world.order("test-1-2", &spec, &model, &[ppl]);
    let second = worker("second", "");
    let resumed = record(&world, "test-1-2", key).await;
    assert_eq!(resumed.measured.resumed_blocks, 1);
    let said = std::fs::read_to_string(log("second")).unwrap();
    assert!(said.contains("pruning goes on from saved masks") && said.contains("blocks=1"), "{said}");
    assert_eq!(said.matches("saved masks are ignored").count(), 1, "{said}");
    assert!(said.contains("test-1-8"), "{said}");
    assert!(saved().await.is_empty(), "nobody needs them any more");
    // Oracle: the whole pruning by one worker.
    for stage in ["calibrate", "prune"] {
        let before = partial.seconds[stage];
        assert!(resumed.measured.seconds[stage] >= before, "{stage}: all attempts' seconds");
    }
    let blob = async |record: &VariantRecord| {
        let path = layout::variant_blob(key, &record.attempt, FILE_NAME);
        world.bucket.read(&path).await.unwrap().unwrap()
    };
    let bytes = blob(&resumed).await;
    world.bucket.delete(&layout::variant_record(key)).await.unwrap();
    drop(second);
    world.state.lock().unwrap().orders.clear();
    world.order("test-1-3", &spec, &model, &[ppl]);
    let _third = worker("third", "");
    let whole = record(&world, "test-1-3", key).await;
    assert_eq!((whole.measured.resumed_blocks, whole.weights), (0, resumed.weights));
    assert_eq!(whole.linears, resumed.linears);
    assert_eq!(blob(&whole).await, bytes);
    assert!(saved().await.is_empty(), "nothing of its own is left either");
}
