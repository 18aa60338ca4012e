//! Stands before a service: lets calls of one role through, by the token that they carry or the certificate of their connection, and
//! refuses those that speak no protocol of this coordinator's.

use super::incoming::Peer;
use super::tokens::{Role, Tokens};
use crate::serve::refuse::Refusal;
use espalier_proto::ids::Digest;
use espalier_proto::remote::Dialect;
use futures::Stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// How often it is looked whether a token is still known.
const LOOK: Duration = Duration::from_secs(2);

/// Whom a coordinator believes.
#[derive(Clone, Debug)]
pub enum Guard {
    /// Everybody who reaches it.
    Open,
    /// Who has a token, or a certificate of the clients' CA.
    Closed(Arc<Tokens>),
}

impl Guard {
    /// What stands before a service for this role.
    pub fn gate(&self, role: Role) -> Gate {
        Gate { guard: self.clone(), role }
    }
}

/// One service's.
#[derive(Clone, Debug)]
pub struct Gate {
    guard: Guard,
    role: Role,
}

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let pass = self.believed(&request)?;
        request.extensions_mut().insert(pass);
        let (here, caller) = (Dialect::ours(), Dialect::of(request.metadata()));
        match here.refuses(&caller) {
            None => Ok(request),
            Some(why) => Err(Refusal::protocol(why, &here)),
        }
    }
}

impl Gate {
    /// For how long the caller is believed, if it is of this gate's role.
    fn believed(&self, request: &Request<()>) -> Result<Pass, Status> {
        let Guard::Closed(tokens) = &self.guard else { return Ok(Pass(None)) };
        let proven = request.extensions().get::<Peer>().and_then(|peer| peer.role);
        let shown = request.metadata().get("authorization");
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let shown = shown.map(|token| Digest::of(token.as_bytes()));
        let by_token = shown.and_then(|token| Some((token, tokens.role(token)?)));
        match by_token.map(|(_, role)| role).or(proven) {
            Some(role) if role == self.role => {
                Ok(Pass(by_token.map(|(token, role)| Held { tokens: tokens.clone(), token, role })))
            }
            Some(role) => Err(Status::permission_denied(format!(
                "this call is for a {}, and the credential is a {}'s",
                self.role.as_str(),
                role.as_str()
            ))),
            None if shown.is_some() => Err(unknown()),
            None => Err(Status::unauthenticated(tokens.wanted())),
        }
    }
}

fn unknown() -> Status {
    Status::unauthenticated("the token is not known here")
}

/// For how long the caller of a call that was let through is believed: an answer that goes on and on ends with the token.
#[derive(Clone, Debug, Default)]
pub struct Pass(Option<Held>);

/// By a token; a certificate is its connection's.
#[derive(Clone, Debug)]
struct Held {
    tokens: Arc<Tokens>,
    token: Digest,
    role: Role,
}

impl Pass {
    /// Of a call that came through a gate.
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// What is told, for as long as the caller is believed.
    pub fn bounds<T: Send + 'static>(
        self,
        told: mpsc::UnboundedReceiver<Result<T, Status>>,
    ) -> impl Stream<Item = Result<T, Status>> + Send {
        let open = Some((told, Box::pin(self.ended())));
        futures::stream::unfold(open, |open| async move {
            let (mut told, mut ended) = open?;
            tokio::select! {
                refusal = &mut ended => Some((Err(refusal), None)),
                next = told.recv() => Some((next?, Some((told, ended)))),
            }
        })
    }

    /// Completes once the token is no longer known, with what the caller is told.
    async fn ended(self) -> Status {
        let Some(Held { tokens, token, role }) = self.0 else { return std::future::pending().await };
        while tokens.role(token) == Some(role) {
            crate::clock::sleep(LOOK).await;
        }
        unknown()
    }
}
