//! Models and datasets by their names on the hub: read where the Hugging Face cache has them, fetched into it where a network is.

use espalier_tests::binaries::text;
use espalier_tests::cluster::Cluster;
use espalier_tests::hub_server::{Asked, HubServer, TOKEN};
use espalier_tests::sweeps::{Place, names};
use espalier_tests::{files, root, stand_ins};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A copy of a golden data file in the cache of the place's home: `path` is under `hub`.
fn cached(place: &Place, path: &str, golden: &str) {
    let file = place.at("home/.cache/huggingface/hub").join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::copy(espalier_tests::root().join("tests/goldens/scoring/data").join(golden), file).unwrap();
}

fn reference(place: &Place, path: &str, commit: &str) {
    let file = place.at("home/.cache/huggingface/hub").join(path);
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).unwrap();
    std::fs::write(file, commit).unwrap();
}

#[test]
fn eval_reads_datasets_of_the_cache_and_says_how_to_get_those_that_are_not_there() {
    let place = Place::new("phi-nobos");
    reference(&place, "datasets--org--pairs/refs/main", "abc");
    cached(&place, "datasets--org--pairs/snapshots/abc/data/test-00000-of-00001.parquet", "hf/ekar.parquet");
    let eval = |more: &[&'static str]| [&["eval", "--model", "model", "--devices", "cpu:1"], more].concat();
    place.ends(&eval(&["--dataset", "org/pairs"]), 0, &["ekar: ", " of test, ", "acc"]);
    // The same cell by its task's name: nothing is measured again.
    place.ends(&eval(&["--task", "ekar=hf://org/pairs@abc"]), 0, &["nothing was run"]);
    let get = "get it there with: hf download --repo-type dataset";
    place.ends(&eval(&["--dataset", "org/absent"]), 3, &["dataset org/absent", &format!("{get} org/absent")]);
    place.ends(&eval(&["--task", "ekar=hf://org/pairs@v2"]), 3, &[&format!("{get} org/pairs --revision v2")]);
    place.ends(&eval(&["--task", "ekar"]), 3, &[&format!("{get} jiangjiechen/ekar_english")]);
    // A task of the catalog finds its own.
    cached(&place, "datasets--jiangjiechen--ekar_english/snapshots/def/test.jsonl", "hf/ekar.jsonl");
    reference(&place, "datasets--jiangjiechen--ekar_english/refs/main", "def");
    place.ends(&eval(&["--task", "ekar"]), 0, &["nothing was run"]);
}

/// A place whose processes use this hub, with an empty cache at `hf`, and the sweep `s.yaml` over `model`.
fn on(hub: &HubServer, model: &str) -> Place {
    let mut place = Place::new("phi-nobos");
    place.add_environment(hub.environment());
    place.add_environment(vec![("HF_HOME".to_owned(), place.at("hf").display().to_string())]);
    place.replace("s.yaml", "[./model]", &format!("[{model}]"));
    place
}

/// `plan` of `s.yaml`, which measures nothing.
const PLAN: [&str; 4] = ["plan", "s.yaml", "--gflops", "1"];

/// A model's folder in the cache.
fn cache(place: &Place, repository: &str) -> PathBuf {
    place.at("hf/hub").join(repository)
}

fn of_network(asked: &[Asked]) -> Vec<&Asked> {
    asked.iter().filter(|a| a.of_network).collect()
}

#[test]
fn the_dissertations_sweep_needs_a_network_once_and_none_afterwards() {
    let hub = HubServer::start();
    stand_ins::dissertation(&hub);
    let mut place = on(&hub, "unused");
    place.add_environment(vec![("HF_TOKEN".to_owned(), TOKEN.to_owned())]);
    let sweep = root().join("examples/dissertation.yaml").display().to_string();
    let sets = ["calibration.nsamples=2", "calibration.seqlen=32", "recipes.0.sparsity=[0.5, \"2:4\"]"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let run = [&["run", &sweep, "--devices", "cpu:1", "--limit", "2"], &sets[..]].concat();
    let said = place.ends(&run, 0, &["fetching microsoft/phi-2: ", "36 of 36 cells done", "report: "]);
    let asked = hub.asked();
    // The token is the hub's alone, and nobody else reads it.
    assert!(!of_network(&asked).is_empty() && !said.contains(TOKEN), "{said}");
    for a in &asked {
        let expected = (!a.of_network).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(a.authorization, expected, "{a:?}");
    }
    // What nobody needs was not asked for.
    for file in ["README.md", "pytorch_model.bin", "modeling_phi.py", "wikitext-103", "logiqa.py"] {
        assert!(!asked.iter().any(|a| a.path.contains(file)), "{file}: {asked:?}");
    }
    // The sweep is pinned to commits, and the cache is as Hugging Face's tools have it.
    let commit = hub.commit("models/microsoft/phi-2", "main");
    let specs = files(&place.at("out/sweeps/dissertation/specs"), "json");
    let resolved = std::fs::read_to_string(&specs[0]).unwrap();
    assert!(resolved.contains(&format!("hf://microsoft/phi-2@{commit}")), "{resolved}");
    let converted = hub.commit("datasets/EleutherAI/logiqa", "refs/convert/parquet");
    assert!(resolved.contains(&format!("hf://datasets/EleutherAI/logiqa@{converted}")), "{resolved}");
    let report = std::fs::read_to_string(place.at("out/sweeps/dissertation/report/results.md")).unwrap();
    for read in [
        format!("| model phi-2 | microsoft/phi-2@{} |", &commit[..12]),
        format!("EleutherAI/logiqa@{}", &converted[..12]),
    ] {
        assert!(report.contains(&read), "{read}: {report}");
    }
    let folder = cache(&place, "models--microsoft--phi-2");
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), commit);
    let link = std::fs::read_link(folder.join("snapshots").join(&commit).join("config.json")).unwrap();
    assert!(link.starts_with("../../blobs"), "{}", link.display());
    let logiqa = cache(&place, "datasets--EleutherAI--logiqa");
    let converted = std::fs::read_to_string(logiqa.join("refs/refs/convert/parquet")).unwrap();
    let link = logiqa.join("snapshots").join(converted).join("logiqa/test/0000.parquet");
    assert!(std::fs::read_link(link).unwrap().starts_with("../../../../blobs"));
    // What is there is asked for no more; then there is no network at all.
    place.ends(&run, 0, &["36 of 36 cells done, all of them before"]);
    assert_eq!(hub.asked().len(), 0);
    drop(hub);
    place.add_environment(vec![("HF_HUB_OFFLINE".to_owned(), "1".to_owned())]);
    place.ends(&run, 0, &["36 of 36 cells done, all of them before"]);
}

