//! A sweep is read from the bucket, and the schedule is told of it.

use super::fold::Fold;
use super::grid::{self, Catalog, Costs};
use super::progress::Estimator;
use super::sweeps::{Live, Sweeps, SweepsError, asked_for};
use crate::records::{Kept, Present, kept, present_without_stale};
use crate::schedule::{Believed, Records};
use espalier_proto::ids::{CellKey, Digest, Name};
use espalier_proto::sweep::ResolvedSweep;
use std::sync::Arc;

/// What the bucket says of a sweep, and what was believed of it before.
pub(super) struct Read {
    generation: Option<Digest>,
    there: Present,
    costs: Costs,
    believed: Believed,
}

impl Sweeps {
    /// Takes up from the bucket what is or was known of it before: what was deleted is missing again. `again`: what was given up is tried again.
    pub(super) async fn take_up_again(
        &self,
        sweep: Arc<ResolvedSweep>,
        fold: Fold,
        again: bool,
    ) -> Result<(), SweepsError> {
        let read = self.read(&sweep).await?;
        self.take_up(sweep, read, fold, again).await
    }

    /// What is believed of the sweep is not so: the next look at the bucket reads it again.
    pub(super) fn read_again_soon(&self, name: &Name) {
        if let Some(live) = self.live().get_mut(name) {
            live.generation = None;
        }
    }

    /// What the bucket says of it now.
    pub(super) async fn read(&self, sweep: &ResolvedSweep) -> Result<Read, SweepsError> {
        // Before the bucket is read: what is believed by then and not found was deleted.
        let believed = self.driver().believed(sweep.variants.iter().map(|v| v.key).collect()).await;
        let kept = kept(self.bucket(), &sweep.name).await?;
        self.read_beside(sweep, kept, believed).await
    }

    /// Everything of it beside what is kept in segments.
    pub(super) async fn read_beside(
        &self,
        sweep: &ResolvedSweep,
        kept: Kept,
        believed: Believed,
    ) -> Result<Read, SweepsError> {
        let generation = kept.generation();
        let there = present_without_stale(self.bucket(), sweep, kept).await?;
        Ok(Read { generation, there, costs: Costs::read(self.bucket(), sweep).await?, believed })
    }

    #[tracing::instrument(skip_all, fields(sweep = %sweep.name, cells = sweep.cells.len()))]
    pub(super) async fn take_up(
        &self,
        sweep: Arc<ResolvedSweep>,
        read: Read,
        fold: Fold,
        again: bool,
    ) -> Result<(), SweepsError> {
        let only = asked_for(&sweep, &fold)?;
        let Read { generation, there, costs, believed: Believed { records, busy } } = read;
        // Of a large sweep each takes seconds.
        let of = sweep.clone();
        let told = tokio::task::spawn_blocking(move || (Estimator::new(&of), Catalog::new(&of)));
        let mut submission = grid::submission(&sweep, &there, &costs, only.as_ref(), fold.given_up.clone());
        // Of a variant only this sweep's cells were looked for: what others measured on it is not gone.
        let looked_for = sweep.cells.iter().map(|cell| cell.key);
        let is_gone = |cell: &CellKey| records.cells.contains(cell) && !submission.cells_done.contains(cell);
        submission.gone = Records {
            variants: records
                .variants
                .difference(&submission.variants_done)
                .chain(&there.dropped)
                .copied()
                .collect(),
            cells: looked_for.filter(is_gone).collect(),
        };
        (submission.priority, submission.paused) = (fold.priority, fold.paused);
        (submission.cancelled, submission.doomed, submission.again) = (fold.cancelled, fold.doomed, again);
        submission.variants_done.extend(&fold.canaries);
        let (estimator, catalog) = finished(told).await;
        let name = sweep.name.clone();
        self.gone().remove(&name);
        {
            let mut known = self.live();
            let unlooked = match known.get(&name) {
                // Of one that is new here others may be at its variants, whose records were deleted before.
                None => busy,
                Some(before) if before.generation != generation => busy,
                Some(before) => before.unlooked.intersection(&busy).copied().collect(),
            };
            let asked = known.get(&name).map_or(0, |before| before.asked);
            known.insert(name.clone(), Live { estimator, sweep, fold, generation, unlooked, asked });
        }
        self.driver().submit(submission, catalog).await;
        self.count_asked(&name);
        Ok(())
    }
}

/// What a task gave; its panic goes on here.
pub(super) async fn finished<T>(task: tokio::task::JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}
