//! What can be wanted in a random world, and what is so about it.

use super::dice::Dice;
use super::worker::Nature;
use super::world::World;
use crate::schedule::{CellPlan, FaultKind, Needs, VariantPlan};
use espalier_proto::ids::{CellKey, Digest, ModelDigest, VariantKey};
use espalier_proto::recipe::Backend;
use espalier_proto::records::FailureCode;
use std::collections::BTreeMap;

impl World {
    pub(super) fn pool_variant(&mut self, v: u64) {
        let key = VariantKey(Digest::of(&[b'v', v as u8]));
        let nature = match self.dice.below(40) {
            0 => Nature::Fails(FaultKind::CellError, FailureCode::NonFiniteWeights),
            1 => Nature::Fails(FaultKind::ComputeLost, FailureCode::ComputeLost),
            2 => Nature::Kills,
            3 | 4 => Nature::Hungry(10 * (2 + self.dice.below(3))),
            5 => Nature::Unlike,
            _ => Nature::Fine,
        };
        self.natures.insert(key.0, nature);
        let cells: Vec<CellPlan> = (0..self.dice.below(5))
            .map(|c| {
                let key = CellKey(Digest::of(&[b'c', v as u8, c as u8]));
                let nature = match self.dice.below(40) {
                    0 => Nature::Fails(FaultKind::CellError, FailureCode::Internal),
                    1 => Nature::Fails(FaultKind::CellError, FailureCode::NonFiniteScores),
                    _ => Nature::Fine,
                };
                self.natures.insert(key.0, nature);
                CellPlan { key, cost: 1 + self.dice.below(20) }
            })
            .collect();
        let needs = Needs {
            model: ModelDigest(Digest::of(&[b'm', (v % 2) as u8])),
            backend: if self.dice.percent(20) { Backend::Cuda } else { Backend::Cpu },
            threads: Some(2),
            device_kind: None,
            memory: 10 * (1 + self.dice.below(2)),
            stages: BTreeMap::new(),
        };
        let cost = self.dice.below(30);
        self.pool.push(VariantPlan { key, needs, cost, wanted_alone: cells.is_empty(), cells, after: None });
    }

    /// One of many that take no time to speak of.
    pub(super) fn pool_small(&mut self, v: u64, dice: &mut Dice) {
        let key = VariantKey(Digest::of(&[b'v', v as u8]));
        self.natures.insert(key.0, if dice.percent(10) { Nature::Kills } else { Nature::Fine });
        let cell = CellPlan { key: CellKey(Digest::of(&[b'c', v as u8, 0])), cost: 1 };
        self.natures.insert(cell.key.0, Nature::Fine);
        let needs = Needs {
            model: ModelDigest(Digest::of(&[b'm', (v % 8 / 7) as u8])),
            backend: Backend::Cpu,
            threads: Some(2),
            device_kind: None,
            memory: 10,
            stages: BTreeMap::new(),
        };
        self.pool.push(VariantPlan {
            key,
            needs,
            cost: 1,
            wanted_alone: false,
            cells: vec![cell],
            after: None,
        });
    }

    /// What is of one model and one kind of device waits for a canary.
    pub(super) fn pool_canary(&mut self, m: u8, fate: u64, hunger: u64) {
        let key = VariantKey(Digest::of(&[b'k', m]));
        let model = ModelDigest(Digest::of(&[b'm', m]));
        let Some(first) = self.pool.iter().find(|plan| plan.needs.model == model).cloned() else { return };
        let nature = match fate {
            0 => Nature::Fails(FaultKind::CellError, FailureCode::NonFiniteWeights),
            1 => Nature::Fails(FaultKind::ComputeLost, FailureCode::ComputeLost),
            2 => Nature::Hungry(10 * hunger),
            _ => Nature::Fine,
        };
        self.natures.insert(key.0, nature);
        let ours =
            |plan: &&mut VariantPlan| plan.needs.model == model && plan.needs.backend == first.needs.backend;
        self.pool.iter_mut().filter(ours).for_each(|plan| plan.after = Some(key));
        self.pool.push(VariantPlan {
            key,
            cost: 1,
            wanted_alone: true,
            cells: Vec::new(),
            after: None,
            ..first
        });
    }
}
