//! `espalier-worker completions` and `espalier-worker man`: what shells and readers of manuals know of the command line, from its
//! definitions, as `espalier` has them.

use super::{Cli, CliError};
use clap::{Args, CommandFactory};
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  espalier-worker completions bash > ~/.local/share/bash-completion/completions/espalier-worker"
)]
pub(super) struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  espalier-worker man --to ~/.local/share/man/man1")]
pub(super) struct Man {
    /// The folder, made if it is not there.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Prints them.
pub(super) fn completions(command: &Completions) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "espalier-worker", &mut text);
    let written = std::io::stdout().write_all(&text);
    written.map_err(|source| CliError::Write { path: "stdout".to_owned(), source })
}

/// Writes them.
pub(super) fn man(command: &Man) -> Result<(), CliError> {
    let failed = |source| CliError::Write { path: command.to.display().to_string(), source };
    std::fs::create_dir_all(&command.to).map_err(failed)?;
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let commands = cli.get_subcommands().filter(|command| !command.is_hide_set());
    for page in std::iter::once(&cli).chain(commands) {
        // The program's name at its foot, where clap would have the command's.
        let page = clap_mangen::Man::new(page.clone())
            .source(concat!("espalier-worker ", env!("CARGO_PKG_VERSION")));
        page.generate_to(&command.to).map_err(failed)?;
    }
    let page = command.to.join("espalier-worker.1");
    writeln!(std::io::stdout(), "{}", page.display()).map_err(failed)
}
