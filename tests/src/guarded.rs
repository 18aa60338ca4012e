//! A coordinator that believes by tokens and certificates, and what its users say to it.

use crate::binaries::ended;
use crate::cluster::{Process, listening};
use crate::sweeps::Place;
use serde_json::Value;

/// A coordinator with an identity; where it listens as its certificate is asked for, and both addresses.
#[derive(Debug)]
pub struct Guarded {
    /// Its process.
    pub coordinator: Process,
    /// Where it listens, without a fingerprint.
    pub url: String,
    /// As workers are told.
    pub worker: String,
    /// As users are told.
    pub user: String,
}

/// Starts one in the place, with the identity in its folder `identity`, made if it is not there. Its log is `coordinator.log`.
///
/// # Panics
/// If it does not start.
pub fn guarded(place: &Place, more: &[&str]) -> Guarded {
    let mut args =
        vec!["coordinator", "--listen", "127.0.0.1:0", "--identity", "identity", "--output", "json"];
    args.extend(["--log", "debug"].iter().chain(more));
    let (coordinator, said) = listening(place, place.command(&args));
    let url = said["address"].as_str().expect("it says where it listens").to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{said}");
    let at = url.trim_start_matches("https://").to_owned();
    let told =
        place.espalier(&["identity", "--identity", "identity", "--advertise", &at, "--output", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).expect("it is asked for JSON");
    let [worker, user] =
        ["worker", "user"].map(|role| told[role].as_str().expect("both are told").to_owned());
    Guarded { coordinator, url, worker, user }
}

/// `espalier …` with this address in its environment must end so.
///
/// # Panics
/// If it does not.
pub fn ends(place: &Place, address: &str, args: &[&str], code: i32, needles: &[&str]) -> String {
    let mut command = place.command(args);
    command.env("ESPALIER_COORDINATOR", address);
    ended(args, &command.output().expect("the binary starts"), code, needles)
}

/// The token of an address.
///
/// # Panics
/// If it has none.
pub fn token(address: &str) -> &str {
    secret(address).1
}

/// The fingerprint of an address.
///
/// # Panics
/// If it has none.
pub fn pin(address: &str) -> &str {
    secret(address).0
}

fn secret(address: &str) -> (&str, &str) {
    let (_, secret) = address.split_once('#').expect("the address has a fingerprint");
    secret.split_once(':').expect("the address has a token")
}
