//! Which variants and cells are wanted, done or given up: the grid, and what follows when one of its squares changes.

use super::command::Command;
use super::event::Millis;
use super::index::{No, Sum};
use super::state::{Attempt, Cell, Schedule, Sweep, Variant};
use espalier_proto::ids::{AttemptId, CellKey, Name, VariantKey};
use espalier_proto::records::FailureCode;
use std::collections::BTreeSet;

impl Schedule {
    /// Sweeps of which something is open again are not over.
    pub(super) fn reopen(&mut self) {
        let over = self.sweeps.iter().filter(|(_, s)| s.told && !s.halted);
        let lacks = |key: &VariantKey, no: No| {
            let variant = &self.variants[key];
            !variant.done && self.why_given_up(variant, no).is_none()
        };
        let open = |s: &Sweep| {
            s.cells.iter().any(|c| self.fate(*c, s.no).is_none())
                || s.alone.iter().any(|key| lacks(key, s.no))
        };
        let again: Vec<Name> = over.filter(|(_, s)| open(s)).map(|(name, _)| name.clone()).collect();
        for name in again {
            self.sweeps.get_mut(&name).expect("names were just read").told = false;
        }
        self.unsettled = true;
    }

    pub(super) fn variants_of(&self, sweep: &Sweep) -> BTreeSet<VariantKey> {
        sweep.cells.iter().map(|c| self.homes[c]).chain(sweep.alone.iter().copied()).collect()
    }

    /// The sweep changed: it may go on, or not any more.
    pub(super) fn note_going(&mut self, name: &Name) {
        let Some(sweep) = self.sweeps.get(name) else {
            return;
        };
        let no = sweep.no;
        if !sweep.goes_on() {
            self.going.remove(&no);
        } else if self.going.insert(no) {
            // What was given out before it came is not owed to it.
            let others = self.sweeps.values().filter(|s| s.no != no && s.goes_on() && !s.told);
            let least = others.map(|s| s.served).min().unwrap_or(0);
            let joins = self.sweeps.get_mut(name).expect("it was just there");
            joins.served = joins.served.max(least);
        }
        let sweep = &self.sweeps[name];
        for key in self.variants_of(sweep) {
            self.index.mark(key);
        }
        self.unsettled = true;
    }

    /// Stops a sweep: what no other sweep wants is taken from running attempts, except cells already begun.
    pub(super) fn halt(&mut self, sweep: &Name) {
        let planted = planted!(self, CancelledGoesOn);
        if let Some(sweep) = self.sweeps.get_mut(sweep) {
            sweep.halted = !planted;
        }
        self.note_going(sweep);
        self.trim_running();
    }

    /// Takes from running attempts what nobody wants any more, except cells already begun.
    pub(super) fn trim_running(&mut self) {
        let running: Vec<AttemptId> = self.attempts.keys().cloned().collect();
        for id in running {
            let attempt = &self.attempts[&id];
            let variant = &self.variants[&attempt.variant];
            let keep = |c: &CellKey| {
                self.wanted(variant, &variant.cells[c])
                    || (attempt.begun.contains(c) && !planted!(self, BegunStopped))
            };
            let cells = attempt.cells.iter().copied().filter(keep).collect();
            let alone = attempt.alone && self.wanted_alone(attempt.variant);
            let attempt = self.attempts.get_mut(&id).expect("ids were just read");
            attempt.cells = cells;
            attempt.alone = alone;
            self.index.mark(attempt.variant);
            self.end_if_finished(&id);
        }
    }

    /// A sweep that goes on wants this cell.
    pub(super) fn wanted(&self, variant: &Variant, cell: &Cell) -> bool {
        cell.wants.iter().any(|no| self.wants_now(variant, *no))
    }

    /// A sweep that goes on wants this variant's record by itself, and it is not there.
    pub(super) fn wanted_alone(&self, key: VariantKey) -> bool {
        let variant = &self.variants[&key];
        !variant.done && variant.wants_alone.iter().any(|no| self.wants_now(variant, *no))
    }

    /// It is wanted, not done and not given up.
    pub(super) fn is_open(&self, variant: &Variant, cell: &Cell) -> bool {
        !cell.done && cell.trouble.quarantined.is_none() && self.wanted(variant, cell)
    }

    /// Cells of a variant that are wanted, not done and not given up, in order.
    pub(super) fn open_cells(&self, key: VariantKey) -> Vec<CellKey> {
        let variant = &self.variants[&key];
        in_order(variant.cells.iter().filter(|(_, c)| self.is_open(variant, c)))
    }

