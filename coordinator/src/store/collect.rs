//! Finds what nobody needs any more: what no sweep's current spec names, and what no record names.
//!
//! In: a bucket. Out: [`Garbage`], then its deletion. Nothing goes that is younger than a week by the store's own clock, so that
//! an attempt that is running, or a submission that has written its inputs and not yet its log entry, loses nothing. What an
//! earlier spec of a sweep names ages from that sweep's last submission: a grid that was made smaller can be made larger again.

use super::inventory::{self, SweepNeeds};
use super::remove::{is_record, names_others};
use super::{Inventory, StoreError, delete_all};
use chrono::{DateTime, TimeDelta, Utc};
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::formatted;
use espalier_proto::ids::Name;
use espalier_proto::layout::{self, Owner};
use espalier_proto::records::{Blob, RECORD_FORMAT};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// How old a thing must be.
pub const AGE: TimeDelta = TimeDelta::days(7);

/// Why a thing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No sweep's current spec names it.
    Unreferenced,
    /// It lies beside a record, or where one should be, and no record names it.
    Unnamed,
}

/// What goes, and what is only too young.
#[derive(Clone, Debug, Default)]
pub struct Garbage {
    /// Of one owner at a time, records first.
    pub gone: Vec<(Owner, Reason, Vec<ObjectMeta>)>,
    /// Bytes that will go once they are a week old.
    pub young: u64,
}

impl Garbage {
    /// Bytes that go.
    pub fn bytes(&self) -> u64 {
        self.gone.iter().flat_map(|(_, _, objects)| objects).map(|meta| meta.size).sum()
    }
}

/// Looks through the bucket.
pub async fn garbage(bucket: &Bucket) -> Result<Garbage, StoreError> {
    let inventory = Inventory::read(bucket).await?;
    if inventory.objects.is_empty() {
        return Ok(Garbage::default());
    }
    let old = store_time(bucket).await? - AGE;
    let submitted = last_submissions(&inventory);
    let named = named(bucket, &inventory).await?;
    // A thing is a whole variant, cell, model … that nobody names, or what one attempt left.
    let mut things: BTreeMap<(&Owner, Reason, &str), Vec<&ObjectMeta>> = BTreeMap::new();
    for (meta, owner) in &inventory.objects {
        match needed(&inventory.sweeps, owner) {
            true if !unnamed(owner, meta, &named) => {}
            true => things.entry((owner, Reason::Unnamed, folder(meta))).or_default().push(meta),
            false => things.entry((owner, Reason::Unreferenced, "")).or_default().push(meta),
        }
    }
    let mut found = Garbage::default();
    for ((owner, reason, _), objects) in things {
        let unreferenced = reason == Reason::Unreferenced;
        let until = inventory.sweeps.iter().filter(|(_, s)| unreferenced && s.earlier.has(owner));
        let until = until.filter_map(|(name, _)| submitted.get(name)).max();
        // It is as old as its youngest object.
        let newest = objects.iter().map(|meta| &meta.last_modified).chain(until).max();
        if newest.is_some_and(|newest| *newest < old) {
            let mut objects: Vec<ObjectMeta> = objects.into_iter().cloned().collect();
            objects.sort_by_key(|meta| !names_others(&meta.location));
            found.gone.push((owner.clone(), reason, objects));
        } else {
            found.young += objects.iter().map(|meta| meta.size).sum::<u64>();
        }
    }
    Ok(found)
}

/// Deletes; gives what went. Sweeps are read once more: what was submitted since the garbage was found is spared.
pub async fn carry_out(bucket: &Bucket, mut garbage: Garbage) -> Result<Garbage, StoreError> {
    let sweeps = inventory::sweeps(bucket).await?;
    garbage.gone.retain(|(owner, reason, _)| *reason == Reason::Unnamed || !needed(&sweeps, owner));
    let objects =
        || garbage.gone.iter().flat_map(|(_, _, objects)| objects).map(|meta| meta.location.clone());
    let (records, others): (Vec<_>, Vec<_>) = objects().partition(names_others);
    // What is named is there as long as what names it.
    super::delete_records(bucket, records).await?;
    delete_all(bucket, others).await?;
    Ok(garbage)
}

