//! What users ask of sweeps is written to their logs, and then done. A coordinator whose place another has writes nothing of it.

use super::fold::Fold;
use super::log::{self, LogError};
use super::sweeps::{Asked, Live, Sweeps, SweepsError};
use crate::records::{RecordsError, generation};
use crate::schedule::Event;
use crate::spec::only::Only;
use espalier_proto::bucket::BucketError;
use espalier_proto::causes::chain;
use espalier_proto::ids::Name;
use espalier_proto::sweep::{LogEvent, ResolvedSweep};
use std::sync::Arc;

impl Sweeps {
    /// Submits a resolved sweep whose inputs and models are in the bucket. What cannot be read is told before the log says anything.
    pub async fn submit(&self, sweep: ResolvedSweep, asked: &Asked) -> Result<(), SweepsError> {
        let name = sweep.name.clone();
        let turn = self.turn(&name);
        let _turn = turn.lock().await;
        let sweep = Arc::new(sweep);
        self.in_place().await?;
        let drops = generation::drops(self.bucket()).await?;
        let mut read = self.read(&sweep).await.map_err(|error| self.damaged(&sweep, error))?;
        let _log = self.driver().turn_at_log(&name).await;
        let queued = async {
            let fold = self.log_submission(&sweep, asked).await;
            let fold = fold.map_err(|error| SweepsError::of_log(&sweep.name, error))?;
            self.in_place().await?;
            // What is dropped from now on nobody needs. What was dropped since it was read did not know that this sweep may.
            if generation::drops(self.bucket()).await? != drops {
                read = self.read(&sweep).await?;
            }
            // Submitted again means tried again, as the log says too.
            self.take_up(sweep.clone(), read, fold, true).await
        };
        let queued = queued.await;
        match &queued {
            Ok(()) => drop(self.unreadable().remove(&name)),
            Err(SweepsError::Superseded { .. } | SweepsError::Log(LogError::Owned { .. })) => {}
            // It may be in the log all the same: of what is known here the next look tells, the rest is looked at as what could not be read.
            Err(error) => {
                if !self.live().contains_key(&name) {
                    self.unreadable().insert(name, chain(error));
                }
            }
        }
        queued
    }

    /// Whoever may have it mended is told how: of a sweep that is not in the bucket yet by one that shares its variants.
    fn damaged(&self, sweep: &ResolvedSweep, error: SweepsError) -> SweepsError {
        let SweepsError::Records(RecordsError::Bucket(error @ BucketError::Corrupt { .. })) = error else {
            return error;
        };
        let live = self.live();
        let shares = |live: &Live| sweep.variants.iter().any(|variant| live.estimator.knows(variant.key));
        let other = live.iter().find(|(_, other)| shares(other)).map(|(name, _)| name);
        let known = live.contains_key(&sweep.name) || self.unreadable().contains_key(&sweep.name);
        let of = match other {
            _ if known => format!("`espalier repair {}`", sweep.name),
            Some(other) => format!("`espalier repair {other}`"),
            None => "`espalier repair` of the sweep of the bucket that has it (`espalier du` names all)"
                .to_owned(),
        };
        SweepsError::Damaged { of, why: chain(&error) }
    }

    async fn log_submission(&self, sweep: &ResolvedSweep, asked: &Asked) -> Result<Fold, LogError> {
        let only = (!asked.only.is_all()).then(|| asked.only.to_string());
        let fold = log::submit(self.bucket(), self.epoch(), sweep, only.as_deref(), asked.take_over).await?;
        match asked.priority.filter(|priority| *priority != fold.priority) {
            Some(priority) => {
                log::write(self.bucket(), self.epoch(), &sweep.name, LogEvent::Priority { priority }).await
            }
            None => Ok(fold),
        }
    }

    /// A part of a sweep's grid is not wanted any more: what of it has begun is finished, nothing else of it is run.
    pub async fn cancel_part(&self, name: &Name, only: &Only) -> Result<(), SweepsError> {
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        let sweep = self.sweep(name.as_str())?;
        let read = self.read(&sweep).await.map_err(|error| self.damaged(&sweep, error))?;
        let event = LogEvent::Cancel { only: Some(only.to_string()) };
        let _log = self.driver().turn_at_log(name).await;
        let fold = self.say(name, event).await?;
        self.take_up(sweep, read, fold, false).await
    }

    /// Writes what was asked of a sweep to its log, then tells the schedule.
    pub async fn steer(&self, name: &Name, entry: LogEvent, event: Event) -> Result<(), SweepsError> {
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        self.sweep(name.as_str())?;
        let _log = self.driver().turn_at_log(name).await;
        let fold = self.say(name, entry).await?;
        if let Some(live) = self.live().get_mut(name) {
            live.fold = fold;
        }
        self.driver().tell(event);
        self.driver().settled().await;
        self.count_asked(name);
        Ok(())
    }

    /// Writes what its user asks of a sweep, whose turn at the log it is until that is done.
    async fn say(&self, name: &Name, event: LogEvent) -> Result<Fold, SweepsError> {
        self.in_place().await?;
        let fold = log::write(self.bucket(), self.epoch(), name, event).await?;
        self.in_place().await?;
        Ok(fold)
    }

    /// No other coordinator has this one's place. Asked after something was written too: who takes it later reads that.
    pub(super) async fn in_place(&self) -> Result<(), SweepsError> {
        match self.epoch().superseded(self.bucket()).await? {
            true => Err(SweepsError::Superseded { instance: self.epoch().instance.clone() }),
            false => Ok(()),
        }
    }
}
