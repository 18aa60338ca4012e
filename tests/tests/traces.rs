//! Spans by OTLP, taken by a server of the protocol's own definition.

use espalier_tests::cluster::{Cluster, until};
use espalier_tests::sweeps::Place;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span: the program that made it, its name, its seconds, what it says.
#[derive(Clone, Debug)]
struct Span {
    program: String,
    name: String,
    seconds: f64,
    fields: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

fn texts(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some((pair.key.clone(), text.clone())),
        Value::IntValue(number) => Some((pair.key.clone(), number.to_string())),
        _ => None,
    };
    pairs.iter().filter_map(text).collect()
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.map(|r| texts(&r.attributes)).unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| Span {
                program: resource["service.name"].clone(),
                name: span.name,
                seconds: (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e9,
                fields: texts(&span.attributes),
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[test]
fn a_collector_is_told_of_every_shard_and_every_submission_and_may_be_away() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let collector = Collector::default();
    let entered = runtime.enter();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", incoming.local_addr().unwrap());
    let service = TraceServiceServer::new(collector.clone());
    runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    drop(entered);

    let mut place = Place::new("phi-nobos");
    place.add_environment(vec![("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint)]);
    let cluster = Cluster::start(&place, &[]);
    let mut worker = cluster.worker("w");
    // This one's collector is not there.
    let _other = cluster.worker_with("o", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.0.wait().unwrap().code(), Some(8), "{}", cluster.log("w"));
    let spans = || collector.0.lock().unwrap().clone();
    until("the submission is told", || spans().iter().any(|span| span.name == "take_up"));
    let spans = spans();
    let submission = spans.iter().find(|span| span.name == "take_up").unwrap();
    assert_eq!((submission.program.as_str(), submission.fields["sweep"].as_str()), ("espalier", "s"));
    assert_eq!(submission.fields["cells"], "4");
    let log = cluster.log("w");
    let begun: BTreeSet<&str> =
        log.lines().filter_map(|line| line.split("shard{attempt=\"").nth(1)?.split('"').next()).collect();
    let shards: Vec<&Span> = spans.iter().filter(|span| span.name == "shard").collect();
    let told: BTreeSet<&str> = shards.iter().map(|span| span.fields["attempt"].as_str()).collect();
    assert_eq!(
        (told, shards.len()),
        (begun.clone(), begun.len()),
        "one span an attempt of this worker: {log}"
    );
    for span in shards {
        assert!(span.program == "espalier-worker" && span.seconds > 0.0, "{span:?}");
        assert!(["dense", "wanda"].contains(&span.fields["method"].as_str()), "{span:?}");
    }
}
