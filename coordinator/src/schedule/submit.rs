//! A sweep is taken up, with what its log and the bucket say of it; and what of that is no longer so.

use super::command::Command;
use super::event::{Believed, Records, Submission, VariantPlan};
use super::index::{Entry, No};
use super::state::{Cell, Schedule, Sweep, Variant};
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::records::FailureCode;
use litemap::LiteMap;
use std::collections::{BTreeMap, BTreeSet};

impl Schedule {
    /// Takes up what is wanted of a sweep. Extending a sweep, resuming it and repairing it are this same operation.
    pub(super) fn submit(&mut self, submission: Submission, commands: &mut Vec<Command>) {
        let before = self.unwant(&submission.sweep);
        let new = before.is_none();
        let first = self.variants.len() == 0;
        let mut cells = Vec::new();
        let no = before.as_ref().map_or(self.last_sweep + 1, |s| s.no);
        self.last_sweep = self.last_sweep.max(no);
        let mut sweep = Sweep {
            no,
            limits: submission.limits,
            cells: BTreeSet::new(),
            alone: BTreeSet::new(),
            priority: submission.priority,
            served: before.as_ref().map_or(0, |s| s.served),
            paused: submission.paused,
            halted: submission.cancelled,
            doomed: false,
            was_doomed: submission.doomed && !planted!(self, DoomForgotten),
            told: false,
        };
        for plan in submission.variants {
            self.want(&mut sweep, plan, &mut cells);
        }
        // A million at once make their set faster than one by one.
        sweep.cells = cells.into_iter().collect();
        self.sweeps.insert(submission.sweep.clone(), sweep);
        self.note_going(&submission.sweep);
        self.unfinish(&submission.gone);
        // What a worker said since the bucket was read is not unsaid by that reading.
        for cell in submission.cells_done {
            self.cell_is_done(cell);
        }
        for key in submission.variants_done {
            if !self.is_others_to_say(key, no) {
                self.variant_is_done(key);
            }
        }
        if new {
            self.restore_given_up(&submission.sweep, &submission.given_up, commands);
        }
        // Of what was not known before nothing was given up.
        if new && !first {
            self.forgive_all_but(&submission.sweep, &submission.given_up, commands);
        }
        self.trim_running();
        self.extend_running();
        if submission.again {
            // Before it is judged whether its failures stop it.
            self.retry(&submission.sweep, &[], commands);
        }
    }

    /// A variant's record may be there while its checkpoint was dropped. A sweep that has all its cells of it has not looked for that; who lacks some,
    /// or wants the record for itself, has.
    fn is_others_to_say(&self, key: VariantKey, no: No) -> bool {
        let Some(variant) = self.variants.get(&key) else { return false };
        let others = variant.wants_alone.iter().any(|other| *other != no)
            || variant.is_lacked(|other| other != no) && !variant.is_lacked(|ours| ours == no);
        others && !planted!(self, DroppedBelieved)
    }

    fn want(&mut self, sweep: &mut Sweep, plan: VariantPlan, wanted: &mut Vec<CellKey>) {
        let (home, order) = (plan.key, self.variants.len());
        let class = self.index.class(&plan.needs);
        let variant = self.variants.get_or_insert_with(&home, || Variant {
            needs: plan.needs,
            cost: plan.cost,
            class,
            wants_alone: BTreeSet::new(),
            entry: Entry::default(),
            order,
            done: false,
            after: LiteMap::with_capacity(plan.after.iter().len()),
            cells: LiteMap::with_capacity(plan.cells.len()),
            attempts: Default::default(),
            trouble: Default::default(),
            lost_at: None,
            losses: Vec::new(),
        });
        if let Some(canary) = plan.after {
            variant.after.insert(sweep.no, canary);
            self.gated.entry(canary).or_default().insert(home);
        }
        let known = variant.cells.len();
        let new = plan.cells.iter().filter(|plan| !variant.cells.contains_key(&plan.key));
        let new: Vec<_> =
            new.enumerate().map(|(i, plan)| (plan.key, Cell::new(plan.cost, known + i))).collect();
        variant.cells.extend(new);
        for plan in plan.cells {
            let cell = &mut variant.cells[&plan.key];
            if !cell.wants.contains(&sweep.no) {
                cell.wants.push(sweep.no);
                wanted.push(plan.key);
            }
            self.homes.insert(plan.key, home);
        }
        if plan.wanted_alone {
            sweep.alone.insert(home);
            variant.wants_alone.insert(sweep.no);
        }
        self.index.mark(home);
        if let Some(canary) = plan.after.filter(|canary| self.variants.contains_key(canary)) {
            self.index.mark(canary);
        }
    }

