//! Inputs against the goldens: lm-evaluation-harness's prompts, ids and truncation; transformers' tokens; CPython's draws.

use super::catalog;
use super::choices::{Asked, canonical_document, choices};
use super::items::read_items;
use super::mt19937::Mt19937;
use super::pairs::{Room, encode_pair};
use super::read::text::{Texts, read_texts};
use super::tokenize::TextTokenizer;
use super::windows;
use espalier_proto::inputs::Choices;
use serde_json::Value;
use std::path::{Path, PathBuf};

const MODELS: [&str; 3] = ["phi-nobos", "llama-bos", "llama-spm"];
const TASKS: [(&str, &str); 5] = [
    ("commonsense_qa", "jsonl"),
    ("cosmos_qa", "csv"),
    ("logiqa", "txt"),
    ("reclor", "json"),
    ("ekar", "jsonl"),
];

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(path)
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(path)).unwrap()).unwrap()
}

fn tokenizer(model: &str, add_bos: Option<bool>) -> TextTokenizer {
    TextTokenizer::open(&golden(&format!("scoring/{model}")), add_bos).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_set_reads_alike_as_released_and_as_exported() {
    for (name, ending) in TASKS {
        let task = catalog::task(name).unwrap();
        let documents = |file: String| -> Vec<String> {
            let items = read_items(task, &golden(&file)).unwrap();
            items.iter().map(|i| canonical_document(&i.document)).collect()
        };
        let exported = documents(format!("scoring/data/hf/{name}.jsonl"));
        assert_eq!(exported.len(), 12, "{name}");
        assert_eq!(documents(format!("scoring/data/hf/{name}.parquet")), exported, "{name}");
        assert_eq!(documents(format!("scoring/data/native/{name}.{ending}")), exported, "{name}");
    }
}

#[test]
fn every_task_and_style_gives_the_harnesss_ids_golds_and_truncation() {
    for model in MODELS {
        let tokenizer = tokenizer(model, None);
        let mut seen = 0;
        for (name, _) in TASKS {
            let task = catalog::task(name).unwrap();
            let items = read_items(task, &golden(&format!("scoring/data/hf/{name}.jsonl"))).unwrap();
            for style in &task.styles {
                let file = format!("scoring/scores/{model}/{name}.{}.json", style.name);
                if !golden(&file).exists() {
                    continue;
                }
                seen += 1;
                let asked = Asked { task, style, label: name };
                let room = Room { max_len: 160, rope_switch: None };
                let got = choices(asked, &items, &tokenizer, room).unwrap();
                compare(&got, &json(&file), &file);
            }
        }
        assert!(seen >= 3, "{model}: {seen}");
    }
}

fn compare(got: &Choices, expected: &Value, file: &str) {
    assert_eq!(got.batches.iter().sum::<u32>() as usize, got.rows.len());
    for (i, item) in expected["items"].as_array().unwrap().iter().enumerate() {
        let context = ids(&item["context_ids"]);
        assert_eq!(u64::from(got.items[i].gold), item["gold"].as_u64().unwrap(), "{file} {i}");
        let mut packed = true;
        for (n, choice) in item["choices"].as_array().unwrap().iter().enumerate() {
            let info = &got.items[i].options[n];
            packed &= !info.truncated;
            assert_eq!(Value::from(info.truncated), choice["truncated"], "{file} {i} {n}");
            assert_eq!(Value::from(info.chars), choice["chars"], "{file} {i} {n}");
            let (row, option) = got
                .rows
                .iter()
                .filter(|r| r.item as usize == i)
                .find_map(|r| r.options.iter().find(|o| o.index as usize == n).map(|o| (r, o)))
                .unwrap();
            let whole = [context.clone(), ids(&choice["ids"])].concat();
            let kept = &whole[whole.len().saturating_sub(161)..];
            assert_eq!([row.context.clone(), option.ids.clone()].concat(), kept, "{file} {i} {n}");
            assert_eq!(option.ids, ids(&choice["ids"]), "{file} {i} {n}");
        }
        let rows = got.rows.iter().filter(|r| r.item as usize == i).count();
        assert_eq!(rows == 1, packed, "{file} {i}: packed unless an option is truncated");
    }
}

#[test]
fn awkward_pairs_are_split_as_the_harness_splits_them() {
    for model in MODELS {
        for pair in json(&format!("scoring/scores/{model}/pairs.json"))["items"].as_array().unwrap() {
            let rule = (pair["add_bos"] == "false").then_some(false);
            let (context, continuation) =
                (pair["context"].as_str().unwrap(), pair["continuation"].as_str().unwrap());
            let got = encode_pair(&tokenizer(model, rule), context, continuation).unwrap();
            let place = format!("{model} {context:?} {continuation:?} {}", pair["add_bos"]);
            assert_eq!(got.context, ids(&pair["context_ids"]), "{place}");
            assert_eq!(got.continuation, ids(&pair["ids"]), "{place}");
        }
    }
}

#[test]
fn perplexity_reads_the_ids_of_wandas_protocol() {
    let Texts::Rows(rows) = read_texts(&[golden("scoring/data/rows.txt")], "text").unwrap() else { panic!() };
    for model in MODELS {
        let expected = json(&format!("scoring/scores/{model}/perplexity.json"));
        let tokens = tokenizer(model, None).encode(&rows.join("\n\n")).unwrap();
        for item in expected["items"].as_array().unwrap() {
            assert_eq!(tokens, ids(&item["ids"]), "{model}");
            let seqlen = item["seqlen"].as_u64().unwrap() as usize;
            let got = windows::disjoint(&tokens, seqlen, None).len() as u64;
            assert_eq!(Value::from(got), item["windows"], "{model} {seqlen}");
        }
    }
}

#[test]
fn calibration_windows_are_those_that_wandas_loaders_draw() {
    let goldens = json("calibration/windows.json");
    let (rows, documents) = (texts(&goldens["rows"]), texts(&goldens["documents"]));
    for case in goldens["cases"].as_array().unwrap() {
        let tokenizer = tokenizer(case["model"].as_str().unwrap(), None);
        let (seed, seqlen) = (case["seed"].as_u64().unwrap(), case["seqlen"].as_u64().unwrap() as usize);
        let got = if case["sampler"] == "concat" {
            windows::concat(&tokenizer.encode(&rows.join(" ")).unwrap(), 6, seqlen, seed).unwrap()
        } else {
            let tokens_of = |row: usize| tokenizer.encode(&documents[row]);
            windows::document(documents.len(), 6, seqlen, seed, tokens_of).unwrap().unwrap()
        };
        let expected: Vec<Vec<u32>> = case["windows"].as_array().unwrap().iter().map(ids).collect();
        assert_eq!(got, expected, "{} {} {seed} {seqlen}", case["model"], case["sampler"]);
    }
}

#[test]
fn draws_are_cpythons_for_every_size_of_seed_and_range() {
    let goldens = json("calibration/draws.json");
    let mut seen = 0;
    for case in goldens["randint"].as_array().unwrap() {
        let number = |key: &str| case[key].as_str().unwrap().parse::<u64>().ok();
        // A seed or a range of more than 64 bits cannot be written in a sweep.
        let (Some(seed), Some(below)) = (number("seed"), number("high").and_then(|h| h.checked_add(1)))
        else {
            continue;
        };
        seen += 1;
        let mut random = Mt19937::new(seed);
        let got: Vec<String> = (0..5).map(|_| random.below(below as usize).to_string()).collect();
        assert_eq!(got, texts(&case["values"]), "{case}");
    }
    assert!(seen > 10, "{seen}");
}
