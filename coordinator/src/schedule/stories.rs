//! Small stories of the schedule. Times are milliseconds.

use super::story::*;
use super::*;
use espalier_proto::ids::AttemptId;
use espalier_proto::records::FailureCode;

#[test]
fn the_longest_shard_goes_to_the_first_idle_worker_with_all_its_cells_in_order() {
    let mut story = Story::of(grid(&[2, 3]));
    let order = story.given(1);
    assert_eq!((order.variant, order.cells), (variant(1), vec![cell(1, 0), cell(1, 1), cell(1, 2)]));
    assert_eq!(order.attempt.to_string(), "run.demo-2-1");
}

#[test]
fn an_idle_call_is_held_until_there_is_news_and_answered_empty_after_its_time() {
    let mut story = Story::of(grid(&[1]));
    story.given(1);
    assert_eq!(story.sync(2, vec![]), None);
    assert_eq!(answer_to(&story.later(24_999), 2), None);
    assert_eq!(answer_to(&story.later(1), 2), Some(vec![]));
    assert_eq!(story.sync(2, vec![]), None);
    let news = story.event(Event::WorkerLost(WorkerId("w1".into())));
    assert_eq!(answer_to(&news, 2).unwrap()[0].variant, variant(0));
}

#[test]
fn a_newcomers_first_call_is_answered_at_once_and_its_next_one_is_held() {
    let mut story = Story::of(grid(&[1]));
    story.given(1);
    assert_eq!((story.call(2, vec![]), story.call(2, vec![])), (Some(vec![]), None));
}

#[test]
fn a_silent_worker_loses_its_shard_after_one_lease_and_not_before() {
    let mut story = Story::of(grid(&[1]));
    let order = story.given(1);
    story.sync(1, vec![pruning(&order)]);
    assert_eq!(story.sync(2, vec![]), None);
    assert_eq!(answer_to(&story.later(29_999), 2), Some(vec![]));
    assert_eq!(story.sync(2, vec![]), None);
    let again = answer_to(&story.later(1), 2).expect("the lease has lapsed");
    assert_eq!((again[0].variant, again[0].attempt.n), (variant(0), 2));
    assert!(story.commands.iter().any(|c| matches!(c, Command::LookFor { .. })));
}

#[test]
fn a_lost_answer_is_given_again_and_starts_nothing_twice() {
    let mut story = Story::of(grid(&[1]));
    let first = story.given(1);
    assert_eq!(story.given(1), first);
}

#[test]
fn a_worker_whose_lease_lapsed_too_early_goes_on_if_it_is_further() {
    let mut story = Story::of(grid(&[2]));
    let first = story.given(1);
    story.sync(1, vec![pruning(&first)]);
    story.later(30_000);
    let second = story.given(2);
    story.sync(2, vec![pruning(&second)]);
    let back = story.sync(1, vec![evaluating(&first, &[], &[cell(0, 0)])]).unwrap();
    assert_eq!(back[0].attempt, first.attempt);
    assert_eq!(back[0].cells, [cell(0, 0), cell(0, 1)]);
    // The second prunes in vain; what it is given instead is a cell split off.
    assert!(story.sync(2, vec![pruning(&second)]).unwrap().iter().all(|o| o.attempt != second.attempt));
}

#[test]
fn work_of_an_older_epoch_is_adopted_by_its_keys_and_keeps_its_attempt() {
    let mut story = Story::of(grid(&[2]));
    let old = Order {
        attempt: "run.demo-1-7".parse().unwrap(),
        variant: variant(0),
        cells: vec![],
        variant_wanted: false,
    };
    let orders = story.sync(1, vec![evaluating(&old, &[cell(0, 0)], &[cell(0, 1)])]).unwrap();
    assert_eq!((&orders[0].attempt, &orders[0].cells[..]), (&old.attempt, &[cell(0, 1)][..]));
    assert_eq!(story.done(), 1);
}

