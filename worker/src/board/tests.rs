//! What a board makes of orders and of what is done.

use super::order::{Failed, Order};
use super::shards::Board;
use espalier_proto::ids::{Digest, InputsDigest, ModelDigest};
use espalier_proto::keys;
use espalier_proto::messages as pb;
use espalier_proto::recipe::{Backend, Dtype, VariantSpec};
use espalier_proto::records::FailureCode;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn order(attempt: &str, inputs: &[&str]) -> Order {
    let spec = VariantSpec {
        model: ModelDigest(Digest::of(b"m")),
        method: "dense".to_owned(),
        params: BTreeMap::new(),
        targets: BTreeMap::new(),
        calibration: None,
        dtype: Dtype::Float32,
        backend: Backend::Cpu,
        threads: Some(2),
        device_kind: None,
        tf32: false,
    };
    let key = keys::variant_key(&spec);
    let cell = |name: &&str| {
        let inputs = InputsDigest(Digest::of(name.as_bytes()));
        (keys::cell_key(key, inputs), inputs)
    };
    let cells = inputs.iter().map(cell).collect();
    Order {
        attempt: attempt.parse().unwrap(),
        key,
        spec,
        folder: PathBuf::new(),
        cells,
        variant_wanted: false,
        canary: None,
    }
}

#[test]
fn cells_are_done_in_order_and_a_finished_shard_is_held_until_an_answer_drops_it() {
    let mut board = Board::default();
    let o = order("main-1-1", &["a", "b"]);
    board.apply(vec![o.clone()]);
    let attempt = board.begin().unwrap().attempt;
    for expected in &o.cells {
        let (cell, told_at_once) = board.begin_cell(&attempt).unwrap();
        assert_eq!((&cell, told_at_once), (expected, cell != o.cells[0]));
        assert_eq!(board.report()[0].cells_begun, [cell.0.to_string()]);
        board.cell_done(&attempt, cell.0);
    }
    board.end();
    assert!(board.begin_cell(&attempt).is_none() && board.begin().is_none());
    assert_eq!(board.report()[0].phase(), pb::Phase::Finished);
    board.apply(vec![]);
    assert!(board.empty());
}

#[test]
fn a_variant_that_is_done_is_news_where_others_can_be_given_some_of_its_cells() {
    for (inputs, news) in [(&["a"][..], false), (&["a", "b"][..], true)] {
        let mut board = Board::default();
        board.apply(vec![order("main-1-1", inputs)]);
        let attempt = board.begin().unwrap().attempt;
        assert_eq!(board.variant_done(&attempt), news);
        assert!(board.report()[0].variant_done, "told with the next call all the same");
    }
}

#[test]
fn of_several_shards_one_is_done_after_another_and_what_can_wait_is_no_news() {
    let mut board = Board::default();
    board.apply(vec![order("run.a-1-9", &["x"]), order("run.a-1-10", &["y"])]);
    let phases = |board: &Board| board.report().iter().map(pb::ShardReport::phase).collect::<Vec<_>>();
    assert_eq!(phases(&board), [pb::Phase::Loading, pb::Phase::Waiting]);
    let first = board.begin().unwrap().attempt;
    assert_eq!(first.n, 9);
    assert!(board.has_more());
    let ((cell, _), _) = board.begin_cell(&first).unwrap();
    board.cell_done(&first, cell);
    board.end();
    assert_eq!(phases(&board), [pb::Phase::Finished, pb::Phase::Loading]);
    let second = board.begin().unwrap().attempt;
    assert_eq!((second.n, board.has_more()), (10, false));
    // What is taken back before it has begun is dropped.
    board.apply(vec![order("run.a-1-11", &["x"]), order("run.a-1-12", &["x"])]);
    board.apply(vec![order("run.a-1-11", &["x"])]);
    let held: Vec<String> = board.report().into_iter().map(|shard| shard.attempt).collect();
    assert_eq!(held, ["run.a-1-10", "run.a-1-11"], "what runs is finished as far as it has begun");
}

