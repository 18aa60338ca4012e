//! Small models and data under the names and in the layouts of the real ones, for a hub of the tests.
//!
//! In: the goldens and the demo's models. Out: repositories of `examples/dissertation.yaml`. The values mean nothing.

use crate::hub_server::HubServer;
use crate::root;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// A tensor of a safetensors file: name, header entry, bytes.
type Tensor = (String, Value, Vec<u8>);

/// The commit-bearing name of the hub's Parquet exports.
pub const CONVERTED: &str = "refs/convert/parquet";

/// Every repository that the dissertation's sweep names, with files that nobody needs beside them.
///
/// # Panics
/// If a golden is not what it was.
pub fn dissertation(hub: &HubServer) {
    phi(hub, "models/microsoft/phi-2");
    phi3(hub, "models/microsoft/Phi-3-mini-4k-instruct");
    wikitext(hub, "datasets/Salesforce/wikitext");
    let data = root().join("tests/goldens/scoring/data/hf");
    let set = |repository: &str, revision: &str, file: &str, set: &str| {
        hub.put(repository, "main", "README.md", "what it is");
        hub.put_file(repository, revision, file, &data.join(set));
    };
    let csqa = "data/validation-00000-of-00001.parquet";
    set("datasets/tau/commonsense_qa", "main", csqa, "commonsense_qa.parquet");
    hub.put("datasets/allenai/cosmos_qa", "main", "cosmos_qa.py", "raise SystemExit");
    set("datasets/allenai/cosmos_qa", CONVERTED, "default/validation/0000.parquet", "cosmos_qa.parquet");
    hub.put("datasets/EleutherAI/logiqa", "main", "logiqa.py", "raise SystemExit");
    set("datasets/EleutherAI/logiqa", CONVERTED, "logiqa/test/0000.parquet", "logiqa.parquet");
    let reclor = "data/validation-00000-of-00001.parquet";
    set("datasets/metaeval/reclor", "main", reclor, "reclor.parquet");
    set("datasets/jiangjiechen/ekar_english", "main", "data/validation.jsonl", "ekar.jsonl");
}

/// A model `org/m`, a text `org/rows` and the CommonsenseQA of the catalog: what a small sweep reads.
///
/// # Panics
/// If a golden is not what it was.
pub fn named(hub: &HubServer) {
    phi(hub, "models/org/m");
    let data = root().join("tests/goldens/scoring/data");
    for split in ["train.txt", "test.txt"] {
        hub.put_file("datasets/org/rows", "main", split, &data.join("rows.txt"));
    }
    let questions = data.join("hf/commonsense_qa.parquet");
    hub.put_file("datasets/tau/commonsense_qa", "main", "data/validation-00000-of-00001.parquet", &questions);
}

/// `main` of all that [`named`] put there is another commit: other weights, another text, the same questions. The former one is
/// tagged `before`.
///
/// # Panics
/// If a golden is not what it was.
pub fn moved(hub: &HubServer) {
    for repository in ["models/org/m", "datasets/org/rows", "datasets/tau/commonsense_qa"] {
        hub.tag(repository, "main", "before");
    }
    other_phi(hub, "models/org/m", 1);
    let rows = root().join("tests/goldens/scoring/data/rows.txt");
    let rows = std::fs::read_to_string(rows).expect("the golden is there").replace("the", "a");
    for split in ["train.txt", "test.txt"] {
        hub.put("datasets/org/rows", "main", split, rows.clone());
    }
    hub.put("datasets/tau/commonsense_qa", "main", "README.md", "the same questions");
}

/// A Phi model whose weights lie in two shards.
///
/// # Panics
/// If the golden is not what it was.
pub fn phi(hub: &HubServer, repository: &str) {
    let folder = root().join("tests/goldens/scoring/phi-nobos");
    small(hub, repository, &folder);
    let tensors = tensors(&folder.join("model.safetensors"));
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (n, part) in [first, second].into_iter().enumerate() {
        let name = format!("model-{:05}-of-00002.safetensors", n + 1);
        hub.put(repository, "main", &name, bytes(part));
        map.extend(part.iter().map(|(tensor, ..)| (tensor.clone(), Value::from(name.as_str()))));
    }
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    hub.put(repository, "main", "model.safetensors.index.json", index);
}

/// Other weights of [`phi`], in one file, which is read before shards.
///
/// # Panics
/// If the golden is not what it was.
pub fn other_phi(hub: &HubServer, repository: &str, change: u8) {
    let folder = root().join("tests/goldens/scoring/phi-nobos");
    small(hub, repository, &folder);
    let mut weights = std::fs::read(folder.join("model.safetensors")).expect("the golden is there");
    let low = weights.len() - 4;
    weights[low] ^= change;
    hub.put(repository, "main", "model.safetensors", weights);
}

/// A Phi-3 model in one file.
fn phi3(hub: &HubServer, repository: &str) {
    let folder = root().join("examples/demo/models/phi3-demo");
    small(hub, repository, &folder);
    hub.put_file(repository, "main", "model.safetensors", &folder.join("model.safetensors"));
}

/// What a model has beside its weights, wanted or not.
fn small(hub: &HubServer, repository: &str, folder: &Path) {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        hub.put_file(repository, "main", file, &folder.join(file));
    }
    for file in ["README.md", "LICENSE", "modeling_phi.py", "pytorch_model.bin"] {
        hub.put(repository, "main", file, "nobody needs this");
    }
}

/// WikiText in two configurations.
fn wikitext(hub: &HubServer, repository: &str) {
    let text = std::fs::read_to_string(root().join("tests/goldens/scoring/data/rows.txt"));
    let text = text.expect("the golden can be read");
    let parquet = rows(&text);
    for split in ["train", "validation", "test"] {
        let file = format!("wikitext-2-raw-v1/{split}-00000-of-00001.parquet");
        hub.put(repository, "main", &file, parquet.clone());
        let file = format!("wikitext-103-raw-v1/{split}-00000-of-00001.parquet");
        hub.put(repository, "main", &file, "not wanted");
    }
}

/// Lines as a Parquet file's column `text`.
fn rows(text: &str) -> Vec<u8> {
    let lines: ArrayRef = Arc::new(StringArray::from_iter_values(text.lines()));
    let batch = RecordBatch::try_from_iter([("text", lines)]).expect("one column is a batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("the schema is plain");
    writer.write(&batch).expect("memory can be written");
    writer.close().expect("memory can be written");
    bytes
}

fn tensors(path: &Path) -> Vec<Tensor> {
    let bytes = std::fs::read(path).expect("the golden can be read");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: serde_json::Map<String, Value> =
        serde_json::from_slice(&bytes[8..8 + length]).expect("the header is JSON");
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let at =
        |entry: &Value, n: usize| 8 + length + entry["data_offsets"][n].as_u64().expect("a number") as usize;
    let read = |(name, entry): (String, Value)| {
        let data = bytes[at(&entry, 0)..at(&entry, 1)].to_vec();
        (name, entry, data)
    };
    tensors.map(read).collect()
}

/// A safetensors file of these tensors.
fn bytes(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, entry, bytes) in tensors {
        let mut entry = entry.clone();
        entry["data_offsets"] = json!([data.len(), data.len() + bytes.len()]);
        header.insert(name.clone(), entry);
        data.extend_from_slice(bytes);
    }
    let mut header = Value::Object(header).to_string();
    // The data stays aligned.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}
