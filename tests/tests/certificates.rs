//! Who is believed by a certificate, and that every certificate is replaced while everything runs.

use espalier_tests::cluster::{Process, listening, spawned, until, worker_command};
use espalier_tests::guarded::{Guarded, ends, guarded};
use espalier_tests::sweeps::Place;
use espalier_tests::tls::{Authority, ClientCertificate, client, shown};
use serde_json::Value;

/// A worker that believes the CA in `identity/ca.crt` and shows `NAME.crt`; its log is `NAME.log`.
fn with_files(place: &Place, guarded: &Guarded, name: &str) -> Process {
    let mut command = worker_command(place, name, &guarded.url);
    for (variable, file) in [
        ("ESPALIER_CA_FILE", "identity/ca.crt".to_owned()),
        ("ESPALIER_CERT_FILE", format!("{name}.crt")),
        ("ESPALIER_KEY_FILE", format!("{name}.key")),
    ] {
        command.env(variable, place.at(&file));
    }
    spawned(place, name, command)
}

#[test]
fn a_certificate_of_the_clients_ca_stands_for_a_token_of_the_role_that_it_names() {
    let place = Place::new("phi-nobos");
    let ClientCertificate { ca, certificate, key } = client("espalier-user");
    let stranger = client("espalier-user");
    // The identity is there before the coordinator is, as when it is mounted.
    place.ends(&["identity", "--identity", "identity"], 0, &["espalier-worker --join https://"]);
    place.write("identity/client-ca.crt", &ca);
    for (name, text) in [
        ("user.crt", &certificate),
        ("user.key", &key),
        ("stranger.crt", &stranger.certificate),
        ("stranger.key", &stranger.key),
    ] {
        place.write(name, text);
    }
    let guarded = guarded(&place, &[]);
    // The coordinator's own CA as a file, and its name checked.
    let with = |certificate: &str, key: &str, args: &[&str], code, needles: &[&str]| {
        let files = ["--ca-file", "identity/ca.crt", "--cert-file", certificate, "--key-file", key];
        ends(&place, &guarded.url, &[args, &files].concat(), code, needles)
    };
    with("user.crt", "user.key", &["list"], 0, &[]);
    // In TLS 1.3 the refusal comes when this end is done: what it meets must not be left to chance.
    for _ in 0..10 {
        let says = ["refuses this end's certificate: received fatal alert", "expected in --cert-file"];
        with("stranger.crt", "stranger.key", &["list"], 3, &says);
    }
    let advice = ["wrong  coordinator", "-> use a user's certificate (--cert-file, --key-file)"];
    with("stranger.crt", "stranger.key", &["doctor"], 3, &advice);
    let mut worker = with_files(&place, &guarded, "stranger");
    assert_eq!(worker.0.wait().unwrap().code(), Some(3));
    let log = std::fs::read_to_string(place.at("stranger.log")).unwrap();
    assert!(log.contains("error: the coordinator at https://127.0.0.1:"), "{log}");
    assert!(log.contains("refuses this end's certificate") && !log.contains("is silent"), "{log}");
    with("user.crt", "absent.key", &["list"], 3, &["absent.key"]);
    with("user.key", "user.key", &["list"], 3, &["user.key", "found no certificate"]);
}

