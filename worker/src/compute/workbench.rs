//! What the compute child has in its hands: a device, an open model, the current variant. Answers requests.
//!
//! A variant is its base and masks: blocks are made from both when they are needed, and stay on the device where its memory
//! allows. Memory decides how often a block is loaded, never what comes out.

use super::error::WorkError;
use super::faults::Faults;
use super::protocol::{DeviceInfo, Event, Request, Resume, Save};
use super::save::Saver;
use super::serve::Options;
use super::watch::Watch;
use crate::device;
use crate::evaluate::{self, EvaluateError, check, pack, score::Scorer};
use crate::load::{BaseModel, LoadError, Weights, kind_of};
use crate::models::{BlockWeights, Decoder};
use crate::prune::{self, Control, Plan, Restored};
use espalier_proto::checkpoint::{Compact, dense_weights};
use espalier_proto::ids::Digest;
use espalier_proto::inputs::{Inputs, Windows};
use espalier_proto::methods;
use espalier_proto::recipe::{Dtype, VariantSpec};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tch::Device;

/// An open model and the variant of it that is current.
pub(super) struct Open {
    pub(super) base: Arc<BaseModel>,
    pub(super) decoder: Decoder,
    pub(super) dtype: Dtype,
    pub(super) current: Option<Current>,
}

/// The current variant.
pub(super) struct Current {
    weights: Weights,
    /// Blocks that stay on the device, if they all may.
    resident: BTreeMap<usize, Rc<BlockWeights>>,
}

/// See the module.
pub struct Workbench {
    pub(super) device: Device,
    pub(super) options: Options,
    memory_bytes: u64,
    pub(super) open: Option<Open>,
}

/// Bytes of a wave whose blocks are at hand anyway.
const RESIDENT_WAVE: u64 = 256 << 20;

/// Hears what there is to say before the answer.
pub(super) type Tell<'a> = &'a dyn Fn(Event);

impl Workbench {
    /// Takes the device.
    pub fn new(options: &Options) -> Result<Self, WorkError> {
        let device = device::open(&options.device, options.threads, options.libtorch_cuda.as_deref())?;
        // The rest is for the context of CUDA, or for the system.
        let memory_bytes =
            options.memory_bytes.unwrap_or_else(|| device::describe(device).memory_bytes / 5 * 4);
        if options.faults != Faults::default() {
            tracing::warn!(faults = ?options.faults, "a test asks for faults");
        }
        Ok(Self { device, options: options.clone(), memory_bytes, open: None })
    }

    /// Does what is asked for.
    pub fn answer(&mut self, request: Request, tell: Tell<'_>) -> Result<Event, WorkError> {
        match request {
            Request::Describe => self.describe(),
            Request::Measure { dtype, width } => {
                let gflops = device::gflops(self.device, kind_of(dtype), i64::from(width));
                Ok(Event::Speed { gflops })
            }
            Request::Open { folder, dtype, tf32 } => {
                device::set_tf32(tf32);
                self.open(&folder, dtype)
            }
            Request::Prune { spec, calibration, compact, save, resume } => {
                self.prune(&spec, calibration.as_deref(), &compact, (&save, resume.as_ref()), tell)
            }
            Request::Canary { spec, calibration, inputs } => {
                self.canary(&spec, calibration.as_deref(), &inputs, tell)
            }
            Request::Rebuild { compact, weights } => self.rebuild(compact.as_deref(), weights),
            Request::Evaluate { inputs, scores, wave } => self.evaluate(&inputs, &scores, wave, tell),
        }
    }

    fn describe(&mut self) -> Result<Event, WorkError> {
        let info = device_info(&self.options, self.device);
        Ok(Event::Device(Box::new(info)))
    }

    fn open(&mut self, folder: &Path, dtype: Dtype) -> Result<Event, WorkError> {
        let watch = Watch::start(self.device);
        self.open = None;
        let base = Arc::new(BaseModel::open(folder)?);
        let decoder = Decoder::new(base.arch().clone(), self.device, kind_of(dtype));
        self.open = Some(Open { base, decoder, dtype, current: None });
        Ok(Event::Opened { spent: watch.stop_all("load") })
    }

