use super::*;
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";

/// A small llama whose tensors `change` may alter before they are written.
fn model(change: impl Fn(&mut BTreeMap<String, (&'static str, Vec<usize>)>)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "vocab_size": 16, "max_position_embeddings": 32, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "torch_dtype": "float32"
    })
    .to_string();
    let mut tensors: BTreeMap<_, _> =
        families::arch(&config).unwrap().tensors().into_iter().map(|t| (t.name, ("F32", t.shape))).collect();
    change(&mut tensors);
    fs::write(folder.path().join(CONFIG), config).unwrap();
    fs::write(folder.path().join(SINGLE), file(&tensors)).unwrap();
    folder
}

/// A safetensors file written by hand after the format's description.
fn file(tensors: &BTreeMap<String, (&'static str, Vec<usize>)>) -> Vec<u8> {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, (dtype, shape)) in tensors {
        let width = match *dtype {
            "F32" => 4,
            "I64" => 8,
            _ => 2,
        };
        let end = at + shape.iter().product::<usize>() * width;
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; at]].concat()
}

fn error(folder: &TempDir) -> String {
    ModelFiles::open(folder.path()).unwrap_err().to_string()
}

const Q: &str = "model.layers.0.self_attn.q_proj.weight";

#[test]
fn a_whole_checkpoint_opens() {
    let folder = model(|_| ());
    let files = ModelFiles::open(folder.path()).unwrap();
    assert_eq!(files.tensors[Q].shape, [8, 8]);
    assert_eq!(files.tensor_bytes(), files.arch.parameters() * 4);
}

#[test]
fn a_missing_tensor_is_named_with_its_file() {
    let message = error(&model(|t| drop(t.remove(Q))));
    assert!(message.contains(SINGLE) && message.contains(&format!("tensor {Q} is missing")), "{message}");
}

#[test]
fn a_wrong_shape_or_format_is_named_with_what_was_expected() {
    let message = error(&model(|t| t.get_mut(Q).unwrap().1 = vec![8, 4]));
    assert!(message.contains("found shape [8, 4], expected [8, 8]"), "{message}");
    let message = error(&model(|t| t.get_mut(Q).unwrap().0 = "I64"));
    assert!(message.contains(&format!("tensor {Q}: found I64, expected F32, F16 or BF16")), "{message}");
}

#[test]
fn a_truncated_file_says_how_many_bytes_it_lacks() {
    let folder = model(|_| ());
    let path = folder.path().join(SINGLE);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let expected = format!("found {} bytes, expected {} by its header", whole.len() - 5, whole.len());
    assert!(error(&folder).contains(&expected), "{}", error(&folder));
    fs::write(&path, &whole[..20]).unwrap();
    assert!(error(&folder).contains("found 20 bytes"), "{}", error(&folder));
    fs::write(&path, &whole[..3]).unwrap();
    assert!(error(&folder).contains("found 3 bytes, expected 8"), "{}", error(&folder));
}

#[test]
fn a_corrupt_header_is_an_error_of_its_file() {
    let folder = model(|_| ());
    let path = folder.path().join(SINGLE);
    let whole = fs::read(&path).unwrap();
    for (at, byte) in [(8, b'x'), (12, 0xff), (7, 0xff)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        assert!(error(&folder).contains("model.safetensors: corrupt header"), "{}", error(&folder));
    }
}

#[test]
fn a_header_whose_numbers_are_beyond_its_file_or_beyond_all_numbers_is_refused() {
    let whole = |header: &Value| {
        let header = serde_json::to_vec(header).unwrap();
        [&(header.len() as u64).to_le_bytes()[..], &header, &[0; 16]].concat()
    };
    let tensor = |shape: &[u64], end: u64| {
        whole(&json!({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}))
    };
    let path = Path::new(SINGLE);
    let refused = |bytes: &[u8]| parse_header(bytes, path, 0).unwrap_err().to_string();
    assert!(parse_header(&tensor(&[4], 16), path, 0).is_ok());
    // A megabyte past the end; the largest that its shape can be; and what is no number of bytes.
    for (shape, end) in [(1 << 18, 1 << 20), ((1 << 59) - 1, (1 << 61) - 4)] {
        let message = refused(&tensor(&[shape], end));
        assert!(message.contains("found ") && message.contains(" bytes, expected "), "{message}");
    }
    for (shape, end) in
        [(vec![(1 << 62) - 1], u64::MAX - 3), (vec![1 << 62, 4], 0), (vec![u64::MAX], u64::MAX)]
    {
        assert!(refused(&tensor(&shape, end)).contains("corrupt header"), "{shape:?}");
    }
    for length in [u64::MAX, u64::MAX - 7, 100_000_001] {
        let bytes = [&length.to_le_bytes()[..], b"{}"].concat();
        let expected = format!("found a header of {length} bytes, expected at most 100000000");
        assert!(refused(&bytes).contains(&expected), "{}", refused(&bytes));
    }
}

#[test]
fn a_tensor_that_the_index_lacks_or_its_shard_lacks_is_named() {
    let folder = model(|_| ());
    fs::rename(folder.path().join(SINGLE), folder.path().join("a.safetensors")).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"weight_map": {Q: "a.safetensors"}}).to_string()).unwrap();
    let message = error(&folder);
    assert!(message.contains("index.json: tensor model.embed_tokens.weight is missing"), "{message}");
}
