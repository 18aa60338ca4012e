//! From a sweep file to what is run: missing sources fetched, or named all together; inputs resolved; no result written yet.

use super::bars::Bars;
use super::work::{WorkArgs, resolve_options};
use crate::exit::Failure;
use crate::hub::Environment;
use crate::inputs::InputsError;
use crate::inputs::obtain::{Wanting, obtain};
use crate::inputs::resolve::{Prepared, prepare as resolve};
use crate::inputs::wanted::wanted;
use crate::serve::{LocalError, log};
use crate::spec::file::SweepFile;
use espalier_proto::bucket::Bucket;
use espalier_proto::recipe::Backend;

/// Resolves everything that the sweep reads. Writes nothing to the bucket.
pub async fn prepare(file: &SweepFile, bucket: &Bucket, work: &WorkArgs) -> Result<Prepared, Failure> {
    let before = log::before(bucket, &file.name, false).await?;
    let backend = match before.backend(file.backend) {
        Some(backend) => backend,
        None => match work.backend(file.backend) {
            // Nothing but a CPU is known of where there is no worker to ask.
            Err(Failure::Local(LocalError::NoWorker { .. })) => Backend::Cpu,
            known => known?,
        },
    };
    let options = resolve_options(work, backend, None, Some(&before));
    fetch(wanted(file, &options.hub), work).await?;
    let mut tell = |what: &str| tracing::info!("{what}");
    Ok(resolve(file, &options, &mut tell)?)
}

/// Fetches what is wanted; refuses what cannot be had, naming all of it.
pub async fn fetch(wanting: Wanting, work: &WorkArgs) -> Result<(), Failure> {
    if wanting.is_empty() {
        return Ok(());
    }
    let environment = environment()?;
    let mut bars = Bars::new();
    let wanted = obtain(wanting, &work.hub(), environment.as_ref(), &mut |p| bars.fetching(p)).await;
    if wanted.is_empty() { Ok(()) } else { Err(Failure::Wanted { wanted }) }
}

/// The hub as this process's environment names it.
pub fn environment() -> Result<Option<Environment>, Failure> {
    Ok(Environment::read(|name| std::env::var(name).ok()).map_err(InputsError::from)?)
}
