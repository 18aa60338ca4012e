//! What is logged and how. Must never log a secret.

use crate::journal::Lines;
use espalier_telemetry::logs::{Form, Spans, filter};

/// The user's choice.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// What is logged to stderr, as tracing's filters are written.
    #[arg(long, default_value = "info", env = "ESPALIER_LOG", value_name = "FILTER", value_parser = filter)]
    log: String,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Human, env = "ESPALIER_LOG_FORMAT")]
    log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Logs {
    /// For people.
    pub(crate) fn plain(log: &str) -> Self {
        Self { log: log.to_owned(), log_format: LogFormat::Human }
    }

    /// Starts logging for the whole process.
    pub(crate) fn start(&self) -> Spans {
        let form = if self.log_format == LogFormat::Json { Form::Json } else { Form::Plain };
        espalier_telemetry::logs::start("espalier-worker", &self.log, "info", form, Lines)
    }
}
