//! What is logged while a shard is worked at, the compute process's stderr included: it goes to stderr as ever, and a copy, bounded
//! in size, is kept for the bucket.
//!
//! A process has one subscriber and works at one shard at a time, so there is one page. Of a long one the beginning and the end are
//! kept. What the environment holds as a secret is blotted out before a line is kept.

use bytes::Bytes;
use espalier_proto::ids::{AttemptId, VariantKey};
use espalier_proto::layout;
use object_store::path::Path;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Bytes kept of a log's beginning, and of its end.
const HEAD: usize = 64 << 10;
const TAIL: usize = 192 << 10;
/// A longer line is taken in pieces.
const LINE: u64 = 16 << 10;
/// A value of a variable with such a name is never kept.
const SECRET: [&str; 5] = ["SECRET", "TOKEN", "PASSWORD", "CREDENTIAL", "ACCESS_KEY"];
/// What is shorter is in every text.
const SHORTEST_SECRET: usize = 8;

/// The log of a shard's attempt.
#[derive(Debug)]
struct Page {
    path: Path,
    head: Vec<u8>,
    tail: VecDeque<Vec<u8>>,
    tail_bytes: usize,
    left_out: usize,
    changed: bool,
}

static PAGE: Mutex<Option<Page>> = Mutex::new(None);

fn page() -> MutexGuard<'static, Option<Page>> {
    PAGE.lock().expect("nothing panics while it holds the page")
}

/// From now on lines are kept for this attempt.
pub fn begin(variant: VariantKey, attempt: &AttemptId) {
    *page() = Some(Page::new(layout::attempt_log(variant, attempt)));
}

/// The page, if it has lines that were not given out before.
pub fn news() -> Option<(Path, Bytes)> {
    let mut page = page();
    let page = page.as_mut().filter(|page| page.changed)?;
    page.changed = false;
    Some((page.path.clone(), page.text()))
}

/// Nothing more is kept for the attempt; its page, if it has news.
pub fn end() -> Option<(Path, Bytes)> {
    let news = news();
    *page() = None;
    news
}

/// Keeps a line, if a shard is worked at.
fn keep(line: &[u8]) {
    if let Some(page) = page().as_mut() {
        page.add(without_secrets(line, secrets()));
    }
}

impl Page {
    fn new(path: Path) -> Self {
        Self { path, head: Vec::new(), tail: VecDeque::new(), tail_bytes: 0, left_out: 0, changed: false }
    }

    fn add(&mut self, line: Vec<u8>) {
        self.changed = true;
        if self.tail.is_empty() && self.left_out == 0 && self.head.len() + line.len() <= HEAD {
            self.head.extend(line);
            return;
        }
        self.tail_bytes += line.len();
        self.tail.push_back(line);
        while self.tail_bytes > TAIL {
            let Some(gone) = self.tail.pop_front() else { return };
            self.tail_bytes -= gone.len();
            self.left_out += 1;
        }
    }

    fn text(&self) -> Bytes {
        let mut text = self.head.clone();
        if self.left_out > 0 {
            text.extend(format!("[{} lines are left out here]\n", self.left_out).into_bytes());
        }
        self.tail.iter().for_each(|line| text.extend(line));
        Bytes::from(text)
    }
}

/// A variable of this name holds a secret, or says where one is.
pub fn names_a_secret(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    SECRET.iter().any(|word| name.contains(word))
}

fn secrets() -> &'static [Vec<u8>] {
    static SECRETS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let held = std::env::vars_os()
            .filter(|(name, value)| value.len() >= SHORTEST_SECRET && names_a_secret(name));
        held.map(|(_, value)| value.into_encoded_bytes()).collect()
    })
}

fn without_secrets(line: &[u8], secrets: &[Vec<u8>]) -> Vec<u8> {
    let mut line = line.to_vec();
    for secret in secrets {
        while let Some(at) = line.windows(secret.len()).position(|part| part == &secret[..]) {
            line.splice(at..at + secret.len(), *b"[secret]");
        }
    }
    line
}

/// Writes each line to stderr and keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Lines;

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        keep(line);
        std::io::stderr().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Passes on what a compute process says on stderr, until it ends.
pub async fn pass_on(stderr: impl AsyncRead + Unpin) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut reader).take(LINE).read_until(b'\n', &mut line).await {
        // Where stderr cannot be written there is nobody to tell.
        let _ = Lines.write_all(&line);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_beginning_and_the_end_are_kept_and_the_gap_is_said() {
        let mut page = Page::new(Path::from("logs/x"));
        (0..100_000).for_each(|n| page.add(format!("line {n}\n").into_bytes()));
        let text = String::from_utf8(page.text().to_vec()).unwrap();
        assert!(text.len() < HEAD + TAIL + 100, "{}", text.len());
        assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("line 99998\nline 99999\n"));
        let lines = text.lines().count() - 1;
        assert!(text.contains(&format!("[{} lines are left out here]", 100_000 - lines)));
    }

    #[test]
    fn a_secret_is_blotted_out_wherever_it_stands() {
        let secrets = [b"wJalrXUtnFEMI".to_vec()];
        let line = without_secrets(b"key=wJalrXUtnFEMI, again wJalrXUtnFEMI\n", &secrets);
        assert_eq!(line, b"key=[secret], again [secret]\n");
    }
}
