//! A bucket's [`Meter`] as metrics.

use espalier_proto::bucket::meter::{BOUNDS, Meter, Operation};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt::Error;
use std::sync::Arc;

/// Reads the meter at every scrape.
#[derive(Debug)]
pub struct BucketMetrics(pub Arc<Meter>);

impl Collector for BucketMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Time of operations on the bucket, their retries included";
        let unit = Some(&Unit::Seconds);
        let mut family =
            encoder.encode_descriptor("espalier_bucket_operation", help, unit, MetricType::Histogram)?;
        for operation in Operation::ALL {
            let count = self.0.count(operation);
            let ranges: Vec<(f64, u64)> = BOUNDS.into_iter().zip(count.ranges).collect();
            let beyond = count.all - count.ranges.iter().sum::<u64>().min(count.all);
            // Written as +Inf, without which Prometheus computes no quantile.
            let ranges: Vec<_> = ranges.into_iter().chain([(f64::INFINITY, beyond)]).collect();
            family.encode_family(&[("operation", operation.as_str())])?.encode_histogram::<NoLabelSet>(
                count.seconds,
                count.all,
                &ranges,
                None,
            )?;
        }
        let help = "Operations on the bucket that failed after every retry";
        let mut family =
            encoder.encode_descriptor("espalier_bucket_failures", help, None, MetricType::Counter)?;
        for operation in Operation::ALL {
            family
                .encode_family(&[("operation", operation.as_str())])?
                .encode_counter::<NoLabelSet, u64, f64>(&self.0.count(operation).failed, None)?;
        }
        let ((written, read), (requests, refused)) = (self.0.bytes(), self.0.requests());
        let counters = [
            ("espalier_bucket_written", "Bytes written to the bucket", Some(&Unit::Bytes), written),
            ("espalier_bucket_read", "Bytes read from the bucket", Some(&Unit::Bytes), read),
            ("espalier_bucket_requests", "Requests to the object store; a folder has none", None, requests),
            ("espalier_bucket_retries", "Requests that were lost or refused, and tried again", None, refused),
        ];
        for (name, help, unit, value) in counters {
            encoder
                .encode_descriptor(name, help, unit, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn the_last_range_of_every_operation_ends_at_infinity_as_quantiles_ask() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(BucketMetrics(Arc::default())));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for operation in Operation::ALL {
            let of = format!("operation=\"{}\"", operation.as_str());
            let ranges = text.lines().filter(|line| line.contains("_seconds_bucket{") && line.contains(&of));
            let last = ranges.last().unwrap_or_default();
            assert!(last.contains("le=\"+Inf\""), "{of}: {text}");
        }
    }
}
