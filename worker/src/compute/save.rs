//! Writes the masks of finished blocks while a model is pruned: those since the last time, not more often than was asked for.

use super::protocol::{Event, Save, Saved};
use crate::clock;
use crate::prune::PruneResult;
use espalier_proto::arch::Arch;
use espalier_proto::checkpoint::Compact;
use espalier_proto::recipe::VariantSpec;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What was written last.
struct Last {
    at: Instant,
    blocks: usize,
    seconds: BTreeMap<String, f64>,
}

/// See the module.
pub(super) struct Saver<'a> {
    save: &'a Save,
    spec: &'a VariantSpec,
    arch: &'a Arch,
    last: RefCell<Last>,
}

impl<'a> Saver<'a> {
    /// The first `restored` blocks are saved already.
    pub(super) fn new(save: &'a Save, spec: &'a VariantSpec, arch: &'a Arch, restored: usize) -> Self {
        let last = Last { at: clock::now(), blocks: restored, seconds: BTreeMap::new() };
        Self { save, spec, arch, last: RefCell::new(last) }
    }

    /// So many blocks are done, and this was found of them.
    pub(super) fn done(&self, blocks: usize, found: &PruneResult) -> Option<Event> {
        let mut last = self.last.borrow_mut();
        if last.at.elapsed() < Duration::from_millis(self.save.every_ms) {
            return None;
        }
        let names = (last.blocks..blocks).flat_map(|i| self.arch.linears(i)).map(|l| l.name);
        let masks = names.filter_map(|name| found.masks.get_key_value(&name));
        let masks = masks.map(|(name, mask)| (name.clone(), mask.clone())).collect();
        let compact = Compact { model: self.spec.model, dtype: self.spec.dtype, masks };
        let file = self.save.folder.join(format!("blocks-{}-{blocks}.safetensors", last.blocks));
        last.at = clock::now();
        if let Err(error) = std::fs::write(&file, compact.encode()) {
            // Pruning goes on; these masks come with the next.
            tracing::warn!(%error, path = %file.display(), "masks of finished blocks could not be written");
            return None;
        }
        let before = |stage: &String| last.seconds.get(stage).copied().unwrap_or(0.0);
        let seconds = found.seconds.iter().map(|(stage, s)| (stage.clone(), s - before(stage))).collect();
        let saved = Saved { from: last.blocks as u32, to: blocks as u32, file, seconds };
        (last.blocks, last.seconds) = (blocks, found.seconds.clone());
        Some(Event::Saved(saved))
    }
}
