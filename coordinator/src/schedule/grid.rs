//! Which variants and cells are wanted, done or given up: the grid, and what follows when one of its squares changes.

use super::command::Command;
use super::event::Submission;
use super::state::{Cell, Schedule, Sweep, Variant};
use espalier_proto::ids::{AttemptId, CellKey, Name, VariantKey};
use espalier_proto::records::FailureCode;
use std::collections::BTreeSet;

impl Schedule {
    /// Takes up what is wanted of a sweep. Extending a sweep, resuming it and repairing it are this same operation.
    pub(super) fn submit(&mut self, submission: Submission) {
        let mut sweep = Sweep {
            limits: submission.limits,
            cells: BTreeSet::new(),
            alone: BTreeSet::new(),
            priority: submission.priority,
            paused: self.sweeps.get(&submission.sweep).is_some_and(|s| s.paused),
            halted: false,
            doomed: false,
            told: false,
        };
        for plan in submission.variants {
            let order = self.variants.len();
            let variant = self.variants.entry(plan.key).or_insert_with(|| Variant {
                needs: plan.needs.clone(),
                cost: plan.cost,
                order,
                done: false,
                cells: Default::default(),
                attempts: Default::default(),
                trouble: Default::default(),
                lost_at: None,
            });
            for cell in plan.cells {
                let order = variant.cells.len();
                variant.cells.entry(cell.key).or_insert(Cell {
                    cost: cell.cost,
                    order,
                    done: false,
                    trouble: Default::default(),
                });
                self.homes.insert(cell.key, plan.key);
                sweep.cells.insert(cell.key);
            }
            if plan.wanted_alone {
                sweep.alone.insert(plan.key);
            }
        }
        self.sweeps.insert(submission.sweep, sweep);
        self.unsettled = true;
        // Only ever more is done: what a worker said since the bucket was read is not unsaid by that reading.
        submission.variants_done.into_iter().for_each(|v| self.variant_is_done(v));
        submission.cells_done.into_iter().for_each(|c| self.cell_is_done(c));
        self.restore_given_up(&submission.given_up);
        self.trim_running();
        self.extend_running();
    }

    /// Stops a sweep: what no other sweep wants is taken from running attempts, except cells already begun.
    pub(super) fn halt(&mut self, sweep: &Name) {
        if let Some(sweep) = self.sweeps.get_mut(sweep) {
            sweep.halted = true;
        }
        self.unsettled = true;
        self.trim_running();
    }

    /// Takes from running attempts what nobody wants any more, except cells already begun.
    pub(super) fn trim_running(&mut self) {
        let running: Vec<AttemptId> = self.attempts.keys().cloned().collect();
        for id in running {
            let attempt = &self.attempts[&id];
            let keep = |c: &CellKey| attempt.begun.contains(c) || self.wanted(*c);
            let cells = attempt.cells.iter().copied().filter(keep).collect();
            let alone = attempt.alone && self.wanted_alone(attempt.variant);
            let attempt = self.attempts.get_mut(&id).expect("ids were just read");
            attempt.cells = cells;
            attempt.alone = alone;
            self.end_if_finished(&id);
        }
    }

    /// A sweep that goes on wants this cell.
    pub(super) fn wanted(&self, cell: CellKey) -> bool {
        self.sweeps.values().any(|s| s.goes_on() && s.cells.contains(&cell))
    }

    /// A sweep that goes on wants this variant's record by itself, and it is not there.
    pub(super) fn wanted_alone(&self, key: VariantKey) -> bool {
        !self.variants[&key].done && self.sweeps.values().any(|s| s.goes_on() && s.alone.contains(&key))
    }

    /// Cells of a variant that are wanted, not done and not given up, in order.
    pub(super) fn open_cells(&self, key: VariantKey) -> Vec<CellKey> {
        let variant = &self.variants[&key];
        let mut open: Vec<_> = variant
            .cells
            .iter()
            .filter(|(k, c)| !c.done && c.trouble.quarantined.is_none() && self.wanted(**k))
            .map(|(k, c)| (c.order, *k))
            .collect();
        open.sort_unstable();
        open.into_iter().map(|(_, k)| k).collect()
    }

