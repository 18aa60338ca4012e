//! Helpers of the end-to-end tests: where things are, and the built binaries.

use std::path::{Path, PathBuf};

pub mod binaries;
pub mod cluster;
pub mod faults;
pub mod guarded;
pub mod hub_server;
pub mod network;
pub mod peers;
pub mod s3_server;
pub mod scrape;
pub mod stand_ins;
pub mod sweeps;
pub mod synthetic;
pub mod tls;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies one folder under the root")
        .to_owned()
}

/// Every file under `folder` whose name ends with `.ext`, sorted.
pub fn files(folder: &Path, ext: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ext));
        } else if path.extension().is_some_and(|e| e == ext) {
            found.push(path);
        }
    }
    found.sort();
    found
}
