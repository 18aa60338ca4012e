//! The only reader of clocks in this crate. Nothing that is computed depends on them.

/// Now, for measuring how long something takes.
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Now, RFC 3339, UTC.
pub(crate) fn now_rfc3339() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Now in microseconds since 1970: tells two starts of one process id apart.
pub(crate) fn micros() -> i64 {
    chrono::Utc::now().timestamp_micros()
}
