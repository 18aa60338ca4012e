//! Content keys: canonical bytes → sha256. What goes in is everything that can change the numbers, and nothing else: no
//! seed, no path and no name that a user chose.
//!
//! The canonical form is ours, not a library's encoding: fields in the order written here, each as
//! `name NUL length(u64 LE) bytes`. A field at its default is left out, so that a new parameter orphans no old record.

use crate::ids::{CellKey, Digest, InputsDigest, ModelDigest, VariantKey};
use crate::methods;
use crate::recipe::{ParamValue, Pattern, VariantSpec};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// Builds canonical bytes field by field and hashes them.
#[derive(Clone, Debug)]
pub struct Canonical(Sha256);

impl Canonical {
    /// Starts the canonical form of a thing of this kind; two kinds never share a digest.
    pub fn new(kind: &str) -> Self {
        let mut this = Self(Sha256::new());
        this.field("espalier", kind.as_bytes());
        this
    }

    /// Adds one named field.
    pub fn field(&mut self, name: &str, bytes: &[u8]) {
        self.0.update(name.as_bytes());
        self.0.update([0]);
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds a text field.
    pub fn text(&mut self, name: &str, text: &str) {
        self.field(name, text.as_bytes());
    }

    /// Adds a whole number.
    pub fn number(&mut self, name: &str, number: u64) {
        self.field(name, &number.to_le_bytes());
    }

    /// Adds a real number, by its bits.
    pub fn real(&mut self, name: &str, number: f64) {
        self.field(name, &number.to_bits().to_le_bytes());
    }

    /// Adds token ids.
    pub fn tokens(&mut self, name: &str, ids: &[u32]) {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for id in ids {
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        self.field(name, &bytes);
    }

    /// The digest of all fields.
    pub fn finish(self) -> Digest {
        Digest::finish(self.0)
    }
}

/// The key of the canary that tries this variant's model and method with these inputs, on devices that can run the variant. Other variants of the
/// method, calibrated or not as it is, share it.
pub fn canary_key(spec: &VariantSpec, inputs: &BTreeSet<InputsDigest>) -> VariantKey {
    let mut c = Canonical::new("canary");
    c.text("model", &spec.model.to_string());
    c.text("dtype", spec.dtype.as_str());
    c.text("backend", spec.backend.as_str());
    if let Some(threads) = spec.threads {
        c.number("threads", u64::from(threads));
    }
    if let Some(kind) = &spec.device_kind {
        c.text("device_kind", kind);
    }
    for digest in inputs {
        c.text("inputs", &digest.to_string());
    }
    c.text("method", &spec.method);
    c.number("calibrated", u64::from(spec.calibration.is_some()));
    VariantKey(c.finish())
}

/// The key of a variant.
pub fn variant_key(spec: &VariantSpec) -> VariantKey {
    let mut c = Canonical::new("variant");
    c.text("model", &spec.model.to_string());
    c.text("method", &spec.method);
    for (name, value) in &spec.params {
        c.text("param", name);
        match value {
            ParamValue::Bool(b) => c.number("bool", u64::from(*b)),
            ParamValue::Integer(i) => c.field("integer", &i.to_le_bytes()),
            ParamValue::Number(x) => c.real("number", *x),
            ParamValue::Text(t) => c.text("text", t),
        }
    }
    for (linear, pattern) in &spec.targets {
        c.text("linear", linear);
        match *pattern {
            Pattern::Ratio(ratio) => c.real("ratio", ratio),
            Pattern::NOfM { prune, of } => {
                c.number("prune", u64::from(prune));
                c.number("of", u64::from(of));
            }
        }
    }
    if let Some(calibration) = spec.calibration {
        c.text("calibration", &calibration.to_string());
    }
    c.text("dtype", spec.dtype.as_str());
    c.text("backend", spec.backend.as_str());
    if let Some(threads) = spec.threads {
        c.number("threads", u64::from(threads));
    }
    if let Some(kind) = &spec.device_kind {
        c.text("device_kind", kind);
    }
    if spec.tf32 {
        c.number("tf32", 1);
    }
    c.number("forward", u64::from(methods::FORWARD_VERSION));
    if let Some(method) = methods::method(&spec.method) {
        c.number("prune", u64::from(method.version));
    }
    VariantKey(c.finish())
}

/// The key of a cell.
pub fn cell_key(variant: VariantKey, inputs: InputsDigest) -> CellKey {
    let mut c = Canonical::new("cell");
    c.text("variant", &variant.to_string());
    c.text("inputs", &inputs.to_string());
    c.number("score", u64::from(methods::SCORE_VERSION));
    CellKey(c.finish())
}

/// The digest of a model from its files: (name, size, sha256) of config.json and of the safetensors that its index names.
/// Sorts them itself.
pub fn model_digest(files: &[(String, u64, Digest)]) -> ModelDigest {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort();
    let mut c = Canonical::new("model");
    for (name, size, digest) in sorted {
        c.text("name", name);
        c.number("size", *size);
        c.text("sha256", &digest.to_string());
    }
    ModelDigest(c.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Backend, Dtype};

    fn spec() -> VariantSpec {
        VariantSpec {
            model: ModelDigest(Digest::of(b"m")),
            method: "wanda".into(),
            params: Default::default(),
            targets: [("model.layers.0.mlp.fc1".to_owned(), Pattern::Ratio(0.5))].into(),
            calibration: Some(InputsDigest(Digest::of(b"c"))),
            dtype: Dtype::Float32,
            backend: Backend::Cpu,
            threads: Some(2),
            device_kind: None,
            tf32: false,
        }
    }

    #[test]
    fn every_field_of_a_variant_changes_its_key() {
        let base = variant_key(&spec());
        let changes: [fn(&mut VariantSpec); 10] = [
            |s| s.model = ModelDigest(Digest::of(b"other")),
            |s| s.method = "magnitude".into(),
            |s| drop(s.params.insert("use_variant".into(), ParamValue::Bool(true))),
            |s| {
                s.targets.insert("model.layers.0.mlp.fc1".into(), Pattern::NOfM { prune: 2, of: 4 });
            },
            |s| s.calibration = None,
            |s| s.dtype = Dtype::Bfloat16,
            |s| s.backend = Backend::Cuda,
            |s| s.threads = Some(3),
            |s| s.device_kind = Some("f".into()),
            |s| s.tf32 = true,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut changed = spec();
            change(&mut changed);
            assert_ne!(base, variant_key(&changed), "change {i}");
        }
    }

    #[test]
    fn keys_are_the_same_as_when_the_first_record_was_written() {
        // Written down once; a change here orphans every record in every bucket.
        assert_eq!(variant_key(&spec()).0.short(), KEY_OF_SPEC);
        assert_eq!(cell_key(variant_key(&spec()), InputsDigest(Digest::of(b"i"))).0.short(), KEY_OF_CELL);
    }

    const KEY_OF_SPEC: &str = "4b7c07cd8f08";
    const KEY_OF_CELL: &str = "d0fc2a58943a";

    #[test]
    fn the_order_in_which_files_are_found_does_not_change_a_model() {
        let a = ("a".to_owned(), 1, Digest::of(b"1"));
        let b = ("b".to_owned(), 2, Digest::of(b"2"));
        assert_eq!(model_digest(&[a.clone(), b.clone()]), model_digest(&[b, a]));
    }
}
