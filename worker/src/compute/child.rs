//! The supervisor's end of the compute child: starts it, asks it, kills it when it stalls. Holds no tensor.
//!
//! The child is this same binary with the hidden subcommand `compute`. It dies with the thread that spawned it
//! (PR_SET_PDEATHSIG), so spawn only from the main thread's runtime.

use super::protocol::{Event, Request};
use crate::journal;
use espalier_proto::records::FailureCode;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// How long a dead child's last words are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How to start a child.
#[derive(Clone, Debug)]
pub struct ChildOptions {
    /// This binary.
    pub exe: PathBuf,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads on CPU.
    pub threads: u32,
    /// Memory that it may use, bytes.
    pub memory_bytes: Option<u64>,
    /// The libtorch_cuda.so to open; the one beside libtorch_cpu.so where `None`.
    pub libtorch_cuda: Option<PathBuf>,
    /// Longest silence of a working child, which speaks at least once a block.
    pub stall: Duration,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// The child could not be started.
    #[error("compute process {exe} cannot be started")]
    Spawn {
        /// The binary.
        exe: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended in the middle.
    #[error("compute process ended in the middle of a request: {status}")]
    Lost {
        /// Its exit status or signal.
        status: String,
    },
    /// It said nothing for too long and was killed.
    #[error("compute process said nothing for {seconds} s and was killed")]
    Stalled {
        /// How long.
        seconds: u64,
    },
    /// It said something that is no event.
    #[error("compute process said {line:?}, expected an event")]
    Garbage {
        /// The line.
        line: String,
    },
    /// It answered that the request failed.
    #[error("{message}")]
    Failed {
        /// Which of the closed list.
        code: FailureCode,
        /// What it said.
        message: String,
    },
    /// The work is no longer wanted; the child was killed.
    #[error("stopped: the work is no longer wanted here")]
    Interrupted,
}

impl ComputeError {
    /// The failure's code in records.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Spawn { .. } => FailureCode::NodeFault,
            Self::Lost { .. } | Self::Stalled { .. } => FailureCode::ComputeLost,
            Self::Garbage { .. } => FailureCode::Internal,
            Self::Failed { code, .. } => *code,
            Self::Interrupted => FailureCode::Preempted,
        }
    }
}

/// A running compute child; killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    stall: Duration,
    /// Passes its stderr on.
    words: tokio::task::JoinHandle<()>,
}

impl Child {
    /// Starts a child.
    pub fn spawn(options: &ChildOptions) -> Result<Self, ComputeError> {
        let mut command = Command::new(&options.exe);
        command
            .arg("compute")
            .args(["--device", &options.device])
            .args(["--threads", &options.threads.to_string()]);
        command.args(["--parent", &std::process::id().to_string()]);
        if let Some(bytes) = options.memory_bytes {
            command.args(["--memory-bytes", &bytes.to_string()]);
        }
        if let Some(file) = &options.libtorch_cuda {
            command.arg("--libtorch-cuda").arg(file);
        }
        // Threads change last bits: one number decides, and nothing may adapt it.
        let threads = options.threads.to_string();
        command.env("OMP_NUM_THREADS", &threads).env("MKL_NUM_THREADS", &threads);
        // It speaks to nobody: neither the coordinator's token, which may stand in its address, nor the store's, the hub's and the
        // collector's are its own.
        let foreign = |name: &OsStr| {
            let text = name.to_string_lossy();
            journal::names_a_secret(name)
                || ["AWS_", "OTEL_EXPORTER_"].iter().any(|theirs| text.starts_with(theirs))
                || name == espalier_proto::remote::VARIABLE
        };
        std::env::vars_os().filter(|(name, _)| foreign(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.env("OMP_DYNAMIC", "false").env("MKL_DYNAMIC", "FALSE").env_remove("OMP_THREAD_LIMIT");
        // A thread that waits sleeps. Waiting busily, libgomp's default, made a cell of small matrices forty times slower where other
        // processes wanted the cores too. It changes no bit.
        command.env("OMP_WAIT_POLICY", "PASSIVE");
        // CUDA counts its fastest GPU first unless told to count as the driver does, which names the GPU and tells its memory.
        command.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C at the terminal is for the supervisor, which finishes the cell that has begun.
        command.process_group(0);
        let spawn = |source| ComputeError::Spawn { exe: options.exe.display().to_string(), source };
        let mut process = command.spawn().map_err(spawn)?;
        let stdin = process.stdin.take().expect("stdin was piped");
        let stdout = process.stdout.take().expect("stdout was piped");
        let words = tokio::spawn(journal::pass_on(process.stderr.take().expect("stderr was piped")));
        Ok(Self { process, stdin, lines: BufReader::new(stdout).lines(), stall: options.stall, words })
    }

    /// It has not ended.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Sends a request and waits for its answer. After any error the child is of no more use.
    ///
    /// `told` hears what it says on the way. `interrupt` ends the wait when the work is no longer wanted.
    pub async fn ask(
        &mut self,
        request: &Request,
        mut told: impl FnMut(Event),
        interrupt: impl Future<Output = ()>,
    ) -> Result<Event, ComputeError> {
        let mut line = serde_json::to_vec(request).expect("requests are JSON");
        line.push(b'\n');
        if self.stdin.write_all(&line).await.is_err() || self.stdin.flush().await.is_err() {
            return Err(self.lost().await);
        }
        tokio::pin!(interrupt);
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(self.stall, self.lines.next_line()) => next,
                () = &mut interrupt => {
                    self.kill().await;
                    return Err(ComputeError::Interrupted);
                }
            };
            let Ok(read) = next else {
                self.kill().await;
                return Err(ComputeError::Stalled { seconds: self.stall.as_secs() });
            };
            let Ok(Some(line)) = read else {
                return Err(self.lost().await);
            };
            match serde_json::from_str(&line) {
                Ok(event @ (Event::Progress { .. } | Event::Saved(_) | Event::Wave { .. })) => told(event),
                Ok(Event::Failed { code, message }) => return Err(ComputeError::Failed { code, message }),
                Ok(event) => return Ok(event),
                Err(_) => return Err(ComputeError::Garbage { line }),
            }
        }
    }

    /// Ends it now.
    async fn kill(&mut self) {
        if let Err(error) = self.process.kill().await {
            tracing::warn!(%error, "compute process could not be killed");
        }
    }

    async fn lost(&mut self) -> ComputeError {
        self.kill().await;
        let status = match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        // They belong to the shard that it died at. Words that do not end, a grandchild's, are not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.words).await;
        ComputeError::Lost { status }
    }
}
