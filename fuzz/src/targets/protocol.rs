//! Calls of workers and users.

use crate::words::{Words, digest};
use espalier::schedule::{CellPlan, Event, Millis, Needs, Schedule, Submission, Timing, VariantPlan};
use espalier::serve::convert;
use espalier_proto::ids::{CellKey, ModelDigest, Name, VariantKey};
use espalier_proto::messages as m;
use espalier_proto::recipe::Backend;
use espalier_proto::sweep::Limits;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

const TIMING: Timing =
    Timing { lease: Millis(30_000), busy: Millis(1_000), hold: Millis(25_000), reconcile: Millis(60_000) };

fn sweep() -> Name {
    "demo".parse().expect("a name")
}

fn variant(n: u8) -> VariantKey {
    VariantKey(digest(n))
}

fn cell(v: u8, c: u8) -> CellKey {
    CellKey(digest(16 + 8 * v + c))
}

/// Four variants with up to three cells each.
fn submission(words: &mut Words<'_>) -> Submission {
    let needs = Needs {
        model: ModelDigest(digest(200)),
        backend: Backend::Cpu,
        threads: words.one_in(4).then_some(2),
        device_kind: None,
        memory: words.number(),
        stages: BTreeMap::new(),
    };
    let gated = words.one_in(3);
    let plan = |v: u8, cells: usize, cost: u64| VariantPlan {
        key: variant(v),
        needs: needs.clone(),
        cost,
        wanted_alone: cells == 0,
        cells: (0..cells as u8).map(|c| CellPlan { key: cell(v, c), cost: 10 }).collect(),
        after: (gated && v > 0).then(|| variant(0)),
    };
    let first = plan(0, if gated { 0 } else { 2 }, 3);
    let rest: Vec<VariantPlan> = (1..4).map(|v| plan(v, words.below(4), words.number() >> 24)).collect();
    Submission {
        sweep: sweep(),
        priority: words.number() as i32,
        paused: words.below(8) == 0,
        cancelled: words.below(8) == 0,
        limits: Limits { attempts: 1 + words.below(3) as u32, max_failed_cells: words.below(4) as u32 },
        variants: std::iter::once(first).chain(rest).collect(),
        variants_done: (0..4).filter(|_| words.one_in(6)).map(variant).collect(),
        gone: Default::default(),
        cells_done: (0..4).filter(|_| words.one_in(6)).map(|v| cell(v, 0)).collect(),
        given_up: BTreeMap::new(),
        doomed: words.one_in(8),
        again: words.one_in(2),
    }
}

/// What a worker is stays the same while it has its name.
fn info(words: &mut Words<'_>) -> m::WorkerInfo {
    m::WorkerInfo {
        host: words.of(&["h", "i"]).to_owned(),
        backend: words.below(3) as i32,
        memory_bytes: words.number(),
        threads: words.below(3) as u32,
        fingerprint: words.of(&["f", "g"]).to_owned(),
        ..Default::default()
    }
}

const WORKERS: &[&str] = &["w", "x", "y", ""];

fn request(words: &mut Words<'_>, infos: &[m::WorkerInfo]) -> m::SyncRequest {
    let key = |words: &mut Words<'_>| digest(words.below(5) as u8).to_string();
    let of_cell = |words: &mut Words<'_>| cell(words.below(5) as u8, words.below(4) as u8).to_string();
    let shard = |words: &mut Words<'_>| m::ShardReport {
        variant_key: key(words),
        attempt: format!(
            "demo-{}-{}",
            words.number() % 4,
            if words.one_in(8) { words.number() } else { words.below(6) as u64 }
        ),
        phase: words.below(6) as i32,
        progress_done: words.number(),
        progress_total: words.number(),
        variant_done: words.one_in(2),
        cells_done: (0..words.below(3)).map(|_| of_cell(words)).collect(),
        cells_begun: (0..words.below(3)).map(|_| of_cell(words)).collect(),
        failures: (0..words.below(2))
            .map(|_| m::Failure {
                key: if words.one_in(2) { key(words) } else { of_cell(words) },
                kind: words.below(7) as i32,
                code: words.of(&["non_finite_scores", "out_of_memory", "internal", "store_error"]).to_owned(),
                message: words.text(),
            })
            .collect(),
    };
    let worker = words.below(WORKERS.len());
    m::SyncRequest {
        worker_id: WORKERS[worker].to_owned(),
        info: Some(infos[worker].clone()),
        draining: words.one_in(8),
        epoch_seen: if words.one_in(16) { words.number() } else { 1 },
        shards: (0..words.below(3)).map(|_| shard(words)).collect(),
    }
}