    /// What an earlier epoch gave up stays given up until a retry. A key that several sweeps lack is given up if all of their logs say so: one that
    /// does not was told to try it again.
    fn restore_given_up(
        &mut self,
        name: &Name,
        given_up: &BTreeMap<Digest, FailureCode>,
        commands: &mut Vec<Command>,
    ) {
        let mut forgiven = Vec::new();
        for (key, code) in given_up {
            let home = self.homes.get(&CellKey(*key)).copied().unwrap_or(VariantKey(*key));
            let Some(variant) = self.variants.get(&home) else { continue };
            let wanting = self.sweeps_wanting(home, *key);
            // What has been begun again since is not given up.
            let past = !variant.attempts.is_empty()
                || variant.cells.get(&CellKey(*key)).map_or(variant.done, |cell| cell.done);
            if past || !wanting.contains(name) {
                continue;
            }
            let Some(trouble) = self.trouble(home, *key) else { continue };
            let forgiven_before = trouble.quarantined.is_none();
            if forgiven_before && wanting.iter().any(|other| other != name && self.lacks(other, home)) {
                forgiven.push(*key);
                continue;
            }
            if let Some(trouble) = self.trouble(home, *key) {
                trouble.quarantined.get_or_insert(*code);
            }
            self.index.mark(home);
        }
        let sweep = &self.sweeps[name];
        if !forgiven.is_empty() && !sweep.halted && !sweep.was_doomed {
            commands.push(Command::Forgive { sweep: name.clone(), keys: forgiven });
        }
    }

    /// The sweep wants something of the variant that is not done.
    fn lacks(&self, name: &Name, home: VariantKey) -> bool {
        let (sweep, variant) = (&self.sweeps[name], &self.variants[&home]);
        let alone = variant.wants_alone.contains(&sweep.no) && !variant.done;
        alone || variant.is_lacked(|no| no == sweep.no)
    }

    fn forgive_all_but(
        &mut self,
        name: &Name,
        given_up: &BTreeMap<Digest, FailureCode>,
        commands: &mut Vec<Command>,
    ) {
        let sweep = &self.sweeps[name];
        let mut quarantined = Vec::new();
        for home in self.variants_of(sweep) {
            let variant = &self.variants[&home];
            quarantined.extend(variant.trouble.quarantined.map(|_| (home, home.0)));
            let cells = variant
                .cells
                .iter()
                .filter(|(key, cell)| cell.trouble.quarantined.is_some() && sweep.cells.contains(*key));
            quarantined.extend(cells.map(|(key, _)| (home, key.0)));
        }
        quarantined.retain(|(_, key)| !given_up.contains_key(key));
        if quarantined.is_empty() {
            return;
        }
        for (home, key) in &quarantined {
            let variant = self.variants.get_mut(home).expect("it was just looked at");
            match variant.cells.get_mut(&CellKey(*key)) {
                Some(cell) => cell.trouble.forgive(),
                None => variant.forgive(),
            }
            self.index.mark(*home);
        }
        self.tell_others(name, &quarantined, commands);
        self.reopen();
    }

    /// What is believed to be in the bucket of these variants and their cells.
    pub fn believed(&self, variants: &[VariantKey]) -> Believed {
        let mut believed = Believed::default();
        for key in variants {
            let Some(variant) = self.variants.get(key) else { continue };
            if !variant.attempts.is_empty() {
                believed.busy.insert(*key);
                continue;
            }
            let records = &mut believed.records;
            records.variants.extend(variant.done.then_some(*key));
            records.cells.extend(variant.cells.iter().filter(|(_, cell)| cell.done).map(|(key, _)| *key));
        }
        believed
    }

