//! Nobody is idle in vain, by what the world itself knows.

use super::coordinator::Coordinator;
use crate::schedule::WorkerId;
use crate::schedule::state::{Trouble, Worker};
use espalier_proto::ids::{CellKey, VariantKey};

impl Coordinator {
    /// The cells of a shard that could be given to this worker; looked for without any index.
    pub(super) fn could_be_given(&self, now: u64, id: &WorkerId, key: VariantKey) -> Option<Vec<CellKey>> {
        let (schedule, now) = (&self.schedule, self.time(now));
        let (worker, variant) = (schedule.workers.get(id)?, &schedule.variants[&key]);
        let calm = |t: &Trouble| t.quarantined.is_none() && t.not_before <= now;
        let ready = |t: &Trouble| calm(t) && schedule.may_try(id, key, t);
        let mine = |c: &CellKey| {
            variant.attempts.iter().any(|a| {
                let attempt = &schedule.attempts[a];
                attempt.cells.contains(c) || attempt.begun.contains(c)
            })
        };
        let whole = calm(&variant.trouble)
            && (variant.done || ready(&variant.trouble))
            && (variant.attempts.is_empty() || variant.done)
            && schedule.unfit(worker, key).is_none();
        let open =
            variant.cells.iter().filter(|(c, s)| !s.done && self.wants(**c) && ready(&s.trouble) && !mine(c));
        let cells: Vec<CellKey> = open.map(|(c, _)| *c).collect();
        let alone = variant.attempts.is_empty() && !variant.done && self.wants_alone(key);
        (whole && (alone || !cells.is_empty()) && !self.is_gated(key, &cells)).then_some(cells)
    }

    /// W12: no worker is idle while a shard waits that it could be given.
    pub(super) fn nobody_waits_in_vain(&self, now: u64) {
        if self.draining || self.superseded || !self.reconciled(now) {
            return;
        }
        for (id, worker) in self.schedule.workers.iter() {
            if worker.call.is_none() || worker.draining || !worker.attempts.is_empty() {
                continue;
            }
            for key in self.schedule.variants.keys() {
                let idle = self.could_be_given(now, id, *key).is_none();
                assert!(idle, "W12 no worker is idle while a shard waits for it: {id}, {key:?}");
            }
        }
    }

    /// W23: after a while no worker is idle while another one holds what it has not begun, behind others.
    pub(super) fn nothing_waits_behind(&self, now: u64) {
        if self.draining || self.superseded || !self.reconciled(now) {
            return;
        }
        let schedule = &self.schedule;
        let idle = |w: &Worker| w.call.is_some() && !w.draining && w.attempts.is_empty();
        for (id, attempt) in schedule.attempts.iter().filter(|(id, attempt)| schedule.is_behind(id, attempt))
        {
            let variant = &schedule.variants[&attempt.variant];
            let taker = schedule.workers.iter().find(|(taker, worker)| {
                let may = |trouble| schedule.may_try(taker, attempt.variant, trouble);
                let may = may(&variant.trouble) && variant.cells.values().all(|cell| may(&cell.trouble));
                idle(worker) && may && schedule.unfit(worker, attempt.variant).is_none()
            });
            assert!(
                taker.is_none(),
                "W23 nothing waits behind others while a worker is idle: {id}, {taker:?}"
            );
        }
    }
}
