//! The whole sweep file: its own keys, and what its parts say about each other.

use super::calibrations::{DEFAULT, unsaid};
use super::{models, recipes, tasks};
use crate::spec::complaint::{Complaint, SpecError, did_you_mean, one_of};
use crate::spec::fields::{Fields, Reader};
use crate::spec::file::{BackendChoice, DtypeChoice, ModelDecl, RecipeDecl, SweepFile};
use crate::spec::yaml::{Node, Value};
use espalier_proto::ids::Name;
use espalier_proto::sweep::{Checkpoints, Limits};
use std::path::Path;

/// Every key of a sweep file.
pub const KEYS: [&str; 14] = [
    "version",
    "name",
    "backend",
    "threads",
    "device_kind",
    "tf32",
    "dtype",
    "models",
    "calibration",
    "calibrations",
    "recipes",
    "tasks",
    "checkpoints",
    "limits",
];

/// CPU threads of one compute process where nothing is said: a constant, because it is part of keys.
pub const THREADS: u32 = 2;

/// Checks the tree of the file `path`, whose relative paths are meant from `folder`.
pub fn sweep(root: &Node, path: &Path, folder: &Path) -> Result<SweepFile, SpecError> {
    let mut reader = Reader::default();
    let file = read(&mut reader, root, path, folder);
    match file {
        Some(file) if reader.complaints.is_empty() => Ok(file),
        _ => Err(SpecError::new(path, reader.complaints)),
    }
}

fn read(reader: &mut Reader, root: &Node, path: &Path, folder: &Path) -> Option<SweepFile> {
    let top = reader.fields(root, "", &KEYS)?;
    if let Some(node) = top.get("version") {
        reader.integer(node, "version", 1..=1);
    }
    let name = reader.required(&top, "name", NAME).and_then(|n| name(reader, n));
    let backend = match word(reader, &top, "backend", &["auto", "cpu", "cuda"]) {
        Some("cpu") => BackendChoice::Cpu,
        Some("cuda") => BackendChoice::Cuda,
        _ => BackendChoice::Auto,
    };
    let threads = top.get("threads").and_then(|n| reader.integer(n, "threads", 1..=1024));
    let device_kind = top
        .get("device_kind")
        .and_then(|n| reader.text(n, "device_kind", "any or a fingerprint"))
        .filter(|kind| *kind != "any")
        .map(str::to_owned);
    let tf32 = top.get("tf32").is_some_and(|node| match &node.value {
        Value::Bool(true) if backend == BackendChoice::Cpu => {
            reader.complain::<()>(node, "tf32", "false with backend: cpu, which has none").is_some()
        }
        Value::Bool(value) => *value,
        _ => reader.complain::<()>(node, "tf32", "true or false").is_some(),
    });
    let dtypes = ["auto", "float32", "float16", "bfloat16", "checkpoint"];
    let dtype = match word(reader, &top, "dtype", &dtypes) {
        Some("float32") => DtypeChoice::Float32,
        Some("float16") => DtypeChoice::Float16,
        Some("bfloat16") => DtypeChoice::Bfloat16,
        Some("checkpoint") => DtypeChoice::Checkpoint,
        _ => DtypeChoice::Auto,
    };
    let models = part(reader, &top, "models", "a list of models", |r, n| models::read(r, n, folder));
    let mut calibrations = super::calibrations::read(reader, &top, folder);
    if top.get("calibration").is_none() {
        calibrations.insert(DEFAULT.to_owned(), unsaid(root.at));
    }
    let recipes = top.get("recipes").map(|n| recipes::read(reader, n)).unwrap_or_default();
    let tasks = part(reader, &top, "tasks", "a list of tasks", |r, n| tasks::read(r, n, folder));
    let checkpoints = match word(reader, &top, "checkpoints", &["compact", "dense", "none"]) {
        Some("dense") => Checkpoints::Dense,
        Some("none") => Checkpoints::None,
        _ => Checkpoints::Compact,
    };
    let limits = limits(reader, &top);
    // What is missing because it could not be read is not missed a second time.
    if reader.complaints.is_empty() {
        let names: Vec<&str> = calibrations.keys().map(String::as_str).collect();
        for (i, recipe) in recipes.iter().enumerate() {
            check_models(reader, root, &format!("recipes[{i}]"), recipe.models.as_deref(), &models);
            check_calibrations(reader, root, recipe, i, &names);
        }
        for (i, task) in tasks.iter().enumerate() {
            check_models(reader, root, &format!("tasks[{i}]"), task.models.as_deref(), &models);
        }
    }
    Some(SweepFile {
        path: path.to_owned(),
        name: name?,
        backend,
        threads: threads.map_or(THREADS, |n| n as u32),
        device_kind,
        tf32,
        dtype,
        models,
        calibrations,
        recipes,
        tasks,
        checkpoints,
        limits,
    })
}

