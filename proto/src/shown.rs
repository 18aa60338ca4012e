//! Addresses as errors may show them. What was mistyped may hold a secret anywhere but in the host and the port: only these are left.

use std::ffi::OsStr;

/// What stands for anything that may be secret.
const HIDDEN: &str = "…";

/// `SCHEME://HOST:PORT` of what was meant as an address, whatever it is: no user, password, path, query or fragment.
pub fn address(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("", text),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    let scheme = match scheme {
        "" => String::new(),
        known if known.len() <= 16 && known.chars().all(word) => format!("{known}://"),
        _ => return HIDDEN.to_owned(),
    };
    // As browsers do, the reader of addresses takes a backslash for a slash.
    let (authority, more) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    // A password with a slash in it: who knows where it ends.
    if more.contains('@') {
        return format!("{scheme}{HIDDEN}");
    }
    let (user, place) = authority.rsplit_once('@').map_or((false, authority), |(_, place)| (true, place));
    let (place, cut) = host_and_port(place);
    let before = if user { HIDDEN } else { "" };
    let after = if cut || !matches!(more, "" | "/") { HIDDEN } else { "" };
    format!("{scheme}{before}{place}{after}")
}

/// The same of what was meant as a bucket or as an object's address; where nothing else than a bucket stands before it, its path is left.
pub fn source(text: &str) -> String {
    match text.split_once("://") {
        None | Some(("hf", _)) => text.to_owned(),
        Some((_, rest)) if bucket_alone(rest) => {
            let whole = text.find(['?', '#']);
            whole.map_or_else(|| text.to_owned(), |end| format!("{}{HIDDEN}", &text[..end]))
        }
        Some(_) => address(text),
    }
}

/// True if no user, password or port stands where a bucket's name should: no bucket's name holds a colon or an @.
pub fn bucket_alone(rest: &str) -> bool {
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    !rest[..end].contains([':', '@'])
}

/// A message that may quote the command line, with whatever of that may hold a secret as it may be shown; `typed` are the arguments.
/// `alone`: a long word by itself may be a token, as where nothing is known yet of what the arguments mean.
pub fn quoting<'a>(said: &str, typed: impl IntoIterator<Item = &'a OsStr>, alone: bool) -> String {
    let parts = typed.into_iter().filter_map(OsStr::to_str).map(|text| match text.split_once('=') {
        Some((option, value)) if option.starts_with('-') => value,
        _ => text,
    });
    let mut parts: Vec<(&str, String)> =
        parts.filter_map(|text| Some((text, argument(text, alone)?))).collect();
    // The longest first: a shorter one may be within it.
    parts.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    parts.iter().fold(said.to_owned(), |said, (text, shown)| said.replace(text, shown))
}

/// An argument as it may be shown, whatever it was meant as; `None` if that is as it was typed.
fn argument(text: &str, alone: bool) -> Option<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || "-_+=".contains(c);
    let random = |text: &str| text.len() >= 32 && text.chars().all(word) && text.contains(char::is_numeric);
    let secret = |text: &str| text.contains(':') || random(text);
    let shown = match text.split_once("://") {
        Some(("http" | "https", _)) => address(text),
        Some(_) => source(text),
        None if text.split_once('#').is_some_and(|(_, rest)| secret(rest)) => address(text),
        // By itself, as a token's file holds it.
        None if alone && random(text) && !text.starts_with('-') => HIDDEN.to_owned(),
        None => return None,
    };
    (shown != text).then_some(shown)
}

