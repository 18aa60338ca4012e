//! A digest of the device's own bits: the results of a fixed set of operations in fixed shapes, with what the device and the
//! libraries are. Equal fingerprints give equal bits for equal inputs, whoever computes them.

use super::{cpu, native, nvidia};
use espalier_proto::keys::Canonical;
use tch::{Device, Kind, Tensor};

/// The device's fingerprint: its kind and twelve digits. Takes well under two seconds; computed under the pinned threads.
///
/// # Panics
/// If the device fails.
pub fn fingerprint(device: Device) -> String {
    let mut c = Canonical::new("fingerprint");
    c.text("libraries", &native::libraries());
    let kind = match device {
        Device::Cuda(index) => {
            if let Some(gpu) = nvidia::gpu(index) {
                c.text("gpu", &gpu.name);
                c.number("cores", u64::from(gpu.cores));
                c.text("capability", &gpu.capability);
                c.text("driver", &gpu.driver);
            }
            "cuda"
        }
        Device::Cpu | Device::Mps | Device::Vulkan => {
            c.text("cpu", &cpu::model());
            c.text("capability", &native::cpu_capability());
            c.number("threads", tch::get_num_threads() as u64);
            "cpu"
        }
    };
    for kind in [Kind::Float, Kind::BFloat16] {
        for (name, result) in operations(device, kind) {
            let flat: Vec<f32> =
                Vec::try_from(&result.to_kind(Kind::Float).to_device(Device::Cpu).reshape([-1]))
                    .expect("one-dimensional f32");
            let bytes: Vec<u8> = flat.iter().flat_map(|x| x.to_le_bytes()).collect();
            c.field(name, &bytes);
        }
    }
    format!("{kind}-{}", c.finish().short())
}

fn operations(device: Device, kind: Kind) -> Vec<(&'static str, Tensor)> {
    let data = |shape: &[i64]| numbers(shape).to_device(device).to_kind(kind);
    let q = data(&[2, 4, 160, 64]);
    let wide = data(&[3, 51_200]);
    let mut results = vec![
        ("linear.7", data(&[7, 2560]).linear::<Tensor>(&data(&[640, 2560]), None)),
        ("linear.512", data(&[512, 768]).linear::<Tensor>(&data(&[1024, 768]), None)),
        ("log_softmax", wide.log_softmax(-1, Kind::Float)),
        ("logsumexp", wide.to_kind(Kind::Float).logsumexp(&[-1i64][..], false)),
        ("sum", wide.sum(Kind::Float)),
        ("gelu", wide.gelu("tanh")),
        ("attention", attention(&q, None, true)),
    ];
    let mask = Tensor::ones([160, 160], (Kind::Bool, device)).tril(0).view([1, 1, 160, 160]);
    results.push(("attention.mask", attention(&q, Some(&mask), false)));
    if kind == Kind::Float {
        let x = data(&[192, 256]);
        let h = x.matmul(&x.transpose(0, 1)) + Tensor::eye(192, (kind, device)) * 10.0;
        results.push(("cholesky", h.linalg_cholesky(false).cholesky_inverse(false)));
    }
    results
}

fn attention(q: &Tensor, mask: Option<&Tensor>, causal: bool) -> Tensor {
    Tensor::scaled_dot_product_attention(q, q, q, mask, 0.0, causal, None::<f64>, false)
}

/// The same numbers from -1 to 1 everywhere: a multiplicative hash of the index.
fn numbers(shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let number = |i: i64| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    Tensor::from_slice(&(0..count).map(number).collect::<Vec<_>>()).view(shape)
}
