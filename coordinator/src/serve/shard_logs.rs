//! What workers logged at a sweep's shards: read from the bucket, and where it is followed read again and again, each time only what
//! is new.
//!
//! A log is put into the bucket whole, every half minute and when its attempt ends; of a long one the middle is left out.

use super::refuse::Refusal;
use super::sweeps::Sweeps;
use crate::clock;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::{AttemptId, Name};
use espalier_proto::layout;
use espalier_proto::messages as m;
use espalier_proto::sweep::{ResolvedSweep, VariantEntry};
use futures::{Stream, StreamExt};
use object_store::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// After the sweep's end the last attempts' logs are put into the bucket within this time.
const LAST: Duration = Duration::from_secs(3);
/// Listings in flight.
const AT_ONCE: usize = 32;

/// Attempts, or variants, that a refusal lists.
const SHOWN: usize = 20;

type Pieces = mpsc::UnboundedSender<Result<m::ShardLogPiece, Status>>;

/// Sends the logs of the variants and the attempt that are asked for.
pub(super) async fn send(sweeps: Arc<Sweeps>, request: m::ShardLogsRequest, to: Pieces) {
    // Whoever asked may have gone.
    let _ = match follow(&sweeps, &request, &to).await {
        Ok(()) => Ok(()),
        Err(refusal) => to.send(Err(refusal.into())),
    };
}

async fn follow(sweeps: &Sweeps, request: &m::ShardLogsRequest, to: &Pieces) -> Result<(), Refusal> {
    let sweep = sweeps.sweep(&request.sweep).map_err(Refusal::sweeps)?;
    let attempt = match request.attempt.as_str() {
        "" => None,
        text => Some(text.parse::<AttemptId>().map_err(Refusal::bad)?),
    };
    let variants = chosen(&sweep.variants, &request.variant)?;
    let mut seen = BTreeMap::new();
    loop {
        let over = is_over(sweeps, &sweep.name);
        if over && request.follow {
            clock::sleep(LAST).await;
        }
        let found = new_pieces(sweeps.bucket(), &variants, attempt.as_ref(), &mut seen).await;
        for piece in found.map_err(Refusal::bucket)? {
            if to.send(Ok(piece)).is_err() {
                return Ok(());
            }
        }
        if request.follow {
            sweeps.sweep(&request.sweep).map_err(Refusal::sweeps)?;
        }
        if over || !request.follow {
            return found_some(sweeps.bucket(), &sweep, &request.variant, attempt.as_ref(), &seen).await;
        }
        clock::sleep(LOOK).await;
    }
}

/// The same of a sweep in a bucket, as they are now.
pub async fn read(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    variant: &str,
    attempt: Option<&AttemptId>,
) -> Result<Vec<m::ShardLogPiece>, Refusal> {
    let variants = chosen(&sweep.variants, variant)?;
    let mut seen = BTreeMap::new();
    let pieces = new_pieces(bucket, &variants, attempt, &mut seen).await.map_err(Refusal::bucket)?;
    found_some(bucket, sweep, variant, attempt, &seen).await?;
    Ok(pieces)
}

/// An attempt that was asked for by its id and has left no log is refused with those that have, as is one of another variant.
async fn found_some(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    said: &str,
    attempt: Option<&AttemptId>,
    seen: &Seen,
) -> Result<(), Refusal> {
    let Some(attempt) = attempt.filter(|_| seen.is_empty()) else { return Ok(()) };
    let all: Vec<&VariantEntry> = sweep.variants.iter().collect();
    let (mut known, mut found) = (BTreeSet::new(), format!("of which sweep {} has no log", sweep.name));
    for (variant, listed) in listings(bucket, &all).collect::<Vec<_>>().await {
        let logs = listed.map_err(Refusal::bucket)?;
        let attempts = logs.iter().filter_map(|meta| layout::parse_attempt_log(&meta.location));
        if means(said, variant) {
            known.extend(attempts);
        } else if attempts.into_iter().any(|other| other == *attempt) {
            found = format!("an attempt at {}", full(variant));
        }
    }
    let at = if said.is_empty() { String::new() } else { format!(" at {said}") };
    let some: Vec<String> = known.iter().take(SHOWN).map(ToString::to_string).collect();
    let expected = match known.len() {
        0 => format!("an attempt{at} that has begun: none has left a log yet"),
        n if n > SHOWN => format!("one of {n}{at}, such as {}", some.join(", ")),
        _ => format!("one of {}{at}", some.join(", ")),
    };
    Err(Refusal::usage(&format!("--shard: found {attempt}, {found}, expected {expected}")))
}

fn is_over(sweeps: &Sweeps, name: &Name) -> bool {
    let status = sweeps.driver().status().borrow().clone();
    status.superseded || status.view.sweeps.get(name).is_none_or(|view| view.over)
}

/// True of a variant that is called so: as tables show it, with its model, or by its key's beginning. Nothing said is all.
fn means(said: &str, v: &VariantEntry) -> bool {
    said.is_empty()
        || v.name == said
        || full(v) == said
        || format!("{} {}", v.model, v.name) == said
        || (said.len() >= 6 && v.key.to_string().starts_with(said))
}

/// As `export` takes it too.
fn full(variant: &VariantEntry) -> String {
    format!("{}/{}", variant.model, variant.name)
}

