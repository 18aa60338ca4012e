//! Decides what is told of a command line that cannot be parsed: never a secret of it, and where an address lost its option, that.

use super::Cli;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use espalier_proto::remote::end_by;

/// Parses this process's arguments; on a usage error says so and ends it with 2, as clap does.
pub(super) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| match stray(&error) {
        Some(address) => {
            let message = format!("--join is missing in front of '{address}'");
            end_by(&Cli::command().error(ErrorKind::MissingRequiredArgument, message))
        }
        None => end_by(&error),
    })
}

/// An address that stands where no argument should.
fn stray(error: &clap::Error) -> Option<&str> {
    let found = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand].into_iter();
    let mut found = found.filter_map(|kind| match error.get(kind) {
        Some(ContextValue::String(text)) if !text.starts_with('-') => Some(text.as_str()),
        _ => None,
    });
    let alone = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand);
    found.find(|text| alone && text.contains("://"))
}
