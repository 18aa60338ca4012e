//! What can be wrong with what a sweep names: every complaint says where, what was found and what was expected.

use super::lack::Lack;
use crate::hub::HubError;
use crate::objects::ObjectError;
use crate::room::NoRoom;
use crate::spec::complaint::SpecError;
use espalier_proto::bucket::BucketError;
use std::path::Path;

/// Inputs cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// The sweep file asks for what cannot be.
    #[error("{at}: {field}: found {found}, expected {expected}")]
    Declared {
        /// `file:line:column`.
        at: String,
        /// Field of the sweep file.
        field: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Io {
        /// The file or folder.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value in a data file is not what it must be.
    #[error("{file}: {place}: {field}: found {found}, expected {expected}")]
    Value {
        /// The file.
        file: String,
        /// `line 3` or `row 3`, from 1.
        place: String,
        /// Column or dotted path.
        field: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A file or folder as a whole is not what it must be.
    #[error("{file}: found {found}, expected {expected}")]
    Data {
        /// The file or folder.
        file: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A hub source is not on this machine.
    #[error("{kind} {name} is not in the Hugging Face cache {cache}; get it there with: {command}")]
    NotCached {
        /// `model` or `dataset`.
        kind: &'static str,
        /// `org/name`, with its revision if one was named.
        name: String,
        /// The cache's folder.
        cache: String,
        /// What to type.
        command: String,
        /// What the hub is asked for where it may be.
        lack: Lack,
    },
    /// A dataset is on this machine, but not the configuration that is wanted.
    #[error("{folder}: found no configuration {wanted}, expected one of {known}")]
    NoConfiguration {
        /// The snapshot.
        folder: String,
        /// The configuration.
        wanted: String,
        /// Those that are here.
        known: String,
        /// What the hub is asked for where it may be.
        lack: Lack,
    },
    /// The commit that a sweep keeps of a moving revision cannot be had.
    #[error(
        "{error}; the sweep keeps this commit of {revision} since it was first resolved: run or submit it with --update to \
         take what {revision} is now"
    )]
    Kept {
        /// As the resolved sweep names it.
        revision: String,
        /// Why it cannot be had.
        error: Box<InputsError>,
    },
    /// A model of the hub's whose weights are not safetensors.
    #[error(
        "model {name}: found {found} and no safetensors; convert it, then name the folder that this makes: {command}"
    )]
    NotSafetensors {
        /// `org/name`.
        name: String,
        /// A file with weights.
        found: String,
        /// What to type.
        command: String,
    },
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// An object store.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The disk.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// A task file is no YAML of data only.
    #[error("{at}: {why}")]
    TaskYaml {
        /// `file:line:column`.
        at: String,
        /// What was found, what was expected.
        why: String,
    },
    /// A task file is not what it must be.
    #[error("{file}: {field}: found {found}, expected {expected}")]
    Task {
        /// The task file, or the catalog's.
        file: String,
        /// Field.
        field: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A template cannot be rendered on an item.
    #[error("{file}: {place}: {field} of {task}: {why}")]
    Render {
        /// The data file.
        file: String,
        /// The item's place in it.
        place: String,
        /// `doc_to_text`, `doc_to_choice` or `doc_to_target`.
        field: &'static str,
        /// The task's file.
        task: String,
        /// The template engine's message.
        why: String,
    },
    /// A tokenizer cannot be used.
    #[error("{file}: {why}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// A model cannot be used.
    #[error("model {model}: {why}")]
    Model {
        /// The model's id.
        model: String,
        /// What is wrong.
        why: String,
    },
    /// A text gives fewer tokens than are needed.
    #[error("{data}: found {found} tokens for model {model}, expected more than {seqlen} ({need})")]
    TooShort {
        /// The text.
        data: String,
        /// The model whose tokenizer counted.
        model: String,
        /// Tokens in the text.
        found: usize,
        /// Tokens of a window.
        seqlen: u32,
        /// What the tokens are for.
        need: &'static str,
    },
    /// A token id that the model has no embedding for.
    #[error("{data}: found token id {found} for model {model}, expected ids below its vocabulary {vocab}")]
    TokenId {
        /// The text or task.
        data: String,
        /// The model.
        model: String,
        /// The id.
        found: u32,
        /// Rows of the model's embedding.
        vocab: usize,
    },
    /// An item that no model of this limit can score.
    #[error("{task}: item {item}: {field}: found {found}, expected {expected}")]
    Item {
        /// The task's label.
        task: String,
        /// The item's id.
        item: String,
        /// What of it.
        field: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The sweep file does not fit its models.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The bucket failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

impl InputsError {
    /// What the hub can be asked for, where that is all that is wrong.
    pub fn lack(&self) -> Option<&Lack> {
        match self {
            Self::NotCached { lack, .. } | Self::NoConfiguration { lack, .. } => Some(lack),
            Self::Kept { error, .. } => error.lack(),
            _ => None,
        }
    }

    /// The same, with what else can be done where what lacks is a commit that a sweep keeps.
    pub fn of(self, lack: &Lack) -> Self {
        match lack.kept.clone() {
            Some(revision) => Self::Kept { revision, error: Box::new(self) },
            None => self,
        }
    }

    /// `cannot be read` of a path.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { file: path.display().to_string(), source }
    }

    /// A file or folder as a whole.
    pub fn data(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Data { file: path.display().to_string(), found: found.into(), expected: expected.into() }
    }
}
