//! Where log lines and spans go: lines to stderr, for people or as JSON, never to stdout; spans to the collector that
//! `OTEL_EXPORTER_OTLP_ENDPOINT` names, if it names one.
//!
//! Must never log a secret: no environment, no request header, no URL with credentials.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tracing::Level;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// The collector that spans are sent to.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The store's client, as lines name it.
const STORE: &str = "object_store";

/// How long the last spans may take to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Plain,
    /// For people, in colours.
    Coloured,
    /// One JSON object a line.
    Json,
}

/// What sends spans.
#[derive(Debug)]
pub struct Spans(Option<SdkTracerProvider>);

impl Spans {
    /// Sends the spans that are left. Everything else has ended.
    pub fn end(self, runtime: &Runtime) {
        if let Some(provider) = self.0 {
            let shutdown = runtime.spawn_blocking(move || provider.shutdown_with_timeout(FAREWELL));
            // A collector that is away takes nothing with it.
            let _ = runtime.block_on(shutdown);
        }
    }
}

/// A filter as the command line takes it: refused where it is none.
pub fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; expected a level (error, warn, info, debug, trace) or a filter such as info,espalier=debug"
        )),
    }
}

/// Starts logging for the whole process; what is no filter is `otherwise`. A second call changes nothing. Spans are sent only from
/// inside a runtime, which must live as long as the process.
pub fn start(
    program: &'static str,
    filter: &str,
    otherwise: &str,
    form: Form,
    to: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Spans {
    let calm = calm(filter);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(otherwise)).and(calm);
    // A line that cannot be written is lost; told on stderr, where it could not be written, it would end the process.
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(to);
    let lines = match form {
        Form::Plain | Form::Coloured => lines.with_ansi(form == Form::Coloured).boxed(),
        Form::Json => lines.json().boxed(),
    };
    let provider = provider(program);
    let spans = provider.as_ref().map(|provider| {
        // What sends spans makes spans itself.
        let ours =
            Targets::new().with_target("espalier", Level::INFO).with_target("espalier_worker", Level::INFO);
        tracing_opentelemetry::layer().with_tracer(provider.tracer(program)).with_filter(ours)
    });
    // Only a second call fails, and the first one's choice stands.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).try_init();
    Spans(provider)
}

/// The store's client tells each of hundreds of retries; what became of them in the end is told by who asked for it. Whoever names it in
/// the filter sees them.
fn calm(filter: &str) -> Targets {
    let level = if filter.contains(STORE) { LevelFilter::TRACE } else { LevelFilter::WARN };
    Targets::new().with_default(LevelFilter::TRACE).with_target(STORE, level)
}

fn provider(program: &'static str) -> Option<SdkTracerProvider> {
    Handle::try_current().ok()?;
    let endpoint = std::env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty())?;
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().ok()?;
    let resource = Resource::builder().with_service_name(program).build();
    Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

#[cfg(test)]
mod tests {
    use super::{calm, filter};
    use tracing::Level;

    #[test]
    fn a_filter_is_a_level_or_levels_of_targets() {
        for good in ["info", "", "warn,espalier=debug", "off", "espalier[shard]=trace"] {
            assert_eq!(filter(good).unwrap(), good);
        }
        for wrong in ["===", "espalier=loud"] {
            assert!(filter(wrong).unwrap_err().contains("expected a level"), "{wrong}");
        }
    }
    #[test]
    fn retries_of_the_store_are_told_only_to_those_who_name_it() {
        let retry = "object_store::client::retry";
        assert!(!calm("info").would_enable(retry, &Level::INFO));
        assert!(calm("info").would_enable(retry, &Level::WARN));
        assert!(calm("info").would_enable("espalier_worker::session", &Level::DEBUG));
        assert!(calm("info,object_store=debug").would_enable(retry, &Level::DEBUG));
    }
}
