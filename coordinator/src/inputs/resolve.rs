//! A sweep file → the resolved sweep with everything that it reads. Once per sweep; nothing is tokenised after it.

use super::calibration::Calibrations;
use super::error::InputsError;
use super::grid::{Reading, columns};
use super::model::{self, Model};
use super::sources::HubCache;
use crate::spec::expand::{CalibrationInputs, ExpandModel, expand};
use crate::spec::file::{Pos, SweepFile};
use espalier_proto::bucket::{Bucket, written_by};
use espalier_proto::ids::InputsDigest;
use espalier_proto::inputs::Inputs;
use espalier_proto::keys::cell_key;
use espalier_proto::layout;
use espalier_proto::recipe::Backend;
use espalier_proto::sweep::{CellEntry, DataSources, ResolvedSweep, SWEEP_FORMAT};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Tokens of all calibration windows of a sweep at most, which are in memory together: 512 of the reference's calibrations, 512 MiB.
const MOST_DRAWN: u64 = 1 << 27;

/// How to resolve.
pub struct ResolveOptions {
    /// What computes: `auto` is decided by whoever knows the workers.
    pub backend: Backend,
    /// The Hugging Face cache.
    pub hub: HubCache,
    /// A folder that remembers digests of model files that have not changed.
    pub digests: Option<PathBuf>,
    /// `--limit`: windows for perplexity, items otherwise.
    pub limit: Option<u64>,
}

/// A sweep resolved, its inputs not yet in a bucket.
pub struct Prepared {
    /// The sweep.
    pub sweep: ResolvedSweep,
    /// Everything that its cells and variants read.
    pub inputs: BTreeMap<InputsDigest, Inputs>,
    /// Its models, in the sweep's order.
    pub models: Vec<Model>,
}

