//! Every input that is kept runs through its target, without the fuzzer; and everything has its place.

use espalier_fuzz::{TARGETS, run};
use std::path::{Path, PathBuf};

/// Most bytes of all kept inputs together.
const MOST_KEPT: u64 = 1 << 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = root().join("corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_kept_input_runs_through_its_target() {
    // Threads of tests have 2 MiB of stack, as a coordinator's have.
    for target in TARGETS {
        let files = inputs(target.name);
        assert!(!files.is_empty(), "{} has no inputs", target.name);
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let ran = std::panic::catch_unwind(|| run(target, &bytes));
            assert!(ran.is_ok(), "{} fails {}", file.display(), target.name);
        }
    }
}

#[test]
fn what_is_kept_is_small_and_belongs_to_a_target() {
    let mut sum = 0;
    for entry in std::fs::read_dir(root().join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(TARGETS.iter().any(|target| target.name == name), "no target is called {name}");
        sum += inputs(&name).iter().map(|file| file.metadata().unwrap().len()).sum::<u64>();
    }
    assert!(sum <= MOST_KEPT, "found {sum} bytes, expected at most {MOST_KEPT}");
}

#[test]
fn the_documentation_names_every_target() {
    let text = std::fs::read_to_string(root().join("../docs/fuzzing.md")).unwrap();
    for target in TARGETS {
        assert!(
            text.contains(&format!("`{}`", target.name)),
            "docs/fuzzing.md does not name {}",
            target.name
        );
    }
}
