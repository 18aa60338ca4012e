//! Decides with which code the process ends: one table from every module's errors to the exit codes that scripts read.
//!
//! In: what a command returned. Out: a message on stderr and a code. Must never hide a cause: the whole chain is shown.

use crate::serve::LocalError;
use crate::serve::daemon::DaemonError;
use crate::serve::log::LogError;
use crate::store::checkpoints::CheckpointsError;
use crate::store::folder::FolderError;
use espalier_proto::causes;
use espalier_proto::remote::{ReachError, failure_shown};
use std::io::Write;
use std::process::ExitCode;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Tables for people
    Text,
    /// JSON for programs
    Json,
}

/// The exit codes. Usage errors (2) are mostly clap's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for is there.
    Whole = 0,
    /// The command line cannot be understood.
    Usage = 2,
    /// A sweep file, a model or a dataset cannot be used.
    BadInput = 3,
    /// The sweep finished, and some cells have no result.
    Holes = 4,
    /// The bucket cannot be reached or used, or another run, or a newer coordinator of the instance, holds the sweep in it.
    Bucket = 5,
    /// The coordinator does not answer.
    Unreachable = 6,
    /// This machine cannot do the work: no worker binary, a broken device.
    BadNode = 7,
    /// The user stopped it.
    Interrupted = 130,
}

