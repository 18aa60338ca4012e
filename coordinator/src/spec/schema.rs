//! The sweep file as JSON Schema (2020-12), for editors: words of closed lists come from the registries.
//!
//! It is what editors check while typing; [`super::validate`] is what counts, and says more.

use super::validate::{MOST_TOKENS, MOST_WINDOWS, STYLES};
use espalier_proto::catalog;
use espalier_proto::methods::{DENSE, METHODS};
use espalier_proto::recipe::ParamValue;
use serde_json::{Map, Value, json};

/// The schema.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Espalier sweep",
        "type": "object",
        "required": ["name", "models", "tasks"],
        "additionalProperties": false,
        "patternProperties": {"^x-": {}},
        "properties": {
            "version": {"const": 1},
            "name": {
                "description": "The sweep's identity; submitting the same name again extends it",
                "type": ["string", "integer"], "pattern": "^[a-z0-9-]{1,63}$",
            },
            "backend": {"description": "Kind of device; part of every key", "enum": ["auto", "cpu", "cuda"]},
            "threads": {
                "description": "CPU threads of one compute process; part of CPU keys",
                "type": "integer", "minimum": 1, "maximum": 1024,
            },
            "tf32": {
                "description": "On CUDA: products of float32 matrices in TF32; part of every key. Without effect on CPU",
                "type": "boolean",
            },
            "device_kind": {"description": "any, or a fingerprint: only such devices", "type": "string"},
            "dtype": {
                "description": "Number format of pruning and evaluation",
                "enum": ["auto", "float32", "float16", "bfloat16", "checkpoint"],
            },
            "models": {"type": "array", "minItems": 1, "items": model()},
            "calibration": calibration(),
            "calibrations": {
                "description": "More calibrations, by name",
                "type": "object", "additionalProperties": calibration(),
            },
            "recipes": {
                "description": "How to prune; lists are axes, entries add up; dense is always there",
                "type": "array", "minItems": 1, "items": recipe(),
            },
            "tasks": {"type": "array", "minItems": 1, "items": task()},
            "checkpoints": {"enum": ["compact", "dense", "none"]},
            "limits": object(&[], json!({
                "attempts": {"type": "integer", "minimum": 1},
                "max_failed_cells": {"type": "integer", "minimum": 0},
            })),
        },
    })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "patternProperties": {"^x-": {}},
        "properties": properties,
    })
}

/// One value or a list of them.
fn axis(one: &Value) -> Value {
    json!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
}

fn model() -> Value {
    let long = object(
        &["source"],
        json!({
            "id": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
            "source": {"description": "hf://org/name[@revision], org/name, s3://… or ./folder", "type": "string"},
            "add_bos": {"enum": ["auto", true, false]},
        }),
    );
    json!({"anyOf": [{"description": "ID=SOURCE or SOURCE", "type": "string"}, long]})
}

fn calibration() -> Value {
    object(
        &["data"],
        json!({
            "data": {"description": "A dataset's name or a file", "type": "string"},
            "split": {"type": "string"},
            "field": {"description": "Text field of the records", "type": "string"},
            "sampler": {"enum": ["concat", "document", "windows"]},
            "nsamples": {"description": "Windows", "type": "integer", "minimum": 1, "maximum": MOST_WINDOWS},
            "seqlen": {"description": "Tokens of a window", "type": "integer", "minimum": 2, "maximum": MOST_TOKENS},
        }),
    )
}

fn recipe() -> Value {
    let methods: Vec<&str> = METHODS.iter().map(|m| m.name).chain([DENSE]).collect();
    let text = json!({"type": "string"});
    let ratio = json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1});
    let sparsity = json!({"anyOf": [
        ratio,
        {"description": "N:M with M = 2N, in quotes", "type": "string", "pattern": "^[0-9]+:[0-9]+$"},
        object(&["prune", "of"], json!({
            "prune": {"type": "integer", "minimum": 1},
            "of": {"type": "integer", "minimum": 2},
        })),
    ]});
    let per_block =
        object(&["per_block"], json!({"per_block": {"type": "array", "minItems": 1, "items": ratio}}));
    let mut properties = json!({
        "name": {"description": "Shown instead of the derived name", "type": "string"},
        "method": axis(&json!({"enum": methods})),
        "sparsity": axis(&sparsity),
        "seed": axis(&json!({"type": "integer", "minimum": 0})),
        "calibration": axis(&text),
        "exclude": axis(&json!({"description": "A glob on names of linears that stay dense", "type": "string"})),
        "allocation": {"anyOf": [{"const": "uniform"}, per_block]},
        "models": axis(&text),
    });
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(params());
    }
    object(&["method"], properties)
}

fn params() -> Map<String, Value> {
    let param = |p: &espalier_proto::methods::Param| {
        let kind = match p.default {
            ParamValue::Bool(_) => "boolean",
            ParamValue::Integer(_) => "integer",
            ParamValue::Number(_) => "number",
            ParamValue::Text(_) => "string",
        };
        (p.name.to_owned(), axis(&json!({"description": p.help, "type": kind})))
    };
    METHODS.iter().flat_map(|m| m.params).map(param).collect()
}

fn task() -> Value {
    let known: Vec<&str> = catalog::TASKS.iter().map(|t| t.name).collect();
    // Aliases and task files are texts too; the list is what an editor offers.
    let name =
        json!({"anyOf": [{"enum": known}, {"description": "An alias or ./file.yaml", "type": "string"}]});
    let long = object(
        &["task"],
        json!({
            "task": name,
            "style": {"enum": STYLES},
            "seqlen": {"description": "Tokens of a window, of perplexity", "type": "integer", "minimum": 2},
            "limit": {"description": "Windows or items at most", "type": "integer", "minimum": 1},
            "data": {"description": "A data file or folder instead of the task's dataset", "type": "string"},
            "num_fewshot": {"type": "integer", "minimum": 0},
            "fewshot_seed": {"type": "integer", "minimum": 0},
            "models": axis(&json!({"type": "string"})),
        }),
    );
    json!({"anyOf": [name, long]})
}
