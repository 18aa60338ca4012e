//! Oracle: the field meanings of transformers 5.23 and 4.40, written down by hand; `worker/tests/family_parity.rs` checks
//! the numbers that follow from them.

use super::*;
use crate::arch::{BlockLayout, RopeScaling};
use serde_json::json;

fn phi2() -> Value {
    json!({
        "model_type": "phi", "hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 32, "intermediate_size": 10240, "vocab_size": 51200,
        "max_position_embeddings": 2048, "layer_norm_eps": 1e-5, "hidden_act": "gelu_new",
        "partial_rotary_factor": 0.4, "rope_theta": 10000.0, "rope_scaling": null, "torch_dtype": "float16"
    })
}

fn phi3(rope: Value) -> Value {
    json!({
        "model_type": "phi3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100, "sliding_window": 2047,
        "max_position_embeddings": 64, "original_max_position_embeddings": 16, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "rope_theta": 10000.0, "rope_scaling": rope, "dtype": "bfloat16"
    })
}

fn longrope(kind: &str, long: usize) -> Value {
    json!({"type": kind, "short_factor": vec![1.0; 8], "long_factor": vec![2.0; long]})
}

#[test]
fn phi_2_is_read_as_published() {
    let text = phi2().to_string();
    let arch = arch(&text).unwrap();
    assert_eq!((arch.rope.dim, arch.head_dim, arch.layout), (32, 80, BlockLayout::Parallel));
    assert_eq!(arch.parameters(), 2_779_683_840, "the published count of microsoft/phi-2");
    assert_eq!(stated_dtype(&text).unwrap(), Some(Dtype::Float16));
}

#[test]
fn longrope_and_su_are_one_scaling() {
    let a = arch(&phi3(longrope("longrope", 8)).to_string()).unwrap();
    let b = arch(&phi3(longrope("su", 8)).to_string()).unwrap();
    assert_eq!(a, b);
    let RopeScaling::LongRope { attention_factor, original, .. } = a.rope.scaling else {
        panic!("{:?}", a.rope)
    };
    // sqrt(1 + ln(64 / 16) / ln 16), the LongRoPE paper's factor.
    assert!((attention_factor - 1.5f64.sqrt()).abs() < 1e-12);
    assert_eq!(original, 16);
}

#[test]
fn both_spellings_give_one_arch() {
    let mut new = phi2();
    let map = new.as_object_mut().unwrap();
    for gone in ["partial_rotary_factor", "rope_theta", "rope_scaling", "torch_dtype"] {
        map.remove(gone);
    }
    map.insert("dtype".into(), json!("float16"));
    let rope = json!({"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.4});
    map.insert("rope_parameters".into(), rope);
    assert_eq!(arch(&new.to_string()).unwrap(), arch(&phi2().to_string()).unwrap());
    assert_eq!(stated_dtype(&new.to_string()).unwrap(), Some(Dtype::Float16));
}

#[test]
fn an_absurd_or_missing_field_is_named_with_what_was_found() {
    let cases: &[(&str, Value, &str)] = &[
        ("hidden_size", Value::Null, "hidden_size: found null"),
        ("hidden_size", json!("2560"), "hidden_size: found \"2560\", expected a whole number"),
        ("hidden_size", json!(2560.5), "hidden_size: found 2560.5"),
        ("hidden_size", json!(-1), "hidden_size: found -1"),
        ("num_attention_heads", json!(0), "num_attention_heads: found 0"),
        ("num_attention_heads", json!(33), "num_key_value_heads: found 32, expected a divisor"),
        ("num_hidden_layers", json!(1_000_000_000), "num_hidden_layers: found 1000000000"),
        ("num_key_value_heads", json!(5), "num_key_value_heads: found 5, expected a divisor"),
        ("intermediate_size", json!([1]), "intermediate_size: found [1]"),
        ("vocab_size", json!(1e30), "vocab_size: found 1e+30"),
        ("max_position_embeddings", json!(0), "max_position_embeddings: found 0"),
        ("layer_norm_eps", json!("small"), "layer_norm_eps: found \"small\""),
        ("hidden_act", json!("softsign"), "hidden_act: found \"softsign\", expected silu"),
        ("partial_rotary_factor", json!(1.5), "partial_rotary_factor: found 1.5"),
        ("partial_rotary_factor", json!(0.2875), "even number of rotated dimensions, not 23"),
        ("rope_theta", json!(0), "rope_theta: found 0"),
        ("rope_scaling", json!("linear"), "rope_scaling: found \"linear\", expected an object"),
        ("rope_scaling", json!({"type": "dynamic", "factor": 2.0}), "rope_scaling.type: found \"dynamic\""),
        ("rope_scaling", json!({"type": "linear"}), "rope_scaling.factor: found nothing"),
        ("tie_word_embeddings", json!("yes"), "tie_word_embeddings: found \"yes\""),
        ("quantization_config", json!({"bits": 4}), "quantization_config: found"),
        ("model_type", json!("opt"), "model_type: found opt, supported are phi, phi3, llama"),
        ("model_type", Value::Null, "model_type: found nothing, supported are phi, phi3, llama"),
    ];
    for (field, value, expected) in cases {
        let mut config = phi2();
        config[*field] = value.clone();
        let message = arch(&config.to_string()).unwrap_err().to_string();
        assert!(message.contains(expected), "{field} = {value}: {message}");
    }
}

#[test]
fn sizes_that_are_each_possible_and_together_absurd_are_refused_with_what_they_add_up_to() {
    let mut config = phi2();
    let largest = |config: &mut Value, field: &str| {
        // The largest that the field alone may be.
        let fits = |size: u64, config: &mut Value| {
            config[field] = size.into();
            let refused = arch(&config.to_string()).map(drop).map_err(|e| e.to_string());
            !refused.is_err_and(|e| e.contains(&format!("{field}: found {size}, ")))
        };
        let size = (0..60).map(|n| 1 << n).take_while(|size| fits(*size, config)).last().unwrap();
        config[field] = size.into();
    };
    for field in ["num_hidden_layers", "intermediate_size", "vocab_size"] {
        largest(&mut config, field);
    }
    config["hidden_size"] = (1 << 20).into();
    config["partial_rotary_factor"] = json!(0.5);
    let message = arch(&config.to_string()).unwrap_err().to_string();
    assert!(message.contains("hidden_size: found 1048576 and with it "), "{message}");
    assert!(message.ends_with("parameters, expected at most 1125899906842624 parameters"), "{message}");
}

#[test]
fn every_field_that_decides_a_shape_must_be_there() {
    for field in [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "layer_norm_eps",
        "hidden_act",
    ] {
        let mut config = phi2();
        config.as_object_mut().unwrap().remove(field);
        let message = arch(&config.to_string()).unwrap_err().to_string();
        assert!(message.contains(&format!("{field}: found nothing")), "{message}");
    }
}

#[test]
fn longrope_lists_of_wrong_length_are_refused() {
    let message = arch(&phi3(longrope("longrope", 7)).to_string()).unwrap_err().to_string();
    assert!(
        message.contains("rope_scaling.long_factor: found a list of 7, expected a list of 8"),
        "{message}"
    );
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    assert!(matches!(arch("{"), Err(ConfigError::Json { .. })));
    assert!(matches!(arch("[]"), Err(ConfigError::Json { .. })));
}
