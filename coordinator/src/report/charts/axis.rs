//! Scales and their ticks.

/// How values spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Scale {
    Linear,
    Log,
}

/// Values → places.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// How values spread.
    pub scale: Scale,
    /// Least and greatest value.
    pub values: (f64, f64),
    /// Their places.
    pub places: (f64, f64),
}

impl Axis {
    /// The place of a value; values outside are put at the end.
    pub fn place(&self, value: f64) -> f64 {
        let turn = |v: f64| match self.scale {
            Scale::Linear => v,
            Scale::Log => v.max(f64::MIN_POSITIVE).ln(),
        };
        let (low, high) = (turn(self.values.0), turn(self.values.1));
        let share = ((turn(value) - low) / (high - low)).clamp(0.0, 1.0);
        self.places.0 + share * (self.places.1 - self.places.0)
    }

    /// Round values inside, four to seven where the range allows.
    pub fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => linear_ticks(self.values.0, self.values.1),
            Scale::Log => log_ticks(self.values.0, self.values.1),
        }
    }

    /// A linear axis from 0 that holds all of `values`, its greatest value round.
    pub fn from_zero(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let greatest = values.fold(0.0, f64::max);
        let top = if greatest > 0.0 { greatest * 1.02 } else { 1.0 };
        Self { scale: Scale::Linear, values: (0.0, top), places }
    }

    /// The same axis, its greatest value the next tick above: room for labels.
    pub fn to_next_tick(mut self) -> Self {
        if let [.., before, last] = self.ticks()[..]
            && last < self.values.1
        {
            self.values.1 = last + (last - before);
        }
        self
    }

    /// The same axis, ending at `most` at the latest: beyond it no value can be.
    pub fn at_most(mut self, most: f64) -> Self {
        self.values.1 = self.values.1.min(most);
        self
    }

    /// A logarithmic axis around all of `values`, with some air.
    pub fn log(values: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|v| *v > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let air = (high / low).powf(0.09).max(1.12);
        Self { scale: Scale::Log, values: (low / air, high * air), places }
    }
}

fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|s| s * decade).into_iter().find(|s| *s >= rough * 0.99);
    let step = step.unwrap_or(decade * 10.0);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|t| *t <= high + step * 1e-9).collect()
}

fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let of = |steps: &[f64], every: i32| -> Vec<f64> {
        let ticks = decades
            .clone()
            .filter(|d| d % every == 0)
            .flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)));
        ticks.filter(|t| (low..=high).contains(t)).collect()
    };
    let fine = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let candidates: [(&[f64], i32); 6] = [
        (&fine, 1),
        (&[1.0, 2.0, 3.0, 5.0, 7.0], 1),
        (&[1.0, 2.0, 5.0], 1),
        (&[1.0, 3.0], 1),
        (&[1.0], 1),
        (&[1.0], 2),
    ];
    // Under a third of a decade no round values of ours may lie inside: even steps then.
    if of(&fine, 1).len() < 3 {
        return linear_ticks(low, high);
    }
    let fits = candidates.iter().map(|(steps, every)| of(steps, *every)).find(|ticks| ticks.len() <= 7);
    fits.unwrap_or_else(|| of(&[1.0], 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_shares_ends_at_one_with_one_as_its_last_tick() {
        for greatest in [0.93, 0.985, 1.0] {
            let axis = Axis::from_zero([greatest].into_iter(), (0.0, 1.0)).to_next_tick().at_most(1.0);
            assert!(axis.values.1 <= 1.0 && axis.values.1 >= greatest, "{greatest}: {axis:?}");
            assert_eq!(axis.ticks().last(), Some(&1.0), "{greatest}: {:?}", axis.ticks());
        }
    }

    #[test]
    fn ticks_are_round_few_and_inside() {
        for (low, high) in [(9.0, 130_000.0), (9.0, 30.0), (9.7, 11.2), (5.0, 1e9), (0.9, 1e14)] {
            let axis = Axis::log([low, high].into_iter(), (0.0, 1.0));
            let ticks = axis.ticks();
            assert!((2..=8).contains(&ticks.len()), "{low} to {high}: {ticks:?}");
            assert!(ticks.iter().all(|t| (axis.values.0..=axis.values.1).contains(t)), "{ticks:?}");
        }
        assert_eq!(linear_ticks(0.0, 0.8).len(), 5, "{:?}", linear_ticks(0.0, 0.8));
    }
}
