//! Who may call: what proves that a coordinator is the right one, and that a caller is a worker or a user.
//!
//! [`Identity`] is a folder: certificate and key (or a CA that makes them), tokens, perhaps a CA of clients. [`Incoming`] are
//! connections with or without TLS; [`Gate`] stands before a service and lets one role through. A worker's credential cannot
//! submit or cancel, and a user's is no worker's.

mod dates;
mod gate;
mod identity;
mod incoming;
mod tls;
mod tokens;

pub use gate::{Gate, Guard, Pass};
pub use identity::{Identity, IdentityError, quoted};
pub use incoming::{Incoming, Peer};
pub use tls::Tls;
pub use tokens::{Role, Tokens};
