//! Copies of objects on this machine: `blobs/<id>`, `snapshots/<name>-<digest>/…` as links to them, `refs/<address>` with the snapshot
//! that was found there last; beside them `.locks/`. The folder may be deleted whenever nothing runs.

use super::address::{Address, Object};
use super::error::ObjectError;
use crate::hub::placed;
use espalier_proto::ids::Digest;
use std::path::{Path, PathBuf};

/// The cache.
#[derive(Clone, Debug)]
pub struct ObjectCache {
    root: PathBuf,
}

/// What an address is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A folder of its objects.
    Folder,
    /// One object.
    File,
}

impl ObjectCache {
    /// The cache in this folder, which may be absent.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Content of this id.
    pub fn blob(&self, id: &str) -> PathBuf {
        self.root.join("blobs").join(id)
    }

    /// The part of it that has come so far.
    pub(super) fn incomplete(&self, id: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{id}.incomplete"))
    }

    /// Whoever fetches it holds this file locked.
    pub(super) fn lock(&self, id: &str) -> PathBuf {
        self.root.join(".locks").join(format!("{id}.lock"))
    }

    /// Bytes of an object that are not here yet.
    pub fn to_come(&self, object: &Object) -> u64 {
        if is_there(&self.blob(&object.id), object) {
            return 0;
        }
        let part = std::fs::metadata(self.incomplete(&object.id)).map_or(0, |meta| meta.len());
        object.size.saturating_sub(part)
    }

    fn reference(&self, url: &str) -> PathBuf {
        self.root.join("refs").join(Digest::of(url.as_bytes()).to_string())
    }

    /// The folder, or file, that was found at the address when it was last looked up; `None` if it never was, or is gone.
    pub fn find(&self, address: &Address) -> Option<PathBuf> {
        let named = std::fs::read_to_string(self.reference(address.url())).ok()?;
        let path = self.root.join("snapshots").join(named.trim());
        path.exists().then_some(path)
    }

    /// Makes the address these objects, whose blobs are all here; `true` if it was something else before.
    pub fn name(&self, address: &Address, objects: &[Object], form: Form) -> Result<bool, ObjectError> {
        let ids: Vec<String> = objects.iter().map(|o| format!("{}\n{}", o.name, o.id)).collect();
        let digest = Digest::of(ids.join("\n").as_bytes()).to_string();
        let snapshot = format!("{}-{}", address.last(), &digest[..12]);
        for object in objects {
            placed::link(&self.root, &snapshot, &object.name, &object.id)?;
        }
        let named = match (form, objects) {
            (Form::File, [only]) => format!("{snapshot}/{}", only.name),
            _ => snapshot,
        };
        let path = self.reference(address.url());
        let before = std::fs::read_to_string(&path).ok();
        placed::write(&path, &named)?;
        Ok(before.is_some_and(|before| before != named))
    }
}

/// The blob is there, whole: parts have another name.
pub(super) fn is_there(blob: &Path, object: &Object) -> bool {
    std::fs::metadata(blob).is_ok_and(|meta| meta.is_file() && meta.len() == object.size)
}
