//! What a failure means for what comes next: who is blamed, when a key is tried again, when it is given up.
//!
//! | failure | blamed on the key | tried again |
//! |---|---|---|
//! | preempted | no | at once, anywhere |
//! | node fault | no, but not without end | later, at another worker if any fits |
//! | store error | no, but not without end | later, anywhere |
//! | worker lost | if it came no further than the last lost attempt, on another node, or three times in a row on a sound one | at once |
//! | compute process lost, a bug | yes | at once, at another worker if any fits |
//! | out of memory | yes | on more memory if any worker has it, else at another worker |
//! | another digest than the variant's before | yes | at once, on another kind of device if any fits |
//! | bad model, bad inputs, non-finite numbers | yes | never: it fails wherever it runs |

use super::command::Command;
use super::event::{Fault, FaultKind, Millis, Report, WorkerId};
use super::state::{Attempt, Loss, Schedule, Trouble, Weight};
use espalier_proto::ids::{AttemptId, CellKey, Digest, Name, VariantKey};
use espalier_proto::records::FailureCode;

/// Excused failures that count as much as one blamed one: nothing is tried for ever.
const EXCUSED_PER_BLAME: u32 = 4;
/// First wait before a key is tried again after the fault of a node or the store; doubles with every one.
const BACK_OFF: Millis = Millis(2_000);
/// Longest wait: with three attempts a key is given up after 23 minutes of a store that refuses what is written, and what computing took.
const LONGEST: Millis = Millis(300_000);

fn weight(kind: FaultKind, code: FailureCode) -> Weight {
    use FailureCode as C;
    match kind {
        FaultKind::Preempted => Weight::Nothing,
        FaultKind::NodeFault | FaultKind::StoreError => Weight::Excused,
        FaultKind::ComputeLost | FaultKind::OutOfMemory => Weight::Blamed,
        FaultKind::CellError => match code {
            C::NonFiniteWeights | C::NonFiniteScores | C::BadCheckpoint | C::ModelChanged | C::BadInputs => {
                Weight::Final
            }
            C::OutOfMemory | C::ComputeLost | C::Internal | C::DigestMismatch => Weight::Blamed,
            C::NodeFault | C::StoreError => Weight::Excused,
            C::Preempted => Weight::Nothing,
        },
    }
}

