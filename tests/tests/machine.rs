//! What a machine is told of itself and of the command line.

use espalier_tests::binaries::ended;
use espalier_tests::cluster::Cluster;
use espalier_tests::sweeps::Place;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn doctor_looks_at_worker_device_bucket_clock_caches_and_coordinator() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let looked = ["doctor", "--coordinator", &cluster.url, "--output", "json"];
    let found: Value = serde_json::from_str(&place.ends(&looked, 0, &[])).unwrap();
    let found: Vec<(&str, bool)> =
        found.as_array().unwrap().iter().map(|f| (f["what"].as_str().unwrap(), f["ok"] == true)).collect();
    let found: Vec<_> = found.into_iter().filter(|(what, _)| *what != "driver").collect();
    let all = ["worker", "device", "bucket", "clock", "hub", "hub cache", "cache", "coordinator"];
    assert_eq!(found, all.map(|what| (what, true)));
    // What is wrong is told with what to do.
    place.ends(
        &["doctor", "--coordinator", "http://127.0.0.1:9"],
        6,
        &["wrong  coordinator: no coordinator answers", "-> look at host and port", "espalier identity"],
    );
    // Wherever a secret was mistyped, none is shown.
    for address in
        ["https://user:s3cret@127.0.0.1:9", "https://127.0.0.1:9:s3cret", "https://127.0.0.1:9?token=s3cret"]
    {
        let said = place.ends(
            &["doctor", "--coordinator", address],
            2,
            &["wrong  coordinator: --coordinator https://"],
        );
        assert!(!said.contains("s3cret") && said.contains("127.0.0.1:9"), "{said}");
    }
    // A folder that was looked at only, most of all one that was mistyped, is not left behind.
    std::fs::create_dir(place.at("fresh")).unwrap();
    let mut alone = place.command(&["doctor"]);
    let alone = alone.current_dir(place.at("fresh")).env_remove("ESPALIER_BUCKET").output().unwrap();
    ended(&["doctor"], &alone, 0, &["espalier-out takes create-only", "it is not there yet"]);
    assert_eq!(std::fs::read_dir(place.at("fresh")).unwrap().count(), 0);
    place.ends(&["doctor", "--bucket", "fresh/mis/typed"], 0, &["it is not there yet"]);
    assert_eq!(std::fs::read_dir(place.at("fresh")).unwrap().count(), 0);
    let mut elsewhere = place.command(&["doctor"]);
    let elsewhere = elsewhere.env("ESPALIER_CACHE", "/proc/x").output().unwrap();
    ended(&["doctor"], &elsewhere, 7, &["wrong  cache: /proc/x: "]);
    place.write("file", "");
    place.ends(&["doctor", "--bucket", "file"], 5, &["wrong  bucket", "-> say --bucket"]);
    place.ends(
        &["doctor", "--worker-bin", "/bin/true"],
        7,
        &["wrong  device", "-> is it an espalier-worker"],
    );
}