#[test]
fn work_whose_cells_are_all_committed_and_work_of_another_instance_is_stopped() {
    let mut submission = grid(&[1]);
    submission.variants_done.insert(variant(0));
    submission.cells_done.insert(cell(0, 0));
    let mut story = Story::of(submission);
    let order = |attempt: &str| Order {
        attempt: attempt.parse::<AttemptId>().unwrap(),
        variant: variant(0),
        cells: vec![],
        variant_wanted: false,
    };
    assert_eq!(story.sync(1, vec![evaluating(&order("run.demo-1-1"), &[], &[])]), Some(vec![]));
    let mut other = Story::of(grid(&[1]));
    let orders = other.sync(1, vec![pruning(&order("main-1-1"))]).unwrap();
    assert!(orders.iter().all(|o| o.attempt.instance.as_str() == "run.demo"), "{orders:?}");
}

#[test]
fn when_nothing_waits_unstarted_cells_are_split_off_as_soon_as_the_checkpoint_is_there() {
    let mut story = Story::of(grid(&[5]));
    let first = story.given(1);
    story.sync(1, vec![pruning(&first)]);
    assert_eq!(story.sync(2, vec![]), None);
    story.sync(1, vec![evaluating(&first, &[], &[cell(0, 0)])]);
    story.later(25_000);
    let split = story.given(2);
    assert_eq!((split.variant, &split.cells[..]), (variant(0), &[cell(0, 3), cell(0, 4)][..]));
    let left = story.sync(1, vec![evaluating(&first, &[], &[cell(0, 0)])]).unwrap();
    assert_eq!(left[0].cells, [cell(0, 0), cell(0, 1), cell(0, 2)]);
}

#[test]
fn a_cell_that_was_split_off_and_had_begun_meanwhile_stays_with_who_began_it() {
    let mut story = Story::of(grid(&[2]));
    let first = story.given(1);
    story.sync(1, vec![evaluating(&first, &[], &[cell(0, 0)])]);
    let split = story.given(2);
    assert_eq!(split.cells, [cell(0, 1)]);
    let kept = story.sync(1, vec![evaluating(&first, &[], &[cell(0, 0), cell(0, 1)])]).unwrap();
    assert_eq!(kept[0].cells, [cell(0, 0), cell(0, 1)]);
    assert_eq!(story.sync(2, vec![pruning(&split)]), Some(vec![]));
}

#[test]
fn a_failing_cell_is_tried_as_often_as_allowed_and_the_rest_finishes() {
    let mut story = Story::of(grid(&[2]));
    for n in 1..=3 {
        let order = story.given(1);
        assert_eq!((order.attempt.n, order.cells.contains(&cell(0, 0))), (n, true));
        let report = evaluating(&order, &[cell(0, 1)], &[]);
        let report = failing(report, cell(0, 0).0, FaultKind::ComputeLost, FailureCode::ComputeLost);
        // Said twice, counted once.
        story.sync(1, vec![report.clone()]);
        story.sync(1, vec![report]);
        story.sync(1, vec![]);
        story.event(Event::CallClosed { worker: WorkerId("w1".into()), call: story.calls });
    }
    let code = FailureCode::ComputeLost;
    let quarantine = Command::Quarantine { sweeps: vec![sweep()], key: cell(0, 0).0, code };
    assert_eq!(story.commands.iter().filter(|c| **c == quarantine).count(), 1, "{:?}", story.commands);
    assert_eq!(story.commands.last(), Some(&Command::SweepDone { sweep: sweep(), halted: false }));
    assert_eq!(story.done(), 1);
}

#[test]
fn what_fails_wherever_it_runs_is_not_tried_again() {
    let mut story = Story::of(grid(&[2, 1]));
    let order = story.given(1);
    let report =
        failing(pruning(&order), order.variant.0, FaultKind::CellError, FailureCode::NonFiniteWeights);
    let next = story.sync(1, vec![report]).unwrap();
    assert!(story.commands.iter().any(|c| matches!(c, Command::Quarantine { .. })), "{:?}", story.commands);
    assert_ne!(next[0].variant, order.variant);
}