    /// Open cells that no live attempt has, or has begun and may have lost to another; in order.
    pub(super) fn free_cells(&self, key: VariantKey) -> Vec<CellKey> {
        in_order(self.free(&self.variants[&key]).into_iter())
    }

    /// The same, in any order.
    pub(super) fn free<'a>(&'a self, variant: &'a Variant) -> Vec<(&'a CellKey, &'a Cell)> {
        let live: Vec<&Attempt> = variant.attempts.iter().map(|id| &self.attempts[id]).collect();
        let open = variant.cells.iter().filter(|(_, c)| self.is_open(variant, c));
        open.filter(|(key, _)| !live.iter().any(|a| a.has(key))).collect()
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
            self.index.mark(attempt.variant);
            self.attempts.get_mut(&id).expect("ids were just read").cells.extend(more);
        }
    }

    /// The variant's record is in the bucket; true if that is news.
    pub(super) fn variant_is_done(&mut self, key: VariantKey) -> bool {
        let Some(variant) = self.variants.get_mut(&key).filter(|v| !v.done) else {
            return false;
        };
        variant.done = true;
        self.index.mark(key);
        let variant = &self.variants[&key];
        for id in variant.attempts.clone() {
            self.end_if_finished(&id);
        }
        true
    }

    /// The cell's record is in the bucket; true if that is news.
    pub(super) fn cell_is_done(&mut self, cell: CellKey) -> bool {
        let Some(home) = self.homes.get(&cell) else {
            return false;
        };
        let variant = self.variants.get_mut(home).expect("a cell's home is a variant");
        let state = variant.cells.get_mut(&cell).expect("a cell is among its home's");
        if state.done {
            return false;
        }
        state.done = true;
        self.index.mark(*home);
        let mut emptied = Vec::new();
        for id in &variant.attempts {
            let attempt = self.attempts.get_mut(id).expect("a variant names live attempts");
            if attempt.cells.remove(&cell) && attempt.cells.is_empty() {
                emptied.push(id.clone());
            }
        }
        for id in emptied {
            self.end_if_finished(&id);
        }
        true
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

    /// How a cell stands for a sweep: `Some(Ok)` done, `Some(Err)` given up, `None` open.
    pub(super) fn fate(&self, cell: CellKey, no: No) -> Option<Result<(), FailureCode>> {
        let variant = &self.variants[self.homes.get(&cell)?];
        let state = &variant.cells[&cell];
        if state.done {
            return Some(Ok(()));
        }
        state.trouble.quarantined.or_else(|| self.why_given_up(variant, no)).map(Err)
    }

    /// Says once that a sweep has nothing left to do, and stops it when too many of its cells failed.
    pub(super) fn settle_sweeps(&mut self, now: Millis, commands: &mut Vec<Command>) {
        self.refresh(now);
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        let names: Vec<Name> = self.sweeps.iter().filter(|(_, s)| !s.told).map(|(n, _)| n.clone()).collect();
        for name in names {
            let sweep = &self.sweeps[&name];
            let no = sweep.no;
            let sum = self.sum(no);
            let whole = sum.open == 0;
            let failed = sum.failed + u64::from(planted!(self, DoomedEarly));
            let doomed = sweep.was_doomed || failed >= sweep.most_failed();
            if !whole && doomed && !sweep.halted {
                if !sweep.was_doomed {
                    commands.push(Command::Stop { sweep: name.clone() });
                }
                self.sweeps.get_mut(&name).expect("names were just read").doomed = true;
                self.halt(&name);
                self.refresh(now);
            }
            let halted = self.sweeps[&name].halted;
            let running = halted && self.sum(no).running > 0 && !planted!(self, DoneEarly);
            if (whole || halted) && !running {
                self.sweeps.get_mut(&name).expect("names were just read").told = true;
                commands.push(Command::SweepDone { sweep: name, halted: halted && !whole });
            }
        }
    }

    pub(super) fn sum(&self, no: No) -> Sum {
        self.sums.get(&no).copied().unwrap_or_default()
    }
}

fn in_order<'a>(cells: impl Iterator<Item = (&'a CellKey, &'a Cell)>) -> Vec<CellKey> {
    let mut ranked: Vec<_> = cells.map(|(key, c)| (c.rank(), *key)).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, key)| key).collect()
}
