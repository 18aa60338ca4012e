//! Ids, object paths and addresses: text that becomes a place.

use espalier_proto::bucket::Bucket;
use espalier_proto::ids::{AttemptId, CellKey, Digest, ModelDigest, Name, VariantKey};
use espalier_proto::layout;
use espalier_proto::remote::Address;
use object_store::path::Path;

fn under(path: &Path, prefix: &str) {
    assert!(path.as_ref().starts_with(prefix), "{path} leaves {prefix}");
    assert!(path.parts().all(|part| ![".", ".."].contains(&part.as_ref())), "{path}");
}

/// Ids: one that parses reads back as written, and its objects stay under their prefix.
pub(super) fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let key = CellKey(Digest::of(b"k"));
    let (cell, variant) = (format!("cells/{}/{key}/", key.0.prefix()), VariantKey(key.0));
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.to_string(), text);
        under(&layout::log_entry(&name, u64::MAX), &format!("sweeps/{name}/log/"));
        under(&layout::epoch(&name, 0), &format!("coordinators/{name}/epoch/"));
        assert_eq!(layout::parse_log_entry(&layout::log_entry(&name, 7)), Some(7));
        assert_eq!(layout::owner(&layout::spec(&name, key.0)), layout::Owner::Sweep(name));
    }
    if let Ok(attempt) = text.parse::<AttemptId>() {
        assert_eq!(attempt.to_string().parse(), Ok(attempt.clone()));
        let log = layout::attempt_log(variant, &attempt);
        under(&log, &format!("logs/{key}/"));
        assert_eq!(layout::parse_attempt_log(&log), Some(attempt.clone()));
        under(&layout::cell_blob(key, &attempt, "x"), &cell);
        let place = layout::PartialPlace::new(attempt, (0, u32::MAX), text);
        assert_eq!(layout::PartialPlace::parse(&place.path(variant)), Some(place));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    // A blob's name comes from a record.
    let attempt: AttemptId = "a-1-1".parse().expect("an attempt");
    under(&layout::cell_blob(key, &attempt, text), &cell);
    under(&layout::variant_blob(variant, &attempt, text), &format!("variants/{}/{key}/", key.0.prefix()));
    under(&layout::model_file(ModelDigest(key.0), text), &format!("models/{key}/files"));
}

/// Paths that a store lists.
pub(super) fn paths(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for path in [Path::from(text), Path::parse(text).unwrap_or_default()] {
        let owner = layout::owner(&path);
        if let layout::Owner::Sweep(name) = &owner {
            under(&path, layout::sweep_folder(name).as_ref());
        }
        let _ =
            (layout::parse_log_entry(&path), layout::parse_segment_keys(&path), layout::is_probe_race(&path));
        let _ = (layout::PartialPlace::parse(&path), layout::parse_attempt_log(&path));
    }
}

/// What must be in no message.
const SECRET: &str = "s3cret-S3cret-s3creT";

/// `URL#FINGERPRINT:TOKEN`: neither the token nor a password, or either where it does not belong, is in any message.
pub(super) fn address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(address) = Address::parse(text) {
        assert!(!address.host.is_empty() && address.authority.contains(':'));
        assert!(address.tls || address.token.is_none(), "a token over plaintext");
        let shown = address.to_string();
        assert!(!shown.contains('#'), "{shown}");
        let again = Address::parse(&shown).expect("what is shown is an address");
        assert_eq!((again.authority, again.host, again.tls), (address.authority, address.host, address.tls));
    }
    // Where a text holds it itself, as a host for instance, it is no secret.
    if text.to_lowercase().contains(&SECRET.to_lowercase()) {
        return;
    }
    let pin = Digest::of(b"pin");
    for mistyped in [
        format!("{text}#{pin}:{SECRET}"),
        format!("{text}#{SECRET}"),
        format!("https://h:1#{text}:{SECRET}"),
        format!("https://h:1:{SECRET}{text}"),
        format!("https://h:1/{text}{SECRET}"),
        format!("https://h:1?{text}{SECRET}"),
        format!("https://u:{SECRET}@{text}"),
        format!("https://{SECRET}@{text}"),
        format!("https://u:{SECRET}{text}@h:1"),
        format!("u:{SECRET}@{text}"),
    ] {
        let said = match Address::parse(&mistyped) {
            Ok(address) => format!("{address} {address:?}"),
            Err(error) => error.to_string(),
        };
        assert!(!said.to_lowercase().contains(&SECRET.to_lowercase()), "{mistyped:?}: {said}");
    }
    for mistyped in [
        format!("s3://KEY:{SECRET}{text}@b/x"),
        format!("s3://b/x?{text}{SECRET}"),
        format!("https://u:{SECRET}@{text}"),
    ] {
        bucket(&mistyped, &[]);
    }
    let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    for mistyped in [
        text.to_owned(),
        format!("u:{SECRET}@{text}"),
        format!("http://u:{SECRET}@{text}"),
        format!("http://h:1?{text}{SECRET}"),
    ] {
        bucket("s3://b/x", &[&keys[..], &[("AWS_ENDPOINT_URL", mistyped.as_str())]].concat());
    }
}

/// Opens it in this environment: what is said of it shows no secret.
fn bucket(url: &str, environment: &[(&str, &str)]) {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let said =
        Bucket::open_with(url, &environment.collect()).map_or_else(|e| e.to_string(), |b| format!("{b:?}"));
    assert!(!said.contains(SECRET), "{url:?}: {said}");
}