    fn prune(
        &mut self,
        spec: &VariantSpec,
        calibration: Option<&Path>,
        compact_file: &Path,
        (save, resume): (&Save, Option<&Resume>),
        tell: Tell<'_>,
    ) -> Result<Event, WorkError> {
        self.options.faults.prune(&spec.method);
        let watch = Watch::start(self.device);
        let device = self.device;
        let open = self.open.as_mut().ok_or(WorkError::OutOfTurn { request: "prune", needed: "open" })?;
        open.current = None;
        let dense = Weights::dense(open.base.clone());
        let mut windows =
            calibration.map(|path| calibration_windows(path, open.base.arch().vocab)).transpose()?;
        windows.iter_mut().for_each(|windows| self.options.faults.calibration(windows));
        let restored = resume.and_then(|resume| restored(resume, spec, &dense));
        let resumed = restored.as_ref().map_or(0, |r| r.blocks);
        let (weights, digest, linears, seconds) = if spec.method == methods::DENSE {
            let linears = prune::count_zeros(&dense, Device::Cpu, open.base.dtype())?;
            (dense, dense_weights(spec.model), linears, BTreeMap::new())
        } else {
            let plan = Plan {
                method: &spec.method,
                params: &spec.params,
                targets: &spec.targets,
                calibration: windows.as_ref(),
                device,
                dtype: spec.dtype,
                restored: restored.as_ref(),
            };
            let faults = &self.options.faults;
            let told = |p: prune::Progress| {
                tell(Event::Progress { done: p.done as u64, total: p.all as u64 });
                if p.done > resumed {
                    faults.block();
                }
            };
            let saver = Saver::new(save, spec, open.base.arch(), resumed);
            let finished = |blocks: usize, found: &prune::PruneResult| {
                if let Some(event) = saver.done(blocks, found) {
                    tell(event);
                }
            };
            // The supervisor stops a walk by ending this process.
            let control = Control { progress: &told, pruned: &finished, stop: &AtomicBool::new(false) };
            let pruned = prune::prune(&dense, &plan, control)?;
            let compact = Compact { model: spec.model, dtype: spec.dtype, masks: pruned.masks };
            std::fs::write(compact_file, compact.encode()).map_err(scratch(compact_file))?;
            let digest = compact.weights();
            (Weights::masked(open.base.clone(), compact.masks)?, digest, pruned.linears, pruned.seconds)
        };
        open.current = Some(Current { weights, resident: BTreeMap::new() });
        Ok(Event::Pruned { weights: digest, linears, resumed: resumed as u32, spent: watch.stop(seconds) })
    }

    fn rebuild(&mut self, file: Option<&Path>, expected: Digest) -> Result<Event, WorkError> {
        let watch = Watch::start(self.device);
        let open = self.open.as_mut().ok_or(WorkError::OutOfTurn { request: "rebuild", needed: "open" })?;
        open.current = None;
        let weights = match file {
            None => Weights::dense(open.base.clone()),
            Some(file) => {
                let bytes = std::fs::read(file).map_err(scratch(file))?;
                Weights::masked(open.base.clone(), Compact::verified(&bytes, expected)?.masks)?
            }
        };
        open.current = Some(Current { weights, resident: BTreeMap::new() });
        Ok(Event::Rebuilt { spent: watch.stop_all("load") })
    }

