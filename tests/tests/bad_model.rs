//! Models that cannot be used: `plan` and `run` refuse them before any work, naming file, field, what was found and what was
//! expected, with exit code 3 and no bucket left behind.

use espalier_tests::sweeps::Place;
use serde_json::{Value, json};

fn phi() -> Place {
    Place::new("phi-nobos")
}

const FC1: &str = "model.layers.1.mlp.fc1.weight";

#[test]
fn the_small_sweep_is_accepted_when_nothing_is_wrong_with_it_and_planning_writes_nothing() {
    for golden in ["phi-nobos", "llama-bos"] {
        let place = Place::new(golden);
        place.ends(&["plan", "s.yaml"], 0, &["2 variants, 4 cells: 0 in the bucket"]);
        assert!(!place.at("out").exists());
    }
}

#[test]
fn a_model_without_weights_or_config_or_folder_is_told_apart() {
    let place = phi();
    std::fs::remove_file(place.safetensors()).unwrap();
    place.plan_refuses(&["model: ", "/model: no model.safetensors or model.safetensors.index.json"]);
    place.write("model/pytorch_model.bin", "a pickle");
    place.plan_refuses(&[
        "found pytorch_model.bin and no safetensors; convert it",
        "to = ",
        "\"./model-safetensors\"",
    ]);
    std::fs::remove_file(place.at("model/pytorch_model.bin")).unwrap();
    std::fs::remove_file(place.at("model/config.json")).unwrap();
    place.plan_refuses(&["/model: no config.json, expected a Hugging Face folder"]);
    std::fs::remove_dir_all(place.at("model")).unwrap();
    place.plan_refuses(&["/model"]);
}

