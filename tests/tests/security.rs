//! Who may call a coordinator: tokens, what each may do, and that no secret is seen.

use espalier_proto::messages as m;
use espalier_proto::messages::sweep_api_client::SweepApiClient;
use espalier_proto::remote::{Address, Reach, connected};
use espalier_tests::cluster::{Process, listening, spawned, until, worker_command};
use espalier_tests::guarded::{ends, guarded, pin, token};
use espalier_tests::sweeps::Place;
use espalier_tests::tls::client;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_sweep_is_done_over_tls_by_a_worker_that_joined_and_every_role_does_its_own_only() {
    let place = Place::new("phi-nobos");
    let guarded = guarded(&place, &[]);
    let (worker, user) = (guarded.worker.as_str(), guarded.user.as_str());
    // Without a token, with a wrong one, with the worker's, over plaintext, with another's certificate.
    let pin = pin(user);
    let bare = format!("{}#{pin}", guarded.url);
    ends(&place, &bare, &["submit", "s.yaml"], 3, &["a token is wanted", "espalier identity"]);
    let wrong = format!("{bare}:{}", "f".repeat(64));
    ends(&place, &wrong, &["list"], 3, &["the token is not known here"]);
    for command in [["submit", "s.yaml"], ["cancel", "s"], ["status", "s"]] {
        ends(&place, worker, &command, 3, &["this call is for a user, and the credential is a worker's"]);
    }
    ends(&place, &guarded.url.replace("https", "http"), &["list"], 6, &["no coordinator answers"]);
    ends(&place, &user.replace("https", "http"), &["list"], 2, &["not sent over plaintext"]);
    ends(
        &place,
        &user.replace(pin, &"0".repeat(64)),
        &["list"],
        3,
        &["another certificate than the fingerprint", "UnknownIssuer"],
    );
    ends(&place, &guarded.url, &["list"], 3, &["another certificate"]);
    let mut refused = spawned(&place, "refused", worker_command(&place, "refused", user));
    assert_eq!(refused.0.wait().unwrap().code(), Some(3));
    let log = std::fs::read_to_string(place.at("refused.log")).unwrap();
    assert!(log.contains("this call is for a worker"), "{log}");
    let stranger = worker.replace(self::pin(worker), &"0".repeat(64));
    let mut refused = spawned(&place, "stranger", worker_command(&place, "stranger", &stranger));
    assert_eq!(refused.0.wait().unwrap().code(), Some(3));
    let log = std::fs::read_to_string(place.at("stranger.log")).unwrap();
    assert!(
        log.contains("error: https://") && log.contains("another certificate than the fingerprint"),
        "{log}"
    );
    assert!(!log.contains(token(worker)), "{log}");

    // As printed: with --join, the token on the command line. What the store, the hub and the collector want to know is no more the compute process's than
    // the coordinator's.
    let foreign = [
        ("AWS_ACCESS_KEY_ID", "of-the-store"),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-the-store"),
        ("AWS_SESSION_TOKEN", "token-of-the-store"),
        ("HF_TOKEN", "token-of-the-hub"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "key=of-the-collector"),
    ];
    let mut command = worker_command(&place, "joined", "http://127.0.0.1:9");
    command = {
        let mut joined = std::process::Command::new(command.get_program());
        joined.args(["--join", worker, "--device", "cpu", "--log", "debug"]);
        joined.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        joined.envs(foreign.map(|(name, value)| (name, value)));
        joined
    };
    let joined = spawned(&place, "joined", command);
    ends(&place, user, &["submit", "s.yaml"], 0, &["4 of them to do"]);
    ends(&place, user, &["watch", "s"], 0, &["4 of 4 cells done"]);
    // Nobody sees a token: not in arguments, not in the compute process, not in logs, not in the bucket.
    let process = |what: &str, pid: i32| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let (own, child) = (joined.0.id() as i32, joined.compute().expect("it is kept"));
    for (what, bytes) in [
        ("the worker's arguments", process("cmdline", own)),
        ("the compute process's arguments", process("cmdline", child)),
        ("the compute process's environment", process("environ", child)),
    ] {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.is_empty() && !text.contains(token(worker)), "{what}: {text}");
        assert!(!text.contains("of-the-"), "{what}: {text}");
    }
    for folder in ["out", "joined.log", "coordinator.log", "refused.log"] {
        let found = std::process::Command::new("grep")
            .args(["-rlE", &format!("{}|{}", token(worker), token(user))])
            .arg(place.at(folder))
            .output()
            .unwrap();
        assert_eq!(found.status.code(), Some(1), "{}", String::from_utf8_lossy(&found.stdout));
    }
    for file in ["worker-tokens", "user-tokens", "ca.key"] {
        let mode = std::fs::metadata(place.at("identity").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
}

#[test]
fn a_token_is_replaced_while_worker_and_coordinator_run() {
    let place = Place::new("phi-nobos");
    let guarded = guarded(&place, &[]);
    let file = place.at("token");
    std::fs::write(&file, token(&guarded.worker)).unwrap();
    let pinned = guarded.worker.rsplit_once(':').unwrap().0;
    let mut command = worker_command(&place, "w", pinned);
    command.env("ESPALIER_TOKEN_FILE", &file);
    let mut worker = spawned(&place, "w", command);
    let workers = || {
        let status = ends(&place, &guarded.user, &["status", "--output", "json"], 0, &[]);
        let status: Value = serde_json::from_str(&status).unwrap();
        status["workers"].as_array().unwrap().len()
    };
    until("the worker has called", || workers() == 1);
    let new = "a-new-token-for-workers";
    std::fs::write(place.at("identity/worker-tokens"), new).unwrap();
    std::fs::write(&file, new).unwrap();
    ends(&place, &guarded.user, &["submit", "s.yaml"], 0, &[]);
    ends(&place, &guarded.user, &["watch", "s"], 0, &["4 of 4 cells done"]);
    assert!(matches!(worker.0.try_wait(), Ok(None)), "it has not been started again");
}

#[tokio::test]
async fn what_an_open_call_goes_on_telling_ends_with_the_token_that_it_was_made_with() {
    let place = Place::new("phi-nobos");
    let guarded = guarded(&place, &[]);
    // Nobody is there to do it: it goes on for ever.
    ends(&place, &guarded.user, &["submit", "s.yaml"], 0, &["4 of them to do"]);
    let mut watch = place.command(&["watch", "s"]);
    watch.env("ESPALIER_COORDINATOR", &guarded.user);
    let mut watch = spawned(&place, "watch", watch);
    let watched = || std::fs::read_to_string(place.at("watch.log")).unwrap();
    until("the sweep is watched", || watched().contains("0 of 4"));
    let address = Address::parse(&guarded.user).unwrap();
    let (channel, credential) = connected(&address, &Reach::default()).await.unwrap();
    let mut client = SweepApiClient::with_interceptor(channel, credential);
    let request = m::ShardLogsRequest { sweep: "s".to_owned(), follow: true, ..Default::default() };
    let mut logs = client.shard_logs(request).await.unwrap().into_inner();

    // A token beside them changes nothing; the one they were made with ends them.
    let tokens = place.at("identity/user-tokens");
    let (old, new) = (token(&guarded.user), "a-new-token-for-users");
    std::fs::write(&tokens, format!("{new}\n{old}\n")).unwrap();
    let newer = guarded.user.replace(old, new);
    // Unknown tokens make it read the files again twice a second at most.
    until("the new token is known", || {
        let mut list = place.command(&["list"]);
        list.env("ESPALIER_COORDINATOR", &newer).output().unwrap().status.success()
    });
    assert!(watch.0.try_wait().unwrap().is_none(), "{}", watched());
    std::fs::write(&tokens, new).unwrap();
    let told = tokio::time::timeout(Duration::from_secs(30), logs.message()).await;
    let refusal = told.expect("it ends within seconds").unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.message()),
        (tonic::Code::Unauthenticated, "the token is not known here")
    );
    assert_eq!(watch.0.wait().unwrap().code(), Some(3), "{}", watched());
    assert!(watched().contains("the token is not known here"), "{}", watched());
}

