//! A model's canary in the compute child: a block is pruned and a micro-batch of every task is scored, of shapes and kinds as in earnest. What
//! comes out is only looked at for being finite.

use super::error::WorkError;
use super::protocol::Event;
use super::workbench::{Tell, Workbench, calibration_windows, read_inputs};
use crate::evaluate::{self, score::Scorer};
use crate::load::Weights;
use crate::prune::{self, Control, Plan};
use espalier_proto::inputs::Windows;
use espalier_proto::methods;
use espalier_proto::recipe::{Pattern, VariantSpec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

impl Workbench {
    pub(super) fn canary(
        &mut self,
        spec: &VariantSpec,
        calibration: Option<&Path>,
        inputs: &[PathBuf],
        tell: Tell<'_>,
    ) -> Result<Event, WorkError> {
        self.options.faults.prune(&spec.method);
        let device = self.device;
        let open = self.open.as_mut().ok_or(WorkError::OutOfTurn { request: "canary", needed: "open" })?;
        open.current = None;
        let arch = open.base.arch();
        let windows =
            calibration.map(|path| calibration_windows(path, arch.vocab)).transpose()?.map(first_batch);
        let dense = Weights::dense(open.base.clone());
        let first: Vec<String> = match arch.blocks {
            0 => Vec::new(),
            _ => arch.linears(0).into_iter().map(|linear| linear.name).collect(),
        };
        let targets: BTreeMap<String, Pattern> = first
            .into_iter()
            .filter_map(|name| spec.targets.get(&name).copied().map(|pattern| (name, pattern)))
            .collect();
        let weights = if spec.method == methods::DENSE {
            dense
        } else {
            let plan = Plan {
                method: &spec.method,
                params: &spec.params,
                targets: &targets,
                calibration: windows.as_ref(),
                device,
                dtype: spec.dtype,
                restored: None,
            };
            let told =
                |p: prune::Progress| tell(Event::Progress { done: p.done as u64, total: p.all as u64 });
            let control = Control { progress: &told, pruned: &|_, _| (), stop: &AtomicBool::new(false) };
            let masks = prune::prune(&dense, &plan, control)?.masks;
            Weights::masked(open.base.clone(), masks)?
        };
        let dtype = open.dtype;
        for path in inputs {
            let inputs = read_inputs(path)?;
            let mut block = |i: usize| weights.block(i, device, dtype).map(Rc::new);
            let mut scorer = Scorer {
                decoder: &open.decoder,
                device,
                dtype,
                weights: &weights,
                block: &mut block,
                wave_bytes: 0,
                wave_batches: 1,
                wave: &|batches| self.options.faults.wave(batches),
                progress: &|done, total| tell(Event::Progress { done, total }),
            };
            evaluate::try_first(&mut scorer, &inputs)?;
        }
        Ok(Event::Passed)
    }
}

/// The windows of the first micro-batch.
fn first_batch(windows: Windows) -> Windows {
    let size = windows.batches.first().copied().unwrap_or(0);
    let Windows { seqlen, mut windows, .. } = windows;
    windows.truncate(size as usize);
    Windows { seqlen, windows, batches: vec![size] }
}
