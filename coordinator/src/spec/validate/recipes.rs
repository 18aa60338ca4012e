//! `recipes:` → declarations. Every list of one entry is an axis; `exclude`, `models` and `per_block` are lists by nature.

use super::calibrations::DEFAULT;
use super::sparsity;
use crate::spec::complaint::Complaint;
use crate::spec::fields::{Fields, Reader};
use crate::spec::file::{Allocation, RecipeDecl};
use crate::spec::yaml::{Node, Value};
use espalier_proto::methods::{DENSE, METHODS, Param, method};
use espalier_proto::recipe::{ParamValue, Pattern};
use std::collections::BTreeMap;

const KEYS: [&str; 8] =
    ["name", "method", "sparsity", "seed", "calibration", "exclude", "allocation", "models"];

/// Every recipe; none at all leaves the dense variants.
pub fn read(reader: &mut Reader, node: &Node) -> Vec<RecipeDecl> {
    let items = reader.list(node, "recipes", "a list of recipes").unwrap_or_default();
    items.iter().enumerate().filter_map(|(i, item)| one(reader, item, &format!("recipes[{i}]"))).collect()
}

fn one(reader: &mut Reader, node: &Node, field: &str) -> Option<RecipeDecl> {
    let mut known = KEYS.to_vec();
    known.extend(METHODS.iter().flat_map(|m| m.params).map(|p| p.name));
    let fields = reader.fields(node, field, &known)?;
    let allocation = match fields.get("allocation") {
        None => Some(Allocation::Uniform),
        Some(n) => allocation(reader, n, &fields.path_of("allocation")),
    };
    let name = fields.get("name").and_then(|n| name(reader, n, &fields.path_of("name")));
    let methods = methods(reader, &fields);
    let sparsity = sparsities(reader, &fields, methods.as_deref(), allocation.as_ref());
    let seeds = match fields.get("seed") {
        None => vec![0],
        Some(n) => seeds(reader, n, &fields.path_of("seed")),
    };
    let mut texts =
        |key: &str, expected| fields.get(key).map(|n| reader.texts(n, &fields.path_of(key), expected));
    let calibrations =
        texts("calibration", "a name of calibrations:").unwrap_or_else(|| vec![DEFAULT.to_owned()]);
    let exclude = texts("exclude", "globs on names of linears, such as \"*.down_proj\"").unwrap_or_default();
    let models = texts("models", "ids of models:");
    globs(reader, &fields, &exclude);
    let params = params(reader, &fields, methods.as_deref().unwrap_or_default());
    Some(RecipeDecl {
        name,
        methods: methods?,
        sparsity,
        seeds,
        calibrations,
        exclude,
        allocation: allocation?,
        models,
        params,
        at: node.at,
    })
}

fn name(reader: &mut Reader, node: &Node, field: &str) -> Option<String> {
    let expected = "letters, digits, '.', ':', '_' and '-'";
    let text = reader.text(node, field, expected)?;
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || ".:_-".contains(c));
    match fits && text != DENSE {
        true => Some(text.to_owned()),
        false if fits => {
            reader.complain(node, field, "another name: dense is the variant that prunes nothing")
        }
        false => reader.complain(node, field, expected),
    }
}

fn methods(reader: &mut Reader, fields: &Fields<'_>) -> Option<Vec<String>> {
    let mut words: Vec<&str> = METHODS.iter().map(|m| m.name).collect();
    words.push(DENSE);
    let expected = format!("one of {}", words.join(", "));
    let node = reader.required(fields, "method", &expected)?;
    let items = reader.axis(node, &fields.path_of("method"), &expected);
    let read: Vec<String> =
        items.iter().filter_map(|(n, path)| reader.word(n, path, &words).map(str::to_owned)).collect();
    (read.len() == items.len() && !read.is_empty()).then_some(read)
}

fn sparsities(
    reader: &mut Reader,
    fields: &Fields<'_>,
    methods: Option<&[String]>,
    allocation: Option<&Allocation>,
) -> Vec<Option<Pattern>> {
    let per_block = !matches!(allocation, Some(Allocation::Uniform));
    let only_dense = methods.is_some_and(|m| m.iter().all(|m| m == DENSE));
    let Some(node) = fields.get("sparsity") else {
        if !per_block && !only_dense {
            let expected = "a ratio such as 0.5 or an N:M such as \"2:4\"";
            reader.complaints.push(Complaint::new(
                fields.at,
                &fields.path_of("sparsity"),
                "nothing",
                expected,
            ));
        }
        return vec![None];
    };
    let field = fields.path_of("sparsity");
    if per_block && allocation.is_some() {
        return reader
            .complain(node, &field, "nothing beside allocation: {per_block: …}")
            .unwrap_or_default();
    }
    let items = reader.axis(node, &field, "a list of sparsities");
    items.into_iter().filter_map(|(n, path)| sparsity::read(reader, n, &path)).collect()
}

