//! `tasks:` → declarations: a name of the catalog or a task file, with what this sweep wants of it.

use crate::spec::complaint::{Complaint, did_you_mean, one_of};
use crate::spec::fields::Reader;
use crate::spec::file::TaskDecl;
use crate::spec::paths;
use crate::spec::yaml::{self, Node, Value};
use espalier_proto::catalog::{self, CatalogFile};
use std::path::Path;

const KEYS: [&str; 8] = ["task", "style", "seqlen", "limit", "data", "num_fewshot", "fewshot_seed", "models"];

/// Prompt styles that tasks may have.
pub const STYLES: [&str; 3] = ["letters", "cloze", "lm_eval"];

/// Seed of the draw of few-shot examples where nothing is said: lm-evaluation-harness's.
pub const FEWSHOT_SEED: u64 = 1234;

/// Every task.
pub fn read(reader: &mut Reader, node: &Node, folder: &Path) -> Vec<TaskDecl> {
    let items = reader.list(node, "tasks", "a list of tasks").unwrap_or_default();
    items
        .iter()
        .enumerate()
        .filter_map(|(i, item)| one(reader, item, &format!("tasks[{i}]"), folder))
        .collect()
}

fn one(reader: &mut Reader, node: &Node, field: &str, folder: &Path) -> Option<TaskDecl> {
    let plain = |task: String| TaskDecl {
        task,
        style: None,
        seqlen: None,
        limit: None,
        data: None,
        num_fewshot: 0,
        fewshot_seed: FEWSHOT_SEED,
        models: None,
        at: node.at,
    };
    if let Value::Text(_) = &node.value {
        return name(reader, node, field, folder).map(plain);
    }
    if !matches!(node.value, Value::Map(_)) {
        return reader.complain(node, field, "a task's name, a task file, or a mapping with task");
    }
    let fields = reader.fields(node, field, &KEYS)?;
    let task = reader
        .required(&fields, "task", "a task's name or a task file")
        .and_then(|n| name(reader, n, &fields.path_of("task"), folder));
    let style = fields.get("style").and_then(|n| reader.word(n, &fields.path_of("style"), &STYLES));
    let seqlen = fields.get("seqlen").and_then(|n| reader.small(n, &fields.path_of("seqlen"), 2));
    let limit = fields.get("limit").and_then(|n| reader.integer(n, &fields.path_of("limit"), 1..=u64::MAX));
    let data = fields.get("data").and_then(|n| data(reader, n, &fields.path_of("data"), folder));
    let num_fewshot =
        fields.get("num_fewshot").and_then(|n| reader.small(n, &fields.path_of("num_fewshot"), 0));
    let fewshot_seed = fields
        .get("fewshot_seed")
        .and_then(|n| reader.integer(n, &fields.path_of("fewshot_seed"), 0..=1 << 53));
    let models = fields.get("models").map(|n| reader.texts(n, &fields.path_of("models"), "ids of models:"));
    Some(TaskDecl {
        style: style.map(str::to_owned),
        seqlen,
        limit,
        data,
        num_fewshot: num_fewshot.unwrap_or(0),
        fewshot_seed: fewshot_seed.unwrap_or(FEWSHOT_SEED),
        models,
        ..plain(task?)
    })
}

fn data(reader: &mut Reader, node: &Node, field: &str, folder: &Path) -> Option<String> {
    const EXPECTED: &str = "a file, a folder, s3://bucket/path, or org/name[@revision] on the hub";
    let data = paths::data(folder, reader.text(node, field, EXPECTED)?);
    match data.starts_with('/') || paths::is_source(&data) {
        true => Some(data),
        false => reader.complain(node, field, EXPECTED),
    }
}

fn name(reader: &mut Reader, node: &Node, field: &str, folder: &Path) -> Option<String> {
    let text = reader.text(node, field, "a task's name or a task file")?;
    if paths::is_path(text) {
        return Some(paths::absolute(folder, text));
    }
    match canonical(text) {
        Some(name) => Some(name.to_owned()),
        None => {
            let words: Vec<&str> = catalog::TASKS.iter().map(|task| task.name).collect();
            let near = did_you_mean(text, &words);
            let expected = format!("{} or a task file written ./file.yaml{near}", one_of(&words));
            reader.complaints.push(Complaint::new(node.at, field, text, expected));
            None
        }
    }
}

/// The catalog's spelling of a task's name.
pub fn canonical(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    let task = catalog::TASKS.iter().find(|task| task.name == lower || aliases(task).contains(&lower))?;
    Some(task.name)
}

/// Other spellings of a task's name, as its file lists them.
pub fn aliases(task: &CatalogFile) -> Vec<String> {
    let Ok(root) = yaml::parse(task.text) else {
        return Vec::new();
    };
    let Value::Map(entries) = root.value else {
        return Vec::new();
    };
    let listed = entries.into_iter().find(|(key, _)| key.word == "aliases").map(|(_, node)| node.value);
    let Some(Value::List(items)) = listed else {
        return Vec::new();
    };
    items.into_iter().map(|item| item.describe().to_ascii_lowercase()).collect()
}