impl Schedule {
    /// A worker says that something failed in an attempt. Said again, it counts once.
    pub(super) fn failed(
        &mut self,
        now: Millis,
        (worker, id, variant): (&WorkerId, &AttemptId, VariantKey),
        fault: &Fault,
        commands: &mut Vec<Command>,
    ) {
        let key = fault.key;
        let is_variant = key == variant.0;
        let facts = &self.workers[worker].facts;
        let memory = facts.memory;
        // Where the last bits are alike another digest is too.
        let unlike = (fault.code == FailureCode::DigestMismatch).then(|| facts.fingerprint.clone());
        let planted = planted!(self, FailureTwice);
        let Some(trouble) = self.trouble(variant, key) else {
            return;
        };
        if !trouble.seen.insert(id.clone()) && !planted {
            return;
        }
        self.index.mark(variant);
        let mut weight = weight(fault.kind, fault.code);
        if planted!(self, PreemptedBlamed) && weight == Weight::Nothing {
            weight = Weight::Blamed;
        }
        let trouble = self.trouble(variant, key).expect("it was just there");
        if fault.kind == FaultKind::OutOfMemory {
            trouble.too_small = trouble.too_small.max(memory);
        }
        if weight == Weight::Blamed || fault.kind == FaultKind::NodeFault {
            trouble.failed_at.insert(worker.clone());
            trouble.unlike.extend(unlike);
        }
        commands.push(Command::KeepFailure {
            worker: worker.clone(),
            attempt: id.clone(),
            fault: fault.clone(),
        });
        if fault.kind == FaultKind::NodeFault {
            self.workers.get_mut(worker).expect("it just called").faults += 1;
        }
        if is_variant {
            // Had it been lost before, it is no lost one now.
            let state = self.variants.get_mut(&variant).expect("its trouble was just counted");
            state.losses.retain(|l| l.attempt != *id);
            self.end(id);
        } else if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.cells.remove(&CellKey(key));
            attempt.begun.remove(&CellKey(key));
            self.end_if_finished(id);
        }
        self.count(now, variant, key, (weight, fault.code), commands);
    }

    /// A lost worker says something about its shard only if the attempt came no further than the one lost before it, and then
    /// if that happened on another node, or for the third time in a row on one that finished other work in between.
    pub(super) fn blame_loss(
        &mut self,
        now: Millis,
        id: &AttemptId,
        attempt: &Attempt,
        commands: &mut Vec<Command>,
    ) {
        let host = self.workers.get(&attempt.worker).map(|w| w.facts.host.clone()).unwrap_or_default();
        let finished = self.finished.get(&host).copied().unwrap_or(0);
        let planted = planted!(self, InnocentBlamed);
        let variant = self.variants.get_mut(&attempt.variant).expect("attempts are of known variants");
        let further = variant.came_further(attempt.reach);
        if further {
            variant.losses.clear();
        }
        let here = variant.losses.iter().rev().find(|l| l.host == host);
        let weight = match here {
            _ if planted => Weight::Blamed,
            _ if further => Weight::Nothing,
            None => Weight::Blamed,
            Some(last) if variant.losses.len() >= 2 && finished > last.finished => Weight::Blamed,
            Some(_) => Weight::Excused,
        };
        let before = variant.lost_at.replace(attempt.reach);
        variant.losses.push(Loss { attempt: id.clone(), host, finished, weight, before });
        let (kind, code) = match weight {
            Weight::Nothing => return,
            Weight::Excused => (FaultKind::NodeFault, FailureCode::NodeFault),
            Weight::Blamed | Weight::Final => (FaultKind::ComputeLost, FailureCode::ComputeLost),
        };
        variant.trouble.seen.insert(id.clone());
        let key = attempt.variant.0;
        let message = "the worker was lost, and the attempt had come no further than the lost one before it";
        let fault = Fault { key, kind, code, message: message.to_owned() };
        commands.push(Command::KeepFailure { worker: attempt.worker.clone(), attempt: id.clone(), fault });
        self.count(now, attempt.variant, key, (weight, code), commands);
    }

    /// An attempt was given up for lost, and lives: its loss is nobody's fault.
    pub(super) fn unblame_loss(&mut self, report: &Report) {
        let variant =
            self.variants.get_mut(&report.variant).expect("reports of unknown variants are not adopted");
        let Some(at) = variant.losses.iter().position(|l| l.attempt == report.attempt) else {
            return;
        };
        let last = at + 1 == variant.losses.len();
        let loss = variant.losses.remove(at);
        if last {
            variant.lost_at = loss.before;
        }
        variant.trouble.seen.remove(&report.attempt);
        self.index.mark(report.variant);
        match loss.weight {
            Weight::Nothing => {}
            Weight::Excused => variant.trouble.excused -= 1,
            Weight::Blamed | Weight::Final => variant.trouble.blamed -= 1,
        }
    }

    fn count(
        &mut self,
        now: Millis,
        variant: VariantKey,
        key: Digest,
        (weight, code): (Weight, FailureCode),
        commands: &mut Vec<Command>,
    ) {
        let sweeps = self.sweeps_wanting(variant, key);
        // What nobody wants any more is given up by nobody.
        let limits = sweeps.iter().map(|name| &self.sweeps[name]).filter(|sweep| !sweep.halted);
        let tries = limits.map(|sweep| sweep.limits.attempts.max(1)).max();
        let forgotten = planted!(self, ForgottenQuarantine);
        self.index.mark(variant);
        let Some(trouble) = self.trouble(variant, key) else {
            return;
        };
        match weight {
            Weight::Nothing => {}
            Weight::Excused => {
                trouble.excused += 1;
                let wait = BACK_OFF.0.saturating_mul(1 << (trouble.excused - 1).min(32));
                trouble.not_before = now + Millis(wait.min(LONGEST.0));
            }
            Weight::Blamed => trouble.blamed += 1,
            Weight::Final => trouble.blamed = tries.unwrap_or(1).max(trouble.blamed + 1),
        }
        let count = trouble.blamed + trouble.excused / EXCUSED_PER_BLAME;
        if trouble.quarantined.is_some() || tries.is_none_or(|tries| count < tries) {
            return;
        }
        trouble.quarantined = (!forgotten).then_some(code);
        commands.push(Command::Quarantine { sweeps, key, code });
        if self.gated.contains_key(&variant) {
            // What has begun of its model for the sweeps whose canary it is.
            self.trim_running();
        }
        for id in self.variants[&variant].attempts.clone() {
            if key == variant.0 {
                self.end(&id);
            } else {
                let attempt = self.attempts.get_mut(&id).expect("a variant names live attempts");
                attempt.cells.remove(&CellKey(key));
                self.end_if_finished(&id);
            }
        }
    }

    pub(super) fn trouble(&mut self, variant: VariantKey, key: Digest) -> Option<&mut Trouble> {
        let state = self.variants.get_mut(&variant)?;
        if key == variant.0 {
            return Some(&mut state.trouble);
        }
        state.cells.get_mut(&CellKey(key)).map(|c| &mut c.trouble)
    }

    pub(super) fn sweeps_wanting(&self, variant: VariantKey, key: Digest) -> Vec<Name> {
        let cells = &self.variants[&variant].cells;
        self.sweeps
            .iter()
            .filter(|(_, s)| {
                let whole = key == variant.0;
                s.cells.contains(&CellKey(key))
                    || whole && (s.alone.contains(&variant) || cells.keys().any(|c| s.cells.contains(c)))
            })
            .map(|(name, _)| name.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::schedule::event::WorkerFacts;
    use crate::schedule::story::*;
    use crate::schedule::{Event, FaultKind, WorkerId};
    use espalier_proto::records::FailureCode;

    #[test]
    fn what_failed_at_a_worker_goes_to_another_while_there_is_one() {
        for (kind, code) in [
            (FaultKind::OutOfMemory, FailureCode::OutOfMemory),
            (FaultKind::ComputeLost, FailureCode::ComputeLost),
        ] {
            let mut story = Story::of(grid(&[1]));
            let order = story.given(1);
            assert_eq!(story.sync(2, vec![]), None, "nothing waits");
            let failed = failing(pruning(&order), order.variant.0, kind, code);
            let step = story.calls + 1;
            assert_eq!(story.sync(1, vec![failed.clone()]), Some(vec![]), "{kind:?}");
            assert_eq!(story.sync(1, vec![]), None, "another one has it");
            let held = story.schedule.attempts.each().next().map(|a| a.worker.clone());
            assert_eq!(held, Some(WorkerId("w2".into())), "call {step}");
            // With the other one gone it is tried where it failed.
            story.event(Event::WorkerLost(WorkerId("w2".into())));
            let holders: Vec<_> = story.schedule.attempts.each().map(|a| a.worker.0.to_string()).collect();
            assert_eq!(holders, ["w1"], "{kind:?}");
        }
    }

    #[test]
    fn another_digest_than_before_is_tried_on_another_kind_of_device_while_there_is_one() {
        let mut story = Story::of(grid(&[1, 1]));
        let order = story.given(1);
        story.facts.insert(3, WorkerFacts { fingerprint: "another".to_owned(), ..facts() });
        story.sync(3, vec![]);
        let (kind, code) = (FaultKind::CellError, FailureCode::DigestMismatch);
        let failed = failing(pruning(&order), order.variant.0, kind, code);
        let other = story.given(3);
        story.sync(1, vec![failed]);
        // Whoever joins is of the kind at which it failed.
        assert_eq!((story.sync(2, vec![]), story.schedule.attempts.each().count()), (None, 1));
        story.sync(3, vec![evaluating(&other, &other.cells, &[])]);
        let holders: Vec<_> = story.schedule.attempts.each().map(|a| a.worker.0.to_string()).collect();
        assert_eq!(holders, ["w3"]);
    }

    #[test]
    fn a_store_that_refuses_is_tried_for_more_than_twenty_minutes() {
        let mut story = Story::of(grid(&[1]));
        let mut took = 0;
        loop {
            let answer = story.sync(1, vec![]);
            if let Some(order) = answer.unwrap_or_default().pop() {
                let refused =
                    failing(pruning(&order), order.variant.0, FaultKind::StoreError, FailureCode::StoreError);
                story.sync(1, vec![refused]);
                if story.schedule.variants[&variant(0)].trouble.quarantined.is_some() {
                    break;
                }
            }
            story.later(1_000);
            took += 1;
        }
        assert!((1_300..1_500).contains(&took), "{took} s");
    }
}
