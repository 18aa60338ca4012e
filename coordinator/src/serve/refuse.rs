//! Why a user's call is refused, and with which exit code the user's command is to end. It travels in the call's metadata.

use super::log::LogError;
use super::sweeps::SweepsError;
use crate::inputs::InputsError;
use espalier_proto::causes::chain;
use espalier_proto::remote::Dialect;
use std::error::Error;
use tonic::{Code, Status};

/// The metadata key of the exit code.
pub const EXIT_KEY: &str = "espalier-exit";

/// A refusal.
#[derive(Clone, Debug)]
pub struct Refusal {
    code: Code,
    /// As the user's command ends.
    exit: u8,
    /// With every cause.
    pub message: String,
}

impl Refusal {
    /// The input cannot be used.
    pub fn bad(error: impl Error) -> Self {
        Self::bad_text(chain(&error))
    }

    /// The input cannot be used, in words.
    pub fn bad_text(message: String) -> Self {
        Self { code: Code::InvalidArgument, exit: 3, message }
    }

    /// The call makes no sense.
    pub fn usage(message: &str) -> Self {
        Self { code: Code::InvalidArgument, exit: 2, message: message.to_owned() }
    }

    /// The bucket, or what is in it.
    pub fn bucket(error: impl Error) -> Self {
        Self { code: Code::Aborted, exit: 5, message: chain(&error) }
    }

    /// Models, data or tasks; or the bucket that they are written to.
    pub fn inputs(error: &InputsError) -> Self {
        match error {
            InputsError::Bucket(error) => Self::bucket(error),
            error => Self::bad(error),
        }
    }

    /// A sweep.
    pub fn sweeps(error: SweepsError) -> Self {
        match &error {
            SweepsError::Log(LogError::Owned { .. })
            | SweepsError::TakenOver { .. }
            | SweepsError::Superseded { .. } => {
                Self { code: Code::FailedPrecondition, exit: 5, message: chain(&error) }
            }
            SweepsError::Unknown { .. }
            | SweepsError::Removed { .. }
            | SweepsError::Log(LogError::Gone { .. }) => {
                Self { code: Code::NotFound, exit: 3, message: chain(&error) }
            }
            SweepsError::Log(_)
            | SweepsError::Records(_)
            | SweepsError::Bucket(_)
            | SweepsError::Only { .. }
            | SweepsError::Damaged { .. }
            | SweepsError::Unreadable { .. } => Self::bucket(error),
        }
    }

    /// The caller speaks no protocol of ours.
    pub fn protocol(why: String, here: &Dialect) -> Status {
        let mut status = Status::from(Self { code: Code::FailedPrecondition, exit: 3, message: why });
        here.tell(status.metadata_mut());
        status
    }

    /// A bug.
    pub fn internal(error: &dyn Error) -> Self {
        Self { code: Code::Internal, exit: 7, message: chain(error) }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut status = Self::new(refusal.code, refusal.message);
        let exit = refusal.exit.to_string().parse().expect("a number is a metadata value");
        status.metadata_mut().insert(EXIT_KEY, exit);
        status
    }
}
