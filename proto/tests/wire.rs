//! The messages on the wire stay what they were: fields keep number, type and meaning; unknown ones are ignored, absent ones mean what
//! they meant before they were there.
//!
//! `wire/fields.txt` lists every field that a release has had, `wire/*.hex` are messages as a release encoded them, with every field set.

use data_encoding::HEXLOWER;
use espalier_proto::messages as m;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn wire() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// Every field, enum word and call of the .proto files, a line each: `SyncRequest.worker_id = 1 string`.
fn fields() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in ["worker.proto", "sweeps.proto"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("espalier/v1").join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let mut inside = String::new();
        for line in text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["message" | "enum" | "service", name, "{"] => inside = name.to_owned(),
                ["rpc", ..] => drop(found.insert(format!("{inside}.{}", line.trim_end_matches(';')))),
                [.., name, "=", number] => {
                    let kind = words[..words.len() - 3].join(" ");
                    let line = format!("{inside}.{name} = {} {kind}", number.trim_end_matches(';'));
                    found.insert(line.trim_end().to_owned());
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn no_field_word_or_call_that_a_release_had_is_gone_or_another() {
    let recorded = std::fs::read_to_string(wire().join("fields.txt")).unwrap();
    let now = fields();
    assert!(now.len() > 100, "{now:?}");
    let lost: Vec<&str> = recorded.lines().filter(|line| !now.contains(*line)).collect();
    assert!(lost.is_empty(), "these were on the wire of a release:\n{}", lost.join("\n"));
}

fn text(word: &str) -> String {
    word.to_owned()
}

/// A call with every field set.
fn request() -> m::SyncRequest {
    let info = m::WorkerInfo {
        host: text("node-7"),
        pid: 4711,
        backend: m::Backend::Cuda.into(),
        device_name: text("a device"),
        device_index: 3,
        memory_bytes: 85_899_345_920,
        fingerprint: text("fingerprint"),
        stage_versions: BTreeMap::from([(text("forward"), 1), (text("prune.wanda"), 2)]),
        threads: 2,
        models: vec!["ab".repeat(32)],
    };
    let failure = m::Failure {
        key: "cd".repeat(32),
        kind: m::FailureKind::CellError.into(),
        code: text("non_finite_weights"),
        message: text("why"),
    };
    let shard = m::ShardReport {
        variant_key: "ef".repeat(32),
        attempt: text("main-1-2"),
        phase: m::Phase::Evaluating.into(),
        cells_done: vec!["01".repeat(32)],
        cells_begun: vec!["02".repeat(32)],
        progress_done: 5,
        progress_total: 9,
        variant_done: true,
        failures: vec![failure],
    };
    m::SyncRequest {
        worker_id: text("node-7:4711"),
        info: Some(info),
        epoch_seen: 6,
        shards: vec![shard],
        draining: true,
    }
}

/// An answer with every field set.
fn response() -> m::SyncResponse {
    let shard = m::ShardOrder {
        attempt: text("main-1-2"),
        variant_json: text("{}"),
        model_folder: text("/models/m"),
        cells: vec![m::CellOrder { cell_key: "01".repeat(32), inputs_digest: "03".repeat(32) }],
        lease_s: 60,
        variant_wanted: true,
        canary: Some(m::CanaryOrder { inputs_digests: vec!["03".repeat(32)] }),
    };
    m::SyncResponse {
        epoch: 6,
        instance: text("main"),
        bucket_url: text("s3://results/a"),
        probe_nonce: text("nonce"),
        shards: vec![shard],
        drain: true,
        call_again_ms: 2000,
        work_held_back: false,
    }
}

/// As it was recorded.
fn recorded(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(wire().join(format!("{name}.hex"))).unwrap();
    HEXLOWER.decode(text.split_whitespace().collect::<String>().as_bytes()).unwrap()
}

#[test]
fn messages_that_a_release_encoded_are_read_as_they_were_meant() {
    assert_eq!(m::SyncRequest::decode(&recorded("sync_request")[..]).unwrap(), request());
    assert_eq!(m::SyncResponse::decode(&recorded("sync_response")[..]).unwrap(), response());
    // And an earlier release reads ours: the same bytes, as long as there is no later field.
    assert_eq!(request().encode_to_vec(), recorded("sync_request"));
    assert_eq!(response().encode_to_vec(), recorded("sync_response"));
}

#[test]
fn fields_of_later_versions_are_ignored_and_absent_ones_are_at_their_zero() {
    // Field 99, a varint and a text: what a later version might say.
    let later = [0x98, 0x06, 0x07, 0x9a, 0x06, 0x03, b'n', b'e', b'w'];
    let bytes = [recorded("sync_request"), later.to_vec()].concat();
    assert_eq!(m::SyncRequest::decode(&bytes[..]).unwrap(), request());
    let bytes = [recorded("sync_response"), later.to_vec()].concat();
    assert_eq!(m::SyncResponse::decode(&bytes[..]).unwrap(), response());
    let nothing = m::SyncResponse::decode(&b""[..]).unwrap();
    assert!(!nothing.drain && nothing.shards.is_empty() && nothing.call_again_ms == 0);
    // A word that is not known is none: it is refused by whoever needs it, not taken for another.
    let unknown = m::WorkerInfo { backend: 42, ..m::WorkerInfo::default() };
    assert_eq!(
        m::WorkerInfo::decode(&unknown.encode_to_vec()[..]).unwrap().backend(),
        m::Backend::Unspecified
    );
}

/// Writes what this version has on the wire; fields that a release had stay listed.
#[test]
#[ignore = "records goldens, when a protocol gains fields"]
fn record() {
    let lines = |bytes: Vec<u8>| {
        let hex = HEXLOWER.encode(&bytes);
        let lines: Vec<&str> = hex.as_bytes().chunks(96).map(|c| std::str::from_utf8(c).unwrap()).collect();
        format!("{}\n", lines.join("\n"))
    };
    let mut all = fields();
    all.extend(
        std::fs::read_to_string(wire().join("fields.txt")).unwrap_or_default().lines().map(str::to_owned),
    );
    let all: Vec<String> = all.into_iter().collect();
    std::fs::create_dir_all(wire()).unwrap();
    std::fs::write(wire().join("fields.txt"), format!("{}\n", all.join("\n"))).unwrap();
    std::fs::write(wire().join("sync_request.hex"), lines(request().encode_to_vec())).unwrap();
    std::fs::write(wire().join("sync_response.hex"), lines(response().encode_to_vec())).unwrap();
}
