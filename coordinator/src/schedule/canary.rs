//! A model's canary: a small piece of work that shows that the model can be run at all. Until it is done no variant of the model is
//! begun; where it fails as often as the limits allow, none is, with its reason.
//!
//! To the schedule a canary is a variant without cells, wanted by itself: placement, leases, blame and quarantine are everybody's. What has
//! been begun, or is in the bucket, waits for no canary any more, and one that nobody wants holds nobody up. A canary is its sweep's: what fell with
//! it is not run for that sweep until it is asked for again, and what another sweep wants as well is run for that one.

use super::index::No;
use super::state::{Schedule, Variant};
use espalier_proto::ids::VariantKey;
use espalier_proto::records::FailureCode;

/// Whether a variant may be begun, as far as its model's canary goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// This canary is not done yet.
    Closed(VariantKey),
    /// The canary was given up.
    Fallen(FailureCode),
}

impl Schedule {
    /// For one of the sweeps that want the variant.
    pub(super) fn gate_for(&self, variant: &Variant, no: No) -> Gate {
        let Some(key) = variant.after.get(&no) else { return Gate::Open };
        let Some(canary) = self.variants.get(key) else { return Gate::Open };
        let awaited =
            || !canary.attempts.is_empty() || canary.wants_alone.iter().any(|no| self.going.contains(no));
        let begun = variant.done || !variant.attempts.is_empty();
        match canary.trouble.quarantined {
            // As of every key: what was given up stays so until it is asked for again, whoever finishes it meanwhile.
            Some(code) if !planted!(self, FallenGoesOn) => Gate::Fallen(code),
            None if !begun && !canary.done && awaited() && !planted!(self, NoCanary) => Gate::Closed(*key),
            _ => Gate::Open,
        }
    }

    /// A sweep that goes on wants what it wants of the variant: its canary has not fallen.
    pub(super) fn wants_now(&self, variant: &Variant, no: No) -> bool {
        self.going.contains(&no) && !matches!(self.gate_for(variant, no), Gate::Fallen(_))
    }

    /// All who want something of the variant now wait for a canary.
    pub(super) fn is_gated(&self, variant: &Variant) -> bool {
        if variant.after.is_empty() || variant.done || !variant.attempts.is_empty() {
            return false;
        }
        let open = variant.cells.values().filter(|cell| self.is_open(variant, cell));
        let mut wanting = open.flat_map(|cell| &cell.wants).chain(&variant.wants_alone);
        !wanting.any(|no| self.wants_now(variant, *no) && self.gate_for(variant, *no) == Gate::Open)
    }

    /// Why the variant was given up for a sweep: by its own failures or by its canary's.
    pub(super) fn why_given_up(&self, variant: &Variant, no: No) -> Option<FailureCode> {
        variant.trouble.quarantined.or(match self.gate_for(variant, no) {
            Gate::Fallen(code) => Some(code),
            Gate::Open | Gate::Closed(_) => None,
        })
    }