/// What of the text can be a host and a port, and whether something else stood there.
fn host_and_port(text: &str) -> (&str, bool) {
    let inside = |c: char| c.is_ascii_hexdigit() || ":.".contains(c);
    let host = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, _)) if address.len() <= 45 && address.chars().all(inside) => address.len() + 2,
            _ => return ("", true),
        },
        None => {
            let word = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
            text.find(|c: char| !word(c)).unwrap_or(text.len())
        }
    };
    // No label of a name is longer; a token is.
    if !text.starts_with('[') && text[..host].split('.').any(|label| label.len() > 63) {
        return ("", true);
    }
    let port = text[host..].strip_prefix(':').map_or("", |rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        // A word that only begins with digits is no port, unless it begins anew there, as a token after a port does.
        if digits <= 5 && !rest[digits..].starts_with(|c: char| c != ':') { &rest[..digits] } else { "" }
    });
    let end = if port.is_empty() { host } else { host + 1 + port.len() };
    (&text[..end], end < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_scheme_host_and_port_are_shown() {
        for (text, shown) in [
            ("https://gpu.example:7420", "https://gpu.example:7420"),
            ("https://[::1]:7420/", "https://[::1]:7420"),
            ("10.0.0.5:7420", "10.0.0.5:7420"),
            ("ftp://h", "ftp://h"),
            ("https://user:s3cret@127.0.0.1:1", "https://…127.0.0.1:1"),
            ("https://127.0.0.1:1:s3cret", "https://127.0.0.1:1…"),
            ("https://127.0.0.1:1s3cret", "https://127.0.0.1…"),
            ("https://127.0.0.1:1?token=s3cret", "https://127.0.0.1:1…"),
            ("https://127.0.0.1:1/s3cret", "https://127.0.0.1:1…"),
            ("https://user:1/s3cret@h:1", "https://…"),
            ("https://h:1/s3cret@x", "https://…"),
            ("user:s3cret", "user…"),
            ("https://[s3cret", "https://…"),
            ("https:\\\\u:s3cret@h", "…"),
            ("0123456789abcdef0123456789abcdef0123456789abcdef0123456789s3cret", "…"),
        ] {
            assert_eq!(address(text), shown, "{text}");
        }
    }

    #[test]
    fn of_a_source_the_path_is_shown_too_unless_a_secret_may_be_in_it() {
        for (text, shown) in [
            ("./a:b@c?d", "./a:b@c?d"),
            ("hf://org/name@main", "hf://org/name@main"),
            ("s3://bucket/a@b:c", "s3://bucket/a@b:c"),
            ("s3://bucket/x?token=s3cret", "s3://bucket/x…"),
            ("s3://bucket/x#s3cret", "s3://bucket/x…"),
            ("s3://KEY:s3cret@bucket/x", "s3://…bucket…"),
            ("s3://KEY:s3/cret@bucket/x", "s3://…"),
            ("https://u:s3cret@h/b", "https://…h…"),
        ] {
            assert_eq!(source(text), shown);
        }
    }

    #[test]
    fn what_is_quoted_of_a_command_line_holds_no_secret() {
        let pin = "ab0".repeat(21) + "c";
        let join = format!("https://h:1#{pin}:s3cret");
        let said = |argument: &str| format!("unexpected argument '{argument}' found");
        for (argument, shown) in [
            (join.clone(), "https://h:1…"),
            (format!("h:1#{pin}:s3cret"), "h:1…"),
            (format!("workers:  espalier-worker --join {join}"), "…"),
            (format!("{join}\n{join}"), "https://h:1…"),
            (format!("--worker={join}"), "--worker=https://h:1…"),
            ("hf_abcdefghijklmnopqrstuvwxyz123456".to_owned(), "…"),
            ("s3://KEY:s3cret@bucket/x".to_owned(), "s3://…bucket…"),
            ("--sparsity=2:4".to_owned(), "--sparsity=2:4"),
            ("s3://bucket/a-prefix".to_owned(), "s3://bucket/a-prefix"),
            ("sweep#1.yaml".to_owned(), "sweep#1.yaml"),
        ] {
            let typed = ["submit", &argument].map(OsStr::new);
            assert_eq!(quoting(&said(&argument), typed, true), said(shown));
        }
        // A digest that was asked for, once it is known to be one.
        assert_eq!(quoting(&said(&pin), [OsStr::new(&pin)], true), said("…"));
        assert_eq!(quoting(&said(&pin), [OsStr::new(&pin)], false), said(&pin));
    }
}