/// True for what is to stay as a whole; of variants and cells what their records name.
fn needed(sweeps: &BTreeMap<Name, SweepNeeds>, owner: &Owner) -> bool {
    match owner {
        Owner::Unknown | Owner::Instance(_) => true,
        Owner::Sweep(name) => sweeps.get(name).is_none_or(|sweep| sweep.fold.last > 0),
        owner => sweeps.values().any(|sweep| sweep.current.has(owner)),
    }
}

/// True for what no record names in a place where records name things, and for what a probe left.
fn unnamed(owner: &Owner, meta: &ObjectMeta, named: &BTreeSet<String>) -> bool {
    match owner {
        Owner::Variant(_) | Owner::Cell(_) => {
            !is_record(&meta.location) && !is_note(meta) && !named.contains(meta.location.as_ref())
        }
        Owner::Instance(_) => layout::is_probe_race(&meta.location),
        _ => false,
    }
}

/// The folder of an object: of a blob, its attempt's.
fn folder(meta: &ObjectMeta) -> &str {
    meta.location.as_ref().rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A JSON object beside a record, under no attempt: said of the variant itself, such as that its checkpoint was dropped.
fn is_note(meta: &ObjectMeta) -> bool {
    meta.location.parts().count() == 4
}

/// When each sweep was last submitted, cancelled or retried, by the store's clock.
fn last_submissions(inventory: &Inventory) -> BTreeMap<Name, DateTime<Utc>> {
    let mut last: BTreeMap<Name, DateTime<Utc>> = BTreeMap::new();
    for (meta, owner) in &inventory.objects {
        if let Owner::Sweep(name) = owner
            && meta.location.prefix_matches(&layout::log_folder(name))
        {
            let seen = last.entry(name.clone()).or_insert(meta.last_modified);
            *seen = meta.last_modified.max(*seen);
        }
    }
    last
}

/// What records of variants and cells have in common.
#[derive(Deserialize)]
struct Naming {
    format: u32,
    attempt: String,
    blobs: Vec<Blob>,
}

formatted!(Naming, "record", RECORD_FORMAT);

/// Every blob that a record names. A record that cannot be read stops everything: what it names is not known.
async fn named(bucket: &Bucket, inventory: &Inventory) -> Result<BTreeSet<String>, StoreError> {
    let records: Vec<_> = inventory
        .objects
        .iter()
        .filter(|(meta, _)| is_record(&meta.location))
        .map(|(meta, _)| {
            let path = meta.location.clone();
            async move { Ok::<_, BucketError>((bucket.read_object::<Naming>(&path).await?, path)) }
        })
        .collect();
    let found: Vec<_> = futures::stream::iter(records).buffer_unordered(super::AT_ONCE).try_collect().await?;
    let mut named = BTreeSet::new();
    for (record, path) in found {
        let folder = path.as_ref().trim_end_matches("record.json");
        let Some(Naming { attempt, blobs, .. }) = record else { continue };
        named.extend(blobs.iter().map(|blob| format!("{folder}{attempt}/{}", blob.name)));
    }
    Ok(named)
}

/// Now, by the clock that dates the bucket's objects: that of an object written for it.
async fn store_time(bucket: &Bucket) -> Result<DateTime<Utc>, StoreError> {
    let path = layout::clock(&std::process::id().to_string());
    bucket.put(&path, bytes::Bytes::from_static(b"now\n")).await?;
    let meta = bucket.meta(&path).await?;
    bucket.delete(&path).await?;
    let gone =
        || BucketError::Corrupt { path: path.to_string(), why: "it was written, and is gone".to_owned() };
    Ok(meta.ok_or_else(gone)?.last_modified)
}
