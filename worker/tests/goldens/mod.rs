//! The goldens and the device that a test runs on. `ESPALIER_TEST_DEVICE` (`cpu`, `cuda:0`, default cpu) and
//! `ESPALIER_GOLDENS` (default: the repository's) let the built test binaries be carried to another machine.

use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The device under test.
pub fn device() -> Device {
    let name = std::env::var("ESPALIER_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    espalier_worker::device::open(&name, 2, None).expect("the device under test is there")
}

/// The goldens' folder.
pub fn root() -> PathBuf {
    match std::env::var_os("ESPALIER_GOLDENS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens"),
    }
}

/// Sub-folders of a part of the goldens, sorted.
#[expect(dead_code, reason = "not every test binary lists folders")]
pub fn folders(part: &str) -> Vec<PathBuf> {
    let read = std::fs::read_dir(root().join(part)).unwrap_or_else(|e| panic!("{}: {e}", root().display()));
    let mut found: Vec<_> = read
        .map(|entry| entry.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{part} holds no goldens");
    found
}

/// A tensor of a golden file, on CPU.
pub fn tensor(file: &Path, name: &str) -> Tensor {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let view = all
        .tensor(name)
        .unwrap_or_else(|e| panic!("{}: {name}: {e}", file.display()));
    let kind = match view.dtype() {
        safetensors::Dtype::F32 => Kind::Float,
        safetensors::Dtype::F16 => Kind::Half,
        safetensors::Dtype::BF16 => Kind::BFloat16,
        safetensors::Dtype::I64 => Kind::Int64,
        safetensors::Dtype::U8 => Kind::Uint8,
        other => panic!("{}: {name}: {other:?}", file.display()),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Tensor::from_data_size(view.data(), &shape, kind)
}