    /// Variants of which, since this was last asked, something is believed because a worker said so of an attempt that was not known: it may have
    /// been done, and deleted, before the bucket was read.
    pub fn take_hearsay(&mut self) -> BTreeSet<VariantKey> {
        std::mem::take(&mut self.hearsay)
    }

    /// What was deleted from the bucket is to be done again, by every sweep that wants it.
    fn unfinish(&mut self, gone: &Records) {
        for key in &gone.variants {
            if let Some(variant) = self.variants.get_mut(key).filter(|v| v.attempts.is_empty()) {
                variant.done = false;
                self.index.mark(*key);
            }
        }
        for cell in &gone.cells {
            let Some(home) = self.homes.get(cell).copied() else { continue };
            let variant = self.variants.get_mut(&home).expect("a cell's home is a variant");
            if variant.attempts.is_empty() {
                let state = variant.cells.get_mut(cell).expect("a cell is among its home's");
                (state.done, state.doubled) = (false, false);
                self.index.mark(home);
            }
        }
        if *gone != Records::default() {
            self.reopen();
        }
    }

    /// What the sweep wanted is wanted no more by it.
    pub(super) fn unwant(&mut self, name: &Name) -> Option<Sweep> {
        let sweep = self.sweeps.remove(name)?;
        for key in self.variants_of(&sweep) {
            let variant = self.variants.get_mut(&key).expect("a sweep wants known variants");
            variant.wants_alone.remove(&sweep.no);
            variant.after.remove(&sweep.no);
            variant.cells.iter_mut().for_each(|(_, c)| c.wants.retain(|no| *no != sweep.no));
            self.index.mark(key);
        }
        self.going.remove(&sweep.no);
        self.unsettled = true;
        Some(sweep)
    }
}

