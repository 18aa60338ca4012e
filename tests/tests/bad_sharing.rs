//! Two people on one bucket: with different sweeps, with the same one, with two different ones of one name, at once and one after
//! the other. Nothing is lost, nothing is measured twice, nobody reads another's numbers as his own.

use espalier_tests::binaries::text;
use espalier_tests::sweeps::Place;
use std::process::{Child, Output, Stdio};

fn start(place: &Place, sweep: &str) -> Child {
    place.command(&["run", sweep]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn tasks(csv: &str) -> Vec<String> {
    let mut tasks: Vec<String> =
        csv.lines().skip(1).map(|l| l.split(',').nth(8).unwrap().to_owned()).collect();
    tasks.dedup();
    tasks.sort();
    tasks.dedup();
    tasks
}

#[test]
fn two_people_who_start_the_same_sweep_at_once_get_one_result_and_one_is_told_who_is_at_it() {
    let place = Place::new("phi-nobos");
    let both = [start(&place, "s.yaml"), start(&place, "s.yaml")];
    let ended: Vec<Output> = both.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
    let said: String = ended.iter().map(text).collect();
    let mut codes: Vec<i32> = ended.iter().map(|o| o.status.code().unwrap()).collect();
    codes.sort_unstable();
    // The later one finds it running, or, if it came late enough, done.
    assert!(codes == [0, 5] || codes == [0, 0], "{codes:?} {said}");
    if codes == [0, 5] {
        assert!(said.contains("is being run by process"), "{said}");
    }
    assert_eq!(place.cells(), 4);
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
}

#[test]
fn different_sweeps_in_one_bucket_use_each_others_cells_and_report_only_their_own() {
    let place = Place::new("phi-nobos");
    place.sweep("other", "0.5, \"2:4\"", "{task: wikitext2, data: ./rows.txt, seqlen: 64}");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done, 4 of them in this run"]);
    let before = place.results("s");
    // Dense and 0.5 on CommonsenseQA are there.
    place.ends(&["plan", "other.yaml"], 0, &["3 variants, 6 cells: 2 in the bucket, 4 to do"]);
    place.ends(&["run", "other.yaml"], 0, &["6 of 6 cells done, 4 of them in this run"]);
    assert_eq!(place.cells(), 8);
    assert_eq!(place.results("s"), before);
    assert!(!place.results("other").contains("ppl_token@32"), "{}", place.results("other"));
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    assert_eq!(place.results("s"), before);
    // Which of them is meant has to be said.
    place.ends(&["export", "wanda-0.5-s0", "--to", "x"], 2, &["--sweep: expected one of other, s"]);
    assert!(!place.at("x").exists());
    place.ends(
        &["export", "wanda-0.5-s0", "--to", "x", "--sweep", "others"],
        3,
        &["no sweep others", "other"],
    );
}

#[test]
fn a_second_sweep_of_the_same_name_takes_its_place_and_loses_no_cell() {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let before = place.results("s");
    // Another person's file of the same name.
    place.sweep("theirs", "0.75", "{task: wikitext2, data: ./rows.txt, seqlen: 64}");
    place.replace("theirs.yaml", "name: theirs", "name: s");
    place.ends(&["run", "theirs.yaml"], 0, &["4 of 4 cells done, 3 of them in this run"]);
    let theirs = place.results("s");
    assert_eq!(tasks(&theirs), ["commonsense_qa", "wikitext2"]);
    assert!(
        theirs.contains("ppl_token@64") && !theirs.contains("ppl_token@32") && !theirs.contains(",0.5,"),
        "{theirs}"
    );
    // The first finds all of his again.
    place.ends(&["run", "s.yaml"], 0, &["nothing was run"]);
    assert_eq!(place.results("s"), before);
}