const NAME: &str = "1 to 63 characters of a-z, 0-9 and -";

fn name(reader: &mut Reader, node: &Node) -> Option<Name> {
    let text = match &node.value {
        Value::Text(text) => text.as_str(),
        Value::Integer(_) => &node.describe(),
        _ => return reader.complain(node, "name", NAME),
    };
    match text.parse::<Name>() {
        // `run.` is how instances of local runs are named.
        Ok(name) if !text.contains('.') => Some(name),
        _ => reader.complain(node, "name", NAME),
    }
}

fn word<'n>(reader: &mut Reader, top: &Fields<'n>, key: &str, words: &[&str]) -> Option<&'n str> {
    top.get(key).and_then(|n| reader.word(n, key, words))
}

fn part<T>(
    reader: &mut Reader,
    top: &Fields<'_>,
    key: &str,
    expected: &str,
    read: impl FnOnce(&mut Reader, &Node) -> Vec<T>,
) -> Vec<T> {
    reader.required(top, key, expected).map(|n| read(reader, n)).unwrap_or_default()
}

fn limits(reader: &mut Reader, top: &Fields<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(node) = top.get("limits") else {
        return limits;
    };
    let Some(fields) = reader.fields(node, "limits", &["attempts", "max_failed_cells"]) else {
        return limits;
    };
    if let Some(n) = fields.get("attempts").and_then(|n| reader.small(n, "limits.attempts", 1)) {
        limits.attempts = n;
    }
    if let Some(n) =
        fields.get("max_failed_cells").and_then(|n| reader.small(n, "limits.max_failed_cells", 0))
    {
        limits.max_failed_cells = n;
    }
    limits
}

fn check_models(
    reader: &mut Reader,
    root: &Node,
    field: &str,
    named: Option<&[String]>,
    models: &[ModelDecl],
) {
    let ids: Vec<&str> = models.iter().map(|m| m.id.as_str()).collect();
    for id in named.unwrap_or_default().iter().filter(|id| !ids.contains(&id.as_str())) {
        let field = format!("{field}.models");
        let expected = format!("{}{}", one_of(&ids), did_you_mean(id, &ids));
        reader.complaints.push(Complaint::new(place(root, &field), &field, id, expected));
    }
}

fn check_calibrations(reader: &mut Reader, root: &Node, recipe: &RecipeDecl, index: usize, known: &[&str]) {
    for name in recipe.calibrations.iter().filter(|n| !known.contains(&n.as_str())) {
        let field = format!("recipes[{index}].calibration");
        let at = place(root, &field);
        reader.complaints.push(Complaint::new(at, &field, name, expected_names(name, known)));
    }
}

fn expected_names(name: &str, known: &[&str]) -> String {
    let named: Vec<&str> = known.iter().copied().filter(|n| *n != DEFAULT).collect();
    if named.is_empty() {
        return "a name of calibrations:, which has none".to_owned();
    }
    format!("{}{}", one_of(&named), did_you_mean(name, &named))
}

/// Where a dotted path stands in the tree; as near as there is.
pub fn place(root: &Node, field: &str) -> crate::spec::file::Pos {
    let mut node = root;
    for step in field.split(['.', '[', ']']).filter(|s| !s.is_empty()) {
        let next = match &node.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.word == step).map(|(_, n)| n),
            Value::List(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        };
        let Some(next) = next else { break };
        node = next;
    }
    node.at
}
