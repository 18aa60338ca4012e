//! The built binaries, as a user would start them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A binary of this workspace, beside the running test.
///
/// # Panics
/// If it is not built: `make test` builds it first.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let target = test.parent().and_then(|deps| deps.parent()).expect("tests lie in target/<profile>/deps");
    let path = target.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace` first", path.display());
    path
}

/// `espalier` with these arguments, no bucket or coordinator from the environment; it asks nothing of the hub.
pub fn espalier(args: &[&str]) -> Command {
    called(&binary("espalier"), args)
}

/// The same of another version's `espalier`.
pub fn called(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env_remove("ESPALIER_BUCKET").env_remove("ESPALIER_COORDINATOR");
    command.env("HF_HUB_OFFLINE", "1");
    command
}

/// Runs `espalier` to its end.
pub fn run(args: &[&str]) -> Output {
    espalier(args).output().expect("the binary starts")
}

/// What it printed, both streams, for messages.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A command that ended: with `code`, saying all of `needles`, panicking nowhere. Gives what it said.
///
/// # Panics
/// If not.
pub fn ended(args: &[&str], output: &Output, code: i32, needles: &[&str]) -> String {
    let said = text(output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    for needle in needles {
        assert!(said.contains(needle), "{args:?} does not say {needle:?}: {said}");
    }
    said
}
