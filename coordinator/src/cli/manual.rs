//! `espalier completions` and `espalier man`: what shells and readers of manuals know of the command line, from its definitions.

use super::{Cli, print};
use crate::exit::{Exit, Failure};
use clap::CommandFactory;
use std::path::PathBuf;

/// Print what a shell needs to complete this command line
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier completions bash > ~/.local/share/bash-completion/completions/espalier\n  \
                  espalier completions zsh > ~/.zfunc/_espalier"
)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Write manual pages, one a command
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier man --to ~/.local/share/man/man1")]
pub struct Man {
    /// The folder, made if it is not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// Prints them.
pub fn completions(command: &Completions) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "espalier", &mut text);
    print::text(&String::from_utf8_lossy(&text));
    Ok(Exit::Whole)
}

/// Writes them.
pub fn man(command: &Man) -> Result<Exit, Failure> {
    let failed = |source| Failure::Write { path: command.to.display().to_string(), source };
    std::fs::create_dir_all(&command.to).map_err(failed)?;
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let commands = cli.get_subcommands().filter(|command| !command.is_hide_set());
    for page in std::iter::once(&cli).chain(commands) {
        // The program's name at its foot, where clap would have the command's.
        let page =
            clap_mangen::Man::new(page.clone()).source(concat!("espalier ", env!("CARGO_PKG_VERSION")));
        page.generate_to(&command.to).map_err(failed)?;
    }
    print::text(&format!("{}\n", command.to.join("espalier.1").display()));
    Ok(Exit::Whole)
}
