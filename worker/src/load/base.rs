//! An opened checkpoint: headers checked, files memory-mapped, tensors copied out in any kind to any device. Every tensor is
//! checked for NaN and infinity when it is first read in a kind.

use espalier_proto::arch::Arch;
use espalier_proto::model_files::{ModelError, ModelFiles, StoredDtype, TensorPlace};
use espalier_proto::recipe::Dtype;
use espalier_proto::records::FailureCode;
use memmap2::Mmap;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tch::{Device, Kind, Tensor};

/// A checkpoint on disk.
#[derive(Debug)]
pub struct BaseModel {
    files: ModelFiles,
    maps: Vec<Mmap>,
    /// Tensors that were read and found finite, with the kind.
    finite: Mutex<BTreeSet<(String, &'static str)>>,
}

/// A checkpoint or a tensor that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder does not hold a whole checkpoint.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file cannot be mapped.
    #[error("{}: {source}", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has become shorter than its header says.
    #[error("{}: tensor {tensor}: found {found} bytes in the file, expected {expected}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Bytes of the file.
        found: u64,
        /// Bytes needed.
        expected: u64,
    },
    /// A weight is NaN or infinite, as stored or in the kind asked for.
    #[error("{}: tensor {tensor} holds NaN or infinity as {kind}, expected finite weights", path.display())]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The number format.
        kind: &'static str,
    },
    /// A mask does not fit its linear.
    #[error("mask of {linear}: found {found}, expected {expected}")]
    Mask {
        /// The linear.
        linear: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
}

impl LoadError {
    /// The code of records and results.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Model(_) | Self::Map { .. } => FailureCode::BadCheckpoint,
            Self::Changed { .. } => FailureCode::ModelChanged,
            Self::NonFinite { .. } => FailureCode::NonFiniteWeights,
            Self::Mask { .. } => FailureCode::BadInputs,
        }
    }
}

/// The tensor kind of a number format.
pub fn kind_of(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Float16 => Kind::Half,
        Dtype::Bfloat16 => Kind::BFloat16,
    }
}

impl BaseModel {
    /// Opens the checkpoint in `folder`; see [`ModelFiles::open`] for what is checked.
    pub fn open(folder: &Path) -> Result<Self, LoadError> {
        let files = ModelFiles::open(folder)?;
        let mut maps = Vec::new();
        for path in &files.files {
            let at = |source| LoadError::Map { path: path.clone(), source };
            let file = File::open(path).map_err(at)?;
            // SAFETY: the map is only read, and copied from; a file that changes meanwhile changes weights, which the
            // model's digest tells. A file that is cut short under us ends the process, which its supervisor reports.
            maps.push(unsafe { Mmap::map(&file) }.map_err(at)?);
        }
        Ok(Self { files, maps, finite: Mutex::default() })
    }

    /// The architecture.
    pub fn arch(&self) -> &Arch {
        &self.files.arch
    }

    /// The checkpoint's own number format.
    pub fn dtype(&self) -> Dtype {
        self.files.dtype
    }

    /// The checked files.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// A copy of a tensor of the architecture.
    ///
    /// # Panics
    /// If the architecture has no such tensor: a bug in the caller.
    pub fn tensor(&self, name: &str, device: Device, dtype: Dtype) -> Result<Tensor, LoadError> {
        let tensor = self.with_view(name, |view| view.to_device_(device, kind_of(dtype), false, true))?;
        self.check_finite(name, &tensor, dtype)?;
        Ok(tensor)
    }

    /// Rows of a two-dimensional tensor, i64 `[N]` on CPU → `[N, H]`. Only these rows are copied.
    pub(super) fn rows(
        &self,
        name: &str,
        rows_n: &Tensor,
        device: Device,
        dtype: Dtype,
    ) -> Result<Tensor, LoadError> {
        let rows_nh = self.with_view(name, |view| {
            view.index_select(0, rows_n).to_device_(device, kind_of(dtype), false, true)
        })?;
        let stored = self.place(name);
        if let StoredDtype::Known(stored) = stored.dtype {
            self.with_view(name, |view| self.check_finite(name, view, stored))??;
        }
        self.check_finite_now(name, &rows_nh, dtype)?;
        Ok(rows_nh)
    }

    fn place(&self, name: &str) -> &TensorPlace {
        self.files.tensors.get(name).expect("the architecture's own tensors are looked up")
    }

    /// Gives `read` the tensor as it lies in the mapped file. `read` must copy and never write.
    fn with_view<R>(&self, name: &str, read: impl FnOnce(&Tensor) -> R) -> Result<R, LoadError> {
        let place = self.place(name);
        let map = &self.maps[place.file];
        let Some(bytes) = map.get(place.start as usize..place.end as usize) else {
            let path = self.files.files[place.file].clone();
            let (found, expected) = (map.len() as u64, place.end);
            return Err(LoadError::Changed { path, tensor: name.to_owned(), found, expected });
        };
        let StoredDtype::Known(dtype) = &place.dtype else {
            unreachable!("the header check refuses other formats");
        };
        let shape: Vec<i64> = place.shape.iter().map(|&n| n as i64).collect();
        if (bytes.as_ptr() as usize).is_multiple_of(dtype.bytes() as usize) {
            // SAFETY: the bytes outlive the view, which ends with this call; they hold as many numbers as the shape says,
            // as the header check made sure, and are aligned.
            let view =
                unsafe { Tensor::from_blob(bytes.as_ptr(), &shape, &[], kind_of(*dtype), Device::Cpu) };
            return Ok(read(&view));
        }
        Ok(read(&Tensor::from_data_size(bytes, &shape, kind_of(*dtype))))
    }

    fn check_finite(&self, name: &str, tensor: &Tensor, dtype: Dtype) -> Result<(), LoadError> {
        let entry = (name.to_owned(), dtype.as_str());
        let known = self.finite.lock().unwrap_or_else(PoisonError::into_inner).contains(&entry);
        if !known {
            self.check_finite_now(name, tensor, dtype)?;
            self.finite.lock().unwrap_or_else(PoisonError::into_inner).insert(entry);
        }
        Ok(())
    }

    fn check_finite_now(&self, name: &str, tensor: &Tensor, dtype: Dtype) -> Result<(), LoadError> {
        if is_finite(tensor) {
            return Ok(());
        }
        // Said of the file's own format where the file holds it, whatever it was converted to; else the conversion overflowed.
        let as_stored = self.with_view(name, is_finite)?;
        let dtype = match &self.place(name).dtype {
            StoredDtype::Known(stored) if !as_stored => *stored,
            _ => dtype,
        };
        let path = self.files.files[self.place(name).file].clone();
        Err(LoadError::NonFinite { path, tensor: name.to_owned(), kind: dtype.as_str() })
    }
}

/// One pass without a temporary; NaN goes through to both ends.
fn is_finite(tensor: &Tensor) -> bool {
    let (least, most) = tensor.aminmax(None, false);
    least.double_value(&[]).is_finite() && most.double_value(&[]).is_finite()
}