#[test]
fn a_shard_that_grows_is_taken_up_again_and_one_that_shrinks_stops() {
    let mut board = Board::default();
    board.apply(vec![order("main-1-1", &["a"])]);
    let attempt = board.begin().unwrap().attempt;
    let (a, _) = board.begin_cell(&attempt).unwrap();
    board.apply(vec![order("main-1-1", &["a", "b"])]);
    board.cell_done(&attempt, a.0);
    assert!(board.goes_on(&attempt));
    board.apply(vec![order("main-1-1", &[])]);
    assert!(board.begin_cell(&attempt).is_none());
    board.end();
    assert!(board.empty(), "an empty list is stop");
}

#[test]
fn a_begun_cell_is_finished_though_its_attempt_is_no_longer_named() {
    let mut board = Board::default();
    board.apply(vec![order("main-1-1", &["a", "b"])]);
    let attempt = board.begin().unwrap().attempt;
    let (a, _) = board.begin_cell(&attempt).unwrap();
    board.apply(vec![]);
    assert_eq!(board.report()[0].cells_begun, [a.0.to_string()], "still told");
    board.cell_done(&attempt, a.0);
    assert!(!board.goes_on(&attempt));
    board.end();
    assert!(board.empty());
}

#[test]
fn a_cell_that_a_leaving_worker_gave_up_is_not_begun_any_more_and_goes_back() {
    let mut board = Board::default();
    board.apply(vec![order("main-1-1", &["a"])]);
    let attempt = board.begin().unwrap().attempt;
    assert!(board.begin_cell(&attempt).is_some());
    board.drain();
    board.end();
    board.give_back();
    let report = board.report().remove(0);
    assert_eq!((report.cells_begun.len(), report.failures[0].kind()), (0, pb::FailureKind::Preempted));
}

#[test]
fn a_variant_that_is_wanted_without_cells_is_work_until_its_record_is_there() {
    let mut board = Board::default();
    let wanted = Order { variant_wanted: true, ..order("main-1-1", &[]) };
    board.apply(vec![wanted.clone()]);
    let attempt = board.begin().unwrap().attempt;
    assert!(board.goes_on(&attempt) && board.begin_cell(&attempt).is_none());
    board.apply(vec![wanted]);
    assert!(board.variant_done(&attempt), "nothing else will be told");
    board.end();
    assert!(board.idle());
    assert_eq!(board.report()[0].phase(), pb::Phase::Finished);
}

#[test]
fn a_failed_cell_leaves_its_siblings_and_a_failed_variant_does_not() {
    let mut board = Board::default();
    board.apply(vec![order("main-1-1", &["a", "b"])]);
    let order = board.begin().unwrap();
    let failed = |key| Failed { key, code: FailureCode::NonFiniteScores, message: String::new() };
    let ((a, _), _) = board.begin_cell(&order.attempt).unwrap();
    board.failed(&order.attempt, failed(a.0));
    assert_eq!(board.begin_cell(&order.attempt), Some((order.cells[1], true)));
    board.failed(&order.attempt, failed(order.key.0));
    assert!(board.begin_cell(&order.attempt).is_none());
    assert_eq!(board.report()[0].phase(), pb::Phase::Finished);
}

#[test]
fn leaving_gives_back_unfinished_shards_as_preempted_and_begins_nothing() {
    let mut board = Board::default();
    board.apply(vec![order("main-1-1", &["a"])]);
    board.drain();
    assert!(board.begin().is_none());
    board.give_back();
    board.apply(vec![order("main-1-1", &["a"]), order("main-1-2", &["a"])]);
    let report = board.report();
    assert_eq!(report.len(), 1, "no new shard is taken");
    assert_eq!(report[0].failures[0].kind(), pb::FailureKind::Preempted);
}
