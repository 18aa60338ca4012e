//! Log-likelihoods and perplexities against lm-evaluation-harness and wanda's protocol in transformers (tests/goldens/scoring):
//! |Δ| ≤ 1e-4·(1+|ll|); perplexity 1e-4 relative. And tree-packed rows against unpacked ones.

#[expect(dead_code, reason = "each test file uses its part of the harness")]
mod harness;

use espalier_proto::ids::Digest;
use espalier_proto::inputs::{
    ChoiceItem, Choices, Inputs, OptionInfo, Row, RowOption, Windows, compose_batches,
};
use espalier_proto::recipe::Dtype;
use espalier_proto::records::Outcome;
use espalier_worker::evaluate::pack::{self, Span};
use espalier_worker::evaluate::score::{Scorer, SpanScore};
use espalier_worker::evaluate::{self, multiple_choice};
use espalier_worker::load::{BaseModel, Weights, kind_of};
use espalier_worker::models::Decoder;
use harness::{golden, goldens};
use serde_json::Value;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Gives `work` a scorer of the model in `folder`, with waves of about this many bytes.
fn with_scorer<T>(folder: &Path, wave_bytes: u64, work: impl FnOnce(&mut Scorer) -> T) -> T {
    let base = Arc::new(BaseModel::open(folder).unwrap());
    let (device, dtype) = (goldens::device(), Dtype::Float32);
    let decoder = Decoder::new(base.arch().clone(), device, kind_of(dtype));
    let weights = Weights::dense(base);
    let mut block = |i| weights.block(i, device, dtype).map(Rc::new);
    work(&mut Scorer {
        decoder: &decoder,
        device,
        dtype,
        weights: &weights,
        block: &mut block,
        wave_bytes,
        wave_batches: usize::MAX,
        wave: &|_| {},
        progress: &|_, _| {},
    })
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

/// A golden item's options: context truncated on the left to `limit + 1` ids with the option, as the harness does.
fn rows_of(item: usize, context: &[u32], options: &[Vec<u32>], limit: usize) -> Vec<Row> {
    let one = |(index, ids): (usize, &Vec<u32>)| {
        let over = (context.len() + ids.len()).saturating_sub(limit + 1);
        Row {
            item: item as u32,
            context: context[over..].to_vec(),
            options: vec![RowOption { index: index as u32, ids: ids.clone() }],
        }
    };
    options.iter().enumerate().map(one).collect()
}

fn task(golden: &Value, limit: usize, packed: bool) -> Choices {
    let (mut items, mut rows) = (Vec::new(), Vec::new());
    for (i, item) in golden["items"].as_array().unwrap().iter().enumerate() {
        // `pairs.json` has one continuation an item, the tasks have choices.
        let one = [item.clone()];
        let choices = item["choices"].as_array().map_or(&one[..], Vec::as_slice);
        let options: Vec<Vec<u32>> = choices.iter().map(|c| ids(&c["ids"])).collect();
        let info = |c: &Value| OptionInfo {
            chars: c["chars"].as_u64().unwrap_or(1) as u32,
            tokens: c["ids"].as_array().unwrap().len() as u32,
            truncated: c["truncated"].as_bool().unwrap(),
        };
        items.push(ChoiceItem {
            id: i.to_string(),
            doc_sha256: Digest::of(b""),
            gold: item["gold"].as_u64().unwrap_or(0) as u32,
            options: choices.iter().map(info).collect(),
        });
        let context = ids(&item["context_ids"]);
        let apart = rows_of(i, &context, &options, limit);
        if packed && apart.iter().all(|r| r.context == context) {
            let options = apart.into_iter().flat_map(|r| r.options).collect();
            rows.push(Row { item: i as u32, context, options });
        } else {
            rows.extend(apart);
        }
    }
    let batches = compose_batches(&rows.iter().map(Row::fed_tokens).collect::<Vec<_>>());
    Choices { items, rows, batches, max_len: limit as u32 }
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(path)).unwrap()).unwrap()
}

const MODELS: [&str; 3] = ["phi-nobos", "llama-bos", "llama-spm"];
const LIMIT: usize = 160;

