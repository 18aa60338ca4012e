//! How a coordinator is reached: its address, the certificate that it must show, the token that is shown to it.
//!
//! An address is `http://HOST:PORT`, `https://HOST:PORT`, or `https://HOST:PORT#FINGERPRINT:TOKEN` as a coordinator prints it. The
//! fingerprint (SHA-256 of a certificate of its chain) makes a CA's files and names unnecessary. A token never goes over plaintext.

mod address;
mod channel;
mod dates;
mod dialect;
mod heard;
mod hide;
pub mod pem;
mod pin;
mod tls;

pub use address::{Address, AddressError};
pub use channel::{Credential, Reach, ReachError, channel, connected, is_mute, met, reason};
pub use dialect::{Dialect, PROTOCOL_KEY};
pub use hide::{end_by, failure_shown, hide_token, usage_shown};

/// Where an address stands that no argument should hold.
pub const VARIABLE: &str = "ESPALIER_COORDINATOR";