#[test]
fn a_shard_that_the_index_names_and_the_folder_lacks_is_named() {
    let place = phi();
    std::fs::remove_file(place.safetensors()).unwrap();
    let index = json!({"weight_map": {FC1: "model-00001-of-00002.safetensors"}});
    place.write("model/model.safetensors.index.json", &index.to_string());
    place.plan_refuses(&["/model: no model-00001-of-00002.safetensors"]);
    place.write("model/model.safetensors.index.json", r#"{"weight_map": {"a": "../a.safetensors"}}"#);
    place.plan_refuses(&[
        "model.safetensors.index.json: weight_map names \"../a.safetensors\", expected a file name",
    ]);
    place.write("model/model.safetensors.index.json", "[]");
    place.plan_refuses(&["model.safetensors.index.json: "]);
}

#[test]
fn truncated_weights_are_told_in_bytes_and_run_refuses_them_too() {
    let place = phi();
    let whole = std::fs::read(place.safetensors()).unwrap();
    for cut in [0, 7, 100, whole.len() - 1] {
        std::fs::write(place.safetensors(), &whole[..cut]).unwrap();
        place.plan_refuses(&[&format!("model.safetensors: found {cut} bytes, expected ")]);
    }
    place.plan_refuses(&[&format!("expected {} by its header", whole.len())]);
    place.ends(&["run", "s.yaml"], 3, &["model.safetensors: found ", "by its header"]);
    assert!(!place.at("out").exists());
    let prune =
        "prune --model model --sparsity-ratio 0.5 --calibration rows.txt --devices cpu:1 --save-model pruned";
    place.ends(&prune.split(' ').collect::<Vec<_>>(), 3, &["by its header"]);
    assert!(!place.at("out").exists() && !place.at("pruned").exists());
}

#[test]
fn a_corrupt_header_is_told_without_reading_a_weight() {
    let place = phi();
    let whole = std::fs::read(place.safetensors()).unwrap();
    let mut long = whole.clone();
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(place.safetensors(), &long).unwrap();
    place.plan_refuses(&["model.safetensors: corrupt header: found a header of 18446744073709551615 bytes"]);
    let mut garbage = whole;
    garbage[8..24].fill(b'!');
    std::fs::write(place.safetensors(), &garbage).unwrap();
    place.plan_refuses(&["model.safetensors: corrupt header: "]);
}

#[test]
fn a_tensor_of_another_shape_or_format_or_none_is_named_with_both() {
    let place = phi();
    place.header(|h| h[FC1]["shape"] = json!([32, 80]));
    place.plan_refuses(&["model.safetensors", FC1, "found shape [32, 80], expected [80, 32] by config.json"]);
    let place = phi();
    place.header(|h| h[FC1]["dtype"] = json!("I32"));
    place.plan_refuses(&["model.safetensors", FC1, "found I32, expected F32, F16 or BF16"]);
    // The shape and the format no longer fit the bytes.
    let place = phi();
    place.header(|h| h[FC1]["dtype"] = json!("F16"));
    place.plan_refuses(&["model.safetensors: corrupt header: "]);
    let place = phi();
    place.header(|h| {
        let tensor = h.as_object_mut().unwrap().remove(FC1).unwrap();
        h["elsewhere"] = tensor;
    });
    place.plan_refuses(&["model.safetensors", FC1, "is missing, expected by config.json"]);
}

#[test]
fn a_config_that_lacks_a_field_or_holds_an_absurd_one_is_told_field_found_and_expected() {
    let cases = [
        ("hidden_size", Value::Null, "hidden_size: found null, expected a whole number from 1"),
        ("num_attention_heads", json!(0), "num_attention_heads: found 0, expected a whole number from 1"),
        ("num_attention_heads", json!(5), "num_attention_heads"),
        (
            "num_hidden_layers",
            json!(1_000_000_000u64),
            "num_hidden_layers: found 1000000000, expected a whole number from 1 to",
        ),
        ("num_hidden_layers", json!(10_000), "model.layers.2."),
        ("num_hidden_layers", json!(-1), "num_hidden_layers: found -1, expected"),
        ("num_hidden_layers", json!(1.5), "num_hidden_layers: found 1.5, expected"),
        ("vocab_size", json!(1 << 26), "found shape [384, 32], expected [67108864, 32] by config.json"),
        ("vocab_size", json!("many"), "vocab_size: found \"many\", expected a whole number"),
        ("intermediate_size", json!([80]), "intermediate_size: found [80], expected"),
        ("layer_norm_eps", json!("tiny"), "layer_norm_eps: found \"tiny\", expected"),
        ("hidden_act", json!("sorcery"), "hidden_act: found \"sorcery\", expected silu"),
        ("max_position_embeddings", json!(0), "max_position_embeddings: found 0, expected"),
        ("model_type", json!("mamba"), "model_type: found mamba, supported are phi, phi3, llama"),
        ("dtype", json!("int4"), "dtype: found \"int4\", expected"),
        ("rope_parameters", json!("round"), "rope_parameters: found \"round\", expected"),
    ];
    let place = phi();
    let config = std::fs::read_to_string(place.at("model/config.json")).unwrap();
    for (field, value, says) in cases {
        place.config(|c| c[field] = value.clone());
        place.plan_refuses(&["error: model model: ", "config.json", says]);
        place.write("model/config.json", &config);
    }
    place.config(|c| drop(c.as_object_mut().unwrap().remove("intermediate_size")));
    place.plan_refuses(&["config.json", "intermediate_size: found nothing, expected a whole number"]);
    for text in ["", "{", "[]", "7"] {
        place.write("model/config.json", text);
        place.plan_refuses(&["model: ", "config.json"]);
    }
    std::fs::write(place.at("model/config.json"), [0xff, 0xfe, 0x00]).unwrap();
    place.plan_refuses(&["config.json"]);
}

#[test]
fn a_tokenizer_that_is_missing_or_none_is_named() {
    let place = phi();
    for text in ["", "{}", "[1, 2]", r#"{"model": {"type": "Sorcery"}}"#] {
        place.write("model/tokenizer.json", text);
        place.plan_refuses(&["model/tokenizer.json: "]);
    }
    std::fs::remove_file(place.at("model/tokenizer.json")).unwrap();
    place.plan_refuses(&["model", "tokenizer.json"]);
    place.write("model/tokenizer.model", "sentencepiece");
    place.plan_refuses(&["tokenizer.json"]);
}

#[test]
fn a_tokenizer_that_gives_ids_outside_the_vocabulary_is_refused_with_the_id() {
    let place = phi();
    let path = place.at("model/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["."] = json!(5000);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    place.plan_refuses(&["found token id 5000 for model model, expected ids below its vocabulary 384"]);
}