#[test]
fn a_mistyped_address_of_a_store_or_a_hub_is_told_by_its_variable_and_no_secret_of_it_shown() {
    let mut place = Place::new("phi-nobos");
    place.add_environment(
        [
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "a"),
            ("HF_ENDPOINT", "mirror:s3cret@hub.corp"),
            ("HF_HUB_OFFLINE", "0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
    );
    for (address, found) in [
        ("store:9000", "store:9000"),
        ("mirror:s3cret@store", "…store"),
        ("http://store:99999", "http://store:99999"),
        ("http://[::1:9000", "http://…"),
        (" http://store:9000", "http://store:9000"),
    ] {
        let told = format!("AWS_ENDPOINT_URL: found {found}, expected http(s)://HOST[:PORT] without blanks");
        for words in ["doctor", "du", "gc", "coordinator --listen 127.0.0.1:0"] {
            let mut command =
                place.command(&words.split(' ').chain(["--bucket", "s3://b/x"]).collect::<Vec<_>>());
            let output = command.env("AWS_ENDPOINT_URL", address).output().unwrap();
            let said = ended(&[words, address], &output, 5, &[&told]);
            assert!(!said.contains("s3cret"), "{said}");
            if words == "doctor" {
                for line in
                    ["ok     worker: ", "wrong  bucket: ", "-> look at AWS_ENDPOINT_URL", "hub cache: "]
                {
                    assert!(said.contains(line), "{line}: {said}");
                }
                assert!(
                    said.contains("wrong  hub: HF_ENDPOINT: found …hub.corp, expected http(s)://HOST"),
                    "{said}"
                );
            }
        }
    }
    let said = place.ends(&["coordinator", "--listen", "127.0.0.1:0"], 3, &["HF_ENDPOINT: found …hub.corp"]);
    assert!(!said.contains("s3cret"), "{said}");
}

/// A place whose bucket is to be at this address of this machine.
fn stored_at(port: u16) -> Place {
    let mut place = Place::new("phi-nobos");
    let at = format!("http://127.0.0.1:{port}");
    let variables = [
        ("AWS_ENDPOINT_URL", at.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "here"),
        ("AWS_ACCESS_KEY_ID", "A"),
        ("AWS_SECRET_ACCESS_KEY", "a"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    place.add_environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
    place
}

#[test]
fn doctor_tells_what_it_knows_before_a_dead_store_answers_and_waits_for_it_for_seconds_only() {
    // It takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = stored_at(silent.local_addr().unwrap().port());
    let mut command = place.command(&["doctor", "--bucket", "s3://b/x"]);
    let began = Instant::now();
    let mut doctor = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(doctor.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("ok     worker: "));
    assert!(lines.next().unwrap().starts_with("ok     device: "));
    assert!(doctor.try_wait().unwrap().is_none(), "it told nothing before it ended");
    let rest: Vec<String> = lines.collect();
    assert_eq!(doctor.wait().unwrap().code(), Some(5), "{rest:?}");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    let bucket = rest.iter().position(|l| l == "wrong  bucket: s3://b/x did not answer in 10 s").unwrap();
    assert!(rest[bucket + 1].contains("-> look at AWS_ENDPOINT_URL"), "{rest:?}");
    let mut said = String::new();
    doctor.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("bucket s3://b/x does not answer yet; it is given 10 s"), "{said}");
    // Where nobody listens it is told sooner, with what the store's client met.
    drop(silent);
    place.ends(
        &["doctor", "--bucket", "s3://b/x"],
        5,
        &["wrong  bucket: bucket: looking for", "-> look at AWS_"],
    );
}

#[test]
fn doctor_tells_of_the_clock_where_a_store_refuses_this_machine() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = stored_at(listener.local_addr().unwrap().port());
    // As stores say that a request's time is too far off theirs, without a body to whom only looks.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let answer = "HTTP/1.1 403 Forbidden\r\nDate: Mon, 02 Jan 2023 03:04:05 GMT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let said = place.ends(
        &["doctor", "--bucket", "s3://b/x"],
        5,
        &["wrong  bucket: ", "at this machine's clock", "wrong  clock: this machine's and the bucket's are "],
    );
    assert!(said.contains(" s apart\n       -> set this machine's, by NTP"), "{said}");
}

