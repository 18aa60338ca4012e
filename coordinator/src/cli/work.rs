//! On what, and with which of the user's caches, this machine works: flags that `run`, `plan`, `prune`, `eval` and `report` share.

use crate::exit::Failure;
use crate::inputs::{Before, ResolveOptions, sources::HubCache};
use crate::serve::{Devices, local, machine, workers};
use crate::spec::file::BackendChoice;
use espalier_proto::recipe::Backend;
use std::path::PathBuf;

/// How work is done on this machine: what `run`, `prune` and `eval` share.
#[derive(Clone, Debug, clap::Args)]
pub struct WorkArgs {
    /// The worker's binary [default: beside this one, else on PATH]
    #[arg(long, value_name = "FILE", env = "ESPALIER_WORKER_BIN")]
    pub worker_bin: Option<PathBuf>,
    /// On what to work: all, cpu:WORKERS or cuda:INDEX,INDEX,…
    #[arg(long, value_name = "DEVICES", default_value = "all")]
    pub devices: Devices,
    /// Look for models and datasets (org/name) in this folder before Hugging Face's own cache (HF_HUB_CACHE, HF_HOME), and fetch
    /// missing ones into it
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

impl WorkArgs {
    /// The Hugging Face cache of this machine.
    pub fn hub(&self) -> HubCache {
        let hub = HubCache::from_env(|name| std::env::var(name).ok());
        self.cache_dir.iter().fold(hub, |hub, folder| hub.with_first(folder))
    }

    /// What `backend: auto` is on this machine: cuda where the worker sees a GPU.
    pub fn backend(&self, choice: BackendChoice) -> Result<Backend, Failure> {
        Ok(match (choice, &self.devices) {
            (BackendChoice::Cpu, _) | (BackendChoice::Auto, Devices::Cpu(_)) => Backend::Cpu,
            (BackendChoice::Cuda, _) => Backend::Cuda,
            (BackendChoice::Auto, devices) => {
                let worker = workers::find_binary(self.worker_bin.as_deref())
                    .map_err(|looked| local::LocalError::NoWorker { looked })?;
                match (machine::backend(&worker), devices) {
                    // Said before the sweep is fixed to what this machine lacks.
                    (Backend::Cpu, Devices::Cuda(_)) => return Err(local::LocalError::NoGpu.into()),
                    (backend, _) => backend,
                }
            }
        })
    }
}

/// Where digests of files that have not changed are remembered on this machine.
pub fn digests() -> Option<PathBuf> {
    Some(cache()?.join("digests"))
}

/// Espalier's own cache of this user, where there is a home.
pub fn cache() -> Option<PathBuf> {
    let get = |name: &str| std::env::var(name).ok();
    let cache =
        get("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(get("HOME")?).join(".cache")));
    cache.map(|c| c.join("espalier"))
}

/// How sweeps are resolved on this machine; with what stays of an earlier time.
pub fn resolve_options(
    work: &WorkArgs,
    backend: Backend,
    limit: Option<u64>,
    before: Option<&Before>,
) -> ResolveOptions {
    let hub = before.map(Before::revisions).into_iter().fold(work.hub(), HubCache::with_revisions);
    ResolveOptions { backend, hub, digests: digests(), limit }
}
