//! A sweep file on the command line, with what is changed in it for this call: `plan`, `run` and `report` share it.

use crate::exit::Failure;
use crate::spec::file::SweepFile;
use crate::spec::only::Only;
use crate::spec::parse::{Changes, load};
use std::path::PathBuf;

/// A sweep file and its changes.
#[derive(Clone, Debug, clap::Args)]
pub struct SweepArgs {
    /// The sweep file
    #[arg(value_name = "SWEEP.yaml")]
    pub file: PathBuf,
    /// Change a value of the file, such as `calibration.nsamples=64` or `recipes.0.sparsity=[0.5]`; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// At most N windows or items of every task; results then say "limited"
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Only these cells, such as `model=phi-2,sparsity=0.5`; the sweep stays what the file says
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub only: Vec<Only>,
}

impl SweepArgs {
    /// Reads and checks the file, and what of `--only` it tells.
    pub fn load(&self) -> Result<SweepFile, Failure> {
        let changes = Changes { set: self.set.clone(), limit: self.limit };
        let file = load(&self.file, &changes)?;
        self.only().check(&file).map_err(|error| Failure::Usage { message: error.to_string() })?;
        Ok(file)
    }

    /// All `--only` together.
    pub fn only(&self) -> Only {
        self.only.iter().fold(Only::default(), |all, one| all.and(one))
    }
}

/// Refuses a choice that chooses nothing: more likely a slip than a wish.
pub fn not_empty(chosen: Option<usize>) -> Result<(), Failure> {
    match chosen {
        Some(0) => Err(Failure::Usage {
            message: "--only: found a choice of no cell, expected values as `espalier plan` shows them"
                .to_owned(),
        }),
        _ => Ok(()),
    }
}