fn chosen<'a>(variants: &'a [VariantEntry], said: &str) -> Result<Vec<&'a VariantEntry>, Refusal> {
    let chosen: Vec<_> = variants.iter().filter(|v| means(said, v)).collect();
    if chosen.is_empty() {
        let mut told = BTreeSet::new();
        let known = variants.iter().map(|v| v.name.as_str()).filter(|name| told.insert(*name));
        let known: Vec<&str> = known.take(SHOWN).collect();
        let found =
            format!("--variant: found {said:?}, expected one of: {}; or MODEL/NAME", known.join(", "));
        return Err(Refusal::usage(&found));
    }
    Ok(chosen)
}

/// A log as it was last seen: its object and its text.
type Seen = BTreeMap<object_store::path::Path, (ObjectMeta, String)>;

/// Every variant's logs, in the order of tables.
fn listings<'a>(
    bucket: &'a Bucket,
    variants: &'a [&'a VariantEntry],
) -> impl Stream<Item = (&'a VariantEntry, Result<Vec<ObjectMeta>, BucketError>)> {
    let list =
        |v: &'a VariantEntry| async move { (v, bucket.list_sizes(&layout::attempt_logs(v.key)).await) };
    futures::stream::iter(variants.iter().copied().map(list).collect::<Vec<_>>()).buffered(AT_ONCE)
}

async fn new_pieces(
    bucket: &Bucket,
    variants: &[&VariantEntry],
    attempt: Option<&AttemptId>,
    seen: &mut Seen,
) -> Result<Vec<m::ShardLogPiece>, BucketError> {
    let mut pieces = Vec::new();
    let mut listings = std::pin::pin!(listings(bucket, variants));
    while let Some((variant, listed)) = listings.next().await {
        let logs =
            listed?.into_iter().filter_map(|meta| Some((layout::parse_attempt_log(&meta.location)?, meta)));
        let mut logs: Vec<_> = logs.filter(|(id, _)| attempt.is_none_or(|wanted| wanted == id)).collect();
        logs.sort_by(|a, b| a.0.cmp(&b.0));
        for (id, meta) in logs {
            let before = seen.get(&meta.location);
            if before.is_some_and(|(old, _)| old.last_modified == meta.last_modified && old.size == meta.size)
            {
                continue;
            }
            let Some(bytes) = bucket.read(&meta.location).await? else { continue };
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let new = news(before.map_or("", |(_, text)| text), &text).to_owned();
            if !new.is_empty() {
                pieces.push(m::ShardLogPiece {
                    model: variant.model.clone(),
                    variant: variant.name.clone(),
                    attempt: id.to_string(),
                    text: new,
                });
            }
            seen.insert(meta.location.clone(), (meta, text));
        }
    }
    Ok(pieces)
}

/// What a log says that it did not say before. Where its middle was left out since, that is what follows the last line known.
pub fn news<'a>(before: &str, now: &'a str) -> &'a str {
    if let Some(rest) = now.strip_prefix(before) {
        return rest;
    }
    let last = before.lines().last().unwrap_or_default();
    match now.rfind(last) {
        Some(at) if !last.is_empty() => now[at + last.len()..].trim_start_matches('\n'),
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::ids::Digest;
    use serde_json::json;

    fn variant(model: &str, name: &str) -> VariantEntry {
        let digest = |text: &str| Digest::of(text.as_bytes()).to_string();
        let spec = json!({"model": digest(model), "method": "dense", "dtype": "float32", "backend": "cpu"});
        let entry = json!({
            "key": digest(&format!("{model} {name}")), "spec": spec, "model": model, "name": name, "sparsity": "0",
            "target_sparsity": 0.0, "calibration": null, "seed": null,
        });
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn a_variant_is_meant_by_its_name_in_all_models_or_with_its_model_in_one_and_a_refusal_tells_each_name_once()
     {
        let variants = ["a", "b"].map(|model| ["dense", "wanda-0.5-s0"].map(|name| variant(model, name)));
        let variants = variants.concat();
        let models = |said: &str| {
            chosen(&variants, said).map(|found| found.iter().map(|v| v.model.as_str()).collect::<Vec<_>>())
        };
        assert_eq!(models("dense").unwrap(), ["a", "b"]);
        assert_eq!(models("b/dense").unwrap(), ["b"]);
        assert_eq!(models("b dense").unwrap(), ["b"]);
        assert_eq!(models(&variants[3].key.to_string()[..12]).unwrap(), ["b"]);
        assert_eq!(models("").unwrap().len(), 4);
        let said = models("c/dense").unwrap_err().message;
        assert_eq!(said, "--variant: found \"c/dense\", expected one of: dense, wanda-0.5-s0; or MODEL/NAME");
    }

    #[test]
    fn of_a_log_seen_before_only_what_is_new_is_sent_also_once_its_middle_is_left_out() {
        assert_eq!(news("", "a\nb\n"), "a\nb\n");
        assert_eq!(news("a\nb\n", "a\nb\nc\n"), "c\n");
        assert_eq!(news("a\nb\nc\n", "a\n[1 lines are left out here]\nc\nd\n"), "d\n");
        assert_eq!(
            news("a\nb\n", "a\n[9 lines are left out here]\ny\nz\n"),
            "a\n[9 lines are left out here]\ny\nz\n"
        );
    }
}
