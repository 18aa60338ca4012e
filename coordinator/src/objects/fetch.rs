//! One object → a blob of the cache, whole: as many bytes as the store lists, all of one content. What broke off goes on where it
//! ended, also in the next process.
//!
//! An ETag is an MD5 on some stores and for some uploads only, so nothing is checked against it but that it stays the same.

use super::address::{Address, Object, Store};
use super::cache::{ObjectCache, is_there};
use super::error::ObjectError;
use crate::hub::fetch::Fetching;
use crate::hub::lock;
use crate::hub::placed::{Unplaced, make_folder};
use std::fs::File;
use std::io::Write;
use std::path::Path;

impl Store {
    /// Fetches an object if the cache does not have it.
    pub async fn fetch(
        &self,
        address: &Address,
        object: &Object,
        cache: &ObjectCache,
        fetching: &mut Fetching<'_>,
    ) -> Result<(), ObjectError> {
        let blob = cache.blob(&object.id);
        fetching.begin(address.of(object));
        if !is_there(&blob, object) {
            let lock = cache.lock(&object.id);
            let held = lock::hold(&lock).await.map_err(|e| Unplaced::at(&lock, e))?;
            // Whoever held the lock may have fetched it.
            if !is_there(&blob, object) {
                let part = cache.incomplete(&object.id);
                make_folder(&part)?;
                self.whole(address, object, &part, fetching).await?;
                std::fs::rename(&part, &blob).map_err(|e| Unplaced::at(&blob, e))?;
            }
            drop(held);
        }
        fetching.end(object.size);
        Ok(())
    }

    /// Fetches what `part` lacks. The store's client tries again what fails in passing.
    async fn whole(
        &self,
        address: &Address,
        object: &Object,
        part: &Path,
        fetching: &mut Fetching<'_>,
    ) -> Result<(), ObjectError> {
        let url = || address.of(object);
        let failed = |e| Unplaced::at(part, e);
        let mut file = File::options().create(true).append(true).open(part).map_err(failed)?;
        let mut at = file.metadata().map_err(failed)?.len();
        if at > object.size {
            file.set_len(0).map_err(failed)?;
            at = 0;
        }
        fetching.resumed(at);
        // Of an empty object nothing can be asked for by a range.
        if at < object.size {
            let told = |e| ObjectError::of(&url(), "what the store listed a moment ago", e);
            let pieces = self.bucket.read_from(&object.key, at).await.map_err(told)?;
            let mut pieces = pieces.ok_or_else(|| ObjectError::Replaced { url: url() })?;
            if !object.is(&pieces.meta) {
                return Err(ObjectError::Replaced { url: url() });
            }
            while let Some(piece) = pieces.next().await.map_err(told)? {
                file.write_all(&piece).map_err(failed)?;
                at += piece.len() as u64;
                fetching.came(at.min(object.size));
            }
        }
        file.sync_all().map_err(failed)?;
        if at > object.size {
            // Of no use to the next process either.
            file.set_len(0).map_err(failed)?;
        }
        match at == object.size {
            true => Ok(()),
            false => Err(ObjectError::Length { url: url(), found: at, expected: object.size }),
        }
    }
}
