//! First inputs, from what the project's own writers and its goldens give. `make fuzz-seeds` writes them.

use bytes::Bytes;
use espalier::records::segment::{self, Row};
use espalier_fuzz::words::digest;
use espalier_proto::checkpoint::{Compact, Mask, Partial};
use espalier_proto::ids::{CellKey, InputsDigest, ModelDigest, VariantKey};
use espalier_proto::inputs::{Choices, Inputs, Windows};
use espalier_proto::messages as m;
use espalier_proto::recipe::Dtype;
use espalier_proto::records::{CellRecord, FailureCode, FailureRecord, Measured, Outcome, RECORD_FORMAT};
use espalier_proto::sweep::{LogEntry, LogEvent};
use prost::Message;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A seed for bytes that are read as choices: any will do, of several lengths.
fn noise() -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    [8, 40, 200, 1000].iter().map(|n| (0..*n).map(|_| next()).collect()).collect()
}

fn files(of: &[&str]) -> Vec<Vec<u8>> {
    of.iter().map(|file| std::fs::read(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))).collect()
}

fn texts(of: &[&str]) -> Vec<Vec<u8>> {
    of.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn compact() -> Compact {
    let masks = [
        ("b.fc", Mask::from_kept(2, 9, &[1, 0, 1, 1, 0, 1, 0, 1, 1].repeat(2))),
        ("a.fc", Mask::from_kept(1, 2, &[0, 1])),
    ];
    let masks = masks.into_iter().map(|(n, m)| (n.to_owned(), m)).collect();
    Compact { model: ModelDigest(digest(0)), dtype: Dtype::Bfloat16, masks }
}

fn compacts() -> Vec<Vec<u8>> {
    let seconds = [("prune".to_owned(), 0.25)].into();
    let partial = Partial {
        key: VariantKey(digest(1)),
        fingerprint: "f".to_owned(),
        from: 0,
        to: 1,
        seconds,
        compact: compact(),
    };
    vec![compact().encode().to_vec(), partial.encode().to_vec()]
}

fn safetensors() -> Vec<Vec<u8>> {
    let with = |header: &str, data: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend(std::iter::repeat_n(0, data));
        file
    };
    vec![
        with("{}", 0),
        with(
            r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]}}"#,
            12,
        ),
        with(r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}"#, 1),
        with(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}"#, 4),
        compact().encode().to_vec(),
    ]
}

fn records() -> Vec<Vec<u8>> {
    let attempt = || "demo-1-2".parse().expect("an attempt");
    let measured = Measured {
        fingerprint: "f".to_owned(),
        device: "cpu".to_owned(),
        seconds: [("load".to_owned(), 0.5)].into(),
        peak_alloc_mib: None,
        peak_device_mib: Some(1.5),
        rss_mib: 2.0,
        joules: None,
        ended: "2026-01-01T00:00:00Z".to_owned(),
        resumed_blocks: 0,
    };
    let cell = |outcome| CellRecord {
        format: RECORD_FORMAT,
        key: CellKey(digest(0)),
        variant: VariantKey(digest(1)),
        inputs: InputsDigest(digest(2)),
        weights: digest(3),
        attempt: attempt(),
        blobs: Vec::new(),
        outcome,
        measured: measured.clone(),
    };
    let failure = FailureRecord {
        format: RECORD_FORMAT,
        key: digest(0),
        attempt: attempt(),
        code: FailureCode::OutOfMemory,
        message: "no".to_owned(),
        fingerprint: "f".to_owned(),
        at: "2026-01-01T00:00:00Z".to_owned(),
    };
    let perplexity = Outcome::Perplexity { seqlen: 4, windows: 2, tokens: 6, window_nll: vec![0.1, 1e-300] };
    let choices =
        Outcome::Choices { items: 1, truncated: 0, confusion: vec![vec![1]], confusion_norm: vec![vec![1]] };
    vec![
        serde_json::to_vec(&cell(perplexity)).expect("JSON"),
        serde_json::to_vec(&cell(choices)).expect("JSON"),
        serde_json::to_vec(&failure).expect("JSON"),
    ]
}

