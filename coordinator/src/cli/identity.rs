//! `espalier identity`: what workers and users are told of a coordinator. Its output is secret.

use super::{Output, print};
use crate::exit::{Exit, Failure};
use crate::serve::guard::{Identity, Role};
use crate::serve::process;
use espalier_proto::ids::Name;
use espalier_proto::remote::Address;
use serde_json::json;
use std::path::PathBuf;
use std::str::FromStr;
use tonic::codegen::http::uri::Authority;

/// Show the addresses with fingerprint and token by which workers and users reach a coordinator; make its identity if there is none
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier identity\n  espalier identity --identity ./identity --advertise espalier.example:7420   \
                  (before the coordinator has ever run, for a Secret)\n\n\
                  A new token: add a line to worker-tokens or user-tokens, the new one first; give it out; remove the old line. Any line is \
                  taken, the\nfirst is printed here. A coordinator reads the files again by itself. Where client-ca.crt is in the folder both \
                  files may be absent: clients show\ncertificates of that CA (--cert-file, --key-file), and the address has no token."
)]
pub struct IdentityCommand {
    /// The folder [default: ~/.local/state/espalier/INSTANCE]
    #[arg(long, env = "ESPALIER_IDENTITY", value_name = "DIR")]
    pub identity: Option<PathBuf>,
    /// Whose it is, where no folder is said
    #[arg(long, env = "ESPALIER_INSTANCE", default_value = "main", value_name = "NAME")]
    pub instance: Name,
    /// HOST or HOST:PORT as workers and users reach the coordinator [default: this host's name and 7420]
    #[arg(long, env = "ESPALIER_ADVERTISE", value_name = "HOST")]
    pub advertise: Option<Advertised>,
}

/// Prints them.
pub fn run(command: &IdentityCommand, output: Output) -> Result<Exit, Failure> {
    let folder = match &command.identity {
        Some(folder) => folder.clone(),
        None => default_folder(&command.instance)?,
    };
    let identity = Identity::open(&folder, &[], command.advertise.as_ref().map(Advertised::host))?;
    let authority = authority(command.advertise.as_ref(), 7420);
    let [worker, user] = [Role::Worker, Role::User].map(|role| identity.address(&authority, role));
    let (worker, user) = (worker?, user?);
    match output {
        Output::Text => print::text(&lines(&worker, &user)),
        Output::Json => print::json(&json!({
            "folder": folder.display().to_string(),
            "worker": worker,
            "user": user,
            "by_certificate": by_certificate(&worker, &user)
        })),
    }
    Ok(Exit::Whole)
}

/// What workers and users do with their addresses. Secret.
pub fn lines(worker: &str, user: &str) -> String {
    let (mut workers, mut users) = ("", "");
    if shows_certificate(worker) {
        workers = " --cert-file FILE --key-file FILE";
    }
    if shows_certificate(user) {
        users = " ESPALIER_CERT_FILE=FILE ESPALIER_KEY_FILE=FILE";
    }
    format!(
        "workers:  espalier-worker --join {worker}{workers}\nusers:    export ESPALIER_COORDINATOR={user}{users}\n"
    )
}

/// Whose address holds no token since they show a certificate.
pub fn by_certificate(worker: &str, user: &str) -> Vec<&'static str> {
    let all = [(Role::Worker, worker), (Role::User, user)];
    all.into_iter().filter(|(_, address)| shows_certificate(address)).map(|(role, _)| role.as_str()).collect()
}

fn shows_certificate(address: &str) -> bool {
    Address::parse(address).is_ok_and(|address| address.tls && address.token.is_none())
}

/// HOST or HOST:PORT, as workers and users reach a coordinator.
#[derive(Clone, Debug)]
pub struct Advertised(Authority);

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("found {text:?}, expected HOST or HOST:PORT, an IPv6 address in brackets");
        let parsed: Authority = text.parse().map_err(|_| wrong())?;
        // An empty host, a colon without a port and names of users are left to the reader of addresses.
        let port = if parsed.port().is_none() { ":1" } else { "" };
        Address::parse(&format!("http://{text}{port}")).map_err(|_| wrong())?;
        Ok(Self(parsed))
    }
}

impl Advertised {
    /// The host alone, as a certificate names it.
    pub fn host(&self) -> &str {
        self.0.host().trim_start_matches('[').trim_end_matches(']')
    }
}

/// An instance's identity where nothing is said: the user's own state folder.
pub fn default_folder(instance: &Name) -> Result<PathBuf, Failure> {
    let own = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = own("XDG_STATE_HOME").or_else(|| own("HOME").map(|home| home.join(".local/state")));
    let state = state.ok_or_else(|| Failure::Usage {
        message: "there is no home for the coordinator's identity; say --identity DIR, or --no-auth"
            .to_owned(),
    })?;
    Ok(state.join("espalier").join(instance.as_str()))
}

/// `HOST:PORT` as others reach it.
pub fn authority(advertised: Option<&Advertised>, port: u16) -> String {
    match advertised {
        Some(Advertised(at)) if at.port().is_some() => at.to_string(),
        Some(Advertised(host)) => format!("{host}:{port}"),
        None => format!("{}:{port}", host()),
    }
}

/// This host's name, as a certificate and an address have it.
pub fn host() -> String {
    Some(process::host()).filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_advertised_with_its_own_port_or_the_one_that_is_listened_on() {
        let cases = [
            ("espalier.example", "espalier.example", "espalier.example:7420"),
            ("espalier.example:443", "espalier.example", "espalier.example:443"),
            ("[fd00::1]", "fd00::1", "[fd00::1]:7420"),
            ("[fd00::1]:80", "fd00::1", "[fd00::1]:80"),
        ];
        for (text, host, reached) in cases {
            let advertised: Advertised = text.parse().unwrap();
            assert_eq!((advertised.host(), authority(Some(&advertised), 7420).as_str()), (host, reached));
        }
        for text in
            ["", "a b", "fd00::1", "h:", "h:x", "h:70000", "user@h", "https://h", "h/path", "h#f", ":80"]
        {
            assert!(text.parse::<Advertised>().unwrap_err().contains(&format!("found {text:?}")), "{text}");
        }
    }
}
