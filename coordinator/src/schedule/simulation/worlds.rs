//! Many worlds, on all cores.

use super::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Worlds of an everyday test run; `ESPALIER_WORLDS` says another number.
const WORLDS: u64 = 2_000;

#[test]
fn every_random_world_keeps_the_invariants_and_comes_to_its_end() {
    let worlds = std::env::var("ESPALIER_WORLDS").map_or(WORLDS, |n| n.parse().expect("a number of worlds"));
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= worlds {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| World::new(seed, None, false).live())).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "the world of seed {failed} fails; ESPALIER_WORLD={failed} runs it alone");
    println!("{worlds} worlds on {threads} threads");
}

#[test]
fn one_world() {
    if let Ok(seed) = std::env::var("ESPALIER_WORLD") {
        World::new(seed.parse().expect("a seed"), None, false).live();
    }
}

#[test]
fn the_same_seed_gives_the_same_commands() {
    for seed in 0..50 {
        let commands = || {
            let mut world = World::new(seed, None, false);
            world.trace = Some(Vec::new());
            world.live();
            world.trace.unwrap()
        };
        assert_eq!(commands(), commands(), "seed {seed}");
    }
}
