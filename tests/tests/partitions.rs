//! A coordinator and two workers on hosts of their own; cables are cut and mended: the results are those of one machine.

use espalier_tests::cluster::{listening, spawned, until, worker_command};
use espalier_tests::faults::FaultPlan;
use espalier_tests::network::{Host, Network};
use espalier_tests::s3_server::{Creates, S3Server};
use espalier_tests::sweeps::{Place, results_in};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// Longer than the lease that the coordinator is started with.
const CUT: Duration = Duration::from_secs(13);

/// The command on that host, which reaches the store in its own way.
fn on(host: &Host, server: &S3Server, command: &Command) -> Command {
    let mut command = host.on(command);
    command.envs(server.environment_at(&host.outside)).env("ESPALIER_BUCKET", server.url("nets"));
    command
}

#[test]
#[ignore = "needs root and half a minute: `make chaos`"]
fn what_partitions_part_comes_together_again_with_the_results_of_one_machine() {
    let place = Place::new("phi-nobos");
    place.replace("s.yaml", "sparsity: [0.5]", "sparsity: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, \"2:4\"]");
    place.ends(&["run", "s.yaml", "--devices", "cpu:1"], 0, &["18 of 18 cells done"]);
    let server = S3Server::start_on("0.0.0.0", Creates::Atomic);
    server.faults().plan(FaultPlan { delay: Duration::from_millis(40), ..FaultPlan::default() });
    let network = Network::new(3);
    let [centre, left, right] = [0, 1, 2].map(|n| network.host(n));
    let cables = [1, 2].map(|n| network.connect(0, n));
    let coordinator = [
        "coordinator",
        "--listen",
        "0.0.0.0:7420",
        "--no-auth",
        "--output",
        "json",
        "--log",
        "info",
        "--lease",
        "10",
    ];
    let (_coordinator, _) = listening(&place, on(centre, &server, &place.command(&coordinator)));
    let espalier = |args: &[&str]| {
        let args = [args, &["--coordinator", "http://127.0.0.1:7420", "--output", "json"]].concat();
        let output = on(centre, &server, &place.command(&args)).output().expect("the binary starts");
        serde_json::from_slice::<Value>(&output.stdout).expect("it prints JSON")
    };
    assert_eq!(espalier(&["submit", "s.yaml"])["cells"], 18);
    let workers = [(left, "left", &cables[0].1), (right, "right", &cables[1].1)].map(|(host, name, at)| {
        let command = worker_command(&place, name, &format!("http://{at}:7420"));
        spawned(&place, name, on(host, &server, &command))
    });
    let done = || espalier(&["status", "s"])["sweeps"][0]["done"].as_u64().expect("a number");
    until("some cells are done", || done() >= 3);
    // Left works on and cannot tell; right is told what to do and cannot commit it.
    cables[0].0.cut();
    right.cable().cut();
    std::thread::sleep(CUT);
    assert!(done() < 18, "the cut came too late");
    cables[0].0.mend();
    right.cable().mend();
    let before = done();
    until("it goes on", || done() > before);
    // Everybody works; the coordinator sees no record and can write no log entry.
    centre.cable().cut();
    std::thread::sleep(Duration::from_secs(5));
    centre.cable().mend();
    until("the sweep is over", || espalier(&["status", "s"])["sweeps"][0]["state"] == "whole");
    let report = server.files("nets/sweeps/s/report");
    until("the report is that of one machine", || {
        report.exists() && results_in(&report) == place.all_results("s")
    });
    assert!(!server.files("nets/failures").exists(), "nobody is to blame for a cut cable");
    drop(workers);
}