fn inputs() -> Vec<Vec<u8>> {
    let windows = Windows::new(2, vec![vec![1, 2], vec![3, 4]]);
    let item = espalier_proto::inputs::ChoiceItem {
        id: "a".to_owned(),
        doc_sha256: digest(0),
        gold: 0,
        options: vec![espalier_proto::inputs::OptionInfo { chars: 1, tokens: 1, truncated: false }],
    };
    let option = espalier_proto::inputs::RowOption { index: 0, ids: vec![7] };
    let row = espalier_proto::inputs::Row { item: 0, context: vec![1], options: vec![option] };
    let choices = Choices { items: vec![item], rows: vec![row], batches: vec![1], max_len: 8 };
    [Inputs::Calibration(windows.clone()), Inputs::Perplexity(windows), Inputs::Choices(choices)]
        .iter()
        .map(|inputs| serde_json::to_vec(inputs).expect("JSON"))
        .collect()
}

fn objects() -> Vec<Vec<u8>> {
    let entry = |event| LogEntry {
        format: 2,
        written_by: "espalier 0.1.0".to_owned(),
        instance: "demo".parse().expect("a name"),
        epoch: 1,
        at: "2026-01-01T00:00:00Z".to_owned(),
        event,
    };
    let events = [
        LogEvent::Submit { spec: digest(0), take_over: true, only: Some("seed=1".to_owned()) },
        LogEvent::Pause,
        LogEvent::Cancel { only: Some("model=phi-2".to_owned()) },
        LogEvent::Retry { keys: vec![digest(1)] },
        LogEvent::Quarantine { key: digest(1), code: FailureCode::Internal },
    ];
    let mut all: Vec<Vec<u8>> =
        events.into_iter().map(|e| serde_json::to_vec(&entry(e)).expect("JSON")).collect();
    all.push(
        format!(r#"{{"format":1,"files":[{{"name":"config.json","size":3,"sha256":"{}"}}]}}"#, digest(0))
            .into(),
    );
    all
}

fn segments() -> Vec<Vec<u8>> {
    let rows: Vec<(Row, Bytes)> = (0..3u8)
        .map(|n| {
            let row = Row { cell: n > 0, key: digest(n), variant: digest(n), weights: digest(n) };
            (row, Bytes::from(format!("{{\"n\": {n}}}\n")))
        })
        .collect();
    let (keys, bodies) = segment::write(digest(0), &rows).expect("a segment");
    vec![keys.to_vec(), bodies.to_vec()]
}

fn messages() -> Vec<Vec<u8>> {
    let info = m::WorkerInfo { backend: 1, threads: 2, host: "h".into(), ..Default::default() };
    let failure = m::Failure {
        key: digest(16).to_string(),
        kind: m::FailureKind::CellError.into(),
        code: "non_finite_scores".into(),
        message: "NaN".into(),
    };
    let shard = m::ShardReport {
        variant_key: digest(1).to_string(),
        attempt: "demo-1-1".into(),
        phase: m::Phase::Evaluating.into(),
        cells_done: vec![digest(24).to_string()],
        failures: vec![failure],
        ..Default::default()
    };
    let sync =
        m::SyncRequest { worker_id: "w".into(), info: Some(info), shards: vec![shard], ..Default::default() };
    let file = m::LocalFile { path: "/a".into(), sha256: digest(0).to_string() };
    let submit = m::SubmitRequest {
        text: "name: a".into(),
        path: "/s.yaml".into(),
        files: vec![file],
        ..Default::default()
    };
    vec![sync.encode_to_vec(), submit.encode_to_vec(), m::UploadChunk::default().encode_to_vec()]
}

#[test]
#[ignore = "writes into the check-out"]
fn seeds_are_written() {
    let digits = digest(0).to_string();
    let pinned = format!("https://h.example:7420#{digits}:s3cret-and-long");
    let attempt = format!("variants/00/{digits}/partial/run.demo-3-17/00000-00001-abcdef012345.safetensors");
    let listing = r#"{"sha":"0123456789abcdef0123456789abcdef01234567","siblings":[{"rfilename":"config.json"},{"rfilename":"a/b.parquet"}]}"#;
    let golden = "tests/goldens/families";
    let configs: Vec<String> =
        ["llama-llama3-rope", "phi", "phi3-longrope", "phi3-su-old", "llama-old", "phi-qk-layernorm"]
            .iter()
            .map(|f| format!("{golden}/{f}/config.json"))
            .collect();
    let configs: Vec<&str> = configs.iter().map(String::as_str).collect();
    let tasks = ["commonsense_qa", "cosmos_qa", "ekar", "logiqa", "reclor", "wikitext2"]
        .map(|t| format!("proto/catalog/{t}.yaml"));
    let tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
    let seeds: [(&str, Vec<Vec<u8>>); 25] = [
        ("safetensors", safetensors()),
        ("config", files(&configs)),
        (
            "index",
            texts(&[
                r#"{"metadata":{"total_size":1},"weight_map":{"a.weight":"m-1.safetensors","b":"m-2.safetensors"}}"#,
            ]),
        ),
        (
            "tokenizer",
            files(&[
                "tests/goldens/scoring/phi-nobos/tokenizer.json",
                "tests/goldens/scoring/llama-spm/tokenizer.json",
            ]),
        ),
        ("compact", compacts()),
        ("compact_whole", noise()),
        ("sweep", files(&["examples/demo.yaml", "examples/dissertation.yaml", "examples/smollm2.yaml"])),
        (
            "set",
            texts(&[
                "\u{0}recipes.0.sparsity=[0.5]",
                "\u{1}calibration.nsamples=64",
                "model=m,sparsity=2:4",
                "\u{0}x.y[0]={a: 1}",
            ]),
        ),
        ("task", files(&tasks)),
        (
            "template",
            texts(&[
                "{% for t in choices.text %}{{ 'AB'[loop.index0] }}. {{t}}\n{% endfor %}",
                "{{choices.label.index(label)}}",
                "{{['A', 'B', 'C'][:options|length]}}",
                "{% set a = question ~ n %}{{ a|replace('W', a) }}",
                "{{ question.strip() }}",
                "{% macro m(a) %}{{ a * 2 }}{% endmacro %}{{ m(n) }}{% set ns = namespace(c=1) %}{% set ns.c = ns %}{{ ns }}",
            ]),
        ),
        ("template_grammar", noise()),
        ("json", texts(&["{\"a\": 1}\n\n{\"b\": [\"x\", null]}\r\n", "[{\"a\": {\"b\": 1.5e3}}, {}]"])),
        ("csv", texts(&["a,b\n1,\"x\ny\"\n\n2,\"\"\"\"\r\n", "a\r1\r2\r"])),
        (
            "parquet",
            files(&[
                "tests/goldens/scoring/data/hf/ekar.parquet",
                "tests/goldens/scoring/data/hf/logiqa.parquet",
            ]),
        ),
        (
            "logiqa",
            texts(&["\nb\nAll men.Socrates.\nWhat?\nA.nothing.\nB.x\nC.y\nD.z\n\na\nc\nq\nA.\nB.\nC\nD.d\n"]),
        ),
        ("record", records()),
        ("inputs", inputs()),
        ("objects", objects()),
        ("segment", segments()),
        ("names", texts(&["run.phi-demo", "run.phi-demo-3-17", "scores.parquet", "../x", &digits])),
        (
            "paths",
            texts(&[
                &attempt,
                "sweeps/demo/log/00000001.json",
                "coordinators/a/epoch/00000002.json",
                "logs/x/a-1-2.log",
            ]),
        ),
        (
            "address",
            texts(&[
                &pinned,
                "http://10.0.0.5:7420",
                "https://[::1]:7420/",
                "https://u:p@h:1/x#aa:bbbbbbbbbbbbbbbb",
            ]),
        ),
        ("hub", texts(&[listing, "W/\"ce013625030ba8dba906f756967f9e9ca394464a\"", "microsoft/phi-2"])),
        ("messages", messages()),
        ("schedule", noise()),
    ];
    for (target, inputs) in seeds {
        let folder = root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for (n, bytes) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{n}")), bytes).unwrap();
        }
    }
}
