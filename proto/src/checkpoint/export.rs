//! Writes a variant as a Hugging Face folder that `transformers` loads.
//!
//! In: the base model's folder, a compact checkpoint (none = dense). Out: the same safetensors, sharded likewise, with +0.0 in
//! the stored dtype where a weight was pruned, and the small files beside them. The folder appears whole or not at all: it is
//! written beside its place and renamed.

use super::{Compact, Mask};
use crate::model_folder::{ModelFilesError, model_files};
use safetensors::SafeTensors;
use std::collections::BTreeSet;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The output folder holds something.
    #[error("{folder} is not an empty folder: choose another or empty it")]
    NotEmpty {
        /// The output folder.
        folder: String,
    },
    /// The disk is full.
    #[error("{path}: no space left, {bytes} bytes are needed for the whole folder; nothing was kept")]
    DiskFull {
        /// Where it was to be written.
        path: String,
        /// Bytes of all weight files.
        bytes: u64,
    },
    /// Reading or writing failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The base folder is no model.
    #[error(transparent)]
    Model(#[from] ModelFilesError),
    /// The base model does not fit the checkpoint.
    #[error("{path}: {why}")]
    Base {
        /// The file.
        path: String,
        /// What does not fit.
        why: String,
    },
}

/// Writes `compact` of the model in `base` (or the model as it is) to the folder `out`.
pub fn export(base: &Path, compact: Option<&Compact>, out: &Path) -> Result<(), ExportError> {
    refuse_non_empty(out)?;
    let files = model_files(base)?;
    let bytes = files.weights.iter().filter_map(|p| p.metadata().ok()).map(|m| m.len()).sum();
    let partial = partial_sibling(out)?;
    let whole = || -> Result<(), ExportError> {
        std::fs::create_dir_all(&partial).map_err(io("making", &partial))?;
        for path in small_files(base)? {
            copy(&path, &partial)?;
        }
        for path in files.index.iter() {
            copy(path, &partial)?;
        }
        let mut unused: BTreeSet<&String> = compact.iter().flat_map(|c| c.masks.keys()).collect();
        for path in &files.weights {
            write_weights(path, compact, &partial, &mut unused)?;
        }
        if let Some(linear) = unused.first() {
            let why = format!("no tensor {linear}.weight, which the compact checkpoint masks");
            return Err(ExportError::Base { path: base.display().to_string(), why });
        }
        sync(&partial)?;
        std::fs::rename(&partial, out).map_err(io("renaming to", out))?;
        out.parent().map_or(Ok(()), sync)
    };
    whole().map_err(|error| {
        // What is left of a failed export is nobody's.
        if let Err(e) = std::fs::remove_dir_all(&partial)
            && e.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %partial.display(), error = %e, "left of a failed export");
        }
        match error {
            ExportError::Io { path, source, .. }
                if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                ExportError::DiskFull { path, bytes }
            }
            other => other,
        }
    })
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
    let path = path.display().to_string();
    move |source| ExportError::Io { action, path, source }
}

fn refuse_non_empty(out: &Path) -> Result<(), ExportError> {
    let not_empty = || ExportError::NotEmpty { folder: out.display().to_string() };
    match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(not_empty())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotADirectory => Err(not_empty()),
        Err(e) => Err(io("reading", out)(e)),
    }
}

/// A folder name beside `out` that nobody else uses.
fn partial_sibling(out: &Path) -> Result<PathBuf, ExportError> {
    let name = out.file_name().ok_or_else(|| ExportError::NotEmpty { folder: out.display().to_string() })?;
    let parent = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(io("making", parent))?;
    Ok(parent.join(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id())))
}