    /// Open cells that no live attempt has.
    pub(super) fn free_cells(&self, key: VariantKey) -> Vec<CellKey> {
        let mut open = self.open_cells(key);
        let attempts = &self.variants[&key].attempts;
        open.retain(|c| !attempts.iter().any(|a| self.attempts[a].cells.contains(c)));
        open
    }

    /// Gives cells that came in late to the attempt that is already preparing their variant.
    pub(super) fn extend_running(&mut self) {
        let running: Vec<AttemptId> = self.attempts.keys().cloned().collect();
        for id in running {
            let attempt = &self.attempts[&id];
            let variant = &self.variants[&attempt.variant];
            if variant.done {
                continue; // placement gives them to whoever is idle
            }
            let mut more = self.free_cells(attempt.variant);
            more.retain(|c| !variant.cells[c].trouble.seen.contains(&id));
            self.attempts.get_mut(&id).expect("ids were just read").cells.extend(more);
        }
    }

    /// The variant's record is in the bucket.
    pub(super) fn variant_is_done(&mut self, key: VariantKey) {
        let Some(variant) = self.variants.get_mut(&key) else {
            return;
        };
        if variant.done {
            return;
        }
        variant.done = true;
        self.unsettled = true;
        for id in variant.attempts.clone() {
            self.end_if_finished(&id);
        }
    }

    /// The cell's record is in the bucket.
    pub(super) fn cell_is_done(&mut self, cell: CellKey) {
        let Some(home) = self.homes.get(&cell) else { return };
        let variant = self.variants.get_mut(home).expect("a cell's home is a variant");
        let state = variant.cells.get_mut(&cell).expect("a cell is among its home's");
        if state.done {
            return;
        }
        state.done = true;
        self.unsettled = true;
        for id in variant.attempts.clone() {
            let attempt = self.attempts.get_mut(&id).expect("a variant names live attempts");
            attempt.cells.remove(&cell);
            self.end_if_finished(&id);
        }
    }

    /// Ends an attempt that has nothing left to do.
    pub(super) fn end_if_finished(&mut self, id: &AttemptId) {
        let Some(attempt) = self.attempts.get(id) else {
            return;
        };
        let owes_variant = attempt.alone && !self.variants[&attempt.variant].done;
        if attempt.cells.is_empty() && !owes_variant {
            self.end(id);
        }
    }

    /// How a cell stands: `Some(Ok)` done, `Some(Err)` given up, `None` open.
    pub(super) fn fate(&self, cell: CellKey) -> Option<Result<(), FailureCode>> {
        let variant = &self.variants[self.homes.get(&cell)?];
        let state = &variant.cells[&cell];
        if state.done {
            return Some(Ok(()));
        }
        state.trouble.quarantined.or(variant.trouble.quarantined).map(Err)
    }

    /// Says once that a sweep has nothing left to do, and stops it when too many of its cells failed.
    pub(super) fn settle_sweeps(&mut self, commands: &mut Vec<Command>) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        let names: Vec<Name> = self.sweeps.iter().filter(|(_, s)| !s.told).map(|(n, _)| n.clone()).collect();
        for name in names {
            let sweep = &self.sweeps[&name];
            let fates: Vec<_> = sweep.cells.iter().map(|c| self.fate(*c)).collect();
            let failed = fates.iter().filter(|f| matches!(f, Some(Err(_)))).count();
            let alone_open = sweep.alone.iter().any(|v| {
                let variant = &self.variants[v];
                !variant.done && variant.trouble.quarantined.is_none()
            });
            let whole = !alone_open && fates.iter().all(Option::is_some);
            if !whole && failed >= sweep.limits.max_failed_cells.max(1) as usize && !sweep.halted {
                self.sweeps.get_mut(&name).expect("names were just read").doomed = true;
                self.halt(&name);
            }
            let halted = self.sweeps[&name].halted;
            let running = halted
                && self
                    .attempts
                    .values()
                    .any(|a| a.cells.iter().any(|c| self.sweeps[&name].cells.contains(c)));
            if (whole || halted) && !running {
                self.sweeps.get_mut(&name).expect("names were just read").told = true;
                commands.push(Command::SweepDone { sweep: name, halted: halted && !whole });
            }
        }
    }
}
