//! Stands before a service: lets calls of one role through, by the token that they carry or the certificate of their connection, and
//! refuses those that speak no protocol of this coordinator's.

use super::incoming::Peer;
use super::tokens::{Role, Tokens};
use crate::serve::refuse::Refusal;
use espalier_proto::remote::Dialect;
use std::sync::Arc;
use tonic::service::Interceptor;
use tonic::{Request, Status};

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
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let request = self.believed(request)?;
        let (here, caller) = (Dialect::ours(), Dialect::of(request.metadata()));
        match here.refuses(&caller) {
            None => Ok(request),
            Some(why) => Err(Refusal::protocol(why, &here)),
        }
    }
}

impl Gate {
    /// The call, if its caller is of this gate's role.
    fn believed(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let Guard::Closed(tokens) = &self.guard else { return Ok(request) };
        let proven = request.extensions().get::<Peer>().and_then(|peer| peer.role);
        let shown = request.metadata().get("authorization");
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let role = shown.and_then(|token| tokens.role(token)).or(proven);
        match role {
            Some(role) if role == self.role => Ok(request),
            Some(role) => Err(Status::permission_denied(format!(
                "this call is for a {}, and the credential is a {}'s",
                self.role.as_str(),
                role.as_str()
            ))),
            None if shown.is_some() => Err(Status::unauthenticated("the token is not known here")),
            None => Err(Status::unauthenticated("a token is wanted")),
        }
    }
}
