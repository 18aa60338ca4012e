//! A sweep as a user sent it → resolved, its inputs and models in the bucket, queued. Nothing is queued if anything is wrong.

use super::log;
use super::progress::fetching;
use super::refuse::Refusal;
use super::sweeps::{Asked, Sweeps, SweepsError};
use super::uploads::{Tree, Uploads};
use crate::hub::Environment;
use crate::inputs::Before;
use crate::inputs::obtain::obtain;
use crate::inputs::resolve::{Prepared, ResolveOptions, prepare};
use crate::inputs::sources::HubCache;
use crate::inputs::wanted::wanted;
use crate::plan::cells::chosen;
use crate::spec::file::SweepFile;
use crate::spec::only::{Only, OnlyError};
use crate::spec::parse::{Changes, parse};
use espalier_proto::causes;
use espalier_proto::ids::{CellKey, Digest};
use espalier_proto::messages as m;
use espalier_proto::mirror;
use espalier_proto::recipe::Backend;
use espalier_proto::sweep::{DataSources, ResolvedSweep};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What submissions are resolved with.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// What `backend: auto` is; `None`: what all connected workers are.
    pub backend: Option<Backend>,
    /// The Hugging Face cache of this host.
    pub hub: HubCache,
    /// The hub that it is filled from; `None`: from none.
    pub network: Option<Environment>,
    /// A folder that remembers digests of model files.
    pub digests: Option<PathBuf>,
    /// Silence after which a worker's shards may be given to others; more than [`RECONCILE`](espalier_proto::protocol::RECONCILE).
    pub lease: Duration,
}

/// Resolves and queues a sweep; `tell` hears what is being done. Gives the sweep, and what of its sources moved.
pub async fn submit(
    sweeps: &Sweeps,
    uploads: &Uploads,
    defaults: &Defaults,
    request: m::SubmitRequest,
    tell: Arc<dyn Fn(&str) + Send + Sync>,
) -> Result<(ResolvedSweep, Vec<String>), Refusal> {
    // What costs nothing to find wrong is told first.
    let only = only(&request.only)?;
    let files: BTreeMap<String, Digest> = request
        .files
        .iter()
        .map(|f| Ok((f.path.clone(), f.sha256.parse().map_err(Refusal::bad)?)))
        .collect::<Result<_, Refusal>>()?;
    let tree = Arc::new(uploads.tree(&files).map_err(Refusal::bad)?);
    let mut file = parsed(&request)?;
    relocate(&mut file, tree.root());
    let before = log::before(sweeps.bucket(), &file.name, request.update).await;
    let before = before.map_err(|error| Refusal::sweeps(SweepsError::of_log(&file.name, error)))?;
    let backend = backend(sweeps, defaults, &file, &before)?;
    let options = ResolveOptions {
        backend,
        hub: defaults.hub.clone().with_revisions(before.revisions()),
        digests: defaults.digests.clone(),
        limit: (request.limit > 0).then_some(request.limit),
    };
    fetch(&file, &options.hub, defaults, tell.as_ref()).await?;
    let prepared = resolved(file, options, tree.clone(), tell.clone()).await?;
    some(chosen(&prepared.sweep, &only))?;
    let asked = Asked {
        only,
        take_over: request.take_over,
        priority: (!request.keep_priority).then_some(request.priority),
    };
    let sweep = queue(sweeps, prepared, &asked, tree.root(), defaults, tell.as_ref()).await?;
    let moved = before.moved(&sweep);
    Ok((sweep, moved))
}

/// All `--only` together.
pub(super) fn only(choices: &[String]) -> Result<Only, Refusal> {
    let mut all = Only::default();
    for choice in choices {
        let choice: Only = choice.parse().map_err(|error: OnlyError| Refusal::usage(&error.to_string()))?;
        all = all.and(&choice);
    }
    Ok(all)
}

/// A choice that chooses something.
pub(super) fn some(chosen: Option<BTreeSet<CellKey>>) -> Result<Option<BTreeSet<CellKey>>, Refusal> {
    if chosen.as_ref().is_some_and(BTreeSet::is_empty) {
        return Err(Refusal::usage(
            "--only: found a choice of no cell, expected values as `espalier plan` shows them",
        ));
    }
    Ok(chosen)
}