    fn evaluate(
        &mut self,
        inputs: &Path,
        scores: &Path,
        most: Option<u32>,
        tell: Tell<'_>,
    ) -> Result<Event, WorkError> {
        let watch = Watch::start(self.device);
        let inputs = read_inputs(inputs)?;
        let device = self.device;
        let early = WorkError::OutOfTurn { request: "evaluate", needed: "prune or rebuild" };
        let Some(open) = self.open.as_mut() else {
            return Err(early);
        };
        let Some(Current { weights, resident }) = open.current.as_mut() else {
            return Err(early);
        };
        let arch = open.base.arch();
        let model_bytes = arch.parameters() * open.dtype.bytes();
        // Half the memory for weights that stay; where they do, a longer wave would save no load. Where memory did not suffice
        // once, none stay.
        let stays = model_bytes <= self.memory_bytes / 2 && most.is_none();
        if !stays {
            resident.clear();
        }
        let faults = &self.options.faults;
        let longest = Cell::new(0);
        let wave = |batches: usize| {
            if batches > longest.replace(batches.max(longest.get())) {
                tell(Event::Wave { batches: batches as u32 });
            }
            faults.wave(batches);
        };
        let progress = |done, total| {
            tell(Event::Progress { done, total });
            faults.step();
        };
        let (weights, dtype) = (&*weights, open.dtype);
        let mut block = |i: usize| -> Result<Rc<BlockWeights>, LoadError> {
            if let Some(block) = resident.get(&i) {
                return Ok(block.clone());
            }
            let block = Rc::new(weights.block(i, device, dtype)?);
            if stays {
                resident.insert(i, block.clone());
            }
            Ok(block)
        };
        let mut scorer = Scorer {
            decoder: &open.decoder,
            device,
            dtype,
            weights,
            block: &mut block,
            wave_bytes: if stays { RESIDENT_WAVE } else { self.memory_bytes / 4 },
            wave_batches: most.map_or(usize::MAX, |most| most as usize),
            wave: &wave,
            progress: &progress,
        };
        let mut outcome = evaluate::evaluate(&mut scorer, &inputs, scores)?;
        faults.outcome(&mut outcome);
        Ok(Event::Scored { outcome, spent: watch.stop_all("evaluate") })
    }
}

/// The blocks that an earlier attempt saved. Masks that do not fit are nothing to go on from: all is pruned anew.
fn restored(resume: &Resume, spec: &VariantSpec, dense: &Weights) -> Option<Restored> {
    let read = || -> Result<Restored, WorkError> {
        let bytes = std::fs::read(&resume.file).map_err(scratch(&resume.file))?;
        let masks = Compact::decode(&bytes)?.masks;
        Ok(Restored::new(dense, resume.blocks as usize, masks, &spec.targets)?)
    };
    read().inspect_err(|error| tracing::warn!(%error, "saved masks do not fit, all blocks are pruned")).ok()
}

fn scratch(path: &Path) -> impl FnOnce(std::io::Error) -> WorkError {
    let path = path.display().to_string();
    move |source| WorkError::Scratch { path, source }
}

pub(super) fn read_inputs(path: &Path) -> Result<Inputs, WorkError> {
    let bytes = std::fs::read(path).map_err(scratch(path))?;
    Inputs::parse(&bytes)
        .map_err(|e| WorkError::Inputs { path: path.display().to_string(), why: e.to_string() })
}

pub(super) fn calibration_windows(path: &Path, vocab: usize) -> Result<Windows, WorkError> {
    let inputs = read_inputs(path)?;
    check::check_vocabulary(inputs.max_token(), vocab).map_err(EvaluateError::from)?;
    match inputs {
        Inputs::Calibration(windows) => {
            // Checks that windows and micro-batches fit together.
            pack::windows(&windows).map_err(EvaluateError::from)?;
            Ok(windows)
        }
        Inputs::Perplexity(_) | Inputs::Choices(_) => {
            let why = "not calibration windows".to_owned();
            Err(WorkError::Inputs { path: path.display().to_string(), why })
        }
    }
}

/// What the device is, for people, plans and placement.
fn device_info(options: &Options, device: Device) -> DeviceInfo {
    let description = device::describe(device);
    let cuda = matches!(device, Device::Cuda(_));
    DeviceInfo {
        backend: description.backend,
        index: if let Device::Cuda(index) = device { index as u32 } else { 0 },
        name: description.name,
        memory_bytes: description.memory_bytes,
        fingerprint: options.faults.fingerprint(device::fingerprint(device)),
        threads: options.threads,
        libtorch: LIBTORCH.to_owned(),
        gpus: (0..device::gpu_count()).map(|i| format!("cuda:{i}")).collect(),
        no_cuda: (!cuda).then(|| match device::driver_is_there() {
            true => "an NVIDIA driver is there; this worker was started for the CPU".to_owned(),
            false => "there is no NVIDIA driver".to_owned(),
        }),
    }
}

/// The libtorch that tch 0.24 is built for; another one does not link.
const LIBTORCH: &str = "2.11.0";