#[test]
fn where_only_certificates_are_taken_there_is_no_token_and_the_addresses_say_so() {
    let place = Place::new("phi-nobos");
    let (authority, worker, user) = (Authority::new(), client("espalier-worker"), client("espalier-user"));
    let (chain, key, _) = authority.here();
    std::fs::create_dir(place.at("identity")).unwrap();
    place.write("identity/client-ca.crt", &worker.ca);
    let own = ["coordinator", "--listen", "127.0.0.1:0", "--identity", "identity"];
    place.ends(&own, 3, &["identity/ca.crt: there is none, and no tls.crt", "a certificate of its own"]);
    std::fs::remove_file(place.at("identity/client-ca.crt")).unwrap();
    place.write("identity/tls.crt", &chain);
    place.write("identity/tls.key", &key);
    let start = ["coordinator", "--listen", "127.0.0.1:0", "--identity", "identity"];
    // Neither way to call it: both are named.
    place.ends(&start, 3, &["identity/worker-tokens: No such file", "or client-ca.crt beside it"]);
    place.write("identity/client-ca.crt", &format!("{}{}", worker.ca, user.ca));
    for (name, own) in [("worker", &worker), ("user", &user)] {
        place.write(&format!("{name}.crt"), &own.certificate);
        place.write(&format!("{name}.key"), &own.key);
    }
    let guarded = guarded(&place, &[]);
    for address in [&guarded.worker, &guarded.user] {
        let (at, pin) = address.split_once('#').unwrap();
        assert!(at == guarded.url && pin.len() == 64, "{address}");
    }
    let lines = [" --cert-file FILE --key-file FILE", " ESPALIER_CERT_FILE=FILE ESPALIER_KEY_FILE=FILE"];
    place.ends(&["identity", "--identity", "identity"], 0, &lines);
    let args = [&start[..], &["--instance", "b", "--output", "json", "--print-join"]].concat();
    let (_other, said) = listening(&place, place.command(&args));
    assert_eq!(said["by_certificate"], serde_json::json!(["worker", "user"]), "{said}");

    ends(&place, &guarded.user, &["list"], 3, &["a certificate is wanted (--cert-file, --key-file)"]);
    let mut command = worker_command(&place, "w", &guarded.worker);
    command
        .env("ESPALIER_CERT_FILE", place.at("worker.crt"))
        .env("ESPALIER_KEY_FILE", place.at("worker.key"));
    let _worker = spawned(&place, "w", command);
    let shows = |args: &[&str], name: &str, code, needles: &[&str]| {
        let files = [format!("--cert-file={name}.crt"), format!("--key-file={name}.key")];
        let args: Vec<&str> = args.iter().copied().chain(files.iter().map(String::as_str)).collect();
        ends(&place, &guarded.user, &args, code, needles)
    };
    shows(&["list"], "worker", 3, &["this call is for a user"]);
    shows(&["submit", "s.yaml"], "user", 0, &["4 of them to do"]);
    shows(&["watch", "s"], "user", 0, &["4 of 4 cells done"]);
}

#[test]
fn a_certificate_that_has_run_out_is_told_as_that_and_a_key_of_another_ends_the_start() {
    let place = Place::new("phi-nobos");
    let authority = Authority::new();
    place.ends(&["identity", "--identity", "identity"], 0, &[]);
    let put = |(chain, key, _): (String, String, Vec<u8>)| {
        place.write("identity/tls.key", &key);
        place.write("identity/tls.crt", &chain);
    };
    put(authority.here_from_to(-90, -1));
    let guarded = guarded(&place, &[]);
    let log = || std::fs::read_to_string(place.at("coordinator.log")).unwrap();
    assert!(log().contains("the coordinator's certificate expired at "), "{}", log());
    let told = ["the certificate of who listens there expired at", "by this machine's clock: renew it"];
    let said = ends(&place, &guarded.user, &["list"], 3, &told);
    assert!(!said.contains("ask for the address again"), "{said}");
    let files = ["list", "--ca-file", "ca.crt", "--token-file", "identity/user-tokens"];
    place.write("ca.crt", &authority.certificate);
    ends(&place, &guarded.url, &files, 3, &told);
    let advice = ["wrong  coordinator", "-> renew tls.crt and tls.key", "set this machine's clock"];
    ends(&place, &guarded.user, &["doctor"], 3, &advice);
    let mut worker = spawned(&place, "w", worker_command(&place, "w", &guarded.worker));
    assert_eq!(worker.0.wait().unwrap().code(), Some(3));
    let said = std::fs::read_to_string(place.at("w.log")).unwrap();
    assert!(said.contains("listens there expired at") && !said.contains("is silent"), "{said}");

    let renewed = |from, to, code, needles: &[&str], warned: &str| {
        put(authority.here_from_to(from, to));
        until("it is read again", || {
            let mut list = place.command(&["list"]);
            let ended = list.env("ESPALIER_COORDINATOR", &guarded.user).output().unwrap();
            ended.status.code() == Some(code) && log().contains(warned)
        });
        ends(&place, &guarded.user, &["list"], code, needles);
    };
    renewed(-80, 3, 0, &[], "the coordinator's certificate expires soon, at ");
    renewed(1, 90, 3, &["is not valid before"], "the coordinator's certificate is not valid before ");
    // A week is most of its life: it is to be renewed later.
    let warned = || log().matches("the coordinator's certificate ").count();
    let before = warned();
    renewed(-1, 5, 0, &[], "");
    assert_eq!(warned(), before, "{}", log());

    let start = ["coordinator", "--listen", "127.0.0.1:0", "--instance", "b", "--identity", "identity"];
    place.write("identity/tls.key", &authority.here().1);
    place.ends(&start, 3, &["identity/tls.key: found the key of another certificate"]);
    for name in ["tls.crt", "tls.key"] {
        std::fs::remove_file(place.at("identity").join(name)).unwrap();
    }
    place.write("identity/ca.key", &authority.here().1);
    place.ends(
        &start,
        3,
        &["identity/ca.key: found the key of another certificate, expected the one of ca.crt"],
    );
}

