//! One file of the hub → a blob of the cache, whole and verified. What broke off goes on where it ended, also in the next process.

use super::checksum::Hashing;
use super::error::HubError;
use super::http::{Follow, Hub};
use super::layout::Layout;
use super::listing::{Facts, Listing};
use super::lock;
use super::placed::{Unplaced, make_folder};
use super::progress::{Meter, Progress};
use crate::clock;
use reqwest::Method;
use reqwest::header::CONTENT_RANGE;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// So many times in a row a request may bring nothing.
const TRIES: u32 = 5;
/// The first wait after one; each next one is four times as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Hears how far it is.
pub type Tell<'t> = &'t mut (dyn FnMut(&Progress) + Send);

/// A fetch of several files: one count of bytes, one listener.
pub struct Fetching<'t> {
    meter: Meter,
    tell: Tell<'t>,
}

impl<'t> Fetching<'t> {
    /// Fetches `total` bytes in all.
    pub fn new(total: u64, tell: Tell<'t>) -> Self {
        Self { meter: Meter::new(total), tell }
    }

    /// Fetches one file if the cache does not have it.
    pub async fn file(
        &mut self,
        hub: &Hub,
        layout: &Layout,
        listing: &Listing,
        facts: &Facts,
    ) -> Result<(), HubError> {
        let hex = facts.checksum.hex();
        let blob = layout.blob(hex);
        self.begin(format!("{}: {}", listing.repository.name(), facts.file));
        if !is_there(&blob, facts) {
            let lock = layout.lock(hex);
            let held = lock::hold(&lock).await.map_err(|e| Unplaced::at(&lock, e))?;
            // Whoever held the lock may have fetched it.
            if !is_there(&blob, facts) {
                let part = layout.incomplete(hex);
                make_folder(&part)?;
                self.verified(hub, listing, facts, &part).await?;
                std::fs::rename(&part, &blob).map_err(|e| Unplaced::at(&blob, e))?;
            }
            drop(held);
        }
        self.end(facts.size);
        Ok(())
    }

    /// The next file.
    pub fn begin(&mut self, what: String) {
        self.meter.begin(what);
    }

    /// `at` bytes of the present file were here before.
    pub fn resumed(&mut self, at: u64) {
        self.meter.resumed(at);
    }

    /// `at` bytes of the present file are here now.
    pub fn came(&mut self, at: u64) {
        self.meter.at(at);
        (self.tell)(&self.meter.progress());
    }

    /// The present file, of `size` bytes, is here.
    pub fn end(&mut self, size: u64) {
        self.meter.end(size);
        (self.tell)(&self.meter.progress());
    }

    /// Fetches into `part` until its content is what it should be; twice wrong is wrong.
    async fn verified(
        &mut self,
        hub: &Hub,
        listing: &Listing,
        facts: &Facts,
        part: &Path,
    ) -> Result<(), HubError> {
        let mut found = String::new();
        for _ in 0..2 {
            found = self.whole(hub, listing, facts, part).await?;
            if found == facts.checksum.hex() {
                return Ok(());
            }
            std::fs::remove_file(part).map_err(|e| Unplaced::at(part, e))?;
            tracing::warn!(file = facts.file, found, "content is not what the hub says");
        }
        Err(HubError::Corrupt {
            what: listing.shown(&facts.file),
            algorithm: facts.checksum.algorithm(),
            found,
            expected: facts.checksum.hex().to_owned(),
        })
    }