impl Variant {
    /// One of these sweeps wants a cell of it that is not done.
    fn is_lacked(&self, by: impl Fn(No) -> bool) -> bool {
        self.cells.values().any(|cell| !cell.done && cell.wants.iter().any(|no| by(*no)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::*;
    use super::super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn what_was_deleted_from_the_bucket_is_done_again_once_its_sweep_is_submitted_again() {
        let mut story = Story::of(grid(&[2]));
        let order = story.given(1);
        let (first, second) = (cell(0, 0), cell(0, 1));
        let busy = story.schedule.believed(&[variant(0)]);
        assert_eq!(busy, Believed { busy: [variant(0)].into(), ..Believed::default() }, "somebody is at it");
        story.sync(1, vec![evaluating(&order, &[first, second], &[])]);
        assert!(story.schedule.view().sweeps[&sweep()].over);
        let believed = story.schedule.believed(&[variant(0)]).records;
        assert_eq!(believed.cells, [first, second].into());
        let mut again = grid(&[2]);
        again.variants_done = believed.variants;
        again.cells_done = [second].into();
        again.gone.cells = [first].into();
        story.event(Event::Submit(Box::new(again)));
        assert!(!story.schedule.view().sweeps[&sweep()].over);
        let order = story.given(1);
        assert_eq!(order.cells, [first]);
        assert!(story.schedule.take_hearsay().is_empty(), "nothing was heard of attempts that are not known");
        // Of an epoch before.
        let mut story = Story::of(grid(&[2]));
        let mut adopted = evaluating(&order, &[first], &[]);
        adopted.attempt.epoch -= 1;
        story.sync(1, vec![adopted]);
        assert_eq!(story.schedule.take_hearsay(), [variant(0)].into());
        assert!(story.schedule.take_hearsay().is_empty());
    }

    fn named(name: &str) -> Submission {
        Submission { sweep: name.parse().unwrap(), ..grid(&[1]) }
    }

    fn quarantined(story: &Story) -> bool {
        story.schedule.variants[&variant(0)].trouble.quarantined.is_some()
    }

    #[test]
    fn what_several_sweeps_want_stays_given_up_if_all_of_their_logs_say_so() {
        let code = espalier_proto::records::FailureCode::ComputeLost;
        let says = |name: &str| Submission { given_up: [(variant(0).0, code)].into(), ..named(name) };
        let told = |name: &str| Command::Forgive { sweep: name.parse().unwrap(), keys: vec![variant(0).0] };
        // As at a restart, in whatever order.
        let mut story = Story::of(says("a"));
        story.event(Event::Submit(Box::new(says("b"))));
        assert!(quarantined(&story));
        let commands = story.event(Event::Submit(Box::new(named("c"))));
        assert!(!quarantined(&story) && commands.contains(&told("a")) && commands.contains(&told("b")));
        let commands = story.event(Event::Submit(Box::new(says("d"))));
        assert!(!quarantined(&story) && commands.contains(&told("d")));
        // Of what a sweep does not want its log says nothing.
        let mut story = Story::of(named("a"));
        story.event(Event::Submit(Box::new(Submission { variants: Vec::new(), ..says("b") })));
        assert!(!quarantined(&story));
    }

    #[test]
    fn what_was_given_up_when_it_was_pruned_again_stays_so_whatever_a_sweep_says_that_needs_nothing_of_it() {
        let code = espalier_proto::records::FailureCode::ComputeLost;
        let given_up: BTreeMap<_, _> = [(variant(0).0, code)].into();
        let (done, given_up) = (BTreeSet::from([cell(0, 0)]), || given_up.clone());
        // Its record is there, and that its checkpoint was dropped it has not looked for.
        let whole = || Submission {
            variants_done: [variant(0)].into(),
            cells_done: done.clone(),
            given_up: given_up(),
            ..named("whole")
        };
        let gone = Records { variants: [variant(0)].into(), ..Records::default() };
        let lacks = || Submission {
            sweep: "lacks".parse().unwrap(),
            cells_done: done.clone(),
            gone: gone.clone(),
            given_up: given_up(),
            ..grid(&[2])
        };
        for [first, second] in [[whole(), lacks()], [lacks(), whole()]] {
            let mut story = Story::of(first);
            let commands = story.event(Event::Submit(Box::new(second)));
            assert!(quarantined(&story) && !story.schedule.variants[&variant(0)].done);
            assert!(!commands.iter().any(|c| matches!(c, Command::Forgive { .. })), "{commands:?}");
        }
    }

    #[test]
    fn a_sweep_that_its_failures_stopped_stays_so_over_a_restart_whatever_others_try_again() {
        let code = espalier_proto::records::FailureCode::ComputeLost;
        // The one failed cell of two that may was measured for another sweep since.
        let mut doomed = grid(&[1, 1]);
        doomed.limits.max_failed_cells = 2;
        doomed.given_up = [(cell(0, 0).0, code)].into();
        doomed.doomed = true;
        let mut story = Story::of(named("other"));
        let commands = story.event(Event::Submit(Box::new(doomed)));
        assert!(
            !commands.iter().any(|c| matches!(c, Command::Forgive { .. })),
            "its log is what remembers it"
        );
        let view = story.schedule.view();
        assert!(view.sweeps[&sweep()].doomed && !view.sweeps[&"other".parse().unwrap()].over);
        story.event(Event::Retry { sweep: sweep(), keys: Vec::new() });
        assert!(!story.schedule.view().sweeps[&sweep()].doomed);
    }

    #[test]
    fn the_limits_of_a_stopped_sweep_are_nobodys() {
        let stopped = Submission { cancelled: true, ..grid(&[1]) };
        let mut other = named("other");
        other.limits.attempts = 1;
        let mut story = Story::of(stopped);
        story.event(Event::Submit(Box::new(other)));
        let order = story.given(1);
        let code = espalier_proto::records::FailureCode::ComputeLost;
        story.sync(1, vec![failing(pruning(&order), order.variant.0, FaultKind::ComputeLost, code)]);
        assert!(quarantined(&story), "the other one's three attempts are not to be waited for");
    }
}
