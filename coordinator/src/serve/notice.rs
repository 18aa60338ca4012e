//! What others did in the bucket while this coordinator runs: sweeps taken over or removed, records deleted by `repair`, `rm` or `gc`.

use super::log;
use super::sweeps::{Sweeps, SweepsError};
use crate::causes::chain;
use crate::records::generation;
use crate::records::kept;
use crate::schedule::Event;
use espalier_proto::ids::{Digest, Name};
use espalier_proto::layout;
use std::sync::Arc;

/// Looks at it, now and then. What is being submitted or steered just now looks by itself.
pub(super) async fn look(sweeps: &Arc<Sweeps>) {
    let now = generation::current(sweeps.bucket()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "it cannot be seen whether records were deleted");
        None
    });
    for name in sweeps.names() {
        let turn = sweeps.turn(&name);
        let Ok(turn) = turn.try_lock_owned() else { continue };
        match is_ours(sweeps, &name).await {
            Ok(None) => {}
            Ok(Some(why)) => {
                tracing::warn!(sweep = %name, "{why}");
                sweeps.driver().tell(Event::Forget(name.clone()));
                sweeps.live().remove(&name);
                continue;
            }
            Err(error) => {
                tracing::warn!(sweep = %name, why = chain(&error), "the sweep's log cannot be read");
                continue;
            }
        }
        if now.is_some_and(|now| is_to_be_read_again(sweeps, &name, now)) {
            let sweeps = sweeps.clone();
            // Of a large sweep it takes a while, and its turn is kept meanwhile.
            tokio::spawn(async move {
                if let Err(error) = read_again(&sweeps, &name).await {
                    tracing::warn!(sweep = %name, why = chain(&error), "what was deleted of the sweep cannot be seen");
                }
                drop(turn);
            });
        }
    }
}

/// Catches up with the sweep's log; why the sweep is this instance's no more, if it is not.
async fn is_ours(sweeps: &Sweeps, name: &Name) -> Result<Option<String>, SweepsError> {
    let Some(mut fold) = sweeps.live().get(name).map(|live| live.fold.clone()) else { return Ok(None) };
    if !sweeps.bucket().exists(&layout::log_entry(name, fold.last)).await? {
        return Ok(Some("the sweep was removed from the bucket".to_owned()));
    }
    log::catch_up(sweeps.bucket(), name, &mut fold).await?;
    if fold.owner.as_ref() != Some(&sweeps.epoch().instance) {
        let owner = fold.owner.as_ref().map(Name::as_str).unwrap_or_default();
        return Ok(Some(format!("the sweep was taken over by instance {owner}")));
    }
    if let Some(live) = sweeps.live().get_mut(name) {
        live.fold = fold;
    }
    Ok(None)
}

/// Records were deleted since the sweep's were read. A stopped one is read when it is submitted again.
fn is_to_be_read_again(sweeps: &Sweeps, name: &Name, now: Digest) -> bool {
    let status = sweeps.driver().status().borrow().clone();
    let halted = status.view.sweeps.get(name).is_none_or(|view| view.halted);
    !halted && sweeps.live().get(name).is_some_and(|live| live.generation != Some(now))
}

/// Takes the sweep up again from the bucket: what was deleted of it is missing again.
async fn read_again(sweeps: &Sweeps, name: &Name) -> Result<(), SweepsError> {
    let known = sweeps.live().get(name).map(|live| (live.sweep.clone(), live.fold.clone()));
    let Some((sweep, fold)) = known else { return Ok(()) };
    tracing::info!(sweep = %name, "records were deleted from the bucket: the sweep's are read again");
    // Before the bucket is read: what is believed by then and not found was deleted.
    let believed = sweeps.driver().believed(sweep.variants.iter().map(|v| v.key).collect()).await;
    let kept = kept(sweeps.bucket(), name).await?;
    sweeps.take_up(sweep, kept, fold, believed, false).await
}
