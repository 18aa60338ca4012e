//! An `s3://` address → the objects under it, with what tells one content of an object from another.

use super::error::ObjectError;
use crate::hub::repository::stays_inside;
use espalier_proto::bucket::{Bucket, place};
use espalier_proto::ids::Digest;
use espalier_proto::shown;
use object_store::ObjectMeta;
use object_store::path::Path;

/// A place in an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: String,
    bucket: String,
    key: Path,
}

/// A store with the credentials that this process's environment gives for it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) bucket: Bucket,
}

/// An object as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name under the address.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of this content; another one under the same name has another.
    pub id: String,
    pub(super) key: Path,
    tag: Option<String>,
    /// Seconds.
    modified: i64,
}

impl Object {
    /// True if what is there now, as an answer describes it, is what was listed.
    pub(super) fn is(&self, now: &ObjectMeta) -> bool {
        let same = match (&self.tag, &now.e_tag) {
            (Some(listed), Some(now)) => listed == now,
            // Not every store tells tags in both.
            _ => self.modified == now.last_modified.timestamp(),
        };
        same && self.size == now.size
    }
}

impl Address {
    /// Reads `s3://BUCKET[/PREFIX]`; a `/` at its end says nothing.
    pub fn parse(text: &str) -> Result<Self, ObjectError> {
        let url = text.trim_end_matches('/').to_owned();
        let bad = || ObjectError::Address { url: shown::source(text) };
        let (bucket, key) = place(&url).map_err(|_| bad())?;
        if !shown::bucket_alone(bucket) || !(key.as_ref().is_empty() || stays_inside(key.as_ref())) {
            return Err(bad());
        }
        let bucket = bucket.to_owned();
        Ok(Self { url, bucket, key })
    }

    /// As it is written, without a `/` at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The last part, for names of folders.
    pub fn last(&self) -> &str {
        self.key.filename().unwrap_or(&self.bucket)
    }

    /// The address of one of its objects.
    pub(super) fn of(&self, object: &Object) -> String {
        format!("s3://{}/{}", self.bucket, object.key)
    }
}

impl Store {
    /// The store of an address.
    pub fn open(address: &Address) -> Result<Self, ObjectError> {
        let bucket = Bucket::open(&format!("s3://{}", address.bucket));
        let bucket = bucket.map_err(|e| ObjectError::of(&address.url, "", e))?;
        Ok(Self { bucket })
    }

    /// The object that lies at the address itself; `None` if none does. Not every store knows that a folder is none.
    pub async fn lone(
        &self,
        address: &Address,
        expected: &'static str,
    ) -> Result<Option<Object>, ObjectError> {
        if address.key.as_ref().is_empty() {
            return Ok(None);
        }
        let found = self.bucket.meta(&address.key).await;
        let found = found.map_err(|e| ObjectError::of(&address.url, expected, e))?;
        Ok(found.map(|meta| object(&address.url, address.last().to_owned(), meta)))
    }

    /// Everything under the address, sorted by name. `expected`: for messages.
    pub async fn list(&self, address: &Address, expected: &'static str) -> Result<Vec<Object>, ObjectError> {
        let found = self.bucket.list_sizes(&address.key).await;
        let found = found.map_err(|e| ObjectError::of(&address.url, expected, e))?;
        let mut objects = Vec::with_capacity(found.len());
        for meta in found {
            let parts = meta.location.prefix_match(&address.key);
            let name = parts.map(|p| p.map(|p| p.as_ref().to_owned()).collect::<Vec<_>>().join("/"));
            let name = name.unwrap_or_default();
            // A store's console leaves empty objects where it shows folders.
            if name.is_empty() {
                continue;
            }
            if !stays_inside(&name) {
                return Err(ObjectError::Name { url: address.url.clone(), name });
            }
            objects.push(object(&address.url, name, meta));
        }
        Ok(objects)
    }
}

/// The tag alone would do on most stores; some give the same to every object, or none.
fn object(url: &str, name: String, meta: ObjectMeta) -> Object {
    let ObjectMeta { location: key, size, e_tag: tag, last_modified, .. } = meta;
    let parts =
        [url, &name, &size.to_string(), tag.as_deref().unwrap_or_default(), &last_modified.to_rfc3339()];
    let id = Digest::of(parts.join("\n").as_bytes()).to_string();
    Object { name, size, id, key, tag, modified: last_modified.timestamp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_bucket_and_says_so_where_it_does_not() {
        let address = Address::parse("s3://models/llama/demo/").unwrap();
        assert_eq!((address.url(), address.last()), ("s3://models/llama/demo", "demo"));
        assert_eq!(Address::parse("s3://models").unwrap().last(), "models");
        for wrong in ["s3://", "s3:///x", "gs://b/x", "s3://b//x", "s3://b/../x", "s3://k:geheim@b/x"] {
            let error = Address::parse(wrong).unwrap_err().to_string();
            assert!(error.ends_with("expected s3://BUCKET/PREFIX") && !error.contains("geheim"), "{error}");
        }
    }
}
