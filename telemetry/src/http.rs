//! Probes and metrics over plain HTTP/1.1, on a port of their own: whoever probes or scrapes speaks neither gRPC nor, later, the
//! workers' TLS, and a firewall can tell the two apart.
//!
//! `/healthz`: the process does its work. `/readyz`: it can be used. `/metrics`: OpenMetrics text.
//! `/scale`: JSON for whoever starts workers. Must never show a secret.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A future that is waited for elsewhere.
pub type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What is answered.
pub trait Watched: Send + Sync + 'static {
    /// Why the process should be ended and started again, if it should.
    fn health(&self) -> Soon<Result<(), String>>;
    /// Why it cannot be used yet, if it cannot.
    fn readiness(&self) -> Soon<Result<(), String>>;
    /// OpenMetrics text.
    fn metrics(&self) -> Soon<String>;
    /// How many workers are wanted, as JSON; `None` from what starts none.
    fn scale(&self) -> Soon<Option<String>> {
        Box::pin(std::future::ready(None))
    }
}

/// Answers on `listener` for as long as it is polled.
pub async fn serve(listener: TcpListener, watched: Arc<dyn Watched>) -> std::io::Result<()> {
    let (health, readiness, scale, metrics) = (watched.clone(), watched.clone(), watched.clone(), watched);
    let router = Router::new()
        .route("/healthz", get(move || answer(health.health())))
        .route("/readyz", get(move || answer(readiness.readiness())))
        .route(
            "/scale",
            get(move || async move {
                match scale.scale().await {
                    Some(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text),
                    None => (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], String::new()),
                }
            }),
        )
        .route(
            "/metrics",
            get(move || async move {
                let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, form)], metrics.metrics().await)
            }),
        );
    axum::serve(listener, router).await
}

async fn answer(good: Soon<Result<(), String>>) -> (StatusCode, String) {
    match good.await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
