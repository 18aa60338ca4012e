//! An argument can be read by everybody on a machine: one that holds a token is taken out of the command line before anything else. Nor
//! does an error quote a secret that stands where it does not belong.

use super::VARIABLE;
use crate::shown;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The options whose value may be an address.
const OPTIONS: [&str; 2] = ["--coordinator", "--join"];

/// Starts this program anew, in the same process, with an address that holds a token moved from its arguments to the environment.
/// Does nothing if there is none. A program calls it first.
pub fn hide_token() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let Some((rest, address)) = without_token(&arguments) else { return };
    let Ok(program) = std::env::current_exe() else { return };
    // Comes back only if the program cannot be started; it then goes on as it is.
    let error = Command::new(program).arg0(&arguments[0]).args(&rest[1..]).env(VARIABLE, address).exec();
    tracing::warn!(%error, "the token stays in this process's arguments");
}

/// What is wrong with a command line, without the secrets of the arguments and of our variables that it may quote.
pub fn usage_shown(said: &str) -> String {
    shown::quoting(said, typed().iter().map(OsString::as_os_str), true)
}

/// Ends the process as clap does, but that no secret is quoted. Help and version are told so too.
pub fn end_by(error: &clap::Error) -> ! {
    let said = error.to_string();
    let shown = usage_shown(&said);
    if shown == said {
        error.exit();
    }
    // Nothing is left to be done where even stderr is closed.
    let _ = std::io::stderr().write_all(shown.as_bytes());
    std::process::exit(error.exit_code())
}

/// Why a program ended, likewise: an address may have been taken for something else.
pub fn failure_shown(said: &str) -> String {
    shown::quoting(said, typed().iter().map(OsString::as_os_str), false)
}

fn typed() -> Vec<OsString> {
    let ours = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("ESPALIER_"));
    let variables = std::env::vars_os().filter(|(name, _)| ours(name));
    std::env::args_os().skip(1).chain(variables.map(|(_, value)| value)).collect()
}

/// The arguments without the address that holds a token, and that address.
fn without_token(arguments: &[OsString]) -> Option<(Vec<OsString>, String)> {
    let secret = |text: &str| text.split_once('#').is_some_and(|(_, secret)| secret.contains(':'));
    for (n, argument) in arguments.iter().enumerate().skip(1) {
        let Some(text) = argument.to_str() else { continue };
        let (option, inline) = match text.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (text, None),
        };
        if !OPTIONS.contains(&option) {
            continue;
        }
        let value = match inline {
            Some(value) => value,
            None => arguments.get(n + 1).and_then(|next| next.to_str()).unwrap_or_default(),
        };
        if secret(value) {
            let taken = n..n + if inline.is_some() { 1 } else { 2 };
            let kept = arguments.iter().enumerate().filter(|(k, _)| !taken.contains(k));
            return Some((kept.map(|(_, a)| a.clone()).collect(), value.to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_with_a_token_leaves_the_arguments() {
        let split = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (before, after) in [
            ("w --join https://h:1#ab:t --device cpu", "w --device cpu"),
            ("w --device cpu --coordinator=https://h:1#ab:t", "w --device cpu"),
        ] {
            let (rest, address) = without_token(&split(before)).unwrap();
            assert_eq!((rest, address.as_str()), (split(after), "https://h:1#ab:t"));
        }
        for line in ["w --join https://h:1#ab", "w --coordinator http://h:1", "w --join", "w --set a=#b:c"] {
            assert_eq!(without_token(&split(line)), None, "{line}");
        }
    }
}
