//! A coordinator and workers as processes of their own, as on a cluster: they share nothing but the network and the bucket.

use crate::binaries::{ended, text};
use crate::sweeps::Place;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    /// Kills it with -9 and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// The process that owns tensors for this worker; none while it is not started.
    pub fn compute(&self) -> Option<i32> {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        std::fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()
    }

    /// Stops what this worker computes until it is let go on; the worker itself goes on calling.
    ///
    /// # Panics
    /// If it computes nothing.
    pub fn hold(&self, held: bool) {
        let child = self.compute().expect("a worker with a shard has a compute process");
        // SAFETY: sends a signal to a process that a worker of this test started.
        let sent = unsafe { libc::kill(child, if held { libc::SIGSTOP } else { libc::SIGCONT }) };
        assert_eq!(sent, 0, "it is there");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.0.id() as i32, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A coordinator over a place's bucket.
#[derive(Debug)]
pub struct Cluster<'a> {
    place: &'a Place,
    /// The coordinator's process.
    pub coordinator: Process,
    /// Where it listens.
    pub url: String,
    /// Where it answers probes and scrapers, if it was told to.
    pub http: Option<String>,
}

impl<'a> Cluster<'a> {
    /// Starts a coordinator over the place's bucket `out`.
    ///
    /// # Panics
    /// If it does not say where it listens.
    pub fn start(place: &'a Place, more: &[&str]) -> Self {
        let (coordinator, said) = coordinator(place, "127.0.0.1:0", more);
        let url = said["address"].as_str().expect("it says where it listens").to_owned();
        Self { place, coordinator, url, http: said["http"].as_str().map(str::to_owned) }
    }

    /// Kills the coordinator with -9 and starts another one at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.coordinator.kill();
        let address = self.url.trim_start_matches("http://").to_owned();
        (self.coordinator, _) = coordinator(self.place, &address, &[]);
    }

    /// Starts a worker with a home of its own; its log is `<name>.log`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn worker(&self, name: &str) -> Process {
        self.worker_with(name, &[])
    }

    /// A worker with more variables.
    ///
    /// # Panics
    /// If it does not start.
    pub fn worker_with(&self, name: &str, variables: &[(&str, &str)]) -> Process {
        let mut command = worker_command(self.place, name, &self.url);
        command.envs(variables.iter().copied());
        spawned(self.place, name, command)
    }

    /// What a worker logged so far.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.at(&format!("{name}.log"))).expect("the worker has a log")
    }

    /// Runs `espalier` in the place against this coordinator.
    ///
    /// # Panics
    /// If it does not start.
    pub fn espalier(&self, args: &[&str]) -> Output {
        let mut command = self.place.command(args);
        command.env("ESPALIER_COORDINATOR", &self.url);
        command.output().expect("the binary starts")
    }

    /// As [`Self::espalier`]; it must end with `code` and say all of `needles`.
    ///
    /// # Panics
    /// If not.
    pub fn ends(&self, args: &[&str], code: i32, needles: &[&str]) -> String {
        ended(args, &self.espalier(args), code, needles)
    }

    /// What `espalier` prints as JSON.
    ///
    /// # Panics
    /// If it prints none.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.espalier(&[args, &["--output", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {}", text(&output)))
    }
}

/// Starts one; what it says of itself.
fn coordinator(place: &Place, listen: &str, more: &[&str]) -> (Process, Value) {
    let mut args = vec!["coordinator", "--listen", listen, "--output", "json", "--log", "info"];
    args.extend(more);
    listening(place, place.command(&args))
}

/// Starts `espalier coordinator … --output json` as told; gives the process and what it says of itself. Its log is `coordinator.log`.
///
/// # Panics
/// If it does not say where it listens.
pub fn listening(place: &Place, mut command: Command) -> (Process, Value) {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(place.at("coordinator.log"));
    command.stdout(Stdio::piped()).stderr(log.expect("a log can be made"));
    let mut process = Process(command.spawn().expect("the binary starts"));
    let out = process.0.stdout.take().expect("stdout is piped");
    let mut said = String::new();
    let mut lines = BufReader::new(out).lines();
    while let Some(Ok(line)) = lines.next() {
        said += &line;
        if let Ok(value) = serde_json::from_str::<Value>(&said) {
            return (process, value);
        }
    }
    panic!(
        "the coordinator ended: {said}, {}",
        std::fs::read_to_string(place.at("coordinator.log")).unwrap_or_default()
    );
}

/// A worker of the coordinator at `url`, with a home of its own.
pub fn worker_command(place: &Place, name: &str, url: &str) -> Command {
    let mut command = Command::new(place.program("espalier-worker"));
    command.args(["--coordinator", url, "--device", "cpu"]);
    command.env("HOME", place.at(name)).env_remove("XDG_CACHE_HOME").env_remove("ESPALIER_CACHE");
    command.envs(place.environment().iter().map(|(name, value)| (name, value)));
    command
}

/// Starts a program; its log is `<name>.log`.
///
/// # Panics
/// If it does not start.
pub fn spawned(place: &Place, name: &str, command: Command) -> Process {
    spawned_to(place, name, command, Stdio::null())
}

/// Starts a program with this standard output; its log is `<name>.log`.
///
/// # Panics
/// If it does not start.
pub fn spawned_to(place: &Place, name: &str, mut command: Command, out: impl Into<Stdio>) -> Process {
    let log = std::fs::File::create(place.at(&format!("{name}.log"))).expect("a log can be made");
    command.stdin(Stdio::null()).stdout(out).stderr(log);
    Process(command.spawn().expect("the program starts"))
}

/// Waits until `holds`, a minute at most.
///
/// # Panics
/// If it never does.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited in vain until {what}");
}

/// A model's folder taken away, so that nobody sees it any more.
///
/// # Panics
/// If it cannot be moved.
pub fn hide(place: &Place, name: &str) -> PathBuf {
    let hidden = place.at(&format!("{name}-hidden"));
    std::fs::rename(place.at(name), &hidden).expect("a folder can be moved");
    hidden
}
