//! Decides what the user typed: long options may be written with underscores, as wanda's `main.py` has them.

use super::{Cli, Output};
use crate::exit::{Exit, complain};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use espalier_proto::remote::{end_by, usage_shown};
use std::ffi::{OsStr, OsString};

/// Parses the command line; on a usage error says so, as the output is asked for, and ends the process with code 2, as clap does.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Cli {
    let args = normalise(args);
    match read(&args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && asks_for_json(&args) => {
            complain(&in_short(&usage_shown(&error.to_string())), Exit::Usage, Output::Json);
            std::process::exit(Exit::Usage as i32)
        }
        // Help and version too.
        Err(error) => end_by(&error),
    }
}

fn read(args: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(args)?;
    let (_, command) = matches.subcommand().unzip();
    if command.is_some_and(names_no_bucket) {
        let message = "--bucket: found nothing, expected a folder or s3://bucket/prefix";
        return Err(Cli::command().error(ErrorKind::InvalidValue, message));
    }
    Cli::from_arg_matches(&matches)
}

/// `--bucket ""`, most often of a script's variable that is not set. In the environment nothing says nothing.
fn names_no_bucket(command: &ArgMatches) -> bool {
    let Ok(Some(mut values)) = command.try_get_raw("bucket") else { return false };
    command.value_source("bucket") == Some(ValueSource::CommandLine) && values.any(OsStr::is_empty)
}

/// What cannot be parsed as a whole may still say how its output is to be.
fn asks_for_json(args: &[OsString]) -> bool {
    let said = args.iter().take_while(|arg| *arg != "--");
    let pairs = said.clone().zip(said.clone().skip(1));
    said.clone().any(|arg| arg == "--output=json")
        || pairs.into_iter().any(|(option, value)| option == "--output" && value == "json")
}

/// What clap says, without what is for people alone: the word "error", usage, and where help is.
fn in_short(said: &str) -> String {
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|mark| said.find(mark)).min();
    said[..end.unwrap_or(said.len())].trim().to_owned()
}

/// `--sparsity_type=2:4` → `--sparsity-type=2:4`; values and everything after a bare `--` stay as they are.
fn normalise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut verbatim = false;
    args.into_iter()
        .map(|arg| {
            verbatim |= arg == "--";
            match arg.to_str() {
                Some(text) if !verbatim && text.starts_with("--") => {
                    let (option, value) = text.split_at(text.find('=').unwrap_or(text.len()));
                    OsString::from(option.replace('_', "-") + value)
                }
                _ => arg,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_in_its_help() {
        for mut command in Cli::command().get_subcommands().cloned() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example") && help.contains("espalier "), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn a_bucket_without_a_name_is_refused() {
        for typed in [&["espalier", "du", "--bucket", ""][..], &["espalier", "du", "--bucket="]] {
            let typed: Vec<OsString> = typed.iter().map(OsString::from).collect();
            let error = read(&typed).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("--bucket: found nothing"), "{error}");
        }
        read(&["espalier", "du"].map(OsString::from)).unwrap();
        read(&["espalier", "list"].map(OsString::from)).unwrap();
    }

    #[test]
    fn underscores_in_option_names_are_dashes_and_values_are_left_alone() {
        let typed = ["espalier", "prune", "--sparsity_type=a_b", "--save_model", "my_dir", "--", "--x_y"];
        let read = normalise(typed.map(OsString::from));
        let expected = ["espalier", "prune", "--sparsity-type=a_b", "--save-model", "my_dir", "--", "--x_y"];
        assert_eq!(read, expected.map(OsString::from));
    }
}