    /// Fetches what `part` lacks; gives the hash of it all.
    async fn whole(
        &mut self,
        hub: &Hub,
        listing: &Listing,
        facts: &Facts,
        part: &Path,
    ) -> Result<String, HubError> {
        let mut open = File::options();
        let file = open.read(true).write(true).create(true).truncate(false).open(part);
        let file = file.map_err(|e| Unplaced::at(part, e))?;
        let hashing = facts.checksum.start(facts.size);
        let mut taken = Taken { file, hashing, at: 0, path: part };
        taken.read_on(facts)?;
        self.resumed(taken.at);
        let (mut tries, mut wait) = (0, FIRST_WAIT);
        while taken.at < facts.size {
            let before = taken.at;
            let Err(error) = self.some(hub, listing, facts, &mut taken).await else {
                continue;
            };
            if !error.is_passing() {
                return Err(error);
            }
            if taken.at > before {
                (tries, wait) = (0, FIRST_WAIT);
            }
            tries += 1;
            if tries == TRIES {
                let (at, size, source) = (taken.at, facts.size, Box::new(error));
                return Err(HubError::Broken { what: listing.shown(&facts.file), tries, at, size, source });
            }
            tracing::debug!(file = facts.file, at = taken.at, %error, "a download broke off");
            clock::sleep(wait.max(error.wait())).await;
            wait *= 4;
        }
        taken.file.sync_all().map_err(|e| Unplaced::at(part, e))?;
        Ok(taken.hashing.finish())
    }

    /// One request: appends what it brings.
    async fn some(
        &mut self,
        hub: &Hub,
        listing: &Listing,
        facts: &Facts,
        taken: &mut Taken<'_>,
    ) -> Result<(), HubError> {
        let url = hub.resolve(listing, &facts.file);
        let mut answer = hub.send(Method::GET, url, taken.at, Follow::Anywhere).await?;
        let host = answer.host();
        match answer.response.status().as_u16() {
            206 if starts_at(&answer.response, taken.at) => {}
            // A server without ranges begins anew.
            200 => taken.restart(facts)?,
            206 | 416 => {
                taken.restart(facts)?;
                return Err(HubError::Status { host, status: 416, what: listing.shown(&facts.file) });
            }
            _ => return Err(hub.refusal(&answer, &listing.repository, listing.shown(&facts.file))),
        }
        while taken.at < facts.size {
            let chunk = answer.response.chunk().await;
            let cut = |source: Option<reqwest::Error>| HubError::Cut { host: host.clone(), source };
            let chunk = chunk.map_err(|e| cut(Some(e.without_url())))?.ok_or_else(|| cut(None))?;
            // What goes beyond the size cannot be right, and the hash tells it.
            taken.append(&chunk)?;
            self.came(taken.at);
        }
        Ok(())
    }
}

/// What has come of a file.
struct Taken<'p> {
    file: File,
    hashing: Hashing,
    at: u64,
    path: &'p Path,
}

impl Taken<'_> {
    /// Hashes what the file holds already; more than the whole is nothing.
    fn read_on(&mut self, facts: &Facts) -> Result<(), HubError> {
        let failed = |e| Unplaced::at(self.path, e);
        if self.file.metadata().map_err(failed)?.len() > facts.size {
            return self.restart(facts);
        }
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = self.file.read(&mut buffer).map_err(failed)?;
            if n == 0 {
                return Ok(());
            }
            self.hashing.update(&buffer[..n]);
            self.at += n as u64;
        }
    }

    fn restart(&mut self, facts: &Facts) -> Result<(), HubError> {
        let empty = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        empty.map_err(|e| Unplaced::at(self.path, e))?;
        self.hashing = facts.checksum.start(facts.size);
        self.at = 0;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(|e| Unplaced::at(self.path, e))?;
        self.hashing.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// True if the answer's range begins there.
fn starts_at(response: &reqwest::Response, at: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")))
}

/// Bytes of the file that the cache does not have yet.
pub fn to_come(layout: &Layout, facts: &Facts) -> u64 {
    let hex = facts.checksum.hex();
    if is_there(&layout.blob(hex), facts) {
        return 0;
    }
    let part = std::fs::metadata(layout.incomplete(hex)).map_or(0, |meta| meta.len());
    facts.size.saturating_sub(part)
}

/// The blob is there. It was verified when it was written.
fn is_there(blob: &Path, facts: &Facts) -> bool {
    std::fs::metadata(blob).is_ok_and(|meta| meta.is_file() && meta.len() == facts.size)
}
