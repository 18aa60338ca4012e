//! From a sweep file to what is run: missing sources named all together, inputs resolved, nothing written yet.

use super::run::{WorkArgs, first_backend, resolve_options};
use crate::exit::Failure;
use crate::inputs::resolve::{Prepared, prepare as resolve};
use crate::inputs::sources::HubCache;
use crate::inputs::wanted::wanted;
use crate::serve::LocalError;
use crate::spec::file::SweepFile;
use espalier_proto::bucket::Bucket;
use espalier_proto::recipe::Backend;

/// Resolves everything that the sweep reads. Writes nothing to the bucket.
pub async fn prepare(file: &SweepFile, bucket: &Bucket, work: &WorkArgs) -> Result<Prepared, Failure> {
    let backend = match first_backend(bucket, file, false).await? {
        Some(backend) => backend,
        None => match work.backend(file.backend) {
            // Nothing but a CPU is known of where there is no worker to ask.
            Err(Failure::Local(LocalError::NoWorker { .. })) => Backend::Cpu,
            known => known?,
        },
    };
    let options = resolve_options(work, backend, None);
    sources_are_here(file, &options.hub)?;
    let mut tell = |what: &str| tracing::info!("{what}");
    Ok(resolve(file, &options, &mut tell)?)
}

/// Refuses a sweep whose models or datasets are not on this machine, naming all of them.
pub fn sources_are_here(file: &SweepFile, hub: &HubCache) -> Result<(), Failure> {
    let wanted = wanted(file, hub);
    if wanted.is_empty() { Ok(()) } else { Err(Failure::Wanted { wanted }) }
}
