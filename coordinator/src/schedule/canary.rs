//! A model's canary: a small piece of work that shows that the model can be run at all. Until it is done no variant of the model is
//! begun; where it fails as often as the limits allow, none is, with its reason.
//!
//! To the schedule a canary is a variant without cells, wanted by itself: placement, leases, blame and quarantine are everybody's. What has
//! been begun, or is in the bucket, needs no canary any more. One that nobody wants holds nobody up. Sweeps with other tasks have canaries of their own:
//! what several of them want may be begun once one of these has passed.

use super::state::{Schedule, Variant};
use espalier_proto::ids::VariantKey;
use espalier_proto::records::FailureCode;
use std::collections::BTreeSet;

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
    pub(super) fn gate(&self, variant: &Variant) -> Gate {
        if variant.done || !variant.attempts.is_empty() {
            return Gate::Open;
        }
        let (mut passed, mut pending, mut fallen) = (false, None, None);
        for key in &variant.after {
            let Some(canary) = self.variants.get(key) else { continue };
            let wanted = canary.wants_alone.iter().any(|no| self.going.contains(no));
            match canary.trouble.quarantined {
                // As of every key: what was given up stays so until it is asked for again, whoever finishes it meanwhile.
                Some(code) if !planted!(self, FallenGoesOn) => fallen = Some(code),
                _ if canary.done => passed |= wanted,
                None if planted!(self, NoCanary) => {}
                None if wanted || !canary.attempts.is_empty() => pending = Some(*key),
                _ => {}
            }
        }
        match (pending, fallen) {
            // Another sweep's tasks are not to hold up, or to fell, what one wants whose own were tried.
            _ if passed => Gate::Open,
            (Some(key), _) => Gate::Closed(key),
            (None, Some(code)) => Gate::Fallen(code),
            (None, None) => Gate::Open,
        }
    }

    /// Why the variant was given up: by its own failures or by its canary's.
    pub(super) fn why_given_up(&self, variant: &Variant) -> Option<FailureCode> {
        variant.trouble.quarantined.or(match self.gate(variant) {
            Gate::Fallen(code) => Some(code),
            Gate::Open | Gate::Closed(_) => None,
        })
    }

    /// A variant came to be there though its canary had been given up: its sweeps are not over yet.
    pub(super) fn rise(&mut self, key: VariantKey) {
        let variant = &self.variants[&key];
        let mut canaries = variant.after.iter().filter_map(|key| self.variants.get(key));
        if canaries.all(|canary| canary.trouble.quarantined.is_none()) {
            return;
        }
        let wanting: BTreeSet<_> = variant.cells.values().flat_map(|c| c.wants.iter().copied()).collect();
        for sweep in self.sweeps.values_mut().filter(|s| !s.halted && wanting.contains(&s.no)) {
            sweep.told = false;
        }
        self.unsettled = true;
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
        assert_eq!(story.schedule.explain(cell(0, 0)), Explanation::Waiting { on });
        let passed = evaluating(&canary, &[], &[]);
        story.sync(1, vec![passed]);
        let verdict = Command::CanaryPassed { sweeps: vec![sweep()], canary: variant(9) };
        assert!(story.commands.contains(&verdict), "{:?}", story.commands);
        assert_ne!(story.given(2).variant, variant(9));
    }

    #[test]
    fn a_canary_that_falls_takes_its_model_with_it_and_is_tried_again_when_asked() {
        let mut story = Story::of(guarded());
        let canary = story.given(1);
        let code = espalier_proto::records::FailureCode::NonFiniteWeights;
        let fails = failing(pruning(&canary), canary.variant.0, FaultKind::CellError, code);
        story.sync(1, vec![fails]);
        let fallen = Explanation::Fallen { canary: variant(9), code };
        assert_eq!(story.schedule.explain(cell(2, 0)), fallen);
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
    fn a_fallen_canary_is_tried_again_by_whoever_shares_a_variant_with_its_sweep() {
        let mut story = Story::of(guarded());
        let mut other = grid(&[1]);
        other.sweep = "other".parse().unwrap();
        story.event(Event::Submit(Box::new(other.clone())));
        let canary = story.given(1);
        let code = espalier_proto::records::FailureCode::NonFiniteWeights;
        story.sync(1, vec![failing(pruning(&canary), canary.variant.0, FaultKind::CellError, code)]);
        assert!(story.schedule.view().sweeps[&other.sweep].over, "a small one falls with it");
        let again = story.event(Event::Retry { sweep: other.sweep.clone(), keys: vec![cell(0, 0).0] });
        let told = Command::Forgive { sweep: sweep(), keys: vec![variant(9).0] };
        assert!(again.contains(&told), "the log of the other one is told: {again:?}");
        assert!(!story.schedule.view().sweeps[&sweep()].over);
        assert_eq!(story.given(1).variant, variant(9));
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