#[test]
fn preemption_is_blamed_on_nobody() {
    let mut story = Story::of(grid(&[1]));
    for _ in 0..50 {
        let order = story.given(1);
        let report = failing(pruning(&order), order.variant.0, FaultKind::Preempted, FailureCode::Preempted);
        story.sync(1, vec![report]);
        story.event(Event::WorkerLost(WorkerId("w1".into())));
    }
    assert!(!story.commands.iter().any(|c| matches!(c, Command::Quarantine { .. })));
}

/// Worker `w`, on node `host`, is given the shard, gets so far and is lost.
fn lose(story: &mut Story, w: u8, host: &str, progress: u64) {
    story.facts.insert(w, WorkerFacts { host: host.into(), ..facts() });
    let mut orders = story.sync(w, vec![]);
    // It may have to be waited for; the idle call is answered empty meanwhile.
    for _ in 0..9 {
        orders = orders.filter(|o| !o.is_empty()).or_else(|| answer_to(&story.later(5_000), w));
        orders = orders.filter(|o| !o.is_empty()).or_else(|| story.sync(w, vec![]));
    }
    let Some([order]) = orders.as_deref() else {
        return;
    };
    let mut report = pruning(order);
    report.progress = (progress, 100);
    story.sync(w, vec![report]);
    story.event(Event::WorkerLost(WorkerId(format!("w{w}").into())));
}

fn given_up(story: &Story) -> bool {
    story.commands.iter().any(|c| matches!(c, Command::Quarantine { .. }))
}

#[test]
fn a_shard_that_kills_its_workers_on_several_nodes_is_given_up_and_one_that_gets_further_is_not() {
    let mut poison = Story::of(grid(&[1]));
    (1..=4).for_each(|w| lose(&mut poison, w, &format!("h{w}"), 10));
    assert!(given_up(&poison));
    let mut innocent = Story::of(grid(&[1]));
    (1..=40).for_each(|w| lose(&mut innocent, w, &format!("h{w}"), w.into()));
    assert!(!given_up(&innocent));
}

#[test]
fn a_node_that_kills_everything_is_not_held_against_a_shard_but_one_that_does_other_work_in_between_is() {
    let mut sick = Story::of(grid(&[1]));
    (1..=6).for_each(|w| lose(&mut sick, w, "h", 10));
    assert!(!given_up(&sick));
    // Nothing is tried for ever.
    (7..=60).for_each(|w| lose(&mut sick, w, "h", 10));
    assert!(given_up(&sick));
    let mut sound = Story::of(grid(&[1, 9]));
    let other = sound.given(100);
    // Everything of it has begun, so that nothing of it is split off.
    let all: Vec<_> = (0..9).map(|c| cell(1, c)).collect();
    for w in 1..=6 {
        let (done, begun) = all.split_at(w);
        sound.sync(100, vec![evaluating(&other, done, begun)]);
        lose(&mut sound, w as u8, "h", 10);
    }
    assert!(given_up(&sound));
}

#[test]
fn what_was_too_large_for_one_device_goes_to_a_larger_one() {
    let mut story = Story::of(grid(&[1]));
    story.facts.insert(2, WorkerFacts { memory: 5000, ..facts() });
    let order = story.given(1);
    assert_eq!(story.sync(2, vec![]), None);
    let report = failing(pruning(&order), order.variant.0, FaultKind::OutOfMemory, FailureCode::OutOfMemory);
    story.now += 1;
    story.calls += 1;
    let sync = Sync {
        worker: WorkerId("w1".into()),
        call: story.calls,
        facts: facts(),
        draining: false,
        epoch_seen: 0,
        shards: vec![report],
    };
    let commands = story.event(Event::Sync(Box::new(sync)));
    assert_eq!(answer_to(&commands, 1), Some(vec![]));
    assert_eq!(answer_to(&commands, 2).unwrap()[0].variant, variant(0));
}

#[test]
fn a_worker_that_does_not_fit_is_given_nothing_and_the_reason_is_told() {
    let mut story = Story::of(grid(&[1]));
    story.facts.insert(1, WorkerFacts { threads: 4, ..facts() });
    assert_eq!(story.sync(1, vec![]), None);
    let misfits = vec![(WorkerId("w1".into()), Misfit::Threads { found: 4, wanted: 2 })];
    assert_eq!(story.schedule.waits_for(&sweep()), Some(Wait::NoWorkerFits(misfits)));
}