#[test]
fn off_this_machine_a_coordinator_has_an_identity_unless_it_is_told_not_to() {
    let place = Place::new("phi-nobos");
    let open = ["coordinator", "--listen", "0.0.0.0:0", "--output", "json"];
    let mut command = place.command(&open);
    command.env("XDG_STATE_HOME", place.at("state"));
    let (_coordinator, said) = listening(&place, command);
    assert!(said["address"].as_str().unwrap().starts_with("https://"), "{said}");
    assert!(place.at("state/espalier/main/worker-tokens").exists());
    let (_open, said) =
        listening(&place, place.command(&[&open[..], &["--no-auth", "--instance", "b"]].concat()));
    assert!(said["address"].as_str().unwrap().starts_with("http://"), "{said}");
    std::fs::create_dir(place.at("broken")).unwrap();
    place.write("broken/worker-tokens", "short\n");
    place.ends(&["coordinator", "--identity", "broken"], 3, &["broken/ca.crt"]);
    place.ends(&["coordinator", "--identity", "id", "--no-auth"], 2, &["found both --no-auth"]);
    for host in ["foo bar", "foo:99999", "https://foo", "foo/bar", ""] {
        place.ends(
            &["identity", "--identity", "id", "--advertise", host],
            2,
            &["expected HOST or HOST:PORT"],
        );
    }
    let mut command =
        place.command(&["coordinator", "--listen", "127.0.0.1:0", "--instance", "c", "--output", "json"]);
    command.env("ESPALIER_IDENTITY", "id").env("ESPALIER_NO_AUTH", "false");
    let (_guarded, said) = listening(&place, command);
    assert!(said["address"].as_str().unwrap().starts_with("https://"), "{said}");
}