    /// Variants of a canary's model are looked at anew with it.
    pub(super) fn mark_gated(&mut self, canary: VariantKey) {
        if let Some(gated) = self.gated.get(&canary) {
            gated.iter().for_each(|key| self.index.mark(*key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::*;
    use super::super::*;
    use espalier_proto::ids::Digest;

    /// Three variants of one cell behind the canary `variant(9)`.
    fn guarded() -> Submission {
        let mut submission = grid(&[1, 1, 1]);
        submission.variants.iter_mut().for_each(|v| v.after = Some(variant(9)));
        let canary = VariantPlan {
            key: variant(9),
            cost: 1,
            wanted_alone: true,
            cells: Vec::new(),
            after: None,
            ..submission.variants[0].clone()
        };
        submission.variants.push(canary);
        submission
    }

    #[test]
    fn nothing_of_a_model_is_begun_before_its_canary_has_passed_and_then_everything_at_once() {
        let mut story = Story::of(guarded());
        let canary = story.given(1);
        assert_eq!((canary.variant, canary.variant_wanted), (variant(9), true));
        assert_eq!(story.sync(2, vec![]), None);
        let on = Wait::Canary { canary: variant(9) };
        assert_eq!(story.explain(cell(0, 0)), Explanation::Waiting { on });
        let passed = evaluating(&canary, &[], &[]);
        story.sync(1, vec![passed]);
        let verdict = Command::CanaryPassed { sweeps: vec![sweep()], canary: variant(9) };
        assert!(story.commands.contains(&verdict), "{:?}", story.commands);
        assert_ne!(story.given(2).variant, variant(9));
    }

    #[test]
    fn who_has_nothing_to_do_before_a_canary_has_passed_is_told_that_there_will_be_something() {
        let held_back = |commands: &[Command], w: u8| {
            commands.iter().find_map(|c| match c {
                Command::Answer { worker, held_back, .. } if *worker.0 == format!("w{w}") => Some(*held_back),
                _ => None,
            })
        };
        let mut story = Story::of(grid(&[]));
        // Its call is held open: it knows of nothing.
        assert_eq!(story.sync(2, vec![]), None);
        let mut submission = guarded();
        submission.sweep = "guarded".parse().unwrap();
        story.event(Event::Submit(Box::new(submission)));
        let canary = story.schedule.attempts.keys().next().cloned().expect("the idle one is given it");
        assert_eq!(story.call(3, vec![]), Some(vec![]), "a newcomer's call is answered at once");
        assert_eq!(story.call(3, vec![]), None, "it was told");
        let told = story.later(25_000);
        assert_eq!(held_back(&told, 3), Some(true), "and is told again");
        let passed =
            Report { attempt: canary, ..evaluating(&Order { variant: variant(9), ..any() }, &[], &[]) };
        story.call(3, vec![]);
        story.sync(2, vec![passed]);
        assert!(story.schedule.attempts.keys().count() >= 2);
    }

    fn any() -> Order {
        let attempt = "demo-1-1".parse().unwrap();
        Order { attempt, variant: variant(0), cells: Vec::new(), variant_wanted: false }
    }

    #[test]
    fn a_canary_that_falls_takes_its_model_with_it_and_is_tried_again_when_asked() {
        let mut story = Story::of(guarded());
        let canary = story.given(1);
        let code = espalier_proto::records::FailureCode::NonFiniteWeights;
        let fails = failing(pruning(&canary), canary.variant.0, FaultKind::CellError, code);
        story.sync(1, vec![fails]);
        let fallen = Explanation::Fallen { canary: variant(9), code };
        assert_eq!(story.explain(cell(2, 0)), fallen);
        let view = story.schedule.view().sweeps[&sweep()].clone();
        assert!(view.over && !view.halted, "it stops its model's part, not the sweep");
        assert_eq!(view.failed.len(), 4, "the canary and all three variants");
        assert_eq!(view.failed.values().filter(|why| why.by_canary).count(), 3);
        assert_eq!(view.forgone, view.work.0, "nothing of it will be done");
        assert_eq!(story.sync(2, vec![]), None);
        let keys: Vec<Digest> = vec![cell(1, 0).0];
        let again = story.event(Event::Retry { sweep: sweep(), keys });
        let order = &answer_to(&again, 2).expect("its call is open")[0];
        assert_eq!(order.variant, variant(9), "by whatever of its model is asked for");
    }

    #[test]
    fn a_fallen_canary_is_tried_again_by_whoever_asks_for_it_and_the_others_are_told() {
        let mut story = Story::of(guarded());
        let mut other = guarded();
        other.sweep = "other".parse().unwrap();
        story.event(Event::Submit(Box::new(other.clone())));
        let canary = story.given(1);
        let code = espalier_proto::records::FailureCode::NonFiniteWeights;
        story.sync(1, vec![failing(pruning(&canary), canary.variant.0, FaultKind::CellError, code)]);
        assert!(story.schedule.view().sweeps[&other.sweep].over, "it is the canary of both");
        let again = story.event(Event::Retry { sweep: other.sweep.clone(), keys: vec![cell(0, 0).0] });
        let told = Command::Forgive { sweep: sweep(), keys: vec![variant(9).0] };
        assert!(again.contains(&told), "the log of the other one is told: {again:?}");
        assert!(!story.schedule.view().sweeps[&sweep()].over);
        assert_eq!(story.given(1).variant, variant(9));
    }

    #[test]
    fn what_a_sweep_wants_whose_canary_fell_is_not_taken_from_one_that_has_none_or_whose_own_has_passed() {
        let mut story = Story::of(guarded());
        let mut small = grid(&[1]);
        small.sweep = "small".parse().unwrap();
        story.event(Event::Submit(Box::new(small.clone())));
        // It does not wait for what only the other one tries.
        let (canary, begun) = (story.given(1), story.given(2));
        assert_eq!((canary.variant, begun.variant), (variant(9), variant(0)));
        let code = espalier_proto::records::FailureCode::NonFiniteWeights;
        story.sync(1, vec![failing(pruning(&canary), canary.variant.0, FaultKind::CellError, code)]);
        let view = story.schedule.view();
        assert_eq!((view.sweeps[&sweep()].over, view.sweeps[&small.sweep].over), (true, false));
        assert_eq!((view.sweeps[&sweep()].lost, view.sweeps[&small.sweep].lost), (3, 0));
        story.event(Event::WorkerLost(WorkerId("w2".into())));
        // Taken up anew, as after any change of the records, it is still its own.
        story.event(Event::Submit(Box::new(small.clone())));
        assert_eq!(story.given(3).variant, variant(0));
    }

    #[test]
    fn a_canary_of_another_sweeps_tasks_fells_only_what_waits_for_no_other() {
        let mut story = Story::of(guarded());
        let mut other = guarded();
        other.sweep = "other".parse().unwrap();
        for plan in &mut other.variants {
            plan.key = if plan.key == variant(9) { variant(8) } else { plan.key };
            plan.after = plan.after.map(|_| variant(8));
        }
        story.event(Event::Submit(Box::new(other)));
        let (first, second) = (story.given(1), story.given(2));
        let (own, others) = if first.variant == variant(9) { (first, second) } else { (second, first) };
        let code = espalier_proto::records::FailureCode::NonFiniteWeights;
        let (w_own, w_other) = if own.attempt.n == 1 { (1, 2) } else { (2, 1) };
        story.sync(w_other, vec![failing(pruning(&others), others.variant.0, FaultKind::CellError, code)]);
        let view = story.schedule.view();
        assert!(!view.sweeps[&sweep()].over, "its own canary is still at work");
        story.sync(w_own, vec![evaluating(&own, &[], &[])]);
        let begun = story.given(3).variant;
        assert!([variant(0), variant(1), variant(2)].contains(&begun), "{begun:?}");
    }

    #[test]
    fn a_canary_that_nobody_wants_any_more_holds_nobody_up() {
        let mut story = Story::of(guarded());
        let mut other = grid(&[1]);
        other.sweep = "other".parse().unwrap();
        story.event(Event::Submit(Box::new(other)));
        story.event(Event::Cancel(sweep()));
        assert_eq!(story.given(1).variant, variant(0));
    }
}