#[test]
fn too_many_failed_cells_stop_the_sweep_and_what_is_not_begun_is_not_run() {
    let mut submission = grid(&[2, 2, 2]);
    submission.limits.max_failed_cells = 2;
    let mut story = Story::of(submission);
    let order = story.given(1);
    let report = failing(pruning(&order), order.variant.0, FaultKind::CellError, FailureCode::BadCheckpoint);
    assert_eq!(story.sync(1, vec![report]), Some(vec![]));
    assert_eq!(story.commands.last(), Some(&Command::SweepDone { sweep: sweep(), halted: true }));
    assert_eq!(story.sync(1, vec![]), None);
}

#[test]
fn a_sweep_without_tasks_is_done_when_its_variants_are() {
    let mut story = Story::of(grid(&[0]));
    let order = story.given(1);
    assert!(order.variant_wanted && order.cells.is_empty());
    let held = story.sync(1, vec![pruning(&order)]).unwrap();
    assert_eq!(held, [order.clone()]);
    assert_eq!(story.sync(1, vec![evaluating(&order, &[], &[])]), Some(vec![]));
    assert_eq!(story.commands, [Command::SweepDone { sweep: sweep(), halted: false }]);
}

#[test]
fn submitting_again_extends_a_running_shard_and_cancelling_keeps_only_what_has_begun() {
    let mut story = Story::of(grid(&[1]));
    let order = story.given(1);
    story.sync(1, vec![pruning(&order)]);
    story.event(Event::Submit(Box::new(grid(&[3]))));
    let longer = story.sync(1, vec![pruning(&order)]).unwrap();
    assert_eq!(longer[0].cells, [cell(0, 0), cell(0, 1), cell(0, 2)]);
    story.sync(1, vec![evaluating(&order, &[], &[cell(0, 0)])]);
    story.event(Event::Cancel(sweep()));
    let left = story.sync(1, vec![evaluating(&order, &[], &[cell(0, 0)])]).unwrap();
    assert_eq!(left[0].cells, [cell(0, 0)]);
}

#[test]
fn a_cell_that_two_sweeps_want_is_run_once_and_stops_only_when_neither_does() {
    let mut story = Story::of(grid(&[1]));
    let mut second = grid(&[1]);
    second.sweep = "other".parse().unwrap();
    story.event(Event::Submit(Box::new(second)));
    let order = story.given(1);
    assert_eq!(story.sync(2, vec![]), None);
    story.event(Event::Cancel(sweep()));
    assert_eq!(story.sync(1, vec![pruning(&order)]).unwrap()[0].cells, [cell(0, 0)]);
    story.event(Event::Cancel("other".parse().unwrap()));
    assert_eq!(story.sync(1, vec![pruning(&order)]), Some(vec![]));
}

fn named(name: &str, first: u8, priority: i32) -> Submission {
    let mut submission = grid(&[1]);
    submission.sweep = name.parse().unwrap();
    submission.priority = priority;
    submission.variants = (0..3)
        .map(|v| VariantPlan {
            key: variant(first + v),
            cells: vec![CellPlan { key: cell(first + v, 0), cost: 10 }],
            ..submission.variants[0].clone()
        })
        .collect();
    submission
}

#[test]
fn the_higher_priority_comes_first_and_equal_ones_share() {
    let mut story = Story::of(named("low", 0, 0));
    for s in [named("a", 10, 5), named("b", 20, 5)] {
        story.event(Event::Submit(Box::new(s)));
    }
    let given: Vec<_> = (1..=8).map(|w| story.given(w).variant).collect();
    let of = |range: std::ops::Range<usize>, first: u8| {
        given[range].iter().filter(|v| (first..first + 3).any(|n| variant(n) == **v)).count()
    };
    assert_eq!([of(0..2, 10), of(0..2, 20), of(2..4, 10), of(2..4, 20), of(6..8, 0)], [1, 1, 1, 1, 2]);
}

