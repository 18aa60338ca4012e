//! Which of many records are there: asked for by key where they are few, found by listing where they are many.

use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::Digest;
use espalier_proto::layout::{self, Owner};
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;

/// More keys than these are looked for by listing.
const LISTED: usize = 20_000;
/// Listings in flight.
const AT_ONCE: usize = 32;

/// Keys (of cells, else of variants) that may be there: all of few, of many those that a listing shows.
pub(super) async fn there(
    bucket: &Bucket,
    keys: Vec<(bool, Digest)>,
) -> Result<Vec<(bool, Digest)>, BucketError> {
    if keys.len() <= LISTED {
        return Ok(keys);
    }
    let parts: BTreeSet<(bool, u8)> = keys.iter().map(|(cell, key)| (*cell, key.bytes()[0])).collect();
    let listings = futures::stream::iter(parts)
        .map(|(cell, first)| async move { bucket.list(&layout::records_under(!cell, first)).await });
    let found: Vec<Vec<_>> = listings.buffer_unordered(AT_ONCE).try_collect().await?;
    let record = |path: &object_store::path::Path| match layout::owner(path) {
        Owner::Cell(key) if *path == layout::cell_record(key) => Some((true, key.0)),
        Owner::Variant(key) if *path == layout::variant_record(key) => Some((false, key.0)),
        _ => None,
    };
    let found: BTreeSet<(bool, Digest)> = found.iter().flatten().filter_map(record).collect();
    Ok(keys.into_iter().filter(|key| found.contains(key)).collect())
}
