//! What happened to a sweep, by its log and its failures in the bucket: a line each, in the order of time.

use super::log;
use super::refuse::Refusal;
use super::sweeps::SweepsError;
use crate::records::list::failures;
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::{Digest, Name};
use espalier_proto::layout;
use espalier_proto::messages as m;
use espalier_proto::sweep::{LogEvent, ResolvedSweep};
use std::collections::BTreeSet;

/// The lines of a sweep.
pub async fn lines(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<Vec<m::LogLine>, Refusal> {
    let entries =
        log::entries(bucket, &sweep.name).await.map_err(|e| Refusal::sweeps(SweepsError::Log(e)))?;
    let mut lines: Vec<m::LogLine> = entries
        .iter()
        .map(|e| m::LogLine {
            at: e.at.clone(),
            text: format!("{} epoch {}: {}", e.instance, e.epoch, said(&e.event)),
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
        lines.push(m::LogLine { at: record.at, text });
    }
    lines.sort_by(|a, b| a.at.cmp(&b.at));
    Ok(lines)
}

/// The sweep of this name as it was last submitted to the bucket, by whomever.
pub async fn submitted(bucket: &Bucket, name: &Name) -> Result<Option<ResolvedSweep>, Refusal> {
    let fold = log::read(bucket, name).await.map_err(|e| Refusal::sweeps(SweepsError::Log(e)))?;
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
        LogEvent::Cancel => "cancelled".to_owned(),
        LogEvent::Pause => "paused".to_owned(),
        LogEvent::Resume => "resumed".to_owned(),
        LogEvent::Priority { priority } => format!("priority {priority}"),
        LogEvent::Quarantine { key, code } => format!("given up: {}: {}", key.short(), code.as_str()),
        LogEvent::Canary { model, code: None, .. } => format!("canary of model {} passed", model.0.short()),
        LogEvent::Canary { model, code: Some(code), .. } => {
            format!("canary of model {} failed, nothing of it is run: {}", model.0.short(), code.as_str())
        }
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
