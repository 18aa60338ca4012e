//! Opens `s3://bucket/prefix`: any S3-compatible store, path style, credentials from the environment, a profile file or a role.
//!
//! In: a URL and environment variables, as object_store names them. Out: a store. Must not talk to the store: only where no
//! credentials are given at all, it looks whether a host is there that would give some. What object_store would panic at is refused.

use super::meter::{Counting, Meter};
use super::{BucketError, Patience, profile};
use crate::shown;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Uri;

/// Addresses that the store's client takes from the environment.
const ENDPOINTS: [&str; 4] =
    ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS"];
/// What it writes into headers, and of the region into a host's name too.
const WORDS: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"];

/// The longest a request may take, an upload's part or a download's rest included.
const REQUEST: Duration = Duration::from_secs(120);
/// More tries than there is time for: the time ends them. Errors name the number.
const RETRIES: usize = 1000;
/// How long it is looked for a host that gives an instance's role.
const METADATA: Duration = Duration::from_secs(1);

pub(super) fn open(
    url: &str,
    env: &BTreeMap<String, String>,
    patience: Patience,
    meter: &Arc<Meter>,
) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let bad = |why: String| BucketError::Url { url: shown::source(url), why };
    if !url.strip_prefix("s3://").is_some_and(shown::bucket_alone) || url.contains(['?', '#']) {
        let keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, an endpoint into AWS_ENDPOINT_URL";
        return Err(bad(format!("found more than a bucket and a prefix; keys belong into {keys}")));
    }
    let setting = |why: String| BucketError::Setting { url: url.to_owned(), why };
    let env = complete(env).map_err(setting)?;
    sound(&env).map_err(setting)?;
    credentials(&env).map_err(|why| BucketError::Credentials { url: url.to_owned(), why })?;
    let mut options = ClientOptions::new().with_timeout(REQUEST);
    if let Some(file) = env.get("AWS_CA_BUNDLE").filter(|file| !file.is_empty()) {
        let wrong = |e: String| setting(format!("AWS_CA_BUNDLE {file}: {e}"));
        let pem = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| wrong(e.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("found no certificate in it, expected PEM".to_owned()));
        }
        options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
    }
    let counting = Counting { meter: meter.clone() };
    let mut builder = AmazonS3Builder::new()
        .with_client_options(options)
        .with_retry(patience.retry())
        .with_http_connector(counting);
    for (key, _, value) in settings(&env) {
        builder = builder.with_config(key, value);
    }
    let (name, prefix) = place(url).map_err(&bad)?;
    let store = builder.with_url(format!("s3://{name}")).build().map_err(|error| match culprit(&env) {
        Some(name) => setting(format!("{name}: {error} (a duration is written as 30s or 2m)")),
        None => bad(error.to_string()),
    })?;
    Ok(match prefix.as_ref() {
        "" => Arc::new(store),
        _ => Arc::new(PrefixStore::new(store, prefix)),
    })
}

/// What of the environment the store's client is told.
fn settings(env: &BTreeMap<String, String>) -> impl Iterator<Item = (AmazonS3ConfigKey, &String, &String)> {
    let ours = env.iter().filter(|(name, _)| name.starts_with("AWS_"));
    ours.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, name, value)))
}

/// The variable without which a store can be opened: of a value that it cannot read the client does not say whose it is.
fn culprit(env: &BTreeMap<String, String>) -> Option<&String> {
    let without = |name: &String| {
        let others = settings(env).filter(|(_, other, _)| *other != name);
        let bare = AmazonS3Builder::new().with_bucket_name("b");
        others.fold(bare, |builder, (key, _, value)| builder.with_config(key, value)).build()
    };
    settings(env).map(|(_, name, _)| name).find(|name| without(name).is_ok())
}

/// The bucket and the key of `s3://BUCKET[/KEY]`. The text after the bucket is the key as it is: nothing of it is an escape. A `/` at its
/// end says nothing.
pub fn place(url: &str) -> Result<(&str, Path), String> {
    let rest = url.strip_prefix("s3://").ok_or("found no s3://")?;
    let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() {
        return Err("found no bucket's name".to_owned());
    }
    let key = key.trim_end_matches('/');
    let wrong = || format!("found the prefix {key:?}, of which a part is empty, . or .., or cannot be shown");
    match Path::parse(key) {
        Ok(path) if path.as_ref() == key => Ok((name, path)),
        _ => Err(wrong()),
    }
}

impl Patience {
    fn retry(self) -> RetryConfig {
        let max_backoff = Duration::from_secs(match self {
            Self::Brief => 1,
            Self::Short => 2,
            Self::Long => 10,
        });
        let backoff = BackoffConfig { max_backoff, ..BackoffConfig::default() };
        RetryConfig { backoff, max_retries: RETRIES, retry_timeout: self.longest() }
    }
}