#[test]
fn a_coordinator_prints_how_to_join_at_a_terminal_or_when_asked_and_elsewhere_the_command_that_does() {
    let place = Place::new("phi-nobos");
    let args = ["coordinator", "--listen", "127.0.0.1:0", "--identity", "an identity", "--print-join"];
    let mut command = place.command(&args);
    let mut asked = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(asked.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (worker, user) = (lines.next().unwrap(), lines.next().unwrap());
    let worker = worker.strip_prefix("workers:  espalier-worker --join ").unwrap();
    let user = user.strip_prefix("users:    export ESPALIER_COORDINATOR=").unwrap();
    ends(&place, user, &["list"], 0, &[]);
    asked.kill();
    let mut said = String::new();
    asked.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("listens on https://127.0.0.1:") && !said.contains(token(worker)), "{said}");

    // What is no terminal is told the command, which prints them.
    let mut command = place.command(&args[..5]);
    let mut piped = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(piped.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let told = lines
        .find_map(|l| Some(l.strip_prefix("how workers and users join: espalier ")?.to_owned()))
        .unwrap();
    let (program, folder) = (place.program("espalier"), place.at(""));
    let output = Command::new("sh")
        .args(["-c", &format!("{} {told}", program.display())])
        .current_dir(folder)
        .output()
        .unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("--identity 'an identity'") && line.contains(token(worker)), "{told}: {line}");
    piped.kill();
    let mut out = String::new();
    piped.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "");

    let (terminal, ours) = terminal();
    let mut command = place.command(&args[..5]);
    let _shown = Process(command.stdout(terminal).stderr(Stdio::null()).spawn().unwrap());
    let line = BufReader::new(ours).lines().next().unwrap().unwrap();
    assert!(
        line.starts_with("workers:  espalier-worker --join https://127.0.0.1:")
            && line.contains(token(worker)),
        "{line}"
    );
}

/// A terminal: the end that a program writes to, and the one where it is read.
fn terminal() -> (std::fs::File, std::fs::File) {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: both numbers are written before it returns 0; what may be null is.
    let opened = unsafe {
        libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), std::ptr::null())
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both were just opened and are nobody else's.
    unsafe { (std::fs::File::from_raw_fd(theirs), std::fs::File::from_raw_fd(ours)) }
}

