//! The estimate of `plan`: shortly measured before anything is finished, from finished cells after, as stated where it is stated.

use espalier_tests::sweeps::Place;

fn time(said: &str) -> &str {
    said.lines().find(|line| line.starts_with("time: ")).unwrap_or("no time")
}

#[test]
fn the_first_plan_has_a_time_from_a_short_measurement_and_later_ones_from_finished_cells() {
    let place = Place::new("phi-nobos");
    let first = place.ends(&["plan", "s.yaml"], 0, &["4 to do"]);
    assert!(
        time(&first)
            .ends_with("on one worker, an estimate from a short measurement of this machine's device"),
        "{first}"
    );
    // What was measured is remembered by the device's fingerprint; planning leaves nothing else.
    let remembered = place.names("home/.cache/espalier/speed");
    assert!(remembered.len() == 1 && remembered[0].starts_with("cpu-"), "{remembered:?}");
    assert!(!place.at("out").exists());
    std::fs::write(place.at("home/.cache/espalier/speed").join(&remembered[0]), "0.000001\n").unwrap();
    let slow = place.ends(&["plan", "s.yaml"], 0, &[]);
    assert!(time(&slow).contains(" h "), "the remembered speed is taken: {slow}");
    // A stated speed wins.
    let stated = place.ends(&["plan", "s.yaml", "--gflops", "50"], 0, &[]);
    assert!(time(&stated).contains("the speed that --gflops states"), "{stated}");
    // A price is that of the time.
    let priced = ["plan", "s.yaml", "--gflops", "0.000001", "--gpu-hour-price", "2.5", "--output", "json"];
    let priced: serde_json::Value = serde_json::from_str(&place.ends(&priced, 0, &[])).unwrap();
    let (seconds, price) = (priced["seconds"].as_f64().unwrap(), priced["price"].as_f64().unwrap());
    assert!(price > 0.0 && (price - seconds / 3600.0 * 2.5).abs() < 1e-9 * price, "{priced}");
    place.ends(&["plan", "s.yaml", "--gflops", "1000000", "--gpu-hour-price", "2.5"], 0, &["price: 0.00000"]);
    place.ends(&["plan", "s.yaml", "--gpu-hour-price", "dear"], 2, &["found dear", "2.49"]);
    // Finished cells win over the short measurement.
    let run = ["run", "s.yaml", "--only", "task=wikitext2", "--gpu-hour-price", "2.5"];
    place.ends(&run, 0, &["2 of 2 cells done"]);
    let costs = std::fs::read_to_string(place.at("out/sweeps/s/report/costs.md")).unwrap();
    assert!(costs.contains("at 2.5 an hour"), "{costs}");
    let later = place.ends(&["plan", "s.yaml"], 0, &["2 in the bucket, 2 to do"]);
    assert!(time(&later).contains("an estimate from 2 finished cells of this sweep"), "{later}");
}

#[test]
fn without_a_worker_that_measures_the_plan_is_whole_and_says_why_there_is_no_time() {
    let place = Place::new("phi-nobos");
    for (binary, why) in [("/nowhere/worker", "looked for /nowhere/worker"), ("/bin/false", "exit status: 1")]
    {
        let said = place.ends(&["plan", "s.yaml", "--worker-bin", binary], 0, &["4 to do"]);
        assert!(time(&said).starts_with("time: unknown") && time(&said).contains(why), "{said}");
        assert!(time(&said).contains("--gflops"), "{said}");
    }
}

#[test]
fn a_choice_of_what_the_file_does_not_have_is_told_before_anything_is_looked_for() {
    let place = Place::new("phi-nobos");
    // A model that is nowhere: looking for it would end with 3.
    place.replace("s.yaml", "[./model]", "[phi=org/nowhere]");
    for command in ["plan", "run", "submit"] {
        let found = |only: &'static str, needles: &[&str]| {
            place.ends(&[command, "s.yaml", "--only", only], 2, needles)
        };
        found("model=phy", &["--only: found model=phy, expected phi (did you mean phi?)"]);
        found("method=magnitude", &["--only: found method=magnitude, expected dense or wanda"]);
    }
    place.ends(&["plan", "s.yaml", "--only", "model=phi,method=dense"], 3, &["org/nowhere"]);
}

#[test]
fn what_nothing_was_done_for_costs_nothing_and_not_minus_nothing() {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml", "--only", "method=dense"], 0, &["2 of 2 cells done"]);
    let costs = std::fs::read_to_string(place.at("out/sweeps/s/report/costs.md")).unwrap();
    assert!(costs.contains(" 0.0000 ") && !costs.contains("-0.0"), "{costs}");
    let plan = place.ends(&["plan", "s.yaml", "--output", "json"], 0, &["\"evaluate_flops\": 0.0"]);
    assert!(!plan.contains("-0.0"), "{plan}");
}
