//! The state of a sweep: the fold of its log's entries. Nothing here reads or writes.

use crate::plan::cells::all_chosen;
use crate::spec::only::{Only, OnlyError};
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::{LogEntry, LogEvent, ResolvedSweep};
use std::collections::{BTreeMap, BTreeSet};

/// What was said of a part of a grid, as `--only` says it; what is said later holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It was submitted. As the first one: only this is wanted.
    Wanted(String),
    /// It was cancelled. As the first one: all else is wanted.
    Unwanted(String),
}

/// The state of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// Number of the last entry; 0 if there is none.
    pub last: u64,
    /// The instance that owns the sweep's name.
    pub owner: Option<Name>,
    /// Its latest epoch that wrote an entry.
    pub epoch: u64,
    /// The spec submitted last.
    pub spec: Option<Digest>,
    /// How often it was submitted.
    pub submissions: u64,
    /// How often something was to be tried again.
    pub retries: u64,
    /// The parts of its grid that were submitted or cancelled, in that order; none: all of it is wanted.
    pub parts: Vec<Part>,
    /// Cancelled since the last submission.
    pub cancelled: bool,
    /// Paused; submitting again does not end it.
    pub paused: bool,
    /// Its place among sweeps.
    pub priority: i32,
    /// Keys given up since the last submission or retry, and why.
    pub given_up: BTreeMap<Digest, FailureCode>,
    /// Too many failed cells stopped it, and nothing was to be tried again since.
    pub doomed: bool,
    /// Canaries that have passed.
    pub canaries: BTreeSet<VariantKey>,
}

impl Fold {
    /// Takes in the entry with number `seq`; `false` if it says nothing that counts.
    pub fn apply(&mut self, seq: u64, entry: &LogEntry) -> bool {
        self.last = seq;
        let owner = self.owner.get_or_insert_with(|| entry.instance.clone());
        let mine = *owner == entry.instance;
        let over = mine && entry.epoch < self.epoch;
        if mine && !over {
            self.epoch = entry.epoch;
        }
        match &entry.event {
            LogEvent::Submit { spec, take_over, only } if mine || *take_over => {
                self.parts = self.submitted(&entry.instance, only.as_deref());
                if !mine {
                    (self.owner, self.epoch) = (Some(entry.instance.clone()), entry.epoch);
                }
                self.spec = Some(*spec);
                self.submissions += 1;
                self.cancelled = false;
                self.doomed = false;
                self.given_up.clear();
            }
            // Whoever lost the name meanwhile steers nothing any more.
            _ if !mine => return false,
            LogEvent::Submit { .. } => {}
            // A coordinator that does not know yet that another has its place has lost its workers to that one, and judges by that.
            LogEvent::Quarantine { .. } | LogEvent::Canary { code: Some(_), .. } | LogEvent::Stop if over => {
                return false;
            }
            LogEvent::Cancel { only: None } => {
                self.cancelled = true;
                self.doomed = false;
            }
            LogEvent::Cancel { only: Some(only) } => {
                // Whether what is left fails too often is judged anew.
                self.doomed = false;
                let parts = std::mem::take(&mut self.parts);
                self.parts = and(parts, Part::Unwanted(only.clone()));
            }
            LogEvent::Pause => self.paused = true,
            LogEvent::Resume => self.paused = false,
            LogEvent::Priority { priority } => self.priority = *priority,
            LogEvent::Quarantine { key, code } => drop(self.given_up.insert(*key, *code)),
            // Another sweep that shares it may have it tried again.
            LogEvent::Canary { key, code: None, .. } => {
                self.canaries.insert(VariantKey(*key));
                self.given_up.remove(key);
            }
            LogEvent::Canary { key, code: Some(code), .. } => {
                self.canaries.remove(&VariantKey(*key));
                self.given_up.insert(*key, *code);
            }
            LogEvent::Stop => self.doomed = true,
            LogEvent::Retry { keys } => {
                self.retries += 1;
                self.doomed = false;
                for key in keys {
                    self.given_up.remove(key);
                }
                if keys.is_empty() {
                    self.given_up.clear();
                }
            }
        }
        true
    }

    /// By its user or its failures: nothing of it is run before something is asked for again.
    pub fn is_stopped(&self) -> bool {
        self.cancelled || self.doomed
    }

    /// The same is wanted of the sweep, whatever came of it since.
    pub fn wants_as(&self, other: &Self) -> bool {
        let said = |fold: &Self| (fold.submissions, fold.spec, fold.cancelled, fold.paused, fold.priority);
        said(self) == said(other) && self.parts == other.parts
    }

