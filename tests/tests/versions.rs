//! Programs of different versions speak to each other, or say that they cannot.

use espalier_proto::messages as m;
use espalier_proto::messages::worker_api_client::WorkerApiClient;
use espalier_proto::messages::worker_api_server::{WorkerApi, WorkerApiServer};
use espalier_proto::remote::Dialect;
use espalier_tests::cluster::{Cluster, spawned, worker_command};
use espalier_tests::sweeps::Place;
use tonic::{Request, Response, Status};

fn dialect(oldest: u32, newest: u32, version: &str) -> Dialect {
    Dialect { oldest, newest, version: version.to_owned() }
}

/// A coordinator of a later version, which speaks protocol 7 and nothing before it.
struct Later;

#[tonic::async_trait]
impl WorkerApi for Later {
    async fn sync(&self, request: Request<m::SyncRequest>) -> Result<Response<m::SyncResponse>, Status> {
        let here = dialect(7, 7, "9.9.9");
        let why =
            here.refuses(&Dialect::of(request.metadata())).expect("no worker of today speaks protocol 7");
        let mut status = Status::failed_precondition(why);
        here.tell(status.metadata_mut());
        Err(status)
    }
}

#[test]
fn a_worker_shows_why_a_later_coordinator_refuses_it_and_ends_with_3() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(WorkerApiServer::new(Later));
    runtime.spawn(server.serve_with_incoming(incoming));
    let place = Place::new("phi-nobos");
    let mut worker = spawned(&place, "w", worker_command(&place, "w", &url));
    assert_eq!(worker.0.wait().unwrap().code(), Some(3));
    let log = std::fs::read_to_string(place.at("w.log")).unwrap();
    let own = env!("CARGO_PKG_VERSION");
    let says = format!(
        "error: this caller is espalier {own}, which speaks protocol 1, and the coordinator is espalier 9.9.9"
    );
    assert!(log.contains(&says) && log.contains("use the coordinator's version here"), "{log}");
}

/// One call as a worker of this dialect makes it; without one as a worker makes it from before there were any.
fn sync(url: &str, dialect: Option<&Dialect>, body: m::SyncRequest) -> Result<m::SyncResponse, Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = WorkerApiClient::connect(url.to_owned()).await.unwrap();
        let mut request = Request::new(body);
        if let Some(dialect) = dialect {
            dialect.tell(request.metadata_mut());
        }
        client.sync(request).await.map(Response::into_inner)
    })
}

fn worker(id: &str) -> m::SyncRequest {
    let info = m::WorkerInfo { backend: m::Backend::Cpu.into(), threads: 2, ..m::WorkerInfo::default() };
    m::SyncRequest { worker_id: id.to_owned(), info: Some(info), ..m::SyncRequest::default() }
}

#[test]
fn a_coordinator_answers_who_shares_a_protocol_with_it_and_refuses_others_in_words() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    // Every call is answered at once.
    cluster.ends(&["drain"], 0, &[]);
    // Before dialects were told; this version; a later one that still speaks ours.
    for (id, of) in [("a", None), ("b", Some(Dialect::ours())), ("c", Some(dialect(1, 4, "0.9.0")))] {
        let answer = sync(&cluster.url, of.as_ref(), worker(id)).unwrap();
        assert_eq!((answer.epoch, answer.instance.as_str()), (1, "main"), "{id}");
    }
    let refused = sync(&cluster.url, Some(&dialect(7, 8, "9.9.9")), worker("d")).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    let says = "this caller is espalier 9.9.9, which speaks protocol 7 to 8, and the coordinator is espalier 0.1.0, which speaks \
                protocol 1: upgrade the coordinator";
    assert!(refused.message().contains(says), "{}", refused.message());
    let known = cluster.json(&["status"])["workers"].as_array().unwrap().len();
    assert!(known <= 3, "a worker that was refused is known: {known}");
}
