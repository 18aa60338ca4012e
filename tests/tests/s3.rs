//! Buckets in a real S3-compatible server: the same results as in a folder, unsafe stores refused, faults survived.

use bytes::Bytes;
use espalier_proto::bucket::{Bucket, Commit};
use espalier_tests::binaries::text;
use espalier_tests::cluster::{Cluster, hide, spawned, until};
use espalier_tests::faults::FaultPlan;
use espalier_tests::files;
use espalier_tests::s3_server::{Creates, S3Server};
use espalier_tests::sweeps::Place;
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
}

#[test]
fn a_store_without_safe_creates_is_refused_at_start_with_the_promise_that_it_broke() {
    let place = Place::new("phi-nobos");
    let racy = S3Server::start(Creates::Racy);
    ends(&place, &racy, &["run", "s.yaml"], 5, &["cannot be used", "create-only write", "at once"]);
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

/// All that is started in the place uses the server's bucket.
fn on(place: &mut Place, server: &S3Server) {
    place.add_environment(server.environment());
    place.add_environment(vec![("ESPALIER_BUCKET".to_owned(), server.url("team/a"))]);
}

#[test]
fn a_worker_that_cannot_reach_its_store_says_so_goes_on_calling_and_leaves_when_it_is_told_to() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    on(&mut place, &server);
    let cluster = Cluster::start(&place, &[]);
    let dead = ("AWS_ENDPOINT", "http://127.0.0.1:1");
    let said = |name: &str| cluster.log(name).contains("the bucket cannot be reached; it is tried again");
    let mut worker = cluster.worker_with("w", &[dead]);
    let (mut timed, mut given_up) = (
        cluster.worker_with("timed", &[dead, ("ESPALIER_TIME_LIMIT", "6")]),
        cluster.worker_with("given-up", &[dead, ("ESPALIER_BUCKET_TIMEOUT", "6")]),
    );
    let began = Instant::now();
    until("it says so", || said("w"));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for words in [" WARN ", "127.0.0.1:1", "look at this worker's AWS_ENDPOINT_URL"] {
        assert!(cluster.log("w").contains(words), "{words}: {}", cluster.log("w"));
    }
    // One that has nothing is given nothing, and is not missed either.
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    let states = || -> Vec<String> {
        let status = cluster.json(&["status"]);
        let workers = status["workers"].as_array().unwrap().iter();
        workers.map(|worker| worker["state"].as_str().unwrap().to_owned()).collect()
    };
    until("it is seen", || states().contains(&"draining".to_owned()));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        assert!(worker.0.try_wait().unwrap().is_none(), "{}", cluster.log("w"));
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(given_up.0.wait().unwrap().code(), Some(5), "{}", cluster.log("given-up"));
    let log = cluster.log("given-up");
    assert!(
        log.contains("error: bucket: reading coordinators/main/") && log.contains("127.0.0.1:1"),
        "{log}"
    );
    assert_eq!(timed.0.wait().unwrap().code(), Some(8), "{}", cluster.log("timed"));
    let began = Instant::now();
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(8), "{}", cluster.log("w"));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    for noise in ["backing off", "18446744073709551615", "coordinator is silent"] {
        assert!(!cluster.log("w").contains(noise), "{noise}: {}", cluster.log("w"));
    }
    let _well = cluster.worker("well");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
}

#[test]
fn a_worker_whose_store_went_away_leaves_within_seconds_where_nothing_is_lost_by_it() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    on(&mut place, &server);
    let cluster = Cluster::start(&place, &[]);
    let mut worker = cluster.worker("w");
    until("it has its bucket", || cluster.log("w").contains("bucket is shared"));
    // It hears of its shard once the store is away.
    worker.signal(libc::SIGSTOP);
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    server.faults().plan(FaultPlan { fail_every: 1, ..FaultPlan::default() });
    worker.signal(libc::SIGCONT);
    until("it reads what it needs", || cluster.log("w").contains("shard begun"));
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(8), "{}", cluster.log("w"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    server.faults().plan(FaultPlan::default());
    let _well = cluster.worker("well");
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
}

#[test]
fn a_store_that_does_not_answer_is_told_in_a_line_and_keeps_no_coordinator_from_its_end() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    on(&mut place, &server);
    let mut cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["4 of them to do"]);
    let trouble = || cluster.json(&["status"])["trouble"].as_array().unwrap().clone();
    assert_eq!(trouble().len(), 0);
    // Every request is refused, and tried again for minutes.
    server.faults().plan(FaultPlan { fail_every: 1, ..FaultPlan::default() });
    let began = Instant::now();
    until("it is told", || !trouble().is_empty());
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    cluster.ends(&["status"], 0, &["bucket: the bucket has not answered for "]);
    let watch = spawned(&place, "watch", {
        let mut command = place.command(&["watch", "s"]);
        command.env("ESPALIER_COORDINATOR", &cluster.url);
        command
    });
    until("who watches is told", || {
        cluster.log("watch").contains("bucket: the bucket has not answered for ")
    });
    drop(watch);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(trouble().len(), 1, "{:?}", trouble());
    assert_eq!(cluster.log("coordinator").matches("the bucket has not answered").count(), 1);
    server.faults().plan(FaultPlan::default());
    until("all is well", || trouble().is_empty());

    // It takes requests, and never answers.
    server.faults().plan(FaultPlan { delay: Duration::from_secs(3600), ..FaultPlan::default() });
    let began = Instant::now();
    cluster.coordinator.signal(libc::SIGTERM);
    assert_eq!(cluster.coordinator.0.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let log = cluster.log("coordinator");
    for said in
        ["SIGTERM: what is being written", "the end of this coordinator could not be written", "ended; "]
    {
        assert!(log.contains(said), "{said}: {log}");
    }

    server.faults().plan(FaultPlan::default());
    cluster.restart();
    until("it serves", || cluster.espalier(&["list"]).status.success());
    server.faults().plan(FaultPlan { delay: Duration::from_secs(3600), ..FaultPlan::default() });
    let began = Instant::now();
    cluster.coordinator.signal(libc::SIGTERM);
    until("it says so", || cluster.log("coordinator").matches("SIGTERM: what").count() == 2);
    cluster.coordinator.signal(libc::SIGINT);
    assert_eq!(cluster.coordinator.0.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_cluster_on_a_faulty_s3_gives_a_folders_results_and_its_bucket_is_looked_after_there() {
    let (mut place, server) = (Place::new("phi-nobos"), S3Server::start(Creates::Atomic));
    place.ends(&["run", "s.yaml"], 0, &["4 of 4 cells done"]);
    let alone = place.results("s");
    on(&mut place, &server);
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
