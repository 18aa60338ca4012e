//! Reads a bucket whole: every object with its size and the store's own time, every sweep with what its specs name.
//!
//! In: a bucket. Out: [`Inventory`]. Decides nothing.

use crate::serve::canary::canaries;
use crate::serve::fold::Fold;
use crate::serve::log::{self, LogError};
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::{CellKey, Digest, InputsDigest, ModelDigest, Name, VariantKey};
use espalier_proto::layout::{self, Owner};
use espalier_proto::sweep::ResolvedSweep;
use object_store::ObjectMeta;
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};

/// Why a bucket cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A sweep's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No such sweep.
    #[error("bucket {bucket} holds no sweep {sweep}; it holds: {known}")]
    UnknownSweep {
        /// The bucket.
        bucket: String,
        /// The name.
        sweep: Name,
        /// The sweeps that are there, for people.
        known: String,
    },
    /// There is something of it, and nothing says what it is.
    #[error(
        "sweep {sweep} is in bucket {bucket}, and no entry of its log, from {path} on, says that it was submitted; submitting it again \
         brings it back, and `espalier rm {sweep}` removes what is left of it"
    )]
    Unlogged {
        /// The bucket.
        bucket: String,
        /// The name.
        sweep: Name,
        /// The first entry of its log.
        path: String,
    },
    /// What says what a sweep needs is damaged.
    #[error(
        "sweep {sweep} cannot be read, so what it needs is not known: {why}; put that object back as it was, submit the sweep again if it is its \
         latest grid, or remove the sweep alone with `espalier rm {sweep} --force` and submit it again, which finds what it has measured"
    )]
    Unreadable {
        /// The sweep.
        sweep: Name,
        /// Which object, and how.
        why: String,
    },
    /// Somebody is at it.
    #[error(
        "sweep {sweep} belongs to instance {owner}, which process {pid} on host {host} has been running since {since} and has \
         not ended, as far as can be known from here; end it first, or say --force"
    )]
    Running {
        /// The sweep.
        sweep: Name,
        /// Whose it is.
        owner: Name,
        /// Its host.
        host: String,
        /// Its process there.
        pid: u32,
        /// Since when.
        since: String,
    },
}

/// What specs name: everything that they need in the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(BTreeSet<Need>);

/// One thing that a spec names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Model(ModelDigest),
    Inputs(InputsDigest),
    Variant(VariantKey),
    Cell(CellKey),
}

impl Needs {
    /// What one spec names.
    pub fn of(sweep: &ResolvedSweep) -> Self {
        let models = sweep.models.iter().map(|m| Need::Model(m.digest));
        let variants = sweep.variants.iter().map(|v| Need::Variant(v.key));
        let calibrations = sweep.variants.iter().filter_map(|v| v.spec.calibration).map(Need::Inputs);
        let cells = sweep.cells.iter().flat_map(|c| [Need::Cell(c.key), Need::Inputs(c.inputs)]);
        // What a canary left of itself is why its model's variants are not run.
        let canaries = canaries(sweep).into_keys().map(Need::Variant);
        Self(models.chain(variants).chain(calibrations).chain(cells).chain(canaries).collect())
    }

    /// What was given up, and which canaries have passed, by a sweep's log: canaries of another version may have other keys.
    fn told(fold: &Fold) -> Self {
        let given_up = fold.given_up.keys().map(|key| VariantKey(*key));
        Self(given_up.chain(fold.canaries.iter().copied()).map(Need::Variant).collect())
    }