fn seeds(reader: &mut Reader, node: &Node, field: &str) -> Vec<u64> {
    // CPython's generator takes any size; 2^53 is where other tools stop reading whole numbers.
    let items = reader.axis(node, field, "a list of seeds");
    items.into_iter().filter_map(|(n, path)| reader.integer(n, &path, 0..=(1 << 53))).collect()
}

fn allocation(reader: &mut Reader, node: &Node, field: &str) -> Option<Allocation> {
    let expected = "uniform or {per_block: [a ratio for each block]}; there is no other allocation yet";
    match &node.value {
        Value::Text(text) if text == "uniform" => return Some(Allocation::Uniform),
        Value::Map(entries) if entries.len() == 1 && entries[0].0.word == "per_block" => {}
        Value::Map(entries) if entries.len() == 1 => {
            let found = entries[0].0.word.clone();
            reader.complaints.push(Complaint::new(node.at, field, found, expected));
            return None;
        }
        _ => return reader.complain(node, field, expected),
    }
    let fields = reader.fields(node, field, &["per_block"])?;
    let (list, field) = (fields.get("per_block")?, fields.path_of("per_block"));
    let items = reader.list(list, &field, "a list of ratios, one for each block")?;
    let mut ratios = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let ratio = match item.value {
            Value::Integer(n) => n as f64,
            Value::Number(n, _) => n,
            _ => f64::NAN,
        };
        if !(0.0..1.0).contains(&ratio) {
            return reader.complain(item, &format!("{field}[{i}]"), "a ratio from 0 up to, not including, 1");
        }
        ratios.push(ratio);
    }
    Some(Allocation::PerBlock(ratios))
}

fn globs(reader: &mut Reader, fields: &Fields<'_>, exclude: &[String]) {
    let Some(node) = fields.get("exclude") else { return };
    for glob in exclude {
        if let Err(error) = globset::Glob::new(glob) {
            let expected = format!("a glob ({})", error.kind());
            reader.complaints.push(Complaint::new(node.at, &fields.path_of("exclude"), glob, expected));
        }
    }
}

fn params(reader: &mut Reader, fields: &Fields<'_>, methods: &[String]) -> BTreeMap<String, Vec<ParamValue>> {
    let mut read = BTreeMap::new();
    for (key, node) in fields.keys() {
        let owner = METHODS.iter().find(|m| m.params.iter().any(|p| p.name == key.word));
        let Some(owner) = owner else { continue };
        let field = fields.path_of(&key.word);
        let param =
            methods.iter().filter_map(|m| method(m)).flat_map(|m| m.params).find(|p| p.name == key.word);
        let Some(param) = param else {
            if !methods.is_empty() {
                let found = format!("a parameter of {}", owner.name);
                let expected = format!("parameters of {}", methods.join(", "));
                reader.complaints.push(Complaint::new(key.at, &field, found, expected));
            }
            continue;
        };
        let items = reader.axis(node, &field, "a value");
        let values = items.into_iter().filter_map(|(n, path)| value(reader, n, &path, param)).collect();
        read.insert(key.word.clone(), values);
    }
    read
}

/// A parameter's value, of the kind that its default has.
fn value(reader: &mut Reader, node: &Node, field: &str, param: &Param) -> Option<ParamValue> {
    match (&param.default, &node.value) {
        (ParamValue::Bool(_), Value::Bool(value)) => Some(ParamValue::Bool(*value)),
        (ParamValue::Integer(_), Value::Integer(value)) => Some(ParamValue::Integer(*value)),
        (ParamValue::Number(_), Value::Integer(value)) => Some(ParamValue::Number(*value as f64)),
        (ParamValue::Number(_), Value::Number(value, _)) if value.is_finite() => {
            Some(ParamValue::Number(*value))
        }
        (ParamValue::Text(_), Value::Text(value)) => Some(ParamValue::Text(value.clone())),
        (ParamValue::Bool(_), _) => reader.complain(node, field, "true or false"),
        (ParamValue::Integer(_), _) => reader.complain(node, field, "a whole number"),
        (ParamValue::Number(_), _) => reader.complain(node, field, "a number"),
        (ParamValue::Text(_), _) => reader.complain(node, field, "a text"),
    }
}