#[test]
fn a_certificate_that_does_not_name_the_host_is_told_as_that_on_both_sides() {
    let place = Place::new("phi-nobos");
    let authority = Authority::new();
    place.ends(&["identity", "--identity", "identity"], 0, &[]);
    let (chain, key, _) = authority.of("gpu.example");
    place.write("identity/tls.key", &key);
    place.write("identity/tls.crt", &chain);
    place.write("ca.crt", &authority.certificate);
    let guarded = guarded(&place, &["--advertise", "127.0.0.1"]);
    let log = std::fs::read_to_string(place.at("coordinator.log")).unwrap();
    assert!(log.contains("does not name the host of --advertise") && log.contains("gpu.example"), "{log}");
    let files = ["--ca-file", "ca.crt", "--token-file", "identity/user-tokens"];
    let told = ["does not name this host: ", "gpu.example", "#FINGERPRINT asks for no name"];
    let said = ends(&place, &guarded.url, &[&["list"], &files[..]].concat(), 3, &told);
    assert!(!said.contains("CA may be new"), "{said}");
    let advice = ["wrong  coordinator", "-> say the address by a name that the certificate has"];
    ends(&place, &guarded.url, &[&["doctor"], &files[..]].concat(), 3, &advice);
    let mut command = worker_command(&place, "w", &guarded.url);
    command.env("ESPALIER_CA_FILE", place.at("ca.crt"));
    command.env("ESPALIER_TOKEN_FILE", place.at("identity/worker-tokens"));
    assert_eq!(spawned(&place, "w", command).0.wait().unwrap().code(), Some(3));
    let said = std::fs::read_to_string(place.at("w.log")).unwrap();
    assert!(said.contains("does not name this host") && !said.contains("is silent"), "{said}");
    // By its fingerprint it is believed whatever it names; one that names the host is not warned of.
    ends(&place, &guarded.user, &["list"], 0, &[]);
    let start = ["identity", "--identity", "identity", "--advertise"];
    let said = place.ends(&[&start[..], &["gpu.example"]].concat(), 0, &[]);
    assert!(!said.contains("does not name"), "{said}");
    place.ends(&[&start[..], &["other.example"]].concat(), 0, &["does not name the host of --advertise"]);
}

