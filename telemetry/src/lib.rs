//! How coordinator and worker are watched; both do it alike, so it is written once.
//!
//! * [`logs`]: lines to stderr, for people or as JSON; spans to a collector that speaks OTLP. * [`http`]: `/healthz`, `/readyz`,
//!   `/metrics`. * [`bucket`]: what is done with a bucket, as metrics.
//!
//! Nothing here decides anything. A label never has values without end: no key, no path, no message.

pub mod bucket;
pub mod http;
pub mod logs;

pub use prometheus_client;
