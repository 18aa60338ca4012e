//! Speaks to a coordinator for the commands that need one: where it is, what its refusals mean.

use super::bars::say;
use crate::clock::{self, Stopwatch};
use crate::exit::{Exit, Failure};
use crate::serve::progress::spoken;
use crate::serve::refuse::EXIT_KEY;
use espalier_proto::messages::sweep_api_client::SweepApiClient;
use espalier_proto::remote::{Address, Credential, Reach, connected, is_mute, reason};
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Bytes of an answer: a report with its figures.
const LARGEST: usize = 256 << 20;
/// How long a coordinator may be away while a sweep of it is followed.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How often it is looked for meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// `--coordinator`, of the commands that speak to one.
#[derive(Clone, Debug, clap::Args)]
pub struct CoordinatorArg {
    /// Where the coordinator listens: http://HOST:PORT, https://HOST:PORT, or https://HOST:PORT#FINGERPRINT:TOKEN as `espalier
    /// identity` prints it (better in the environment than on the command line)
    #[arg(
        long,
        env = "ESPALIER_COORDINATOR",
        default_value = "http://127.0.0.1:7420",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub coordinator: String,
    /// How it is believed.
    #[command(flatten)]
    pub reach: Reach,
}

/// A connection to a coordinator.
pub type Remote = SweepApiClient<InterceptedService<Channel, Credential>>;

impl CoordinatorArg {
    /// Connects.
    pub async fn connect(&self) -> Result<Remote, Failure> {
        let address = Address::parse(&self.coordinator).map_err(|e| Failure::Reach(e.into()))?;
        let (channel, credential) = connected(&address, &self.reach).await?;
        Ok(SweepApiClient::with_interceptor(channel, credential).max_decoding_message_size(LARGEST))
    }
}

/// A coordinator that goes away while a sweep of it is followed may come back: it is waited for.
#[derive(Debug, Default)]
pub struct Patience {
    heard: bool,
    away: Option<Stopwatch>,
}

impl Patience {
    /// The coordinator told something.
    pub fn heard(&mut self) {
        *self = Self { heard: true, away: None };
    }

    /// The connection ended so: waits a little before another try. One that never answered, or refuses, is not waited for.
    pub async fn wait(&mut self, ended: Result<(), Failure>) -> Result<(), Failure> {
        if let Err(error) = ended
            && (!self.heard || error.exit() != Exit::Unreachable)
        {
            return Err(error);
        }
        let since = self.away.get_or_insert_with(|| {
            say("the coordinator does not answer; it is waited for");
            Stopwatch::start()
        });
        if since.elapsed() > PATIENCE {
            let message = format!("no coordinator has answered for {}", spoken(PATIENCE));
            return Err(Failure::Remote { message, exit: Exit::Unreachable });
        }
        clock::sleep(AGAIN).await;
        Ok(())
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
            None if status.code() == Code::Unauthenticated => Exit::BadInput,
            None if status.code() == Code::PermissionDenied => Exit::BadInput,
            // What no coordinator of ours said is said by the connection.
            None => Exit::Unreachable,
        };
        let message = match (said, status.code()) {
            (None, Code::Unimplemented) => "what listens there is no coordinator of this version".to_owned(),
            (None, Code::Unauthenticated | Code::PermissionDenied) => format!(
                "the coordinator refuses this caller: {}; expected what `espalier identity` prints for users, in \
                 ESPALIER_COORDINATOR or --token-file",
                status.message()
            ),
            (None, _) if is_mute(&status) => reason(&status),
            (None, code) => format!(
                "no coordinator answers: {code}: {}; is its address right, http:// or https://?",
                reason(&status)
            ),
            _ => status.message().to_owned(),
        };
        Self::Remote { message, exit }
    }
}
