//! Buckets in a real S3-compatible server: the same results as in a folder, unsafe stores refused, faults survived.

use bytes::Bytes;
use espalier_proto::bucket::{Bucket, Commit};
use espalier_tests::binaries::text;
use espalier_tests::cluster::{Cluster, hide, spawned, until};
use espalier_tests::faults::FaultPlan;
use espalier_tests::files;
use espalier_tests::s3_server::{Creates, S3Server};
use espalier_tests::sweeps::{Place, names};
use object_store::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

/// `espalier` on the server's bucket.
fn espalier(place: &Place, server: &S3Server, args: &[&str]) -> Output {
    let mut command = place.command(args);
    server.apply(&mut command);
    command.env("ESPALIER_BUCKET", server.url("team/a")).output().expect("the binary starts")
}

/// The same, ending with `code` and saying all of `needles`.
fn ends(place: &Place, server: &S3Server, args: &[&str], code: i32, needles: &[&str]) -> String {
    let output = espalier(place, server, args);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for needle in needles {
        assert!(said.contains(needle), "{args:?} does not say {needle:?}: {said}");
    }
    said
}

fn results(server: &S3Server) -> String {
    std::fs::read_to_string(server.files("team/a/sweeps/s/report/results.csv")).expect("there is a report")
}

/// Records of variants and of cells in the server.
fn records(server: &S3Server) -> (usize, usize) {
    let count = |folder: &str| {
        let found = files(&server.files("team/a").join(folder), "json");
        found.iter().filter(|p| p.file_name() == Some("record.json".as_ref())).count()
    };
    (count("variants"), count("cells"))
}

