//! Random worlds around the schedule: workers that join, die, stall, are preempted, fail and come back; messages lost, late and
//! doubled; time that jumps; coordinators that restart, and two of them at once; people who submit, extend, cancel, pause, retry.
//!
//! After every event the invariants of the schedule hold (S1…, [`super::invariants`]) and what it commands is right by what the
//! world itself knows (W1…, [`oracle`]). Once the world turns quiet every sweep comes to its end: each cell is in the bucket or was
//! given up by its own fault. Everything follows from the seed. [`planted`] shows that faults are found.

mod bench;
mod choices;
mod coordinator;
mod coverage;
mod dice;
mod idle;
mod makespan;
mod measured;
mod oracle;
mod planted;
mod pool;
mod storm;
mod worker;
mod world;
mod worlds;

pub(super) use planted::Bug;
