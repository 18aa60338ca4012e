//! The fuzzer: libFuzzer's own `main`, and the target that `ESPALIER_FUZZ` names.
#![no_main]

use espalier_fuzz::{TARGETS, Target, run};
use std::io::Write;
use std::sync::LazyLock;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("ESPALIER_FUZZ").unwrap_or_default();
    let names = || TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ");
    let found = TARGETS.iter().find(|target| target.name == name);
    // A reader may catch what another crate panics with; only what nobody catches is a finding.
    std::panic::set_hook(Box::new(|panic| drop(writeln!(std::io::stderr(), "{panic}"))));
    found.unwrap_or_else(|| panic!("ESPALIER_FUZZ: found {name:?}, expected one of {}", names()))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(&TARGET, bytes));