/// Any history of a sweep: calls pass through their bytes, and the schedule's own invariants hold after every event.
pub(super) fn schedule(bytes: &[u8]) {
    let mut words = Words::new(bytes);
    let mut schedule = Schedule::new(sweep(), 1, TIMING);
    let (mut now, mut calls) = (0u64, 0);
    let infos: Vec<m::WorkerInfo> = WORKERS.iter().map(|_| info(&mut words)).collect();
    schedule.step(Millis(0), Event::Submit(Box::new(submission(&mut words))));
    for _ in 0..200 {
        if !words.go_on() {
            break;
        }
        now = now.saturating_add(match words.below(6) {
            0..=3 => 100,
            4 => 31_000,
            _ => words.number() >> 1,
        });
        let event = match words.below(16) {
            0 => Event::Submit(Box::new(submission(&mut words))),
            1 => Event::Cancel(sweep()),
            2 => Event::Pause(sweep()),
            3 => Event::Resume(sweep()),
            4 => Event::Retry { sweep: sweep(), keys: (0..words.below(3) as u8).map(digest).collect() },
            5 => Event::WorkerLost(espalier::schedule::WorkerId(words.of(&["w", "x", "y"]).into())),
            6 => {
                Event::RecordsFound { variants: vec![variant(words.below(5) as u8)], cells: vec![cell(1, 0)] }
            }
            7 => Event::Tick,
            8 if words.one_in(8) => Event::Drain,
            9 if words.one_in(4) => Event::Forget(sweep()),
            _ => {
                calls += 1;
                let sent = request(&mut words, &infos).encode_to_vec();
                let heard = m::SyncRequest::decode(&sent[..]).expect("what was written is read");
                let Ok(sync) = convert::sync(heard, calls) else { continue };
                Event::Sync(Box::new(sync))
            }
        };
        schedule.step(Millis(now), event);
    }
    let (view, census) = (schedule.view(), schedule.census());
    assert!(view.workers.len() <= 3);
    drop((census, BTreeSet::from([1])));
}

/// Any bytes as any message; a call of a worker then happens to a schedule.
pub(super) fn messages(bytes: &[u8]) {
    fn is_odd<M: PartialEq>(read: &M) -> bool {
        #[expect(clippy::eq_op, reason = "true where it holds a NaN")]
        return read != read;
    }
    fn reads<M: Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
        let read = M::decode(bytes).ok()?;
        let again = M::decode(&read.encode_to_vec()[..]).expect("what was written is read");
        // NaN is not equal to itself.
        assert!(again == read || is_odd(&read), "reads as another message");
        Some(read)
    }
    let _ = reads::<m::SyncResponse>(bytes);
    let _ = reads::<m::SubmitRequest>(bytes);
    let _ = reads::<m::UploadChunk>(bytes);
    let _ = reads::<m::ControlRequest>(bytes);
    let _ = reads::<m::StateResponse>(bytes);
    let Some(sync) = reads::<m::SyncRequest>(bytes) else { return };
    let Ok(sync) = convert::sync(sync, 1) else { return };
    let mut words = Words::new(&[]);
    let mut schedule = Schedule::new(sweep(), 1, TIMING);
    schedule.step(Millis(0), Event::Submit(Box::new(submission(&mut words))));
    schedule.step(Millis(1), Event::Sync(Box::new(sync.clone())));
    schedule.step(Millis(100_000), Event::Sync(Box::new(sync)));
}
