//! The compute child: owns tensors, does one request after another, and answers each. The only `catch_unwind`.
//!
//! In: requests on stdin, a JSON line each. Out: events on what was stdout; anything else that prints goes to stderr. It ends
//! when stdin ends, and dies with the supervisor.

use super::error::WorkError;
use super::faults::Faults;
use super::protocol::{Event, Request};
use super::workbench::Workbench;
use crate::error::classify_panic;
use clap::Args;
use espalier_proto::causes::chain;
use espalier_proto::records::FailureCode;
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::FromRawFd;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the supervisor tells its child at the start.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// `cpu` or `cuda:N`.
    #[arg(long)]
    pub device: String,
    /// Threads on CPU.
    #[arg(long)]
    pub threads: u32,
    /// Memory that may be used, bytes; default: what the device has.
    #[arg(long)]
    pub memory_bytes: Option<u64>,
    /// The libtorch_cuda.so to open; default: the one beside libtorch_cpu.so.
    #[arg(long)]
    pub libtorch_cuda: Option<PathBuf>,
    /// Process id of the supervisor.
    #[arg(long)]
    pub parent: u32,
    /// Faults that a test asks for.
    #[arg(long, hide = true, env = "ESPALIER_TEST_FAULTS", default_value = "")]
    pub faults: Faults,
}

/// Where events go. Shared with the progress callbacks of the one request in progress.
#[derive(Debug)]
pub struct Answers(RefCell<File>);

impl Answers {
    /// Writes one event. A supervisor that does not read any more is gone, and so are we.
    pub fn say(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).expect("events are JSON");
        line.push(b'\n');
        if self.0.borrow_mut().write_all(&line).is_err() {
            std::process::exit(1);
        }
    }
}

thread_local! {
    /// What the last panic on this thread said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Serves requests until stdin ends.
pub fn main(options: &Options) -> ExitCode {
    if !tie_to(options.parent) {
        return ExitCode::FAILURE;
    }
    let Some(answers) = take_stdout() else {
        return ExitCode::FAILURE;
    };
    std::panic::set_hook(Box::new(|info| {
        let said = info.payload_as_str().unwrap_or("a panic without a message");
        tracing::debug!(location = ?info.location().map(ToString::to_string), said, "caught a panic");
        // Not libtorch's: then the place is what finds the bug.
        PANIC.set(words_of_libtorch(said).unwrap_or_else(|| {
            format!("{said} ({})", info.location().map(ToString::to_string).unwrap_or_default())
        }));
    }));
    let mut bench = None;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let event = match serde_json::from_str::<Request>(&line) {
            Ok(request) => answer(&mut bench, options, request, &answers),
            Err(e) => {
                Event::Failed { code: FailureCode::Internal, message: format!("request {line:?}: {e}") }
            }
        };
        answers.say(&event);
    }
    ExitCode::SUCCESS
}

fn answer(bench: &mut Option<Workbench>, options: &Options, request: Request, answers: &Answers) -> Event {
    // After a panic the bench's tensors may be in any state: it is dropped, and the supervisor replaces this process.
    let mut taken = bench.take();
    let work = AssertUnwindSafe(|| -> Result<Event, WorkError> {
        let bench = match &mut taken {
            Some(bench) => bench,
            slot => slot.insert(Workbench::new(options)?),
        };
        bench.answer(request, &|event| answers.say(&event))
    });
    match std::panic::catch_unwind(work) {
        Ok(Ok(event)) => {
            *bench = taken;
            event
        }
        Ok(Err(error)) => Event::Failed { code: error.code(), message: chain(&error) },
        Err(_) => {
            let error = classify_panic(&PANIC.take());
            Event::Failed { code: error.code(), message: error.to_string() }
        }
    }
}

/// What libtorch said, without tch's wrapping and without its C++ stack. tch panics with its error's `Debug`, so line ends are
/// escaped.
fn words_of_libtorch(said: &str) -> Option<String> {
    let (_, words) = said.split_once("Torch(\"")?;
    let end = words.find("\\n").or_else(|| words.find("\")")).unwrap_or(words.len());
    Some(words[..end].replace("\\\"", "\"").trim().to_owned())
}

/// Dies with the supervisor; `false` if that is gone already.
fn tie_to(parent: u32) -> bool {
    // SAFETY: prctl and getppid with these arguments touch no memory.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::getppid() as u32 == parent
    }
}

/// Keeps stdout for events alone: file descriptor 1 becomes stderr for everybody else in this process, libtorch included.
fn take_stdout() -> Option<Answers> {
    // SAFETY: both descriptors are open at the start of a process; the duplicate is owned by the File alone.
    unsafe {
        let ours = libc::dup(1);
        if ours < 0 || libc::dup2(2, 1) < 0 {
            return None;
        }
        libc::fcntl(ours, libc::F_SETFD, libc::FD_CLOEXEC);
        Some(Answers(RefCell::new(File::from_raw_fd(ours))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_tensor_operation_is_told_in_libtorchs_words_alone() {
        // As tch 0.24 panics.
        let said = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] err == 0. \
                    DefaultCPUAllocator: can't allocate memory\\nframe #0: c10::Throw\\nframe #1: x\")";
        let words = words_of_libtorch(said).unwrap();
        assert!(words.starts_with("[enforce fail") && words.ends_with("can't allocate memory"), "{words}");
        assert_eq!(words_of_libtorch("index out of bounds"), None);
    }
}