#[test]
fn a_workers_certificate_and_the_cas_on_both_sides_are_replaced_while_it_runs() {
    let place = Place::new("phi-nobos");
    place.ends(&["identity", "--identity", "identity"], 0, &[]);
    let [former, new] = [(); 2].map(|()| (Authority::new(), client("espalier-worker")));
    let serves = |(authority, client): &(Authority, ClientCertificate)| {
        let (chain, key, _) = authority.here();
        place.write("identity/tls.crt", &chain);
        place.write("identity/tls.key", &key);
        place.write("identity/client-ca.crt", &client.ca);
    };
    serves(&former);
    place.write("identity/ca.crt", &former.0.certificate);
    place.write("w.crt", &former.1.certificate);
    place.write("w.key", &former.1.key);
    let mut guarded = guarded(&place, &[]);
    let mut worker = with_files(&place, &guarded, "w");
    let said = || std::fs::read_to_string(place.at("w.log")).unwrap();
    until("the worker has joined", || said().contains("bucket is shared"));

    // The coordinator comes again with other CAs: the worker, which was told of its, believes it, and is refused, which it waits out.
    place.write("identity/ca.crt", &[&former.0, &new.0].map(|ca| ca.certificate.as_str()).concat());
    serves(&new);
    guarded.coordinator.kill();
    let at = guarded.url.trim_start_matches("https://");
    let args = ["coordinator", "--listen", at, "--identity", "identity", "--output", "json"];
    let _coordinator = listening(&place, place.command(&args));
    until("the worker is refused", || said().contains("refuses this end's certificate"));
    // Half of a pair: the former is shown on.
    place.write("w.key", &new.1.key);
    until("that is told", || said().contains("could not be read again, the former hold"));
    assert!(worker.0.try_wait().unwrap().is_none(), "{}", said());
    place.write("w.crt", &new.1.certificate);
    let files = ["--ca-file", "identity/ca.crt", "--token-file", "identity/user-tokens"];
    let status = [&["status", "--output", "json"], &files[..]].concat();
    until("the worker is back", || {
        let status = ends(&place, &guarded.url, &status, 0, &[]);
        let status: Value = serde_json::from_str(&status).unwrap();
        status["workers"].as_array().unwrap().len() == 1
    });
    assert!(worker.0.try_wait().unwrap().is_none(), "{}", said());
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_open_connections_stay() {
    let place = Place::new("phi-nobos");
    let authority = Authority::new();
    // A made identity gives the tokens.
    place.ends(&["identity", "--identity", "identity"], 0, &[]);
    let put = |(chain, key, der): (String, String, Vec<u8>)| {
        // As Kubernetes and cert-manager do: never half a pair for longer than a moment.
        place.write("identity/tls.key", &key);
        place.write("identity/tls.crt", &chain);
        der
    };
    let first = put(authority.here());
    for name in ["ca.crt", "ca.key"] {
        std::fs::remove_file(place.at("identity").join(name)).unwrap();
    }
    let guarded = guarded(&place, &[]);
    let at = guarded.url.trim_start_matches("https://");
    assert!(shown(at, &authority.certificate).as_ref() == Some(&first));
    // Its calls are held open through one connection for as long as it lives.
    let mut worker = spawned(&place, "w", worker_command(&place, "w", &guarded.worker));
    let connected = || std::fs::read_to_string(place.at("w.log")).unwrap().contains("bucket is shared");
    until("the worker has joined", connected);
    let log = || std::fs::read_to_string(place.at("coordinator.log")).unwrap();

    // Half of a pair: what was shown is shown on, and it is told.
    let (chain, key, renewed) = authority.here();
    place.write("identity/tls.crt", &chain);
    until("the coordinator looks", || {
        assert!(shown(at, &authority.certificate).as_ref() == Some(&first));
        log().contains("the certificate could not be read again")
    });
    place.write("identity/tls.key", &key);
    until("the renewed certificate is shown", || {
        shown(at, &authority.certificate).as_ref() == Some(&renewed)
    });
    assert!(log().contains("the certificate was read again"));
    // Same CA, same address; the worker that was there is still there by its first connection.
    ends(&place, &guarded.user, &["submit", "s.yaml"], 0, &["4 of them to do"]);
    ends(&place, &guarded.user, &["watch", "s"], 0, &["4 of 4 cells done"]);
    let said = std::fs::read_to_string(place.at("w.log")).unwrap();
    assert!(!said.contains("coordinator is silent"), "{said}");

    // Another CA: addresses with the old fingerprint are void, which is told with the new one.
    let other = Authority::new();
    let last = put(other.here());
    until("the other CA's certificate is shown", || shown(at, &other.certificate).as_ref() == Some(&last));
    assert!(log().contains("the last certificate of the chain is another"));
    assert_eq!(shown(at, &authority.certificate), None);
    ends(&place, &guarded.user, &["list"], 3, &["another certificate", "ask for the address again"]);
    // A worker that was accepted once works on, and says what it meets.
    let (at, mut coordinator) = (at.to_owned(), guarded.coordinator);
    coordinator.kill();
    let args = ["coordinator", "--listen", &at, "--identity", "identity", "--output", "json"];
    let _coordinator = listening(&place, place.command(&args));
    let said = || std::fs::read_to_string(place.at("w.log")).unwrap();
    until("the worker says so", || said().contains("another certificate than the fingerprint"));
    assert!(said().contains("coordinator is silent; work goes on"), "{}", said());
    assert!(worker.0.try_wait().unwrap().is_none(), "{}", said());
}