/// Resolves a sweep and writes its inputs. `progress` is told what is being done.
pub async fn resolve(
    file: &SweepFile,
    options: &ResolveOptions,
    bucket: &Bucket,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<ResolvedSweep, InputsError> {
    let prepared = prepare(file, options, progress)?;
    progress("writing inputs");
    prepared.write(bucket).await?;
    Ok(prepared.sweep)
}

/// Resolves a sweep: reads models' headers and data, renders, tokenises, draws. Writes nothing.
pub fn prepare(
    file: &SweepFile,
    options: &ResolveOptions,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Prepared, InputsError> {
    // What the sweep does not read for now stays as well: it may come back.
    let mut revisions = options.hub.revisions().known();
    let mut models: Vec<Model> = Vec::new();
    for decl in &file.models {
        progress(&format!("opening model {}", decl.id));
        let digests = options.digests.as_deref();
        let model = model::open(decl, file.dtype, options.backend, &options.hub, digests)?;
        revisions.extend(model.revision.clone());
        models.push(model);
    }
    let mut inputs = BTreeMap::new();
    let reading = Reading { hub: &options.hub, limit: options.limit };
    let (mut tasks, mut data) = (Vec::new(), DataSources::default());
    let mut by_task: Vec<Vec<(usize, InputsDigest)>> = Vec::new();
    for decl in &file.tasks {
        progress(&format!("reading task {}", decl.task));
        let at = place(&file.path, decl.at);
        for column in columns(decl, &models, &reading, &at)? {
            if tasks.iter().any(|t: &espalier_proto::sweep::TaskEntry| t.label == column.entry.label) {
                return Err(InputsError::Declared {
                    at,
                    field: "tasks".to_owned(),
                    found: format!("a second {}", column.entry.label),
                    expected: "tasks that differ in name, style or seqlen".to_owned(),
                });
            }
            revisions.extend(column.data.revision());
            data.tasks.insert(column.entry.label.clone(), column.data.pinned);
            tasks.push(column.entry);
            let digests = column.inputs.into_iter().map(|(model, resolved)| {
                let digest = resolved.digest();
                inputs.insert(digest, resolved);
                (model, digest)
            });
            by_task.push(digests.collect());
        }
    }
    let mut drawn =
        DrawnFor { inputs: &mut inputs, sources: &mut data.calibrations, revisions: &mut revisions };
    let variants = variants(file, options, &models, &mut drawn, progress)?;
    let mut cells = Vec::new();
    for variant in &variants {
        let model = models.iter().position(|m| m.entry.id == variant.model);
        for (task, digests) in tasks.iter().zip(&by_task) {
            if let Some((_, inputs)) = digests.iter().find(|(of, _)| Some(*of) == model) {
                let key = cell_key(variant.key, *inputs);
                cells.push(CellEntry {
                    key,
                    variant: variant.key,
                    task: task.label.clone(),
                    inputs: *inputs,
                });
            }
        }
    }
    let sweep = ResolvedSweep {
        format: SWEEP_FORMAT,
        written_by: written_by(),
        name: file.name.clone(),
        models: models.iter().map(|m| m.entry.clone()).collect(),
        tasks,
        variants,
        cells,
        data,
        revisions,
        checkpoints: file.checkpoints,
        limits: file.limits,
    };
    Ok(Prepared { sweep, inputs, models })
}

/// What drawing calibrations adds to a sweep.
struct DrawnFor<'a> {
    inputs: &'a mut BTreeMap<InputsDigest, Inputs>,
    /// Where their texts are from, by name.
    sources: &'a mut BTreeMap<String, String>,
    /// What may move of that, and the commit that it is.
    revisions: &'a mut BTreeMap<String, String>,
}

fn variants(
    file: &SweepFile,
    options: &ResolveOptions,
    models: &[Model],
    adds: &mut DrawnFor<'_>,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Vec<espalier_proto::sweep::VariantEntry>, InputsError> {
    let known: Vec<ExpandModel> = models
        .iter()
        .map(|m| ExpandModel {
            id: m.entry.id.clone(),
            digest: m.entry.digest,
            arch: m.arch.clone(),
            dtype: m.entry.dtype,
        })
        .collect();
    let mut calibrations = Calibrations::default();
    let mut tokens = 0u64;
    let mut drawn: BTreeMap<(String, u64, String), CalibrationInputs> = BTreeMap::new();
    expand(file, &known, options.backend, |name, seed, of| {
        let key = (name.to_owned(), seed, of.id.clone());
        if let Some(found) = drawn.get(&key) {
            return Ok(*found);
        }
        progress(&format!("drawing calibration {name}, seed {seed}, for model {}", of.id));
        let decl = file.calibrations.get(name).ok_or_else(|| InputsError::Declared {
            at: file.path.display().to_string(),
            field: "calibration".to_owned(),
            found: name.to_owned(),
            expected: "a name of calibrations".to_owned(),
        })?;
        let model = models.iter().find(|m| m.entry.id == of.id).expect("expand was given these models");
        let got = calibrations.windows(decl, seed, model, &options.hub, &place(&file.path, decl.at))?;
        let found = CalibrationInputs { digest: got.inputs.digest(), drawn: got.by_seed };
        // Windows that no seed drove are the same for every one.
        if adds.inputs.insert(found.digest, got.inputs).is_none() {
            tokens += u64::from(decl.nsamples) * u64::from(model.seqlen(decl.seqlen));
        }
        if tokens > MOST_DRAWN {
            return Err(InputsError::Declared {
                at: place(&file.path, decl.at),
                field: "calibration".to_owned(),
                found: format!("{tokens} tokens in all windows of the sweep, up to seed {seed} of {name}"),
                expected: format!("at most {MOST_DRAWN}: fewer seeds or models, fewer or shorter windows"),
            });
        }
        adds.revisions.extend(got.source.revision());
        adds.sources.insert(name.to_owned(), got.source.pinned);
        drawn.insert(key, found);
        Ok(found)
    })
}

impl Prepared {
    /// Writes the inputs that the bucket does not have.
    pub async fn write(&self, bucket: &Bucket) -> Result<(), InputsError> {
        for (digest, inputs) in &self.inputs {
            let path = layout::inputs(*digest);
            if bucket.exists(&path).await? {
                continue;
            }
            // On one line: these files are long lists of numbers, and nobody reads them.
            let mut body =
                serde_json::to_vec(inputs).expect("our own types have string keys and finite numbers");
            body.push(b'\n');
            // Won or lost: whoever wrote it wrote the same content.
            bucket.commit_once(&path, body.into()).await?;
        }
        Ok(())
    }
}

fn place(file: &Path, at: Pos) -> String {
    match at.line {
        0 => "command line".to_owned(),
        line => format!("{}:{line}:{}", file.display(), at.column),
    }
}