#[test]
fn a_paused_sweep_finishes_what_has_begun_and_goes_on_when_resumed() {
    let mut story = Story::of(grid(&[2, 1]));
    let order = story.given(1);
    story.sync(1, vec![evaluating(&order, &[], &[cell(0, 0)])]);
    story.event(Event::Pause(sweep()));
    assert_eq!(story.explain(cell(1, 0)), Explanation::Waiting { on: Wait::Paused });
    let held = story.sync(1, vec![evaluating(&order, &[], &[cell(0, 0)])]).unwrap();
    assert_eq!(held[0].cells, [cell(0, 0)]);
    assert_eq!(story.sync(1, vec![evaluating(&order, &[cell(0, 0)], &[])]), Some(vec![]));
    assert_eq!(story.sync(1, vec![]), None);
    assert!(story.schedule.view().sweeps[&sweep()].paused && !story.schedule.view().sweeps[&sweep()].over);
    let resumed = story.event(Event::Resume(sweep()));
    assert_eq!(answer_to(&resumed, 1).unwrap()[0].variant, variant(1));
}

#[test]
fn a_retried_key_is_tried_again_and_a_sweep_that_failures_stopped_goes_on() {
    let mut submission = grid(&[1]);
    submission.limits.max_failed_cells = 1;
    let mut story = Story::of(submission);
    let order = story.given(1);
    let report = failing(pruning(&order), order.variant.0, FaultKind::CellError, FailureCode::BadCheckpoint);
    story.sync(1, vec![report.clone()]);
    assert_eq!(story.explain(cell(0, 0)), Explanation::Quarantined(FailureCode::BadCheckpoint));
    story.event(Event::Retry { sweep: sweep(), keys: vec![] });
    // The same failure, said again, is not a second one.
    let again = story.sync(1, vec![report]).unwrap();
    assert_ne!(again[0].attempt, order.attempt);
    assert!(story.schedule.view().sweeps[&sweep()].failed.is_empty());
}

#[test]
fn a_forgotten_sweep_leaves_what_another_wants() {
    let mut story = Story::of(grid(&[2]));
    let mut second = grid(&[1]);
    second.sweep = "other".parse().unwrap();
    story.event(Event::Submit(Box::new(second)));
    let order = story.given(1);
    story.event(Event::Forget(sweep()));
    assert_eq!(story.sync(1, vec![pruning(&order)]).unwrap()[0].cells, [cell(0, 0)]);
    assert!(!story.schedule.view().sweeps.contains_key(&sweep()));
    assert_eq!(story.explain(cell(0, 1)), Explanation::Waiting { on: Wait::NotWanted });
}

#[test]
fn it_is_explained_why_a_cell_is_not_running() {
    let waits = |story: &Story, c| match story.explain(c) {
        Explanation::Waiting { on } => on,
        other => panic!("{other:?}"),
    };
    let mut story = Story::of(grid(&[1, 1]));
    assert_eq!(waits(&story, cell(0, 0)), Wait::NoWorkerFits(vec![]));
    let order = story.given(1);
    let attempt = order.attempt.clone();
    assert_eq!(waits(&story, cell(0, 0)), Wait::Preparing { attempt: attempt.clone() });
    assert_eq!(waits(&story, cell(1, 0)), Wait::Busy);
    story.sync(1, vec![evaluating(&order, &[], &[])]);
    let worker = WorkerId("w1".into());
    assert_eq!(story.explain(cell(0, 0)), Explanation::Running { attempt, worker });
    let report =
        failing(evaluating(&order, &[], &[]), cell(0, 0).0, FaultKind::StoreError, FailureCode::StoreError);
    story.sync(1, vec![report]);
    assert_eq!(waits(&story, cell(0, 0)), Wait::NotBefore { left: Millis(2_000), variant: order.variant });
    assert_eq!(waits(&story, cell(9, 9)), Wait::NotWanted);
    story.event(Event::Cancel(sweep()));
    assert_eq!(waits(&story, cell(1, 0)), Wait::Halted);
}