    /// True if what this object belongs to is needed; of a sweep's or an instance's own objects nothing is said.
    pub fn has(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Model(digest) => self.0.contains(&Need::Model(*digest)),
            Owner::Inputs(digest) => self.0.contains(&Need::Inputs(*digest)),
            Owner::Variant(key) | Owner::Export(key) | Owner::Log(key) => {
                self.0.contains(&Need::Variant(*key))
            }
            Owner::Cell(key) => self.0.contains(&Need::Cell(*key)),
            Owner::Failure(key) => {
                self.0.contains(&Need::Variant(VariantKey(*key)))
                    || self.0.contains(&Need::Cell(CellKey(*key)))
            }
            Owner::Sweep(_) | Owner::Instance(_) | Owner::Unknown => false,
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
}

/// One sweep of the bucket.
#[derive(Clone, Debug, Default)]
pub struct SweepNeeds {
    /// The state of its log.
    pub fold: Fold,
    /// What the spec submitted last names; of one that was not submitted whole what its log names.
    pub current: Needs,
    /// What its earlier specs name.
    pub earlier: Needs,
}

/// A bucket as it was when it was read.
#[derive(Clone, Debug)]
pub struct Inventory {
    /// Every object with its owner, sorted by path.
    pub objects: Vec<(ObjectMeta, Owner)>,
    /// Every sweep, by name.
    pub sweeps: BTreeMap<Name, SweepNeeds>,
}

impl Inventory {
    /// Reads the bucket. Sweeps are read after the listing: a sweep submitted meanwhile is seen, and its objects are not.
    pub async fn read(bucket: &Bucket) -> Result<Self, StoreError> {
        let objects = bucket.list_sizes(&Path::default()).await?;
        let objects: Vec<_> = objects.into_iter().map(|meta| (layout::owner(&meta.location), meta)).collect();
        let objects: Vec<_> = objects.into_iter().map(|(owner, meta)| (meta, owner)).collect();
        Ok(Self { sweeps: sweeps(bucket).await?, objects })
    }

    /// The sweep called `name`.
    pub fn sweep(&self, bucket: &Bucket, name: &Name) -> Result<&SweepNeeds, StoreError> {
        self.sweeps.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.sweeps.keys().map(Name::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            StoreError::UnknownSweep { bucket: bucket.url().to_owned(), sweep: name.clone(), known }
        })
    }
}

/// Reads every sweep's log and specs. One that cannot be read stops everything.
pub async fn sweeps(bucket: &Bucket) -> Result<BTreeMap<Name, SweepNeeds>, StoreError> {
    below(bucket, &layout::sweeps()).await
}

/// The same of one sweep; of an unknown one there is nothing.
pub(super) async fn sweep(bucket: &Bucket, name: &Name) -> Result<Option<SweepNeeds>, StoreError> {
    Ok(below(bucket, &layout::sweeps().join(name.as_str())).await?.remove(name))
}

async fn below(bucket: &Bucket, folder: &Path) -> Result<BTreeMap<Name, SweepNeeds>, StoreError> {
    let mut found: BTreeMap<Name, SweepNeeds> = BTreeMap::new();
    for path in bucket.list(folder).await? {
        let Owner::Sweep(name) = layout::owner(&path) else { continue };
        if !found.contains_key(&name) {
            let fold = fold(bucket, &name).await?;
            let needs = SweepNeeds { current: Needs::told(&fold), fold, ..SweepNeeds::default() };
            found.insert(name.clone(), needs);
        }
        let spec = path.filename().and_then(|file| file.strip_suffix(".json")?.parse::<Digest>().ok());
        let (Some(spec), Some(entry)) = (spec, found.get_mut(&name)) else { continue };
        if path != layout::spec(&name, spec) {
            continue;
        }
        let needs = spec_needs(bucket, &path).await.map_err(|error| unreadable(&name, error))?;
        let Some(needs) = needs else { continue };
        match entry.fold.spec == Some(spec) {
            true => entry.current.add(&needs),
            false => entry.earlier.add(&needs),
        }
    }
    Ok(found)
}

/// What a sweep's log says, all of it.
pub async fn fold(bucket: &Bucket, name: &Name) -> Result<Fold, StoreError> {
    match log::read_whole(bucket, name).await {
        Ok(fold) => Ok(fold),
        Err(LogError::Bucket(error)) => Err(unreadable(name, error)),
        Err(error) => Err(error.into()),
    }
}

/// What is damaged of a sweep's own; what another version wrote, or a store does not give now, is not.
fn unreadable(name: &Name, error: BucketError) -> StoreError {
    match error {
        BucketError::Corrupt { .. } => StoreError::Unreadable { sweep: name.clone(), why: error.to_string() },
        error => error.into(),
    }
}

/// What the spec at `path` names.
async fn spec_needs(bucket: &Bucket, path: &Path) -> Result<Option<Needs>, BucketError> {
    Ok(bucket.read_object::<ResolvedSweep>(path).await?.map(|sweep| Needs::of(&sweep)))
}
