//! Removes a sweep: its folder, and everything that only it names.
//!
//! In: an [`Inventory`] and a name. Out: [`Removal`], then its deletion, in an order that a second try can go on from: records
//! first, so that no record ever names a blob that is gone; the sweep's own specs and log last, since they say what it needs. An
//! instance's epochs stay: attempts are numbered by them. Of a sweep that cannot be read its own folder goes and nothing else.

use super::inventory::{self, Needs, SweepNeeds};
use super::{Inventory, StoreError, delete_all};
use crate::serve::epoch;
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Name;
use espalier_proto::layout::{self, Owner};
use object_store::ObjectMeta;
use object_store::path::Path;

/// What would go.
#[derive(Clone, Debug, Default)]
pub struct Removal {
    /// Records of variants and cells, lists of models' files.
    pub records: Vec<ObjectMeta>,
    /// Blobs, inputs, models, exports, failures.
    pub others: Vec<ObjectMeta>,
    /// The sweep's report and whatever else is derived.
    pub derived: Vec<ObjectMeta>,
    /// Its log, last entry first: without gaps it reads back at every moment. Of a damaged one the first goes first: at no moment
    /// do entries that are left pass for all there were.
    pub log: Vec<ObjectMeta>,
    /// Its specs.
    pub specs: Vec<ObjectMeta>,
    /// Bytes that stay because other sweeps name them as well.
    pub shared: u64,
}

impl Removal {
    /// Everything that goes, in the order of its deletion.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectMeta> {
        let first = self.records.iter().chain(&self.others);
        first.chain(&self.derived).chain(&self.log).chain(&self.specs)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.objects().map(|meta| meta.size).sum()
    }
}

/// What removing `name` removes.
pub fn removal(bucket: &Bucket, inventory: &Inventory, name: &Name) -> Result<Removal, StoreError> {
    let SweepNeeds { current, earlier, .. } = inventory.sweep(bucket, name)?;
    let mut kept = Needs::default();
    for (_, needs) in inventory.sweeps.iter().filter(|(other, _)| *other != name) {
        kept.add(&needs.current);
        kept.add(&needs.earlier);
    }
    let (log, specs) = (layout::log_folder(name), layout::specs(name));
    let mut found = Removal::default();
    for (meta, owner) in &inventory.objects {
        let place = match owner {
            Owner::Sweep(of) if of == name && meta.location.prefix_matches(&log) => &mut found.log,
            Owner::Sweep(of) if of == name && meta.location.prefix_matches(&specs) => &mut found.specs,
            Owner::Sweep(of) if of == name => &mut found.derived,
            owner if !current.has(owner) && !earlier.has(owner) => continue,
            owner if kept.has(owner) => {
                found.shared += meta.size;
                continue;
            }
            _ if names_others(&meta.location) => &mut found.records,
            _ => &mut found.others,
        };
        place.push(meta.clone());
    }
    found.log.reverse();
    Ok(found)
}

/// What removing `name` removes, and what is damaged of it, if its log or a spec is: its own objects. What it needs beside them is not known.
pub async fn unreadable(bucket: &Bucket, name: &Name) -> Result<Option<(Removal, String)>, StoreError> {
    let why = match inventory::sweep(bucket, name).await {
        Err(StoreError::Unreadable { why, .. }) => why,
        read => return read.map(|_| None),
    };
    let (log, specs) = (layout::log_folder(name), layout::specs(name));
    let mut found = Removal::default();
    for meta in bucket.list_sizes(&layout::sweeps().join(name.as_str())).await? {
        let place = match layout::owner(&meta.location) {
            Owner::Sweep(of) if of != *name => continue,
            Owner::Sweep(_) if meta.location.prefix_matches(&log) => &mut found.log,
            Owner::Sweep(_) if meta.location.prefix_matches(&specs) => &mut found.specs,
            Owner::Sweep(_) => &mut found.derived,
            _ => continue,
        };
        place.push(meta);
    }
    Ok(Some((found, why)))
}

/// True for the record of a variant or a cell.
pub(super) fn is_record(path: &Path) -> bool {
    matches!(layout::owner(path), Owner::Variant(_) | Owner::Cell(_))
        && path.filename() == Some("record.json")
        && path.parts().count() == 4
}

/// True for what names other objects, which must be there as long as it is: it goes first.
pub(super) fn names_others(path: &Path) -> bool {
    is_record(path)
        || matches!(layout::owner(path), Owner::Model(digest) if *path == layout::model_list(digest))
}

/// Refuses a sweep whose owner may be at it.
pub async fn refuse_if_running(
    bucket: &Bucket,
    inventory: &Inventory,
    name: &Name,
) -> Result<(), StoreError> {
    let Some(owner) = inventory.sweep(bucket, name)?.fold.owner.clone() else { return Ok(()) };
    let Some(record) = epoch::running(bucket, &owner).await? else { return Ok(()) };
    let process = record.process;
    let (host, pid, since) = (process.host, process.pid, record.since);
    Err(StoreError::Running { sweep: name.clone(), owner, host, pid, since })
}

/// Deletes.
pub async fn carry_out(bucket: &Bucket, removal: &Removal) -> Result<(), StoreError> {
    let paths = |of: &[ObjectMeta]| of.iter().map(|meta| meta.location.clone()).collect::<Vec<_>>();
    super::delete_records(bucket, paths(&removal.records)).await?;
    for step in [&removal.others, &removal.derived] {
        delete_all(bucket, paths(step)).await?;
    }
    for path in paths(&removal.log) {
        bucket.delete(&path).await?;
    }
    Ok(delete_all(bucket, paths(&removal.specs)).await?)
}