#[test]
fn doctor_tells_that_a_driver_is_too_old_for_the_workers_cuda() {
    let place = Place::new("phi-nobos");
    let about = r#"{"name": "c", "memory_bytes": 1, "threads": 2, "libtorch": "2.11.0", "gpus": ["cuda:0"], "no_cuda": "so",
                    "fingerprint": "f", "driver": "570.86.15", "driver_needed": 580}"#;
    place.write("worker", &format!("#!/bin/sh\ncat <<'E'\n{about}\nE\n"));
    std::fs::set_permissions(place.at("worker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let worker = place.at("worker").display().to_string();
    let needles = ["wrong  driver: NVIDIA's is 570.86.15", "-> install driver 580 or newer"];
    place.ends(&["doctor", "--worker-bin", &worker], 7, &needles);
}

#[test]
fn options_of_a_worker_that_make_no_sense_are_refused_as_usage() {
    let place = Place::new("phi-nobos");
    for (option, value, says) in [
        ("--threads", "0", "0 is not in 1..=1024"),
        ("--device", "gpu", "found gpu, expected cpu or cuda:N"),
        ("--device", "cuda:x", "found cuda:x, expected cpu or cuda:N"),
        ("--time-limit", "0", "expected seconds above 0"),
        ("--stall", "0", "expected seconds above 0"),
        ("--cache-limit", "0", "expected GiB above 0"),
        ("--cache-limit=-1", "", "expected GiB above 0"),
        ("--memory-gib", "NaN", "expected GiB above 0"),
        ("--log", "===", "expected a level"),
    ] {
        let args: Vec<&str> = ["--coordinator", "http://127.0.0.1:9", option, value]
            .into_iter()
            .filter(|a| !a.is_empty())
            .collect();
        let output = Command::new(place.program("espalier-worker")).args(&args).output().unwrap();
        ended(&args, &output, 2, &[says]);
    }
}

#[test]
fn a_command_line_that_cannot_be_parsed_is_refused_in_the_form_that_it_asks_for() {
    let place = Place::new("phi-nobos");
    place.ends(&["list", "--log", "==="], 2, &["error: invalid value '==='", "expected a level", "--help"]);
    for (args, says) in [
        (&["list", "--output", "json", "--no-such"][..], "unexpected argument '--no-such' found"),
        (&["--output=json", "coordinator", "--lease", "x"], "invalid value 'x' for '--lease <SECONDS>'"),
        (&["list", "--output", "json", "--log", "==="], "invalid value '===' for '--log <FILTER>'"),
    ] {
        let output = place.espalier(args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
        let said: Value = serde_json::from_slice(&output.stderr).unwrap();
        let error = said["error"].as_str().unwrap();
        assert!(said["exit"] == 2 && error.contains(says) && !error.contains("Usage:"), "{said}");
    }
}

#[test]
fn shells_and_manuals_know_every_command() {
    let place = Place::new("phi-nobos");
    for shell in ["bash", "zsh", "fish"] {
        place.ends(&["completions", shell], 0, &["submit", "gpu-hour-price"]);
    }
    place.ends(&["man", "--to", "man"], 0, &["man/espalier.1"]);
    let pages = place.names("man");
    for page in ["espalier.1", "espalier-run.1", "espalier-coordinator.1"] {
        assert!(pages.iter().any(|p| p == page), "{pages:?}");
    }
    let foot = |page: &str| {
        let page = std::fs::read_to_string(place.at(&format!("man/{page}"))).unwrap();
        page.lines().find(|line| line.starts_with(".TH ")).unwrap().to_owned()
    };
    assert!(foot("espalier-coordinator.1").contains("\"espalier 0."), "{}", foot("espalier-coordinator.1"));
    // The worker's likewise.
    let worker = |args: &[&str]| {
        let output =
            std::process::Command::new(place.program("espalier-worker")).args(args).output().unwrap();
        ended(args, &output, 0, &[])
    };
    for shell in ["bash", "zsh", "fish"] {
        let said = worker(&["completions", shell]);
        assert!(said.contains("orphan-timeout") && said.contains("doctor"), "{said}");
    }
    // What may hold a secret says where it is better said.
    let help = worker(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        help.contains("(better in the environment, or with the token in a file, than on the command line)"),
        "{help}"
    );
    let to = place.at("man").display().to_string();
    assert!(worker(&["man", "--to", &to]).contains("man/espalier-worker.1"));
    let page = std::fs::read_to_string(place.at("man/espalier-worker.1")).unwrap();
    assert!(page.contains("idle") && page.contains("Exit codes") && page.contains("\\-\\-join"), "{page}");
    assert!(foot("espalier-worker-doctor.1").contains("\"espalier-worker 0."));
}

#[test]
fn plan_starts_the_worker_once_to_know_device_and_speed() {
    let place = Place::new("phi-nobos");
    let script = format!(
        "#!/bin/sh\necho x >> {}\nexec {} \"$@\"\n",
        place.at("starts").display(),
        place.program("espalier-worker").display()
    );
    place.write("worker", &script);
    std::fs::set_permissions(place.at("worker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    place.replace("s.yaml", "backend: cpu\n", "");
    let worker = place.at("worker").display().to_string();
    place.ends(
        &["plan", "s.yaml", "--worker-bin", &worker],
        0,
        &["a short measurement of this machine's device"],
    );
    let starts = std::fs::read_to_string(place.at("starts")).unwrap().lines().count();
    // Where there is a driver it is also asked which GPUs there are.
    let driver = std::path::Path::new("/dev/nvidiactl").exists();
    assert_eq!(starts, if driver { 2 } else { 1 });
}