async fn queue(
    sweeps: &Sweeps,
    mut prepared: Prepared,
    asked: &Asked,
    root: &Path,
    defaults: &Defaults,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<ResolvedSweep, Refusal> {
    tell("writing inputs");
    prepared.write(sweeps.bucket()).await.map_err(|e| Refusal::inputs(&e))?;
    for model in &mut prepared.sweep.models {
        tell(&format!("putting model {} into the bucket", model.id));
        let folder = PathBuf::from(&model.folder);
        mirror::put(sweeps.bucket(), &folder, model.digest, defaults.digests.as_deref())
            .await
            .map_err(Refusal::bucket)?;
        // What a sweep is does not depend on where this coordinator laid its files.
        model.folder = outside(&model.folder, root);
        model.source = outside(&model.source, root);
    }
    let mut sweep = prepared.sweep;
    let DataSources { tasks, calibrations } = &mut sweep.data;
    tasks.values_mut().chain(calibrations.values_mut()).for_each(|source| *source = outside(source, root));
    sweeps.submit(sweep.clone(), asked).await.map_err(Refusal::sweeps)?;
    Ok(sweep)
}

/// Reads the text as the file that it was on the user's host.
fn parsed(request: &m::SubmitRequest) -> Result<SweepFile, Refusal> {
    let path = Path::new(&request.path);
    let folder = path.parent().filter(|p| p.is_absolute()).unwrap_or(Path::new("/"));
    let limit = (request.limit > 0).then_some(request.limit);
    let changes = Changes { set: request.set.clone(), limit };
    parse(&request.text, path, folder, &changes).map_err(Refusal::bad)
}

/// Every absolute path of the file, meant on the user's host, is looked for in the tree.
fn relocate(file: &mut SweepFile, root: &Path) {
    let inside = |path: &mut String| {
        if path.starts_with('/') {
            *path = format!("{}{path}", root.display());
        }
    };
    file.models.iter_mut().for_each(|m| inside(&mut m.source));
    file.calibrations.values_mut().for_each(|c| inside(&mut c.data));
    for task in &mut file.tasks {
        inside(&mut task.task);
        task.data.iter_mut().for_each(inside);
    }
}

/// The path on the user's host.
fn outside(path: &str, root: &Path) -> String {
    let resolved = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let strip = |root: &Path| path.strip_prefix(&root.display().to_string()).map(str::to_owned);
    strip(root).or_else(|| strip(&resolved)).unwrap_or_else(|| path.to_owned())
}

/// What the sweep's backend is; of `auto` what it was at first, else the coordinator's own choice, else what all workers are.
fn backend(
    sweeps: &Sweeps,
    defaults: &Defaults,
    file: &SweepFile,
    before: &Before,
) -> Result<Backend, Refusal> {
    if let Some(backend) = before.backend(file.backend).or(defaults.backend) {
        return Ok(backend);
    }
    let status = sweeps.driver().status().borrow().clone();
    let connected = status.view.workers.iter().filter(|worker| worker.connected);
    let kinds: BTreeSet<Backend> =
        connected.filter_map(|worker| status.workers.get(&worker.id)).map(|f| f.backend).collect();
    match kinds.first() {
        Some(backend) if kinds.len() == 1 => Ok(*backend),
        found => {
            let found = if found.is_none() { "no worker" } else { "workers of both kinds" };
            Err(Refusal::bad_text(format!(
                "backend: found auto and {found} connected, expected cpu or cuda; say `backend:` in the sweep file, or \
                 start the coordinator with --backend (ESPALIER_BACKEND)"
            )))
        }
    }
}

/// Resolves on a thread of its own: tokenising takes its time, and workers call meanwhile.
async fn resolved(
    file: SweepFile,
    options: ResolveOptions,
    tree: Arc<Tree>,
    tell: Arc<dyn Fn(&str) + Send + Sync>,
) -> Result<Prepared, Refusal> {
    let work = tokio::task::spawn_blocking(move || {
        let root = tree.root().display().to_string();
        let plain = |text: String| text.replace(&root, "");
        prepare(&file, &options, &mut |what| tell(what)).map_err(|error| {
            let mut refusal = Refusal::inputs(&error);
            refusal.message = plain(refusal.message);
            refusal
        })
    });
    work.await.map_err(|e| Refusal::internal(&e))?
}

/// Fetches what is not on this host; refuses what cannot be had, naming all of it.
async fn fetch(
    file: &SweepFile,
    hub: &HubCache,
    defaults: &Defaults,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), Refusal> {
    let lacks = wanted(file, hub);
    let mut told = None;
    let mut heard = |progress: &crate::hub::Progress| {
        if told.replace(progress.twentieth()) != Some(progress.twentieth()) {
            tell(&fetching(progress));
        }
    };
    let left = obtain(lacks, hub, defaults.network.as_ref(), &mut heard).await;
    let lines: Vec<String> = left.iter().map(|error| causes::chain(error)).collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(Refusal::bad_text(format!("on the coordinator's host: {}", lines.join("\n"))))
}