#[test]
fn a_coordinator_warns_of_secrets_that_others_can_read_and_serves_on() {
    let place = Place::new("phi-nobos");
    place.ends(&["identity", "--identity", "identity"], 0, &[]);
    let open = |name: &str, mode| {
        std::fs::set_permissions(place.at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open("identity/ca.key", 0o640);
    open("identity/user-tokens", 0o604);
    open("identity/ca.crt", 0o644);
    let served = guarded(&place, &[]);
    ends(&place, &served.user, &["list"], 0, &[]);
    let log = std::fs::read_to_string(place.at("coordinator.log")).unwrap();
    assert_eq!(log.matches("chmod go= identity/ca.key identity/user-tokens").count(), 1, "{log}");
    open("identity/ca.key", 0o400);
    open("identity/user-tokens", 0o600);
    let said = place.ends(&["identity", "--identity", "identity"], 0, &[]);
    assert!(!said.contains("chmod"), "{said}");
}

#[test]
fn an_address_or_a_file_by_which_nobody_can_be_called_is_refused_at_once() {
    let place = Place::new("phi-nobos");
    place.write("blank", " \n\t\n");
    place.write("token", "a-token-for-workers\n");
    let (mine, anothers) = (client("espalier-worker"), client("espalier-worker"));
    place.write("mine.crt", &mine.certificate);
    place.write("anothers.key", &anothers.key);
    let pinned = format!("https://127.0.0.1:9#{}", "0".repeat(64));
    let file = |variable: &'static str, name: &str| (variable, place.at(name).display().to_string());
    let pair = [file("ESPALIER_CERT_FILE", "mine.crt"), file("ESPALIER_KEY_FILE", "anothers.key")];
    for (address, variables, says) in [
        (format!("{pinned}:  "), &[][..], "the token after the fingerprint is blank"),
        (pinned.clone(), &[file("ESPALIER_TOKEN_FILE", "blank")], "blank: found no token"),
        (pinned.clone(), &[file("ESPALIER_TOKEN_FILE", "absent")], "absent: No such file"),
        ("http://127.0.0.1:9".to_owned(), &[file("ESPALIER_TOKEN_FILE", "token")], "not sent over plaintext"),
        ("https://127.0.0.1:9#abc:x".to_owned(), &[], "the fingerprint after # has 3 characters"),
        (pinned.replace("https://", ""), &[], "127.0.0.1:9: it has no scheme; expected http://HOST:PORT"),
        ("127.0.0.1:9".to_owned(), &[], "no #FINGERPRINT:TOKEN (where # begins a comment, the address"),
        (pinned, &pair, "mine.crt: keys may not be consistent: KeyMismatch; expected the one of the key in"),
    ] {
        let mut command = worker_command(&place, "w", &address);
        command.envs(variables.iter().cloned());
        assert_eq!(spawned(&place, "w", command).0.wait().unwrap().code(), Some(3));
        let log = std::fs::read_to_string(place.at("w.log")).unwrap();
        assert!(log.contains(says), "{log}");
        assert!(!log.contains("worker is ready"), "before its device is opened: {log}");
        let mut command = place.command(&["list"]);
        command.env("ESPALIER_COORDINATOR", &address).envs(variables.iter().cloned());
        let said = espalier_tests::binaries::text(&command.output().unwrap());
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn what_an_error_quotes_of_a_command_line_holds_no_token() {
    let place = Place::new("phi-nobos");
    let secret = "5ec4e7".repeat(10) + "5ec4";
    let join = format!("https://10.0.0.5:7420#{}:{secret}", "ab".repeat(32));
    let line = format!("espalier-worker --join {join}");
    let (secret, join, line) = (secret.as_str(), join.as_str(), line.as_str());
    for (program, args, says) in [
        ("espalier-worker", &[join][..], "--join is missing in front of 'https://10.0.0.5:7420…'"),
        ("espalier-worker", &[line], "--join is missing"),
        ("espalier-worker", &["--device", join], "found https://10.0.0.5:7420…, expected cpu"),
        ("espalier-worker", &[secret], "'…'"),
        ("espalier", &["submit", "s.yaml", join], "unexpected argument 'https://10.0.0.5:7420…'"),
        ("espalier", &["submit", "s.yaml", "--output", "json", join], "argument 'https://10.0.0.5:7420…'"),
        ("espalier", &["submit", join], "https://10.0.0.5:7420…"),
        ("espalier", &["coordinator", "--advertise", join], "https://10.0.0.5:7420…"),
        ("espalier", &[join], "https://10.0.0.5:7420…"),
        ("espalier", &["list", secret], "unexpected argument '…'"),
    ] {
        let output = Command::new(place.program(program)).args(args).output().unwrap();
        let said = espalier_tests::binaries::text(&output);
        assert!([2, 3].map(Some).contains(&output.status.code()), "{args:?}: {said}");
        assert!(said.contains(says) && !said.contains(secret), "{args:?}: {said}");
    }
    let mut command = place.command(&["coordinator"]);
    let said = espalier_tests::binaries::text(&command.env("ESPALIER_ADVERTISE", join).output().unwrap());
    assert!(said.contains("7420…") && !said.contains(secret), "{said}");
}
