//! What happened to a sweep, by its log and its failures in the bucket: a line each, in the order of time.

use super::log;
use super::refuse::Refusal;
use super::sweeps::SweepsError;
use crate::records::list::failures;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::{AttemptId, Digest, Name};
use espalier_proto::layout;
use espalier_proto::messages as m;
use espalier_proto::sweep::{LogEvent, ResolvedSweep};
use std::collections::{BTreeMap, BTreeSet};

/// The lines of a sweep.
pub async fn lines(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<Vec<m::LogLine>, Refusal> {
    let refused = |error: BucketError| Refusal::sweeps(SweepsError::Log(error.into()));
    let entries = log::first_entries(bucket, &sweep.name).await.map_err(refused)?;
    let mut lines: Vec<(What, m::LogLine)> = entries
        .iter()
        .map(|e| {
            let text = format!("{} epoch {}: {}", e.instance, e.epoch, said(&e.event));
            (what(&e.event), m::LogLine { at: e.at.clone(), text })
        })
        .collect();
    let keys: BTreeSet<Digest> =
        sweep.variants.iter().map(|v| v.key.0).chain(sweep.cells.iter().map(|c| c.key.0)).collect();
    let failed = failures(bucket, keys).await.map_err(|e| Refusal::sweeps(SweepsError::Records(e)))?;
    for record in failed.into_values().flatten() {
        let text = format!(
            "{} {}: {}: {}",
            label(sweep, record.key),
            record.attempt,
            record.code.as_str(),
            record.message
        );
        lines.push((What::Failed(record.attempt), m::LogLine { at: record.at, text }));
    }
    Ok(in_order(lines))
}

/// What a line tells, as far as its place follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Failed(AttemptId),
    GivenUp,
    Other,
}

fn what(event: &LogEvent) -> What {
    match event {
        LogEvent::Quarantine { .. } | LogEvent::Canary { code: Some(_), .. } => What::GivenUp,
        LogEvent::Submit { .. }
        | LogEvent::Cancel { .. }
        | LogEvent::Pause
        | LogEvent::Resume
        | LogEvent::Priority { .. }
        | LogEvent::Canary { code: None, .. }
        | LogEvent::Stop
        | LogEvent::Retry { .. } => What::Other,
    }
}

/// By time. Workers tell failures to the second: those of the second in which something was given up come before it, by attempt.
fn in_order(lines: Vec<(What, m::LogLine)>) -> Vec<m::LogLine> {
    let mut given_up: BTreeMap<i64, i64> = BTreeMap::new();
    for (_, line) in lines.iter().filter(|(what, _)| *what == What::GivenUp) {
        let at = millis(&line.at);
        let first = given_up.entry(at.div_euclid(1000)).or_insert(at);
        *first = at.min(*first);
    }
    let mut placed: Vec<_> = lines
        .into_iter()
        .map(|(what, line)| {
            let at = millis(&line.at);
            let place = match what {
                What::Failed(id) => (*given_up.get(&at.div_euclid(1000)).unwrap_or(&at), false, Some(id)),
                What::GivenUp | What::Other => (at, true, None),
            };
            (place, line)
        })
        .collect();
    placed.sort_by(|(a, _), (b, _)| a.cmp(b));
    placed.into_iter().map(|(_, line)| line).collect()
}

/// Since 1970. What is no time comes first.
fn millis(at: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(at).map_or(i64::MIN, |at| at.timestamp_millis())
}

/// The sweep of this name as it was last submitted to the bucket, by whomever.
pub async fn submitted(bucket: &Bucket, name: &Name) -> Result<Option<ResolvedSweep>, Refusal> {
    let fold = log::read_whole(bucket, name).await.map_err(|e| Refusal::sweeps(SweepsError::Log(e)))?;
    match fold.spec {
        Some(spec) => bucket.read_object(&layout::spec(name, spec)).await.map_err(Refusal::bucket),
        None => Ok(None),
    }
}

fn said(event: &LogEvent) -> String {
    match event {
        LogEvent::Submit { spec, take_over, only } => {
            let taken = if *take_over { ", taken over" } else { "" };
            let only = only.as_ref().map(|only| format!(", only {only}")).unwrap_or_default();
            format!("submitted{taken}{only} (spec {})", spec.short())
        }
        LogEvent::Cancel { only: None } => "cancelled".to_owned(),
        LogEvent::Cancel { only: Some(only) } => format!("cancelled: {only}"),
        LogEvent::Pause => "paused".to_owned(),
        LogEvent::Resume => "resumed".to_owned(),
        LogEvent::Priority { priority } => format!("priority {priority}"),
        LogEvent::Quarantine { key, code } => format!("given up: {}: {}", key.short(), code.as_str()),
        LogEvent::Canary { model, code: None, .. } => format!("canary of model {} passed", model.0.short()),
        LogEvent::Canary { model, code: Some(code), .. } => {
            format!(
                "canary of model {} failed, nothing that waits for it alone is run: {}",
                model.0.short(),
                code.as_str()
            )
        }
        LogEvent::Stop => "stopped: as many cells failed as limits.max_failed_cells allows".to_owned(),
        LogEvent::Retry { keys } if keys.is_empty() => "to be tried again: all that was given up".to_owned(),
        LogEvent::Retry { keys } => format!("to be tried again: {} keys", keys.len()),
    }
}

/// What a key is called in tables.
fn label(sweep: &ResolvedSweep, key: Digest) -> String {
    let cell = sweep.cells.iter().find(|c| c.key.0 == key);
    let variant = sweep.variants.iter().find(|v| v.key.0 == key || cell.is_some_and(|c| c.variant == v.key));
    let name = variant.map_or_else(|| key.short(), |v| format!("{} {}", v.model, v.name));
    cell.map_or(name.clone(), |c| format!("{name} {}", c.task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_come_before_what_follows_from_them_and_attempts_by_number() {
        let line = |what: &What, at: &str, text: &str| {
            (what.clone(), m::LogLine { at: format!("2026-01-02T03:04:{at}Z"), text: text.to_owned() })
        };
        let failed = |n: u64| What::Failed(format!("main-1-{n}").parse().unwrap());
        let lines = vec![
            line(&What::Other, "01.500", "submitted"),
            line(&What::GivenUp, "05.250", "given up"),
            line(&What::Other, "05.900", "retry"),
            line(&failed(10), "05", "10"),
            line(&failed(9), "05", "9"),
            // By the coordinator, of a lost worker.
            line(&failed(11), "05.249", "11"),
            line(&failed(2), "02", "2"),
        ];
        let told: Vec<_> = in_order(lines).into_iter().map(|line| line.text).collect();
        assert_eq!(told, ["submitted", "2", "9", "10", "11", "given up", "retry"]);
    }
}
