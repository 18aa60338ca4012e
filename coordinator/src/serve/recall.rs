//! Why things were given up under an earlier coordinator: its memory is the bucket, from which a new one reads it beside its work.
//!
//! In: what the logs of the sweeps that were taken up say was given up. Out: what the attempts at it met. Nobody waits for it.

use super::status::Met;
use super::sweeps::Sweeps;
use crate::records::list::failures;
use espalier_proto::causes::chain;
use espalier_proto::ids::{Digest, Name};
use espalier_proto::records::{FailureCode, FailureRecord};
use std::collections::BTreeMap;

/// Keys that are read before what was found is shown: there may be a hundred thousand.
const SOME: usize = 256;

/// Reads it, and tells the driver.
pub(super) async fn recall(sweeps: &Sweeps, names: &[Name]) {
    let given_up: BTreeMap<Digest, FailureCode> = {
        let live = sweeps.live();
        names.iter().filter_map(|name| live.get(name)).flat_map(|live| live.fold.given_up.clone()).collect()
    };
    let given_up: Vec<(Digest, FailureCode)> = given_up.into_iter().collect();
    for some in given_up.chunks(SOME) {
        let keys: Vec<Digest> = some.iter().map(|(key, _)| *key).collect();
        let mut found = match failures(sweeps.bucket(), keys).await {
            Ok(found) => found,
            // The code alone is told then.
            Err(error) => {
                let why = chain(&error);
                return tracing::warn!(why, "it cannot be read why things were given up before the start");
            }
        };
        let met = some.iter().filter_map(|(key, code)| Some((*key, cause(found.remove(key)?, *code)?)));
        sweeps.driver().recalled(met.collect());
    }
}

/// What the last attempt that failed with this code met; without one, what the last met.
fn cause(records: Vec<FailureRecord>, code: FailureCode) -> Option<Met> {
    let last = records.iter().rfind(|record| record.code == code).or(records.last())?;
    Some(Met { code: last.code, message: last.message.clone() })
}
