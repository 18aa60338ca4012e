//! What a model's folder holds: files that anybody may have made.

use espalier::inputs::tokenize::TextTokenizer;
use espalier::plan::cost;
use espalier::plan::load::Load;
use espalier_proto::families;
use espalier_proto::model_files::parse_header;
use espalier_proto::model_folder::shards;
use espalier_proto::recipe::{Backend, Dtype};
use std::path::Path;

/// A safetensors file's header: places lie in the file, one after the other.
pub(super) fn safetensors(bytes: &[u8]) {
    let Ok(places) = parse_header(bytes, Path::new("m.safetensors"), 0) else { return };
    for (name, place) in places {
        assert!(place.start <= place.end && place.end <= bytes.len() as u64, "{name} leaves the file");
        assert!(
            !place.shape.iter().any(|n| *n as u64 > bytes.len() as u64 && place.start < place.end),
            "{name}"
        );
    }
}

/// config.json: an architecture whose tensors can be named and counted.
pub(super) fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = families::stated_dtype(text);
    let Ok(arch) = families::arch(text) else { return };
    assert!(arch.blocks >= 1 && arch.hidden >= 1 && arch.heads % arch.kv_heads == 0);
    assert!(arch.rope.dim <= arch.head_dim && arch.rope.dim.is_multiple_of(2));
    // A thousand blocks' names say as much as ten thousand's.
    if arch.blocks <= 1000 {
        assert!(arch.tensors().len() >= arch.blocks);
        assert!(arch.prunable() <= arch.parameters());
    }
    assert!(!arch.linears(arch.blocks - 1).is_empty());
    let load = Load {
        count: 7,
        tokens: 1 << 40,
        scored: 1 << 40,
        pairs: 1 << 50,
        batch_tokens: 1 << 30,
        longest: 1 << 30,
    };
    for backend in [Backend::Cpu, Backend::Cuda] {
        assert!(cost::resident_bytes(&arch, Dtype::Float32, backend, &load) > 0);
    }
    assert!(
        cost::evaluate_flops(&arch, &load).is_finite() && cost::prune_flops(&arch, Some(&load)).is_finite()
    );
}

/// model.safetensors.index.json: names of files of its own folder.
pub(super) fn index(bytes: &[u8]) {
    let Ok(names) = shards(bytes, Path::new("i.json")) else { return };
    assert!(!names.is_empty());
    for name in names {
        let joined = Path::new("/models/m").join(&name);
        assert_eq!(joined.parent(), Some(Path::new("/models/m")), "{name:?} leaves its folder");
        assert_eq!(joined.file_name(), Some(name.as_ref()), "{name:?}");
    }
}

/// tokenizer.json, then a text through what it is.
pub(super) fn tokenizer(bytes: &[u8]) {
    let config = serde_json::json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}});
    let Ok(tokenizer) = TextTokenizer::parse(Path::new("tokenizer.json"), bytes, &config, None) else {
        return;
    };
    for text in ["", "a", "The lamp <s> é\n\n 12"] {
        if let Ok(ids) = tokenizer.encode(text) {
            assert!(ids.len() <= 1000 * (text.len() + 1), "{} ids of {text:?}", ids.len());
        }
    }
    let _ = (tokenizer.adds_bos(), tokenizer.prefix(), tokenizer.encode_plain("x"));
}
