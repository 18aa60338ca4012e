//! What can go wrong in the engine, typed where it happens: each error knows its code in records and results.

use crate::load::LoadError;
use espalier_proto::records::FailureCode;

/// An engine's failure.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The device's memory did not suffice.
    #[error("out of memory: {message}")]
    OutOfMemory {
        /// libtorch's message.
        message: String,
    },
    /// The device or its driver failed.
    #[error("device failed: {message}")]
    Device {
        /// libtorch's message.
        message: String,
    },
    /// The device cannot be used as asked.
    #[error("device {device}: {why}")]
    NoDevice {
        /// As asked.
        device: String,
        /// Why not.
        why: String,
    },
    /// A target that cannot be met.
    #[error("linear {linear}: pattern {pattern}: {why}")]
    Pattern {
        /// The linear.
        linear: String,
        /// The pattern, as tables show it.
        pattern: String,
        /// Why not.
        why: String,
    },
    /// A recipe that this worker does not know.
    #[error("{field}: found {found}, expected {expected}")]
    Recipe {
        /// The field of the variant.
        field: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// Activations became NaN or infinite.
    #[error("inputs of {linear} are not finite: the model overflows in {kind}")]
    NonFiniteActivations {
        /// The linear.
        linear: String,
        /// The number format.
        kind: String,
    },
    /// The caller asked to stop.
    #[error("stopped on request")]
    Stopped,
    /// A bug.
    #[error("internal error: {message}")]
    Internal {
        /// What was seen.
        message: String,
    },
}

impl EngineError {
    /// The code of records and results.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Load(error) => error.code(),
            Self::OutOfMemory { .. } => FailureCode::OutOfMemory,
            Self::Device { .. } | Self::NoDevice { .. } => FailureCode::NodeFault,
            Self::Pattern { .. } | Self::Recipe { .. } => FailureCode::BadInputs,
            Self::NonFiniteActivations { .. } => FailureCode::NonFiniteScores,
            Self::Stopped => FailureCode::Preempted,
            Self::Internal { .. } => FailureCode::Internal,
        }
    }
}

/// What a panic of a tch operator means, by libtorch's message.
pub fn classify_panic(message: &str) -> EngineError {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    // The first line says what happened; the rest is a C++ stack.
    let message_line = || message.lines().next().unwrap_or_default().to_owned();
    if has(&[
        "out of memory",
        "DefaultCPUAllocator: can't allocate memory",
        "not enough memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
    ]) {
        return EngineError::OutOfMemory { message: message_line() };
    }
    if has(&[
        "CUDA error",
        "CUDA driver",
        "cuDNN error",
        "CUBLAS_STATUS",
        "CUSOLVER_STATUS",
        "NVML",
        "NVIDIA driver",
    ]) {
        return EngineError::Device { message: message_line() };
    }
    EngineError::Internal { message: message_line() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_apart_by_libtorchs_message() {
        let code = |message: &str| classify_panic(message).code();
        // Messages as libtorch 2.11 writes them.
        let cuda = "Torch(\"CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of";
        let cpu =
            "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried";
        assert_eq!(code(cuda), FailureCode::OutOfMemory);
        assert_eq!(code(cpu), FailureCode::OutOfMemory);
        assert_eq!(code("CUDA error: an illegal memory access was encountered"), FailureCode::NodeFault);
        assert_eq!(
            code("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
            FailureCode::OutOfMemory
        );
        assert_eq!(code("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), FailureCode::Internal);
    }
}
