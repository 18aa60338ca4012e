//! The gRPC service that workers call: messages → events, answers → messages. Decides nothing.

use super::convert;
use super::driver::Handle;
use super::guard::Incoming;
use espalier_proto::messages as m;
use espalier_proto::messages::worker_api_server::{WorkerApi, WorkerApiServer};
use std::future::Future;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// The service.
struct Service {
    driver: Handle,
}

#[tonic::async_trait]
impl WorkerApi for Service {
    async fn sync(&self, request: Request<m::SyncRequest>) -> Result<Response<m::SyncResponse>, Status> {
        let sync = convert::sync(request.into_inner(), self.driver.next_call()).map_err(|error| {
            let source = std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
            Status::invalid_argument(format!("{error}{source}"))
        })?;
        match self.driver.sync(sync).await {
            Some(answer) => Ok(Response::new(answer)),
            None => {
                Err(Status::unavailable("the coordinator is ending, or a newer call took this one's place"))
            }
        }
    }
}

/// The service.
pub fn service(driver: Handle) -> WorkerApiServer<impl WorkerApi> {
    WorkerApiServer::new(Service { driver })
}

/// Serves workers on `listener` until `stop` is ready; open calls are then given up.
pub async fn serve(
    listener: TcpListener,
    driver: Handle,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder()
        .add_service(service(driver))
        .serve_with_incoming_shutdown(Incoming::new(listener, None), stop)
        .await
}
