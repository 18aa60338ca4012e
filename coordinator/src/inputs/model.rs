//! A model declaration → its files, architecture, tokenizer and number format, pinned by content.

use super::error::InputsError;
use super::sources::HubCache;
use super::tokenize::TextTokenizer;
use crate::spec::file::{DtypeChoice, ModelDecl};
use espalier_proto::arch::Arch;
use espalier_proto::causes::chain;
use espalier_proto::inputs::Inputs;
use espalier_proto::model_files::ModelFiles;
use espalier_proto::model_folder::folder_digest;
use espalier_proto::recipe::{Backend, Dtype};
use espalier_proto::sweep::ModelEntry;
use std::path::Path;

/// Longest window where the sweep says nothing.
const DEFAULT_SEQLEN: u32 = 2048;

/// A model that can be pruned and asked.
pub struct Model {
    /// What the resolved sweep says of it.
    pub entry: ModelEntry,
    /// What may move of where it is from, and the commit that it is.
    pub revision: Option<(String, String)>,
    /// Its architecture.
    pub arch: Arch,
    /// Its tokenizer under the sweep's BOS rule.
    pub tokenizer: TextTokenizer,
    /// Bytes of its tensors on disk.
    pub tensor_bytes: u64,
}

/// Opens a model. `digests`: a folder that remembers digests of files that have not changed.
pub fn open(
    decl: &ModelDecl,
    dtype: DtypeChoice,
    backend: Backend,
    hub: &HubCache,
    digests: Option<&Path>,
) -> Result<Model, InputsError> {
    let located = hub.model(&decl.source)?;
    let revision = located.source.revision();
    let bad = |why: String| InputsError::Model { model: decl.id.clone(), why };
    let files = ModelFiles::open(&located.folder).map_err(|e| bad(chain(&e)))?;
    let digest = folder_digest(&located.folder, digests).map_err(|e| bad(chain(&e)))?;
    let tokenizer = TextTokenizer::open(&located.folder, decl.add_bos)?;
    let folder = std::fs::canonicalize(&located.folder).map_err(|e| InputsError::io(&located.folder, e))?;
    let arch = files.arch.clone();
    let entry = ModelEntry {
        id: decl.id.clone(),
        source: located.source.pinned,
        digest,
        folder: folder.to_string_lossy().into_owned(),
        family: arch.family.to_owned(),
        stored: files.dtype,
        dtype: match (dtype, backend) {
            (DtypeChoice::Auto, Backend::Cpu) | (DtypeChoice::Float32, _) => Dtype::Float32,
            (DtypeChoice::Auto, Backend::Cuda) | (DtypeChoice::Checkpoint, _) => files.dtype,
            (DtypeChoice::Float16, _) => Dtype::Float16,
            (DtypeChoice::Bfloat16, _) => Dtype::Bfloat16,
        },
        adds_bos: tokenizer.adds_bos()?,
        vocab: arch.vocab as u64,
        parameters: arch.parameters(),
        prunable: arch.prunable(),
        blocks: arch.blocks as u32,
    };
    Ok(Model { entry, revision, tensor_bytes: files.tensor_bytes(), arch, tokenizer })
}

impl Model {
    /// Tokens of a window: as the sweep says, else min(2048, the model's limit).
    pub fn seqlen(&self, asked: Option<u32>) -> u32 {
        let limit = u32::try_from(self.arch.max_positions).unwrap_or(u32::MAX);
        asked.unwrap_or(DEFAULT_SEQLEN.min(limit))
    }

    /// Refuses token ids that the model has no embedding for.
    pub fn check_ids(&self, data: &str, inputs: &Inputs) -> Result<(), InputsError> {
        match inputs.max_token() {
            Some(found) if found as usize >= self.arch.vocab => Err(InputsError::TokenId {
                data: data.to_owned(),
                model: self.entry.id.clone(),
                found,
                vocab: self.arch.vocab,
            }),
            _ => Ok(()),
        }
    }
}