#[test]
fn a_download_that_broke_off_goes_on_where_it_ended_also_in_the_next_process() {
    let hub = HubServer::start();
    stand_ins::phi(&hub, "models/org/m");
    let place = on(&hub, "org/m");
    hub.cut(1);
    place.ends(&PLAN, 0, &["fetching org/m: "]);
    let asked = hub.asked();
    let ranges: Vec<&Asked> = of_network(&asked).into_iter().filter(|a| a.range.is_some()).collect();
    let [again] = ranges[..] else { panic!("{asked:?}") };
    let first = of_network(&asked).into_iter().find(|a| a.path == again.path).unwrap();
    assert_eq!(again.range, Some(format!("bytes={}-", first.sent / 2)));
    assert_eq!(again.sent, first.sent - first.sent / 2);
    // As a process leaves it that was killed in the middle.
    let folder = cache(&place, "models--org--m");
    let blob = folder.join("blobs").join(&again.path[1..]);
    let whole = std::fs::read(&blob).unwrap();
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(blob.with_extension("incomplete"), &whole[..1000]).unwrap();
    std::fs::remove_dir_all(folder.join("snapshots")).unwrap();
    place.ends(&PLAN, 0, &[]);
    let asked = hub.asked();
    let [only] = of_network(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!((only.range.as_deref(), only.sent), (Some("bytes=1000-"), whole.len() - 1000));
    assert_eq!(std::fs::read(&blob).unwrap(), whole);
}

#[test]
fn a_corrupted_file_is_fetched_again_and_refused_if_it_comes_corrupted_again() {
    let hub = HubServer::start();
    stand_ins::phi(&hub, "models/org/m");
    let place = on(&hub, "org/m");
    hub.flip(2);
    let needles = [
        "of model org/m at revision main: found content of SHA-256 ",
        ", expected ",
        ", twice; nothing of it",
    ];
    place.ends(&PLAN, 3, &needles);
    let folder = cache(&place, "models--org--m");
    assert!(!folder.join("snapshots").exists());
    let left = names(&folder.join("blobs"));
    assert!(!left.iter().any(|name| name.ends_with(".incomplete")), "{left:?}");
    hub.asked();
    hub.flip(1);
    place.ends(&PLAN, 0, &[]);
    let asked = hub.asked();
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    of_network(&asked).iter().for_each(|a| *times.entry(&a.path).or_default() += 1);
    let mut times: Vec<u32> = times.into_values().collect();
    times.sort_unstable();
    assert_eq!((times[0], times.last()), (1, Some(&2)), "{asked:?}");
}

#[test]
fn what_the_hub_does_not_give_is_told_all_at_once_before_anything_is_fetched() {
    let hub = HubServer::start();
    for model in ["m", "gated", "kept"] {
        stand_ins::phi(&hub, &format!("models/org/{model}"));
    }
    hub.gate("models/org/gated");
    hub.keep("models/org/kept");
    hub.put("models/org/old", "main", "config.json", "{}");
    hub.put("models/org/old", "main", "pytorch_model.bin", "a pickle");
    hub.put("datasets/org/script", "main", "script.py", "raise SystemExit");
    stand_ins::phi(&hub, "models/org/other");
    hub.put("models/org/other", "main", "config.json", r#"{"model_type": "mistral"}"#);
    let mut place = on(&hub, "org/m, org/gated, org/old, org/absent, v9=org/m@v9, org/other");
    place.replace("s.yaml", "./cs.jsonl", "org/script");
    let at = hub.environment()[0].1.clone();
    let host = at.trim_start_matches("http://").to_owned();
    let said = place.plan_refuses(&[
        &format!("model org/gated is gated: accept its licence at {at}/org/gated, then set HF_TOKEN to a token of that account\n"),
        "model org/old: found pytorch_model.bin and no safetensors; convert it, then name the folder that this makes: python3 -c ",
        &format!("{host} has no model org/absent at revision main; if it is private, set HF_TOKEN to a token that may read it\n"),
        &format!("{host} has no model org/m at revision v9\n"),
        ": model_type: found mistral, supported are phi, phi3, llama",
        "hf://datasets/org/script@",
        "found no data file, expected Parquet, JSON, CSV or text here or at refs/convert/parquet",
    ]);
    assert!(said.contains("variants"), "the outline comes first: {said}");
    let asked = hub.asked();
    assert!(of_network(&asked).iter().all(|a| a.path.ends_with("/config.json")), "{asked:?}");
    // A token that is none is told without being shown; one that may read the model fetches it.
    place.sweep("s", "0.5", "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
    place.replace("s.yaml", "[./model]", "[org/gated]");
    place.add_environment(vec![("HF_TOKEN".to_owned(), "hf_wrong".to_owned())]);
    let said = place.plan_refuses(&["refuses the token of HF_TOKEN for model org/gated at revision main"]);
    assert!(!said.contains("hf_wrong"), "{said}");
    place.add_environment(vec![("HF_TOKEN".to_owned(), TOKEN.to_owned())]);
    place.replace("s.yaml", "[org/gated]", "[org/kept]");
    place.plan_refuses(&[&format!(
        "model org/kept is gated, and access is not granted yet to the account of the token of HF_TOKEN: ask for it at {at}/org/kept"
    )]);
}

#[test]
fn a_busy_hub_is_asked_again_after_the_time_that_it_says_unless_that_is_long() {
    let hub = HubServer::start();
    stand_ins::phi(&hub, "models/org/m");
    let place = on(&hub, "org/m");
    hub.busy(1, 600);
    let said = place.plan_refuses(&[
        "takes no more requests for now (429) and gave nothing for model org/m at revision main: wait 600 s, then give the same command \
         again; with a token, HF_TOKEN, it allows more",
    ]);
    assert!(!said.contains("fetching"), "{said}");
    hub.busy(2, 1);
    let began = std::time::Instant::now();
    place.ends(&PLAN, 0, &["fetching org/m: ", "the hub is busy and is asked again"]);
    assert!(began.elapsed() >= std::time::Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_renamed_repository_is_followed_with_the_token() {
    let hub = HubServer::start();
    stand_ins::phi(&hub, "models/org/m");
    hub.gate("models/org/m");
    hub.rename("models/was/called", "models/org/m");
    let mut place = on(&hub, "was/called");
    place.add_environment(vec![("HF_TOKEN".to_owned(), TOKEN.to_owned())]);
    place.ends(&PLAN, 0, &["fetching was/called: "]);
    assert!(cache(&place, "models--was--called/refs/main").exists());
}

#[test]
fn a_hub_that_cannot_be_reached_leaves_the_command_that_gets_what_is_missing() {
    let hub = HubServer::start();
    let mut place = on(&hub, "org/m");
    place.add_environment(vec![("HF_ENDPOINT".to_owned(), "http://127.0.0.1:9".to_owned())]);
    place.plan_refuses(&[
        "get it there with: hf download org/m\n",
        "127.0.0.1:9 cannot be reached; HF_HUB_OFFLINE=1",
    ]);
    place.add_environment(vec![("HF_HUB_OFFLINE".to_owned(), "1".to_owned())]);
    let said = place.plan_refuses(&["get it there with: hf download org/m\n"]);
    assert!(!said.contains("reached"), "{said}");
}

#[test]
fn two_processes_fetch_a_file_once() {
    let hub = HubServer::start();
    stand_ins::phi(&hub, "models/org/m");
    let place = on(&hub, "org/m");
    let start = || place.command(&PLAN).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let both = [start(), start()].map(|process| process.wait_with_output().unwrap());
    for output in &both {
        assert!(output.status.success(), "{}", text(output));
    }
    let asked = hub.asked();
    let gets = of_network(&asked);
    let different: BTreeSet<&str> = gets.iter().map(|a| a.path.as_str()).collect();
    // The tokenizer and two shards.
    assert_eq!((gets.len(), different.len()), (3, 3), "{asked:?}");
}

#[test]
fn eval_prune_and_a_coordinator_fetch_what_they_read() {
    let hub = HubServer::start();
    stand_ins::dissertation(&hub);
    stand_ins::phi(&hub, "models/org/m");
    let place = on(&hub, "org/m");
    let eval = ["eval", "--model", "org/m", "--dataset", "jiangjiechen/ekar_english", "--devices", "cpu:1"];
    place.ends(&eval, 0, &["fetching org/m: ", "fetching jiangjiechen/ekar_english: ", "acc"]);
    let prune = ["prune", "--model", "org/m", "--prune_method", "magnitude", "--sparsity_type", "2:4"];
    let said =
        place.ends(&[&prune[..], &["--devices", "cpu:1"]].concat(), 0, &["fetching Salesforce/wikitext: "]);
    assert!(!said.contains("ppl_test is not measured"), "{said}");
    std::fs::remove_dir_all(place.at("hf")).unwrap();
    let cluster = Cluster::start(&place, &[]);
    cluster.ends(&["submit", "s.yaml"], 0, &["s: 4 cells, 4 of them to do"]);
    assert!(cache(&place, "models--org--m/refs/main").exists());
    hub.remove("models/org/m");
    place.replace("s.yaml", "[org/m]", "[org/m, v2=org/m@v2]");
    cluster.ends(
        &["submit", "s.yaml"],
        3,
        &["on the coordinator's host: ", "has no model org/m at revision v2"],
    );
}

#[test]
fn doctor_asks_the_hub_whether_it_is_there_and_takes_the_token() {
    let hub = HubServer::start();
    let mut place = on(&hub, "org/m");
    place.ends(&["doctor"], 0, &["ok     hub: 127.0.0.1:", " answers; there is no token"]);
    place.add_environment(vec![("HF_TOKEN".to_owned(), TOKEN.to_owned())]);
    place.ends(&["doctor"], 0, &[" answers, and it takes the token"]);
    place.add_environment(vec![("HF_TOKEN".to_owned(), "hf_anotherOne".to_owned())]);
    let said =
        place.ends(&["doctor"], 3, &["wrong  hub: ", "refuses the token of HF_TOKEN", "-> set HF_TOKEN"]);
    assert!(!said.contains("hf_anotherOne"), "{said}");
    drop(hub);
    place.ends(&["doctor"], 3, &["wrong  hub: 127.0.0.1:", "cannot be reached", "HF_HUB_OFFLINE=1"]);
    place.add_environment(vec![("HF_HUB_OFFLINE".to_owned(), "1".to_owned())]);
    place.ends(&["doctor"], 0, &["ok     hub: HF_HUB_OFFLINE is set"]);
}

#[test]
fn what_is_no_hub_is_not_told_to_take_the_token() {
    let place = |body: &'static str, status: u16| {
        let server = answering(status, body);
        let mut place = Place::new("phi-nobos");
        let hub =
            [("HF_ENDPOINT", server), ("HF_TOKEN", TOKEN.to_owned()), ("HF_HUB_OFFLINE", "0".to_owned())];
        place.add_environment(hub.map(|(name, value)| (name.to_owned(), value)).to_vec());
        place
    };
    for (status, body, says) in [
        (404, "no", " answers 404 where a hub"),
        (200, "<html>", " answers 200, with what names no user, where"),
    ] {
        let needles = [
            "ok     hub: 127.0.0.1:",
            says,
            "whether it takes a token is not known",
            "-> where it is no mirror",
        ];
        let said = place(body, status).ends(&["doctor"], 0, &needles);
        assert!(!said.contains("it takes the token"), "{said}");
    }
}

/// A web server that answers everything so; it lives as long as this process.
fn answering(status: u16, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://{at}")
}

#[test]
fn a_hub_on_this_machine_is_asked_by_no_proxy_which_would_read_the_token() {
    let hub = HubServer::start();
    let mut place = on(&hub, "org/m");
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let at = format!("http://{}", proxy.local_addr().unwrap());
    let mut variables = vec![("HF_TOKEN".to_owned(), TOKEN.to_owned())];
    variables.extend(["http_proxy", "HTTP_PROXY", "ALL_PROXY"].map(|name| (name.to_owned(), at.clone())));
    variables.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), String::new())));
    place.add_environment(variables);
    place.ends(&["doctor"], 0, &[" answers, and it takes the token"]);
    assert!(proxy.accept().is_err(), "the proxy was called");
}

#[test]
fn a_listing_that_never_ends_is_given_up() {
    let hub = HubServer::start();
    stand_ins::phi(&hub, "models/org/m");
    hub.put("models/org/m", "main", &"x".repeat(33 << 20), "");
    let place = on(&hub, "org/m");
    place.ends(&PLAN, 3, &["answered what cannot be used", "more than 33554432 bytes"]);
}
