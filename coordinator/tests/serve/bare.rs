//! The yardstick beside a coordinator's figures: what the same calls cost a gRPC server that does nothing with them. It is this test's own
//! binary, started once more.

use crate::scale::spent;
use espalier_proto::messages as m;
use espalier_proto::messages::worker_api_client::WorkerApiClient;
use espalier_proto::messages::worker_api_server::{WorkerApi, WorkerApiServer};
use espalier_proto::methods;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

/// Set, it makes [`serves_until_it_is_killed`] do so; its value is how long an order's text is.
const ANSWER: &str = "ESPALIER_BARE_ANSWER";

struct Bare(usize);

#[tonic::async_trait]
impl WorkerApi for Bare {
    async fn sync(&self, request: Request<m::SyncRequest>) -> Result<Response<m::SyncResponse>, Status> {
        let shards = request.into_inner().shards;
        let order = |report: m::ShardReport| m::ShardOrder {
            attempt: report.attempt,
            variant_json: "x".repeat(self.0),
            cells: vec![m::CellOrder { cell_key: "c".repeat(64), inputs_digest: "i".repeat(64) }],
            lease_s: 30,
            ..Default::default()
        };
        Ok(Response::new(m::SyncResponse {
            shards: shards.into_iter().map(order).collect(),
            ..Default::default()
        }))
    }
}

#[test]
#[ignore = "it is a server, started by what measures it"]
fn serves_until_it_is_killed() {
    let Ok(length) = std::env::var(ANSWER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\nhttp://{}", listener.local_addr().unwrap());
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let service = WorkerApiServer::new(Bare(length.parse().unwrap()));
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
}

/// Processor time of a call of that server, `workers` of them on a connection each calling ten times in a second or so.
pub(crate) fn processor_time_of_a_call(workers: usize, answer: usize) -> Duration {
    const ROUNDS: u32 = 10;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "bare::serves_until_it_is_killed"])
        .env(ANSWER, answer.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.find(|line| line.starts_with("http://")).expect("it says where it listens");
    let report = m::ShardReport {
        variant_key: "v".repeat(64),
        attempt: "main-1-12345".into(),
        phase: m::Phase::Finished.into(),
        variant_done: true,
        cells_done: vec!["c".repeat(64)],
        ..Default::default()
    };
    let info = m::WorkerInfo {
        host: "node-0001".into(),
        device_name: "a device with a long name".into(),
        fingerprint: "f".repeat(64),
        stage_versions: methods::stage_versions(),
        ..Default::default()
    };
    let request = m::SyncRequest {
        worker_id: "node-0001-1-1790000000".into(),
        info: Some(info),
        shards: vec![report],
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let time = runtime.block_on(async {
        let endpoint = Endpoint::from_shared(url).unwrap().tcp_nodelay(true);
        let mut clients = Vec::new();
        for _ in 0..workers {
            clients.push(WorkerApiClient::new(endpoint.connect().await.unwrap()));
        }
        let (before, _) = spent(child.id());
        let tasks: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(n, mut client)| {
                let request = request.clone();
                tokio::spawn(async move {
                    for round in 0..ROUNDS {
                        // Spread over the second, as workers' calls are.
                        let at = (n as u64 * 7_919 + u64::from(round) * 104_729) % 1_000;
                        tokio::time::sleep(Duration::from_millis(500 + at)).await;
                        client.sync(request.clone()).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        spent(child.id()).0 - before
    });
    child.kill().unwrap();
    child.wait().unwrap();
    time / (workers as u32 * ROUNDS)
}