/// Config, tokenizer, generation settings, code and licence; no weights of any format, no model card (it speaks of the base).
fn small_files(base: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(base).map_err(io("reading", base))? {
        let path = entry.map_err(io("reading", base))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let kept = [".json", ".txt", ".model", ".jinja", ".py"].iter().any(|end| name.ends_with(end))
            || name.starts_with("LICENSE")
            || name.starts_with("NOTICE");
        if kept && !name.ends_with(".index.json") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn copy(from: &Path, folder: &Path) -> Result<(), ExportError> {
    let to = folder.join(from.file_name().expect("files of a folder have names"));
    std::fs::copy(from, &to).map(drop).map_err(io("writing", &to))
}

fn sync(path: &Path) -> Result<(), ExportError> {
    let path = if path == Path::new("") { Path::new(".") } else { path };
    std::fs::File::open(path).and_then(|f| f.sync_all()).map_err(io("syncing", path))
}

/// One safetensors file, byte for byte but for pruned weights. Takes the linears it met out of `unused`.
fn write_weights(
    from: &Path,
    compact: Option<&Compact>,
    folder: &Path,
    unused: &mut BTreeSet<&String>,
) -> Result<(), ExportError> {
    let base = |why: String| ExportError::Base { path: from.display().to_string(), why };
    let file = std::fs::File::open(from).map_err(io("reading", from))?;
    // SAFETY: the file is only read; somebody who truncates it meanwhile kills this process, which leaves no output folder.
    let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(io("reading", from))?;
    let (header_len, header) = SafeTensors::read_metadata(&bytes).map_err(|e| base(e.to_string()))?;
    let data = &bytes[8 + header_len..];
    let to = folder.join(from.file_name().expect("weights are files"));
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(&to).map_err(io("writing", &to))?);
    out.write_all(&bytes[..8 + header_len]).map_err(io("writing", &to))?;
    for name in header.offset_keys() {
        let info = header.info(&name).expect("a name that the header gave");
        let tensor = &data[info.data_offsets.0..info.data_offsets.1];
        let linear = name.strip_suffix(".weight").unwrap_or(&name);
        let Some(mask) = compact.and_then(|c| c.masks.get(linear)) else {
            out.write_all(tensor).map_err(io("writing", &to))?;
            continue;
        };
        if info.shape != [mask.rows(), mask.columns()] || mask.weights() == 0 {
            let (r, c) = (mask.rows(), mask.columns());
            return Err(base(format!(
                "tensor {name} is {:?}, the compact checkpoint masks [{r}, {c}]",
                info.shape
            )));
        }
        unused.retain(|u| *u != linear);
        write_masked(&mut out, tensor, mask).map_err(io("writing", &to))?;
    }
    let file = out.into_inner().map_err(|e| io("writing", &to)(e.into_error()))?;
    file.sync_all().map_err(io("syncing", &to))
}

/// Writes a weight with zero bytes (+0.0 in every float format) where the mask keeps nothing.
fn write_masked(out: &mut impl Write, tensor: &[u8], mask: &Mask) -> std::io::Result<()> {
    let row_bytes = tensor.len() / mask.rows();
    let width = row_bytes / mask.columns();
    let mut buffer = vec![0u8; row_bytes];
    for (r, row) in tensor.chunks_exact(row_bytes).enumerate() {
        buffer.copy_from_slice(row);
        let bits = mask.row(r);
        for (c, weight) in buffer.chunks_exact_mut(width).enumerate() {
            if bits[c / 8] >> (c % 8) & 1 == 0 {
                weight.fill(0);
            }
        }
        out.write_all(&buffer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, ModelDigest};
    use crate::recipe::Dtype;
    use safetensors::tensor::{Dtype as Stored, TensorView};

    fn model() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let weight: Vec<u8> =
            [1f32, -2.0, 3.0, -0.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let views = ["b.fc.weight", "b.norm.weight"]
            .map(|n| (n, TensorView::new(Stored::F32, vec![2, 3], &weight).unwrap()));
        std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap())
            .unwrap();
        for name in ["config.json", "tokenizer.json", "README.md", "pytorch_model.bin"] {
            std::fs::write(folder.path().join(name), "{}").unwrap();
        }
        folder
    }

    fn compact(kept: &[u8]) -> Compact {
        let mask = Mask::from_kept(2, kept.len() / 2, kept);
        Compact {
            model: ModelDigest(Digest::of(b"m")),
            dtype: Dtype::Float32,
            masks: [("b.fc".to_owned(), mask)].into(),
        }
    }

    fn values(file: &Path, name: &str) -> Vec<u32> {
        let bytes = std::fs::read(file).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).to_bits()).collect()
    }

    #[test]
    fn pruned_weights_are_plus_zero_and_all_else_is_byte_for_byte() {
        let (base, parent) = (model(), tempfile::tempdir().unwrap());
        let out = parent.path().join("deep/out");
        export(base.path(), Some(&compact(&[1, 0, 1, 1, 0, 1])), &out).unwrap();
        let expected = [1f32, 0.0, 3.0, -0.0, 0.0, 6.0].map(f32::to_bits);
        assert_eq!(values(&out.join("model.safetensors"), "b.fc.weight"), expected);
        let untouched = values(&base.path().join("model.safetensors"), "b.norm.weight");
        assert_eq!(values(&out.join("model.safetensors"), "b.norm.weight"), untouched);
        let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(std::fs::read_dir(out.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_dense_export_equals_its_base_and_an_empty_folder_is_filled() {
        let (base, out) = (model(), tempfile::tempdir().unwrap());
        export(base.path(), None, out.path()).unwrap();
        let name = "model.safetensors";
        assert_eq!(
            std::fs::read(base.path().join(name)).unwrap(),
            std::fs::read(out.path().join(name)).unwrap()
        );
    }

    #[test]
    fn a_folder_that_holds_something_is_refused_and_kept() {
        let (base, out) = (model(), tempfile::tempdir().unwrap());
        std::fs::write(out.path().join("mine"), "x").unwrap();
        assert!(matches!(export(base.path(), None, out.path()), Err(ExportError::NotEmpty { .. })));
        assert_eq!(std::fs::read(out.path().join("mine")).unwrap(), b"x");
    }

    #[test]
    fn a_mask_that_does_not_fit_leaves_no_folder() {
        let (base, parent) = (model(), tempfile::tempdir().unwrap());
        let out = parent.path().join("out");
        let mut other = compact(&[1; 6]);
        other.masks.insert("b.lost".to_owned(), Mask::from_kept(1, 1, &[1]));
        for (checkpoint, word) in [(compact(&[1; 8]), "masks [2, 4]"), (other, "b.lost.weight")] {
            let error = export(base.path(), Some(&checkpoint), &out).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        }
    }
}
