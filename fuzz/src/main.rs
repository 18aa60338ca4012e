//! The fuzzer: libFuzzer's own `main` and one target, which `ESPALIER_FUZZ` names while this is compiled. A binary has one target
//! because libFuzzer looks at every counter of the program after every input, also at those of code that no input of it reaches.
#![no_main]

use espalier_fuzz::{TARGETS, Target, run};
use std::io::Write;
use std::sync::LazyLock;

/// The target; a constant refers to its function alone, so that the linker drops the others.
const RUN: fn(&[u8]) = find(env!("ESPALIER_FUZZ")).run;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    // A reader may catch what another crate panics with; only what nobody catches is a finding.
    std::panic::set_hook(Box::new(|panic| drop(writeln!(std::io::stderr(), "{panic}"))));
    Target { name: env!("ESPALIER_FUZZ"), run: RUN }
});

const fn find(name: &str) -> &'static Target {
    let mut at = 0;
    while at < TARGETS.len() {
        if same(TARGETS[at].name.as_bytes(), name.as_bytes()) {
            return &TARGETS[at];
        }
        at += 1;
    }
    panic!("ESPALIER_FUZZ names no target")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(&TARGET, bytes));