    /// What is wanted once this instance submits `only`: a part is added to what was wanted before, unless that was stopped or was
    /// another's.
    pub(super) fn submitted(&self, instance: &Name, only: Option<&str>) -> Vec<Part> {
        let Some(only) = only else { return Vec::new() };
        let part = Part::Wanted(only.to_owned());
        let goes_on = self.spec.is_some() && !self.cancelled && self.owner.as_ref() == Some(instance);
        match &self.parts[..] {
            _ if !goes_on => vec![part],
            [] => Vec::new(),
            parts => and(parts.to_vec(), part),
        }
    }

    /// The wanted cells of this grid; `None`: all.
    pub fn wanted(&self, sweep: &ResolvedSweep) -> Result<Option<BTreeSet<CellKey>>, OnlyError> {
        let mut wanted = match self.parts.first() {
            None => return Ok(None),
            Some(Part::Wanted(_)) => BTreeSet::new(),
            Some(Part::Unwanted(_)) => all_chosen(sweep, &Only::default()),
        };
        for part in &self.parts {
            let (Part::Wanted(only) | Part::Unwanted(only)) = part;
            let cells = all_chosen(sweep, &only.parse()?);
            match part {
                Part::Wanted(_) => wanted.extend(cells),
                Part::Unwanted(_) => wanted.retain(|cell| !cells.contains(cell)),
            }
        }
        Ok(Some(wanted))
    }
}

/// Said again, with nothing to the contrary since, a part is nothing new.
fn and(mut parts: Vec<Part>, part: Part) -> Vec<Part> {
    let kind = std::mem::discriminant(&part);
    if !parts.iter().rev().take_while(|said| std::mem::discriminant(*said) == kind).any(|said| *said == part)
    {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::ids::ModelDigest;

    fn said(instance: &str, epoch: u64, event: LogEvent) -> LogEntry {
        LogEntry {
            format: espalier_proto::sweep::LOG_FORMAT,
            written_by: String::new(),
            instance: instance.parse().unwrap(),
            epoch,
            at: String::new(),
            event,
        }
    }

    #[test]
    fn what_an_epoch_that_was_over_gave_up_is_not_and_what_its_user_said_is() {
        let key = Digest::of(b"key");
        let submit = |take_over| LogEvent::Submit { spec: key, take_over, only: None };
        let quarantine = || LogEvent::Quarantine { key, code: FailureCode::Internal };
        let canary = |code| LogEvent::Canary { key, model: ModelDigest(key), code };
        let log = [
            (said("main", 1, submit(false)), true),
            (said("main", 2, LogEvent::Resume), true),
            (said("main", 1, quarantine()), false),
            (said("main", 1, canary(Some(FailureCode::Internal))), false),
            (said("main", 1, LogEvent::Stop), false),
            (said("main", 1, canary(None)), true),
            (said("main", 1, LogEvent::Pause), true),
            (said("other", 1, quarantine()), false),
            (said("other", 1, submit(true)), true),
            (said("main", 3, quarantine()), false),
        ];
        let mut fold = Fold::default();
        for (n, (entry, counts)) in log.iter().enumerate() {
            assert_eq!(fold.apply(n as u64 + 1, entry), *counts, "{entry:?}");
            assert!(fold.given_up.is_empty() && !fold.doomed, "{entry:?}");
        }
        assert!(fold.paused && fold.canaries.contains(&VariantKey(key)));
        assert!(fold.apply(11, &said("other", 1, quarantine())), "epochs are each instance's own");
        assert_eq!(fold.given_up.len(), 1);
    }

    #[test]
    fn of_a_canary_that_another_sweep_had_tried_again_the_last_verdict_counts() {
        let key = Digest::of(b"key");
        let canary = |code| said("main", 1, LogEvent::Canary { key, model: ModelDigest(key), code });
        let mut fold = Fold::default();
        for (seq, code) in [(1, Some(FailureCode::Internal)), (2, None), (3, Some(FailureCode::Internal))] {
            fold.apply(seq, &canary(code));
            let passed = fold.canaries.contains(&VariantKey(key));
            assert_eq!((fold.given_up.contains_key(&key), passed), (code.is_some(), code.is_none()), "{seq}");
        }
    }

    #[test]
    fn what_its_failures_stopped_stays_so_until_something_is_asked_for() {
        let entry = |event| said("main", 1, event);
        let spec = Digest::of(b"spec");
        let submit = || LogEvent::Submit { spec, take_over: false, only: None };
        let asks = [
            (LogEvent::Pause, true),
            (LogEvent::Priority { priority: 1 }, true),
            (LogEvent::Retry { keys: vec![spec] }, false),
            (LogEvent::Cancel { only: Some("task=ekar".to_owned()) }, false),
            (submit(), false),
        ];
        for (event, doomed) in asks {
            let mut fold = Fold::default();
            for (seq, event) in [submit(), LogEvent::Stop, event.clone()].into_iter().enumerate() {
                fold.apply(seq as u64 + 1, &entry(event));
            }
            assert_eq!(fold.doomed, doomed, "{event:?}");
        }
    }
}
