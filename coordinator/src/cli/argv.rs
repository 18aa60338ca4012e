//! Decides what the user typed: long options may be written with underscores, as wanda's `main.py` has them.

use super::{Cli, Output};
use crate::exit::{Exit, complain};
use clap::Parser;
use std::ffi::OsString;

/// Parses the command line; on a usage error says so, as the output is asked for, and ends the process with code 2, as clap does.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Cli {
    let args = normalise(args);
    match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && asks_for_json(&args) => {
            complain(&in_short(&error.to_string()), Exit::Usage, Output::Json);
            std::process::exit(Exit::Usage as i32)
        }
        // Help and version too.
        Err(error) => error.exit(),
    }
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
    use clap::CommandFactory;

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
    fn underscores_in_option_names_are_dashes_and_values_are_left_alone() {
        let typed = ["espalier", "prune", "--sparsity_type=a_b", "--save_model", "my_dir", "--", "--x_y"];
        let read = normalise(typed.map(OsString::from));
        let expected = ["espalier", "prune", "--sparsity-type=a_b", "--save-model", "my_dir", "--", "--x_y"];
        assert_eq!(read, expected.map(OsString::from));
    }
}