#[test]
fn log_likelihoods_predictions_and_greedy_flags_equal_lm_evaluation_harness() {
    let mut compared = 0;
    for model in MODELS {
        let scores = golden(&format!("scoring/scores/{model}"));
        for file in std::fs::read_dir(&scores).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if name == "perplexity.json" {
                continue;
            }
            let golden_scores = read(&format!("scoring/scores/{model}/{name}"));
            for packed in [false, true] {
                let task = task(&golden_scores, LIMIT, packed);
                let batches = pack::choices(&task).unwrap();
                let spans = with_scorer(&golden(&format!("scoring/{model}")), 1 << 20, |s| {
                    s.score(&batches).unwrap()
                });
                let items = multiple_choice::predict(&task, &spans).unwrap();
                for (i, (ours, theirs)) in
                    items.iter().zip(golden_scores["items"].as_array().unwrap()).enumerate()
                {
                    let at = format!("{model}/{name} item {i} packed {packed}");
                    let one = [theirs.clone()];
                    let choices = theirs["choices"].as_array().map_or(&one[..], Vec::as_slice);
                    for ((ll, greedy), choice) in ours.options.iter().zip(choices) {
                        let expected = choice["ll"].as_f64().unwrap();
                        assert!(
                            (ll - expected).abs() <= 1e-4 * (1.0 + expected.abs()),
                            "{at}: {ll}, expected {expected}"
                        );
                        assert_eq!(*greedy, choice["is_greedy"].as_bool().unwrap(), "{at}");
                        compared += 1;
                    }
                    if theirs["choices"].is_array() {
                        let pred = |key: &str| theirs[key].as_u64().unwrap() as u32;
                        assert_eq!((ours.pred, ours.pred_norm), (pred("pred"), pred("pred_norm")), "{at}");
                    }
                }
            }
        }
    }
    assert!(compared > 1000, "{compared} log-likelihoods");
}

#[test]
fn perplexity_equals_wandas_protocol() {
    for model in MODELS {
        let scratch = tempfile::NamedTempFile::new().unwrap();
        for item in read(&format!("scoring/scores/{model}/perplexity.json"))["items"].as_array().unwrap() {
            let seqlen = item["seqlen"].as_u64().unwrap() as usize;
            let windows: Vec<Vec<u32>> =
                ids(&item["ids"]).chunks_exact(seqlen).map(<[u32]>::to_vec).collect();
            let inputs = Inputs::Perplexity(Windows::new(seqlen as u32, windows));
            let outcome = with_scorer(&golden(&format!("scoring/{model}")), u64::MAX, |scorer| {
                evaluate::evaluate(scorer, &inputs, scratch.path()).unwrap()
            });
            let Outcome::Perplexity { window_nll, .. } = outcome else { panic!() };
            let expected: Vec<f64> =
                item["window_nll"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            assert_eq!(window_nll.len(), expected.len());
            for (ours, theirs) in window_nll.iter().zip(&expected) {
                assert!(
                    (ours - theirs).abs() <= 1e-4 * theirs,
                    "{model}@{seqlen}: {ours}, expected {theirs}"
                );
            }
            let ppl = (window_nll.iter().sum::<f64>() / window_nll.len() as f64).exp();
            let expected = item["ppl"].as_f64().unwrap();
            assert!((ppl / expected - 1.0).abs() <= 1e-4, "{model}@{seqlen}: {ppl}, expected {expected}");
        }
    }
}

fn sorted(mut spans: Vec<(Span, SpanScore)>) -> Vec<(Span, SpanScore)> {
    spans.sort_by_key(|(span, _)| (span.item, span.option));
    spans
}

#[test]
fn tree_packed_rows_score_as_unpacked_ones_past_sliding_window_and_rope_switch_too() {
    // Measured on CPU: at most 2e-6 apart; the bound leaves room for other instruction sets.
    for model in
        ["llama", "llama-gqa-tied", "phi", "phi3", "phi3-sliding", "llama-llama3-rope", "phi3-longrope"]
    {
        let folder = golden(&format!("families/{model}"));
        let score = |packed| {
            let batches = pack::choices(&harness::choices(24, 4, 100, packed)).unwrap();
            sorted(with_scorer(&folder, u64::MAX, |scorer| scorer.score(&batches).unwrap()))
        };
        for ((span, a), (other, b)) in score(true).into_iter().zip(score(false)) {
            assert_eq!(span, other);
            assert!(
                (a.ll - b.ll).abs() <= 1e-5 * (1.0 + b.ll.abs()),
                "{model} {span:?}: {} and {}",
                a.ll,
                b.ll
            );
            assert_eq!(a.greedy, b.greedy, "{model} {span:?}");
        }
    }
}

#[test]
fn the_size_of_a_wave_changes_no_bit() {
    let batches = pack::choices(&harness::choices(100, 4, 100, true)).unwrap();
    assert!(batches.len() > 3);
    let score = |bytes| with_scorer(&golden("families/phi"), bytes, |scorer| scorer.score(&batches).unwrap());
    let (one, all) = (score(0), score(u64::MAX));
    assert_eq!(one, all);
}
