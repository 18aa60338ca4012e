//! Every pair of an event and a state in which a shard can be is met: nothing is left untried by the random worlds.

use super::world::World;
use crate::schedule::{Event, Millis, Schedule};
use espalier_proto::ids::VariantKey;
use std::collections::BTreeSet;

/// What happened, and how a shard stood that it is about.
pub(super) type Pair = (&'static str, Stand);

/// How a shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stand {
    NotWanted,
    Stopped,
    Paused,
    GivenUp,
    Done,
    Delayed,
    Waiting,
    /// Ordered, and its worker has not said that it has it.
    Given,
    Preparing,
    /// Its checkpoint is there and one worker does its cells.
    Evaluated,
    /// Several workers do.
    Shared,
}

const STANDS: [Stand; 11] = [
    Stand::NotWanted,
    Stand::Stopped,
    Stand::Paused,
    Stand::GivenUp,
    Stand::Done,
    Stand::Delayed,
    Stand::Waiting,
    Stand::Given,
    Stand::Preparing,
    Stand::Evaluated,
    Stand::Shared,
];
const EVENTS: [&str; 13] = [
    "Submit",
    "Cancel",
    "Pause",
    "Resume",
    "Retry",
    "Forget",
    "Sync",
    "CallClosed",
    "WorkerLost",
    "RecordsFound",
    "Drain",
    "NewerEpoch",
    "Tick",
];

fn name(event: &Event) -> &'static str {
    match event {
        Event::Submit(_) => "Submit",
        Event::Cancel(_) => "Cancel",
        Event::Pause(_) => "Pause",
        Event::Resume(_) => "Resume",
        Event::Retry { .. } => "Retry",
        Event::Forget(_) => "Forget",
        Event::Sync(_) => "Sync",
        Event::CallClosed { .. } => "CallClosed",
        Event::WorkerLost(_) => "WorkerLost",
        Event::RecordsFound { .. } => "RecordsFound",
        Event::Drain => "Drain",
        Event::NewerEpoch(_) => "NewerEpoch",
        Event::Tick => "Tick",
    }
}

fn stand(schedule: &Schedule, now: Millis, key: VariantKey) -> Stand {
    let variant = &schedule.variants[&key];
    let wanting: Vec<_> = schedule
        .sweeps
        .values()
        .filter(|s| s.alone.contains(&key) || variant.cells.keys().any(|c| s.cells.contains(c)))
        .collect();
    let confirmed = variant.attempts.iter().all(|a| schedule.attempts[a].confirmed);
    match variant.attempts.len() {
        0 => {}
        _ if !confirmed => return Stand::Given,
        _ if !variant.done => return Stand::Preparing,
        1 => return Stand::Evaluated,
        _ => return Stand::Shared,
    }
    let open = variant.cells.iter().any(|(c, s)| {
        !s.done && s.trouble.quarantined.is_none() && wanting.iter().any(|w| w.cells.contains(c))
    });
    let alone = !variant.done && wanting.iter().any(|w| w.alone.contains(&key));
    match () {
        () if wanting.is_empty() => Stand::NotWanted,
        () if variant.trouble.quarantined.is_some() => Stand::GivenUp,
        () if !open && !alone => Stand::Done,
        () if wanting.iter().all(|w| w.halted) => Stand::Stopped,
        () if !wanting.iter().any(|w| w.goes_on()) => Stand::Paused,
        () if variant.trouble.not_before > now => Stand::Delayed,
        () => Stand::Waiting,
    }
}

/// The pairs that this event makes with the shards that it is about: those that it or its sweep names, or all where neither does, as where a
/// worker is lost: that concerns what waits as well.
pub(super) fn pairs(schedule: &Schedule, now: Millis, event: &Event) -> BTreeSet<Pair> {
    let about: Vec<VariantKey> = match event {
        Event::Sync(sync) => sync.shards.iter().map(|s| s.variant).collect(),
        Event::RecordsFound { variants, .. } => variants.clone(),
        Event::Submit(submission) => submission.variants.iter().map(|v| v.key).collect(),
        Event::Cancel(name)
        | Event::Pause(name)
        | Event::Resume(name)
        | Event::Forget(name)
        | Event::Retry { sweep: name, .. } => {
            let sweep = schedule.sweeps.get(name);
            sweep.map(|sweep| schedule.variants_of(sweep).into_iter().collect()).unwrap_or_default()
        }
        _ => schedule.variants.keys().copied().collect(),
    };
    let known = about.into_iter().filter(|v| schedule.variants.contains_key(v));
    known.map(|v| (name(event), stand(schedule, now, v))).collect()
}

#[test]
fn every_pair_of_event_and_state_of_a_shard_is_reached() {
    // What a sweep names is wanted by it.
    let cannot = |event: &str, stand| {
        stand == Stand::NotWanted && ["Cancel", "Pause", "Resume", "Forget", "Retry"].contains(&event)
    };
    let all = EVENTS.iter().flat_map(|e| STANDS.map(|s| (*e, s)));
    let all: BTreeSet<Pair> = all.filter(|(event, stand)| !cannot(event, *stand)).collect();
    let mut reached = BTreeSet::new();
    let mut worlds = 0;
    while reached != all && worlds < 10_000 {
        let mut world = World::new(worlds, None, true);
        world.live();
        reached.extend(world.coverage.into_iter().flatten());
        worlds += 1;
    }
    let missing: Vec<_> = all.difference(&reached).collect();
    assert!(missing.is_empty(), "not reached in {worlds} worlds: {missing:?}");
    println!("all {} pairs in {worlds} worlds", all.len());
}