/// Many writers of one new path, some rounds long; gives the winners of each.
async fn race(bucket: &Bucket, rounds: usize) -> Vec<usize> {
    let mut winners = Vec::new();
    for round in 0..rounds {
        let path = Path::from(format!("race/{round}.json"));
        let tries = (0..16).map(|w| bucket.commit_once(&path, Bytes::from(format!("{round} {w}"))));
        let tries: Vec<_> = tries.collect();
        let ended = futures::future::try_join_all(tries).await.unwrap();
        let won: Vec<_> = (0..16).filter(|w| ended[*w] == Commit::Won).collect();
        let body = bucket.read(&path).await.unwrap().unwrap();
        assert!(won.iter().any(|w| body == format!("{round} {w}")), "nobody who won finds its own");
        winners.push(won.len());
    }
    winners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_of_one_object_exactly_one_wins_also_where_answers_are_lost() {
    let server = tokio::task::spawn_blocking(|| S3Server::start(Creates::Atomic)).await.unwrap();
    let bucket = server.bucket("p");
    assert_eq!(race(&bucket, 10).await, [1; 10]);
    server.faults().plan(FaultPlan { drop_every: 3, fail_every: 7, ..FaultPlan::default() });
    let other = server.bucket("q");
    assert_eq!(race(&other, 10).await, [1; 10]);
    assert!(server.faults().happened().unanswered > 10, "{:?}", server.faults().happened());
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
}

#[tokio::test]
async fn a_large_object_goes_in_parts_and_comes_back_whole_through_answers_that_break_off() {
    let server = tokio::task::spawn_blocking(|| S3Server::start(Creates::Atomic)).await.unwrap();
    let bucket = server.bucket("p");
    let body: Bytes = (0..40u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = Path::from("variants/aa/blob");
    bucket.put(&path, body.clone()).await.unwrap();
    // Three parts, begun and ended.
    assert!(server.faults().happened().writes == 3, "{:?}", server.faults().happened());
    server.faults().plan(FaultPlan { cut_body: 1, ..FaultPlan::default() });
    assert!(bucket.read(&path).await.unwrap().unwrap() == body, "the body is another");
    assert_eq!(server.faults().happened().cut, 1);
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
}

#[test]
fn a_sweep_in_s3_gives_a_folders_results_and_every_command_reads_it_there() {
    let (place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    ends(&place, &server, &["plan", "s.yaml"], 0, &["2 variants, 4 cells: 0 in the bucket"]);
    let said = ends(&place, &server, &["run", "s.yaml"], 0, &["4 of 4 cells done, 4 of them in this run"]);
    assert!(said.contains("report: s3://results/team/a/sweeps/s/report/index.html"), "{said}");
    assert_eq!(results(&server), place.results("s"));
    assert_eq!(records(&server), (2, 4));
    ends(&place, &server, &["run", "s.yaml"], 0, &["nothing was run"]);
    ends(&place, &server, &["plan", "s.yaml"], 0, &["nothing is left to do"]);
    ends(&place, &server, &["report", "s"], 0, &["4 of 4 cells measured"]);
    ends(&place, &server, &["report", "s", "--to", "report"], 0, &["4 of 4 cells measured"]);
    let written = std::fs::read_to_string(place.at("report/results.csv")).unwrap();
    assert_eq!(written, place.results("s"));
    ends(&place, &server, &["export", "wanda-0.5-s0", "--to", "from-s3"], 0, &["is in from-s3"]);
    place.ends(&["export", "wanda-0.5-s0", "--to", "from-folder"], 0, &["is in from-folder"]);
    let weights = |folder: &str| std::fs::read(place.at(folder).join("model.safetensors")).unwrap();
    assert!(weights("from-s3") == weights("from-folder"), "the exports differ");
    let to_s3 = ["export", "wanda-0.5-s0", "--to", "s3://results/exported"];
    ends(&place, &server, &to_s3, 0, &["is in s3://results/exported"]);
    ends(&place, &server, &to_s3, 3, &["s3://results/exported cannot be written: it is not empty"]);
}

#[test]
fn of_two_exports_to_one_place_at_once_one_is_refused_and_the_folder_is_the_others() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    place.sweep("s", "0.5, 0.7", "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
    place.ends(&["run", "s.yaml"], 0, &["6 of 6 cells done"]);
    let variants = ["wanda-0.5-s0", "wanda-0.7-s0"];
    variants.iter().for_each(|v| drop(place.ends(&["export", v, "--to", v], 0, &[])));
    place.add_environment(server.environment());
    // Both have looked before either has written.
    server.faults().plan(FaultPlan { delay: Duration::from_millis(500), ..FaultPlan::default() });
    let to = |variant: &'static str| ["export", variant, "--to", "s3://results/exported"];
    let both = variants.map(|variant| spawned(&place, variant, place.command(&to(variant))));
    let codes = both.map(|mut export| export.0.wait().unwrap().code());
    let (winner, loser) = if codes[0] == Some(0) { (0, 1) } else { (1, 0) };
    let said = std::fs::read_to_string(place.at(&format!("{}.log", variants[loser]))).unwrap();
    assert_eq!((codes[winner], codes[loser]), (Some(0), Some(3)), "{said}");
    let refused = "s3://results/exported cannot be written: another export is writing there";
    assert!(said.contains(refused), "{said}");
    let (exported, alone) = (server.files("exported"), place.at(variants[winner]));
    assert_eq!(names(&exported), names(&alone));
    for name in names(&alone) {
        let read = |folder: &std::path::Path| std::fs::read(folder.join(&name)).unwrap();
        assert!(read(&exported) == read(&alone), "{name} differs");
    }
    place.ends(&to(variants[loser]), 3, &["it is not empty, and holds config.json"]);
}

#[test]
fn a_store_without_safe_creates_is_refused_at_start_with_the_promise_that_it_broke() {
    let place = Place::new("phi-nobos");
    let racy = S3Server::start(Creates::Racy);
    let said = ends(&place, &racy, &["run", "s.yaml"], 5, &["cannot be used", "create-only write"]);
    assert!(said.contains("at once") || said.contains("lost replaced"), "{said}");
    assert_eq!(records(&racy), (0, 0));
    let ignored = S3Server::start(Creates::Ignored);
    let promise = "a second create-only write replaced the first";
    ends(&place, &ignored, &["run", "s.yaml"], 5, &["cannot be used", promise]);
    assert_eq!(records(&ignored), (0, 0));
}

#[tokio::test]
async fn a_racing_store_is_found_out_every_time() {
    let server = tokio::task::spawn_blocking(|| S3Server::start(Creates::Racy)).await.unwrap();
    let bucket = server.bucket("p");
    for n in 0..20 {
        let error = bucket.probe(&Path::from(format!("probe/{n}")), "nonce").await.unwrap_err().to_string();
        assert!(error.contains("at once") || error.contains("lost replaced"), "{error}");
    }
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
}

#[test]
fn a_run_through_a_store_that_is_away_refuses_and_loses_answers_ends_whole_with_the_same_results() {
    through(Duration::from_secs(4));
}

#[test]
#[ignore = "takes two minutes"]
fn a_run_through_a_store_that_is_away_for_minutes_ends_whole_with_the_same_results() {
    through(Duration::from_secs(100));
}

/// A run through faults of every kind, in the middle of which the store is away for so long.
fn through(outage: Duration) {
    let (place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let faults = FaultPlan {
        fail_every: 7,
        drop_every: 4,
        cut_body: 5,
        delay: Duration::from_millis(3),
        ..FaultPlan::default()
    };
    server.faults().plan(faults.clone());
    let output = std::thread::scope(|scope| {
        let run = scope.spawn(|| espalier(&place, &server, &["run", "s.yaml"]));
        // Away for a while as soon as there is something to lose.
        let begun = Instant::now();
        while records(&server).1 == 0 && !run.is_finished() && begun.elapsed() < Duration::from_secs(120) {
            std::thread::sleep(Duration::from_millis(5));
        }
        server.faults().plan(FaultPlan { fail_next: u32::MAX, ..FaultPlan::default() });
        std::thread::sleep(outage);
        server.faults().plan(faults.clone());
        run.join().unwrap()
    });
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let happened = server.faults().happened();
    assert!(happened.unanswered > 2 && happened.refused > 5 && happened.cut >= 5, "{happened:?}");
    assert_eq!(records(&server), (2, 4), "{said}");
    assert_eq!(results(&server), place.results("s"));
    assert!(files(&server.files("team/a/failures"), "json").is_empty(), "{said}");
}

#[test]
fn without_credentials_the_variables_are_named_and_a_profile_is_as_good_as_variables() {
    let (place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    let mut without = place.command(&["plan", "s.yaml", "--bucket", &server.url("team/a")]);
    server.apply(&mut without);
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    for name in keys {
        without.env_remove(name);
    }
    let output = without.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    for name in keys {
        assert!(text(&output).contains(name), "{}", text(&output));
    }
    let environment: std::collections::BTreeMap<_, _> = server.environment().into_iter().collect();
    std::fs::create_dir_all(place.at("home/.aws")).unwrap();
    let [key, secret] = keys.map(|name| &environment[name]);
    let profile = format!("[lab]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    place.write("home/.aws/credentials", &profile);
    place.write(
        "home/.aws/config",
        &format!("[profile lab]\nendpoint_url = {}\n", environment["AWS_ENDPOINT"]),
    );
    for name in ["AWS_ENDPOINT", "AWS_EC2_METADATA_DISABLED"] {
        without.env_remove(name);
    }
    let output = without.env("AWS_PROFILE", "lab").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_ca_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else() {
    let place = Place::new("phi-nobos");
    let (server, ca) = S3Server::start_with_tls(Creates::Atomic);
    place.write("ca.pem", &ca);
    let plan = |ca: Option<&str>| {
        let mut command = place.command(&["plan", "s.yaml", "--bucket", &server.url("team/a")]);
        server.apply(&mut command);
        command.envs(server.environment_at("localhost")).env_remove("AWS_ALLOW_HTTP");
        command.envs(ca.map(|file| ("AWS_CA_BUNDLE", place.at(file))));
        command.output().unwrap()
    };
    let trusted = plan(Some("ca.pem"));
    assert_eq!(trusted.status.code(), Some(0), "{}", text(&trusted));
    let unknown = plan(None);
    assert_eq!(unknown.status.code(), Some(5), "{}", text(&unknown));
    assert!(text(&unknown).contains("certificate"), "{}", text(&unknown));
}

#[test]
fn a_proxy_is_used_for_a_store_that_only_it_can_reach() {
    let (place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    let mut command = place.command(&["plan", "s.yaml", "--bucket", &server.url("team/a")]);
    server.apply(&mut command);
    let environment: std::collections::BTreeMap<_, _> = server.environment().into_iter().collect();
    // The server answers requests that name another host as a proxy gets them, itself.
    command.env("AWS_PROXY_URL", &environment["AWS_ENDPOINT"]).env("AWS_ENDPOINT", "http://store.invalid");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(server.faults().happened().requests > 0);
}

#[test]
fn a_store_that_cannot_be_reached_or_lacks_the_bucket_is_told_within_seconds() {
    let (place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    let begun = Instant::now();
    let mut command = place.command(&["run", "s.yaml", "--bucket", &server.url("team/a")]);
    server.apply(&mut command);
    // Port 1 is nobody's.
    let output = command.env("AWS_ENDPOINT", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("127.0.0.1:1"), "{}", text(&output));
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    let mut command = place.command(&["run", "s.yaml", "--bucket", "s3://no-such-bucket/a"]);
    server.apply(&mut command);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("NoSuchBucket"), "{}", text(&output));
}

#[test]
fn a_cluster_on_a_faulty_s3_gives_a_folders_results_and_its_bucket_is_looked_after_there() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let alone = place.results("s");
    server.holds(&mut place);
    let delay = Duration::from_millis(2);
    server.faults().plan(FaultPlan {
        fail_every: 9,
        drop_every: 6,
        cut_body: 3,
        delay,
        ..FaultPlan::default()
    });
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 4 of them to do"]);
    // The model comes from the bucket.
    hide(&place, "model");
    let workers = ["w1", "w2"].map(|name| cluster.worker(name));
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    let report = server.files("team/a/sweeps/s/report/results.csv");
    until("the report is written", || report.exists());
    assert_eq!(std::fs::read_to_string(&report).unwrap(), alone);
    assert_eq!(records(&server), (2, 4));
    let happened = server.faults().happened();
    assert!(happened.unanswered > 3 && happened.refused > 5, "{happened:?}");

    place.ends(&["du"], 0, &["models", "its own"]);
    place.ends(&["repair", "s"], 0, &["nothing is damaged"]);
    place.ends(&["gc"], 0, &["removed 0 B"]);
    place.ends(&["rm", "s", "--yes"], 5, &["belongs to instance main", "--force"]);
    assert_eq!(records(&server), (2, 4));
    drop(workers);
    cluster.coordinator.kill();
    place.ends(&["rm", "s", "--yes"], 0, &["removed"]);
    let left = server.bucket("team/a");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let left = runtime.block_on(left.list(&Path::default())).unwrap();
    assert!(left.iter().all(|path| path.as_ref().starts_with("coordinators/")), "{left:?}");
}
