//! The goldens and the device that a test runs on. `ESPALIER_TEST_DEVICE` (`cpu`, `cuda:0`, default cpu) and
//! `ESPALIER_GOLDENS` (default: the repository's) let the built test binaries be carried to another machine.

use std::path::{Path, PathBuf};
use tch::Device;

/// The device under test.
pub(crate) fn device() -> Device {
    let name = std::env::var("ESPALIER_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    espalier_worker::device::open(&name, 2, None).expect("the device under test is there")
}

/// The goldens' folder.
pub(crate) fn root() -> PathBuf {
    match std::env::var_os("ESPALIER_GOLDENS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens"),
    }
}
