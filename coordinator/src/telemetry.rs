//! Decides where log lines go and what they look like: to stderr, for people or as JSON, never to stdout.
//!
//! In: the user's choice. Must never log a secret: no environment, no request header, no URL with credentials.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// What is logged and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Logs {
    /// What is logged: a level (error, warn, info, debug, trace) or a filter such as `info,espalier=debug`
    #[arg(
        long,
        global = true,
        env = "ESPALIER_LOG",
        default_value = "warn",
        value_name = "FILTER",
        hide_env_values = true
    )]
    pub log: String,
    /// How log lines look
    #[arg(long, global = true, env = "ESPALIER_LOG_FORMAT", default_value = "human", hide_env_values = true)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// Starts logging for the whole process. A second call changes nothing.
pub fn start(logs: &Logs) {
    let filter = EnvFilter::try_new(&logs.log).unwrap_or_else(|_| EnvFilter::new("warn"));
    // A line that cannot be written is lost; told on stderr, where it could not be written, it would end the process.
    let lines = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Only a second call fails, and the first one's choice stands.
    let _ = match logs.log_format {
        LogFormat::Human => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}
