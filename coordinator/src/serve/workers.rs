//! Starts local worker processes and ends them. No worker outlives this process, even if it is killed with -9: each child asks
//! the kernel to be killed when the thread that started it ends, so all are started from one thread that never ends.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

/// Bytes of a log's end that are shown when its worker dies.
const TAIL: u64 = 2000;
/// Lines of it.
const TAIL_LINES: usize = 15;

/// How to start a worker.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The binary.
    pub binary: PathBuf,
    /// Where this coordinator listens.
    pub coordinator: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Threads of one compute process, on CPU.
    pub threads: Option<u32>,
    /// Memory that it may use, GiB; `None` leaves it to the worker.
    pub memory_gib: Option<f64>,
    /// Where its stderr goes, in a folder that is there.
    pub log: PathBuf,
}

/// A worker process.
#[derive(Debug)]
pub struct WorkerProcess {
    child: Child,
    command: WorkerCommand,
}

type Request = (Command, Sender<std::io::Result<Child>>);

/// The thread that starts children, for as long as this process lives.
fn spawner() -> &'static Sender<Request> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel::<Request>();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (mut command, reply) in receiver {
                    // Whoever asked waits for the answer.
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread can be started at the beginning of a run");
        sender
    })
}

fn appended(log: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().create(true).append(true).open(log)
}

impl WorkerCommand {
    /// Starts the worker.
    pub fn start(&self) -> std::io::Result<WorkerProcess> {
        let log = match appended(&self.log) {
            // A bucket that is away took the folder of logs along, and nothing is made in its place.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => appended(Path::new("/dev/null"))?,
            log => log?,
        };
        let mut command = Command::new(&self.binary);
        command.args(["--coordinator", &self.coordinator, "--device", &self.device, "--die-with-parent"]);
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if let Some(gib) = self.memory_gib {
            command.args(["--memory-gib", &gib.to_string()]);
        }
        // A group of its own: Ctrl-C at a terminal reaches this process only, which then ends its workers in order.
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let parent = std::process::id();
        // SAFETY: between fork and exec only two system calls are made, both async-signal-safe.
        unsafe {
            command.pre_exec(move || die_with_parent(parent));
        }
        let (reply, answer) = channel();
        let gone = || std::io::Error::other("the thread that starts workers is gone");
        spawner().send((command, reply)).map_err(|_| gone())?;
        let child = answer.recv().map_err(|_| gone())??;
        Ok(WorkerProcess { child, command: self.clone() })
    }

    /// The end of what the worker wrote.
    pub fn tail(&self) -> String {
        tail(&self.log).unwrap_or_default()
    }
}

fn die_with_parent(parent: u32) -> std::io::Result<()> {
    // SAFETY: plain system calls on this process.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // The parent may have died before the line above.
        if libc::getppid() as u32 != parent {
            libc::_exit(0);
        }
    }
    Ok(())
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
}

impl WorkerProcess {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it was started.
    pub fn command(&self) -> &WorkerCommand {
        &self.command
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to leave.
    pub fn terminate(&mut self) {
        if self.ended().is_none() {
            // SAFETY: the child has not been waited for, so its id is still its own.
            unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // One that has already ended needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the worker's binary is: as given, else beside this executable, else on PATH.
pub fn find_binary(given: Option<&Path>) -> Result<PathBuf, Vec<PathBuf>> {
    const NAME: &str = "espalier-worker";
    if let Some(given) = given {
        return if given.is_file() { Ok(given.to_owned()) } else { Err(vec![given.to_owned()]) };
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let looked: Vec<PathBuf> =
        beside.into_iter().chain(std::env::split_paths(&path).map(|p| p.join(NAME))).collect();
    looked.iter().find(|p| p.is_file()).cloned().ok_or(looked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, (0..500).map(|i| format!("line {i}\n")).collect::<String>()).unwrap();
        let tail = tail(&path).unwrap();
        assert!(tail.ends_with("line 499") && tail.lines().count() == TAIL_LINES, "{tail}");
    }

    #[test]
    fn a_binary_that_is_not_there_is_named() {
        let given = Path::new("/nowhere/espalier-worker");
        assert_eq!(find_binary(Some(given)), Err(vec![given.to_owned()]));
    }
}
