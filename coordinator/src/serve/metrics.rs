//! What a coordinator is doing, in numbers: counted where it happens, or taken from the schedule at every scrape.
//!
//! In: what the driver tells. Out: OpenMetrics text. No label has values without end: a sweep's name is one, a key never.

use crate::schedule::{Census, SWEEPS};
use espalier_proto::bucket::meter::Meter;
use espalier_proto::ids::Name;
use espalier_telemetry::bucket::BucketMetrics;
use espalier_telemetry::prometheus_client::collector::Collector;
use espalier_telemetry::prometheus_client::encoding::text::encode;
use espalier_telemetry::prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use espalier_telemetry::prometheus_client::metrics::MetricType;
use espalier_telemetry::prometheus_client::metrics::counter::Counter;
use espalier_telemetry::prometheus_client::metrics::family::Family;
use espalier_telemetry::prometheus_client::metrics::histogram::Histogram;
use espalier_telemetry::prometheus_client::registry::{Registry, Unit};
use std::fmt::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Upper ends of the ranges of a step's time, seconds.
const STEP: [f64; 8] = [2e-6, 5e-6, 1e-5, 2e-5, 1e-4, 1e-3, 1e-2, 1e-1];

type Code = [(&'static str, &'static str); 1];

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    step: Histogram,
    calls: Counter,
    answers: Counter,
    failures: Family<Code, Counter>,
    taken: Taken,
}

impl Metrics {
    /// Of this epoch of this instance, over this bucket.
    pub fn new(meter: Arc<Meter>, instance: &Name, epoch: u64) -> Self {
        // Two instances may be scraped by one Prometheus, whose own label `instance` is where it scrapes, another one after every move.
        let label = ("espalier_instance".into(), instance.to_string().into());
        let mut registry = Registry::with_labels(std::iter::once(label));
        let (step, calls, answers) = (Histogram::new(STEP), Counter::default(), Counter::default());
        let failures = Family::<Code, Counter>::default();
        let help = "Time that the scheduler took for one event";
        registry.register_with_unit("espalier_step", help, Unit::Seconds, step.clone());
        registry.register("espalier_sync_calls", "Calls of workers", calls.clone());
        registry.register("espalier_sync_answers", "Calls of workers that were answered", answers.clone());
        registry.register("espalier_failures", "Attempts at a variant or cell that failed", failures.clone());
        let taken = Taken { epoch, census: Arc::default() };
        registry.register_collector(Box::new(taken.clone()));
        registry.register_collector(Box::new(BucketMetrics(meter)));
        Self { registry, step, calls, answers, failures, taken }
    }

    pub(super) fn stepped(&self, took: Duration) {
        self.step.observe(took.as_secs_f64());
    }

    pub(super) fn called(&self) {
        self.calls.inc();
    }

    pub(super) fn answered(&self) {
        self.answers.inc();
    }

    pub(super) fn failed(&self, code: &'static str) {
        self.failures.get_or_create(&[("code", code)]).inc();
    }

    /// As text, with this census.
    pub fn text(&self, census: Census) -> String {
        *self.taken.census.lock().expect("nothing panics while it holds the census") = census;
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        text
    }
}

/// The schedule's own counts, as of the scrape.
#[derive(Clone, Debug)]
struct Taken {
    epoch: u64,
    census: Arc<Mutex<Census>>,
}

impl Collector for Taken {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let census = self.census.lock().expect("nothing panics while it holds the census").clone();
        gauges(&mut encoder, "espalier_epoch", "Epoch of this coordinator", [(NoLabels, self.epoch)])?;
        let help = "Calls of idle workers that are held open";
        gauges(&mut encoder, "espalier_sync_calls_held", help, [(NoLabels, census.held)])?;
        let workers = census.workers.into_iter().map(|(state, n)| ([("state", state)], n));
        gauges(&mut encoder, "espalier_workers", "Workers that have called, by state", workers)?;
        let shards = census.shards.into_iter().map(|(state, n)| ([("state", state)], n));
        gauges(&mut encoder, "espalier_shards", "Variants that sweeps want, by state", shards)?;
        let cells = census.sweeps.iter().flat_map(|(name, sweep)| {
            let counts = [("done", sweep.done), ("failed", sweep.failed), ("missing", sweep.missing)];
            counts.map(|(state, n)| ([("sweep", name.as_str()), ("state", state)], n))
        });
        gauges(&mut encoder, "espalier_cells", "Cells of a sweep, by state", cells)?;
        let sweeps = census.sweeps.iter().flat_map(|(name, sweep)| {
            SWEEPS
                .map(|state| ([("sweep", name.as_str()), ("state", state)], u64::from(sweep.state == state)))
        });
        gauges(
            &mut encoder,
            "espalier_sweeps",
            "1 of the state that a sweep is in, 0 of the others",
            sweeps,
        )?;
        let work = census.sweeps.iter().flat_map(|(name, sweep)| {
            let counts = [("done", sweep.work.1), ("failed", sweep.forgone), ("all", sweep.work.0)];
            counts.map(|(state, n)| ([("sweep", name.as_str()), ("state", state)], n))
        });
        gauges(&mut encoder, "espalier_work", "Work of a sweep, in the unit of the plan's costs", work)?;
        encoder
            .encode_descriptor(
                "espalier_attempts",
                "Attempts begun in this epoch",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(&census.attempts, None)
    }
}

/// No label at all.
#[derive(Clone, Copy, Debug)]
struct NoLabels;

impl EncodeLabelSet for NoLabels {
    fn encode(
        &self,
        _: &mut espalier_telemetry::prometheus_client::encoding::LabelSetEncoder<'_>,
    ) -> Result<(), Error> {
        Ok(())
    }
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, u64)>,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::SweepCensus;

    #[test]
    fn what_was_counted_is_said_once_a_state_and_ends_as_openmetrics_does() {
        let metrics = Metrics::new(Arc::default(), &"main".parse().unwrap(), 7);
        metrics.called();
        metrics.failed("out_of_memory");
        metrics.stepped(Duration::from_micros(3));
        let sweep = SweepCensus { state: "paused", ..SweepCensus::default() };
        let sweeps = [("s".parse().unwrap(), sweep)].into();
        let census = Census { workers: [("idle", 4)].into(), attempts: 9, sweeps, ..Census::default() };
        let text = metrics.text(census);
        for line in [
            "espalier_epoch{espalier_instance=\"main\"} 7",
            "espalier_workers{espalier_instance=\"main\",state=\"idle\"} 4",
            "espalier_sweeps{espalier_instance=\"main\",sweep=\"s\",state=\"paused\"} 1",
            "espalier_sweeps{espalier_instance=\"main\",sweep=\"s\",state=\"running\"} 0",
            "espalier_attempts_total{espalier_instance=\"main\"} 9",
            "espalier_sync_calls_total{espalier_instance=\"main\"} 1",
            "espalier_failures_total{espalier_instance=\"main\",code=\"out_of_memory\"} 1",
            "espalier_step_seconds_count{espalier_instance=\"main\"} 1",
            "espalier_bucket_written_bytes_total{espalier_instance=\"main\"} 0",
            "espalier_bucket_operation_seconds_count{espalier_instance=\"main\",operation=\"read\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
