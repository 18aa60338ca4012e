//! `espalier schema`: JSON Schema of the sweep file, for editors.

use super::print;
use crate::exit::{Exit, Failure};
use crate::spec::schema::schema;

/// Print the JSON Schema of the sweep file, for editors
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  espalier schema > sweep.schema.json\n\nThen begin the sweep file with\n  # yaml-language-server: $schema=./sweep.schema.json"
)]
pub struct Schema {}

/// Prints the schema, JSON whatever `--output` says.
pub fn run(_: &Schema) -> Result<Exit, Failure> {
    print::json(&schema());
    Ok(Exit::Whole)
}
