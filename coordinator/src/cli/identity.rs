//! `espalier identity`: what workers and users are told of a coordinator. Its output is secret.

use super::{Output, print};
use crate::exit::{Exit, Failure};
use crate::serve::guard::{Identity, Role};
use crate::serve::process;
use espalier_proto::ids::Name;
use serde_json::json;
use std::path::PathBuf;

/// Show the addresses with fingerprint and token by which workers and users reach a coordinator; make its identity if there is none
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier identity\n  espalier identity --identity ./identity --advertise espalier.example:7420   \
                  (before the coordinator has ever run, for a Secret)\n\n\
                  A new token: add a line to worker-tokens or user-tokens, the new one last; give it out; remove the old line. A \
                  coordinator reads\nthe files again by itself."
)]
pub struct IdentityCommand {
    /// The folder [default: ~/.local/state/espalier/INSTANCE]
    #[arg(long, env = "ESPALIER_IDENTITY", value_name = "DIR")]
    pub identity: Option<PathBuf>,
    /// Whose it is, where no folder is said
    #[arg(long, env = "ESPALIER_INSTANCE", default_value = "main", value_name = "NAME")]
    pub instance: Name,
    /// HOST or HOST:PORT as workers and users reach the coordinator [default: this host's name and 7420]
    #[arg(long, env = "ESPALIER_ADVERTISE", value_name = "HOST", value_parser = advertised)]
    pub advertise: Option<String>,
}

/// Prints them.
pub fn run(command: &IdentityCommand, output: Output) -> Result<Exit, Failure> {
    let folder = match &command.identity {
        Some(folder) => folder.clone(),
        None => default_folder(&command.instance)?,
    };
    let identity = Identity::open(&folder, &[])?;
    let authority = authority(command.advertise.as_deref(), 7420);
    let [worker, user] = [Role::Worker, Role::User].map(|role| identity.address(&authority, role));
    let (worker, user) = (worker?, user?);
    match output {
        Output::Text => print::text(&lines(&worker, &user)),
        Output::Json => {
            print::json(&json!({"folder": folder.display().to_string(), "worker": worker, "user": user}))
        }
    }
    Ok(Exit::Whole)
}

/// What workers and users do with their addresses. Secret.
pub fn lines(worker: &str, user: &str) -> String {
    format!("workers:  espalier-worker --join {worker}\nusers:    export ESPALIER_COORDINATOR={user}\n")
}

/// HOST or HOST:PORT.
pub fn advertised(text: &str) -> Result<String, String> {
    let wrong = || format!("found {text:?}, expected HOST or HOST:PORT, an IPv6 address in brackets");
    let parsed = url::Url::parse(&format!("https://{text}")).map_err(|_| wrong())?;
    let plain = parsed.path() == "/" && parsed.username().is_empty() && parsed.password().is_none();
    let rest = parsed.query().is_some() || parsed.fragment().is_some() || text.ends_with('/');
    if plain && !rest { Ok(text.to_owned()) } else { Err(wrong()) }
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
pub fn authority(advertised: Option<&str>, port: u16) -> String {
    match advertised {
        Some(at) if at.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => at.to_owned(),
        Some(host) => format!("{host}:{port}"),
        None => format!("{}:{port}", host()),
    }
}

/// This host's name, as a certificate and an address have it.
pub fn host() -> String {
    Some(process::host()).filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}
