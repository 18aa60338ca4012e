//! What a hub says, or whoever answers in its place.

use espalier::hub::checksum::Checksum;
use espalier::hub::listing::parse;
use espalier::hub::{Kind, Repository};
use std::path::{Component, Path};

fn stays(root: &str, path: &str) -> bool {
    let joined = Path::new(root).join(path);
    joined.starts_with(root) && joined.components().all(|c| !matches!(c, Component::ParentDir))
}

/// A listing, an ETag, a repository's name: nothing leaves the folder that it is joined to.
pub(super) fn hub(bytes: &[u8]) {
    if let Ok((commit, files)) = parse(bytes) {
        assert!(commit.len() == 40 && stays("/cache/snapshots", &commit));
        for file in files {
            assert!(stays("/cache/snapshots/c", &file), "{file:?} leaves the snapshot");
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(checksum) = Checksum::from_etag(text) {
        assert!(stays("/cache/blobs", checksum.hex()) && !checksum.hex().contains('/'));
        assert_eq!(Checksum::from_etag(checksum.hex()), Some(checksum));
    }
    for kind in [Kind::Model, Kind::Dataset] {
        if let Ok(repository) = Repository::new(kind, text) {
            assert!(stays("/cache", &repository.folder()) && !repository.folder().contains('/'));
        }
    }
}