/// The environment with what the profile adds to it; what the environment says itself goes first, and what is empty says nothing.
fn complete(env: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let filled = env.iter().filter(|(_, value)| !value.is_empty());
    let mut all: BTreeMap<String, String> = filled.map(|(n, v)| (n.clone(), v.clone())).collect();
    let own_keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].iter().any(|name| all.contains_key(*name));
    // Half a pair from here and half from there would be nobody's.
    let no_keys = own_keys || by_role(&all);
    let (endpoint, region) = (all.contains_key("AWS_ENDPOINT"), all.contains_key("AWS_DEFAULT_REGION"));
    for (name, value) in profile::settings(&all)? {
        let said = match name {
            "AWS_ENDPOINT_URL" => endpoint,
            "AWS_REGION" => region,
            _ => no_keys,
        };
        if !said {
            all.entry(name.to_owned()).or_insert(value);
        }
    }
    Ok(all)
}

/// Refuses what is no address or cannot stand in a header, and an address that holds a password: the store's errors show it.
fn sound(env: &BTreeMap<String, String>) -> Result<(), String> {
    let set = |name: &'static str| Some((name, env.get(name)?.as_str()));
    for (name, text) in ENDPOINTS.into_iter().filter_map(set) {
        let Some(url) = endpoint(text) else {
            let found = shown::address(text.trim());
            return Err(format!("{name}: found {found}, expected http(s)://HOST[:PORT] without blanks"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            let keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            return Err(format!("{name} holds a user or a password, which belong into {keys}"));
        }
    }
    for (name, text) in WORDS.into_iter().filter_map(set) {
        let of_region = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let (fits, expected) = match name.ends_with("REGION") {
            true => (text.chars().all(of_region), "letters, digits and dashes, as in eu-west-1"),
            false => (text.chars().all(|c| c.is_ascii_graphic()), "no blanks, line ends or accents"),
        };
        if !fits {
            return Err(format!("{name}: found characters that cannot be in it, expected {expected}"));
        }
    }
    Ok(())
}

/// The address of this text, if the reader of addresses and the client, which adds a path to the text itself, both read it.
fn endpoint(text: &str) -> Option<url::Url> {
    let uri: Uri = text.parse().ok()?;
    uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
    uri.host().filter(|host| !host.is_empty())?;
    let url = url::Url::parse(text).ok()?;
    let alone = url.has_host() && url.query().is_none() && !text.contains('#');
    alone.then_some(url)
}

/// Credentials are to come from a token that this process was given.
fn by_role(env: &BTreeMap<String, String>) -> bool {
    let has = |name: &str| env.contains_key(name);
    (has("AWS_WEB_IDENTITY_TOKEN_FILE") && has("AWS_ROLE_ARN"))
        || has("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        || (has("AWS_CONTAINER_CREDENTIALS_FULL_URI") && has("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
}

/// Says what is missing where nothing gives credentials: else the first request would look for a role for minutes.
fn credentials(env: &BTreeMap<String, String>) -> Result<(), String> {
    let says = |name: &str| env.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match (env.contains_key("AWS_ACCESS_KEY_ID"), env.contains_key("AWS_SECRET_ACCESS_KEY")) {
        (true, true) => return Ok(()),
        (true, false) => return Err("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not".to_owned()),
        (false, true) => return Err("AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not".to_owned()),
        (false, false) if by_role(env) || says("AWS_SKIP_SIGNATURE") => return Ok(()),
        (false, false) => {}
    }
    let host = env.get("AWS_METADATA_ENDPOINT").map_or("http://169.254.169.254", String::as_str);
    let role = match says("AWS_EC2_METADATA_DISABLED") {
        true => Err("AWS_EC2_METADATA_DISABLED is true".to_owned()),
        false => answers(host).map_err(|why| format!("{} does not answer: {why}", shown::address(host))),
    };
    role.map_err(|why| {
        format!(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile of ~/.aws/credentials that has \
             them, or AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN; an instance's role gives none ({why})"
        )
    })
}

fn answers(host: &str) -> Result<(), String> {
    let url = url::Url::parse(host).map_err(|e| e.to_string())?;
    let place = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
    let mut last = "it has no address".to_owned();
    for address in place.to_socket_addrs().map_err(|e| e.to_string())? {
        match TcpStream::connect_timeout(&address, METADATA) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Bucket;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn without_any_credentials_the_variables_are_named() {
        for more in [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")] {
            let error = Bucket::open_with("s3://b/p", &env(&[more])).unwrap_err().to_string();
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ROLE_ARN", more.1]
            {
                assert!(error.contains(name), "{name}: {error}");
            }
        }
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_told_by_its_name() {
        let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        for (name, value) in [("AWS_TIMEOUT", "10"), ("AWS_UNSIGNED_PAYLOAD", "perhaps")] {
            let error = Bucket::open_with("s3://b", &env(&[keys[0], keys[1], (name, value)]));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(&format!("{name}: ")) && error.contains(value), "{error}");
            assert!(!error.contains("secret") && !error.contains("expected a folder"), "{error}");
        }
    }

    #[test]
    fn half_a_pair_of_keys_is_told() {
        let error = Bucket::open_with("s3://b", &env(&[("AWS_ACCESS_KEY_ID", "A")])).unwrap_err().to_string();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY is not"), "{error}");
    }

    #[test]
    fn keys_of_the_environment_go_before_a_profiles_and_are_never_mixed_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        std::fs::write(
            &file,
            "[default]\naws_access_key_id=P\naws_secret_access_key=p\naws_session_token=t\n",
        )
        .unwrap();
        let file = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
        let own = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e"), file];
        assert!(!complete(&env(&own)).unwrap().contains_key("AWS_SESSION_TOKEN"));
        assert_eq!(complete(&env(&[file])).unwrap()["AWS_ACCESS_KEY_ID"], "P");
        Bucket::open_with("s3://b/p", &env(&[file])).unwrap();
    }

    /// What is said of a bucket where this variable is so.
    fn said(name: &str, value: &str) -> String {
        let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "a"), (name, value)];
        Bucket::open_with("s3://b/x", &env(&keys)).map_or_else(|e| e.to_string(), |_| String::new())
    }

    #[test]
    fn a_password_in_an_endpoint_is_refused_and_not_shown() {
        let error = said("AWS_ENDPOINT_URL", "http://user:geheim@127.0.0.1:1");
        assert!(error.contains("AWS_ENDPOINT_URL holds") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_told_before_anything_is_asked_of_it() {
        for (value, found) in [
            ("store:9000", "store:9000"),
            ("mirror:geheim@store", "…store"),
            ("//store", "…"),
            ("http:/store", "http…"),
            ("http:store", "http…"),
            ("http:///store", "http://…"),
            ("http://", "http://"),
            ("https://", "https://"),
            (" http://store:9000", "http://store:9000"),
            ("http://store:9000\n", "http://store:9000"),
            ("http://store:99999", "http://store:99999"),
            ("http://[::1:9000", "http://…"),
            ("http://sto re:9000", "http://sto…"),
            ("http://store?geheim", "http://store…"),
            ("http://store#geheim", "http://store…"),
            ("ftp://geheim@store", "ftp://…store"),
            ("s3://store", "s3://store"),
        ] {
            for name in ENDPOINTS {
                let expected = format!(
                    "bucket \"s3://b/x\": {name}: found {found}, expected http(s)://HOST[:PORT] without blanks"
                );
                assert_eq!(said(name, value), expected, "{value:?}");
            }
        }
        for value in ["http://store:9000", "https://[::1]:9000/", "HTTPS://Store/gateway", ""] {
            assert_eq!(said("AWS_ENDPOINT_URL", value), "", "{value:?}");
        }
    }

    #[test]
    fn what_cannot_stand_in_a_header_or_a_hosts_name_is_told_and_not_shown() {
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "geheim\n"),
            ("AWS_SESSION_TOKEN", "gehéim"),
            ("AWS_REGION", "us geheim"),
            ("AWS_DEFAULT_REGION", "us%geheim"),
        ] {
            let error = said(name, value);
            assert!(error.contains(&format!("{name}: found characters")), "{error}");
            assert!(!error.contains("heim"), "{error}");
        }
    }

    #[test]
    fn an_address_with_more_than_a_bucket_and_a_prefix_is_refused_and_no_secret_of_it_shown() {
        let keys = env(&[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "a")]);
        for url in [
            "s3://KEY:geheim@bucket/x",
            "s3://geheim@bucket/x",
            "s3://KEY:ge/heim@bucket/x",
            "s3://bucket:9000/x",
            "s3://bucket/x?geheim",
            "s3://bucket/x#geheim",
        ] {
            let error = Bucket::open_with(url, &keys).unwrap_err().to_string();
            assert!(error.contains("expected a folder or s3://bucket/prefix"), "{error}");
            assert!(!error.contains("heim"), "{error}");
        }
        let error = Bucket::open_with("https://u:geheim@h/b", &keys).unwrap_err().to_string();
        assert!(error.contains("unknown scheme") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn the_text_after_the_bucket_is_the_key_as_it_is() {
        let found = place("s3://b/größe x/é%20~/").unwrap();
        assert_eq!((found.0, found.1.as_ref()), ("b", "größe x/é%20~"));
        assert_eq!(place("s3://b").unwrap().1.as_ref(), "");
        let keys = env(&[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "a")]);
        for wrong in ["s3://", "s3:///x", "s3://b//x", "s3://b/a/../x", "s3://b/a//x", "s3://b/\n"] {
            let error = Bucket::open_with(wrong, &keys).unwrap_err().to_string();
            assert!(error.contains("expected a folder or s3://bucket/prefix"), "{error}");
        }
    }

    #[test]
    fn a_certificate_file_that_is_none_is_named() {
        let keys =
            [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "a"), ("AWS_CA_BUNDLE", "/no/such.pem")];
        let error = Bucket::open_with("s3://b", &env(&keys)).unwrap_err().to_string();
        assert!(error.contains("AWS_CA_BUNDLE /no/such.pem"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a key, or a note").unwrap();
        let path = file.path().to_str().unwrap();
        let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "a"), ("AWS_CA_BUNDLE", path)];
        let error = Bucket::open_with("s3://b", &env(&keys)).unwrap_err().to_string();
        assert!(error.contains("found no certificate in it"), "{error}");
    }
}
