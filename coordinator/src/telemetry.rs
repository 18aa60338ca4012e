//! Decides where log lines go and what they look like: to stderr, for people or as JSON, never to stdout.
//!
//! In: the user's choice. Must never log a secret: no environment, no request header, no URL with credentials.

use espalier_telemetry::logs::{Form, Spans, filter};
use std::io::IsTerminal;

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
        value_parser = filter,
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

/// Starts logging for the whole process; what comes back is to be ended last. A second call changes nothing.
pub fn start(logs: &Logs) -> Spans {
    let form = match logs.log_format {
        LogFormat::Json => Form::Json,
        LogFormat::Human if std::io::stderr().is_terminal() => Form::Coloured,
        LogFormat::Human => Form::Plain,
    };
    espalier_telemetry::logs::start("espalier", &logs.log, "warn", form, std::io::stderr)
}
