//! Speaks to a coordinator for the commands that need one: where it is, what its refusals mean.

use crate::causes::chain;
use crate::exit::{Exit, Failure};
use crate::serve::refuse::EXIT_KEY;
use espalier_proto::messages::sweep_api_client::SweepApiClient;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer: a report with its figures.
const LARGEST: usize = 256 << 20;

/// `--coordinator`, of the commands that speak to one.
#[derive(Clone, Debug, clap::Args)]
pub struct CoordinatorArg {
    /// Where the coordinator listens, http://HOST:PORT
    #[arg(long, env = "ESPALIER_COORDINATOR", default_value = "http://127.0.0.1:7420", value_name = "URL")]
    pub coordinator: String,
}

/// A connection to a coordinator.
pub type Remote = SweepApiClient<Channel>;

impl CoordinatorArg {
    /// Connects.
    pub async fn connect(&self) -> Result<Remote, Failure> {
        let url = &self.coordinator;
        let unreachable = |why: String| Failure::Unreachable { url: url.clone(), why };
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|_| Failure::Usage {
            message: format!("--coordinator: found {url:?}, expected http://HOST:PORT"),
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|e| unreachable(chain(&e)))?;
        Ok(SweepApiClient::new(channel).max_decoding_message_size(LARGEST))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let said = status.metadata().get(EXIT_KEY).and_then(|v| v.to_str().ok()?.parse::<u8>().ok());
        let exit = match said {
            Some(2) => Exit::Usage,
            Some(3) => Exit::BadInput,
            Some(5) => Exit::Bucket,
            Some(_) => Exit::BadNode,
            // What no coordinator of ours said is said by the connection.
            None => Exit::Unreachable,
        };
        let message = match (said, status.code()) {
            (None, Code::Unimplemented) => "what listens there is no coordinator of this version".to_owned(),
            (None, code) => format!("{code}: {}", status.message()),
            _ => status.message().to_owned(),
        };
        Self::Remote { message, exit }
    }
}