/// Everything that can end a command early. A module that can fail has one variant here and one line in [`Failure::exit`].
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Arguments that clap accepts and that make no sense together.
    #[error("{message}")]
    Usage {
        /// What was found and what was expected.
        message: String,
    },
    /// The async runtime could not be started.
    #[error("the async runtime cannot be started on this machine")]
    Runtime {
        /// Why.
        source: std::io::Error,
    },
    /// A file for the user could not be written.
    #[error("{path} cannot be written")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the user's could not be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A coordinator cannot be called as told.
    #[error(transparent)]
    Reach(#[from] espalier_proto::remote::ReachError),
    /// A coordinator's identity.
    #[error(transparent)]
    Identity(#[from] crate::serve::guard::IdentityError),
    /// A coordinator refused, or the connection to it failed.
    #[error("{message}")]
    Remote {
        /// What it said.
        message: String,
        /// How the command ends.
        exit: Exit,
    },
    /// A coordinator ended.
    #[error(transparent)]
    Daemon(#[from] crate::serve::daemon::DaemonError),
    /// The sweep file.
    #[error(transparent)]
    Spec(#[from] crate::spec::complaint::SpecError),
    /// Models, datasets or tasks.
    #[error(transparent)]
    Inputs(#[from] crate::inputs::InputsError),
    /// A local run.
    #[error(transparent)]
    Local(#[from] crate::serve::LocalError),
    /// A sweep's log.
    #[error(transparent)]
    Log(#[from] crate::serve::log::LogError),
    /// Models or datasets are not on this machine.
    #[error("{}", lines(wanted))]
    Wanted {
        /// At least one.
        wanted: Vec<crate::inputs::InputsError>,
    },
    /// Records in the bucket.
    #[error(transparent)]
    Records(#[from] crate::records::RecordsError),
    /// A sweep's results cannot be collected.
    #[error(transparent)]
    Collect(crate::merge::collect::CollectError),
    /// Per-item scores in the bucket.
    #[error(transparent)]
    Samples(#[from] crate::report::samples::SamplesError),
    /// Something that was named is not there.
    #[error("{message}")]
    NotFound {
        /// What was named, and what there is.
        message: String,
    },
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Compact(#[from] espalier_proto::checkpoint::CompactError),
    /// A folder cannot be exported.
    #[error(transparent)]
    Export(#[from] espalier_proto::checkpoint::ExportError),
    /// A model's folder cannot be read.
    #[error(transparent)]
    Model(#[from] espalier_proto::model_folder::ModelFilesError),
    /// A variant cannot be written as a folder.
    #[error(transparent)]
    Folder(#[from] crate::store::folder::FolderError),
    /// What a sweep asks for its checkpoints could not be done.
    #[error(
        "everything that could be measured is measured and reported, but not all that `checkpoints:` asks for is done"
    )]
    Checkpoints(#[from] crate::store::checkpoints::CheckpointsError),
    /// A bucket cannot be looked after.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] espalier_proto::bucket::BucketError),
}

impl Failure {
    /// The code of this failure.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Read { .. } => Exit::BadInput,
            Self::Reach(ReachError::Address(_) | ReachError::Plaintext { .. }) => Exit::Usage,
            Self::Reach(
                ReachError::Unreachable { .. }
                | ReachError::Mute { .. }
                | ReachError::NoTls { .. }
                | ReachError::NoPlaintext { .. },
            ) => Exit::Unreachable,
            Self::Reach(
                ReachError::File { .. }
                | ReachError::Tls { .. }
                | ReachError::Certificate { .. }
                | ReachError::WrongName { .. }
                | ReachError::OutOfDate { .. }
                | ReachError::RefusedCertificate { .. },
            )
            | Self::Identity(_) => Exit::BadInput,
            Self::Remote { exit, .. } => *exit,
            Self::Daemon(error) => daemon(error),
            Self::Runtime { .. } => Exit::BadNode,
            Self::Write { .. } => Exit::BadInput,
            Self::Inputs(crate::inputs::InputsError::Bucket(_)) | Self::Records(_) => Exit::Bucket,
            Self::Spec(error) if error.is_of_the_command_line() => Exit::Usage,
            Self::Spec(_) | Self::Inputs(_) | Self::Wanted { .. } | Self::NotFound { .. } => Exit::BadInput,
            Self::Export(_) | Self::Model(_) => Exit::BadInput,
            Self::Compact(_) | Self::Samples(_) => Exit::Bucket,
            Self::Local(error) => local(error),
            Self::Log(error) => log(error),
            Self::Folder(error) => folder(error),
            Self::Checkpoints(CheckpointsError::Folder { source, .. }) => folder(source),
            Self::Checkpoints(_) => Exit::Bucket,
            Self::Collect(_) => Exit::BadInput,
            Self::Store(crate::store::StoreError::UnknownSweep { .. }) => Exit::BadInput,
            Self::Bucket(_) | Self::Store(_) => Exit::Bucket,
        }
    }
}

fn local(error: &LocalError) -> Exit {
    match error {
        // Somebody else holds the sweep's name in the bucket: nothing is wrong with the command line.
        LocalError::Epoch(_)
        | LocalError::Records(_)
        | LocalError::Bucket(_)
        | LocalError::TakenOver { .. } => Exit::Bucket,
        LocalError::Log(error) => log(error),
        LocalError::NoWorker { .. }
        | LocalError::NoGpu
        | LocalError::Machine { .. }
        | LocalError::Fleet(_)
        | LocalError::NoFit { .. } => Exit::BadNode,
    }
}

fn folder(error: &FolderError) -> Exit {
    match error {
        FolderError::Export(_) | FolderError::Base { .. } | FolderError::Dropped { .. } => Exit::BadInput,
        FolderError::Bucket(_) | FolderError::Compact(_) | FolderError::Missing { .. } => Exit::Bucket,
        FolderError::Scratch { .. } => Exit::BadNode,
    }
}

fn daemon(error: &DaemonError) -> Exit {
    match error {
        DaemonError::Epoch(_) | DaemonError::Bucket(_) | DaemonError::Superseded { .. } => Exit::Bucket,
        DaemonError::Machine { .. } | DaemonError::Serve(_) => Exit::BadNode,
    }
}

fn log(error: &LogError) -> Exit {
    match error {
        LogError::Bucket(_) | LogError::Owned { .. } | LogError::Gone { .. } => Exit::Bucket,
    }
}

fn lines(errors: &[crate::inputs::InputsError]) -> String {
    errors.iter().map(|error| causes::chain(error)).collect::<Vec<_>>().join("\n")
}

/// Tells the user how the command ended and gives the process its code.
pub fn leave(result: Result<Exit, Failure>, output: Output) -> ExitCode {
    let exit = match result {
        Ok(exit) => exit,
        Err(failure) => {
            complain(&failure_shown(&causes::chain(&failure)), failure.exit(), output);
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}

/// Says on stderr why the command ended, as all of its output is.
pub fn complain(message: &str, exit: Exit, output: Output) {
    let text = match output {
        Output::Text => format!("error: {message}\n"),
        Output::Json => format!("{}\n", serde_json::json!({"error": message, "exit": exit as u8})),
    };
    // Nothing is left to be done where even stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_that_scripts_rely_on() {
        let codes = [
            (Exit::Whole, 0),
            (Exit::Usage, 2),
            (Exit::BadInput, 3),
            (Exit::Holes, 4),
            (Exit::Bucket, 5),
            (Exit::Unreachable, 6),
            (Exit::BadNode, 7),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in codes {
            assert_eq!(exit as u8, code, "{exit:?}");
        }
    }
}
