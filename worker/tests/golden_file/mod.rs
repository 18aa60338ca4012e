//! Tensors of golden files.

use safetensors::SafeTensors;
use std::path::Path;
use tch::{Kind, Tensor};

/// A tensor of a golden file, on CPU.
pub(crate) fn tensor(file: &Path, name: &str) -> Tensor {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let view = all.tensor(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", file.display()));
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
