//! Says which process this is, so that another can later tell whether it still runs. Linux: /proc.

use serde::{Deserialize, Serialize};

/// A process, told apart from every other one on every host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Name of the host.
    pub host: String,
    /// The host's boot.
    pub boot: String,
    /// The process-id namespace: two containers on one host have the same ids for different processes.
    pub namespace: String,
    /// The process id.
    pub pid: u32,
    /// When the process started, in clock ticks since boot: process ids are given again.
    pub started_ticks: u64,
}

/// Whether a process is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Alive,
    /// It does not.
    Dead,
    /// It is on another host, and nothing can be known from here.
    Unknown,
}

impl Process {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self {
            host: host(),
            boot: read("/proc/sys/kernel/random/boot_id"),
            namespace: std::fs::read_link("/proc/self/ns/pid")
                .map(|p| p.to_string_lossy().into_owned())
                .unwrap_or_default(),
            pid,
            started_ticks: started_ticks(pid).unwrap_or(0),
        }
    }

    /// Whether this process still runs, as far as can be told from here.
    pub fn life(&self) -> Life {
        let here = Self::this();
        if self.host != here.host {
            return Life::Unknown;
        }
        if self.boot != here.boot {
            return Life::Dead; // the same host has been started again since
        }
        if self.namespace != here.namespace {
            return Life::Unknown;
        }
        if started_ticks(self.pid) == Some(self.started_ticks) { Life::Alive } else { Life::Dead }
    }
}

/// This host's name; empty where the kernel tells none.
pub fn host() -> String {
    read("/proc/sys/kernel/hostname")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// Field 22 of /proc/<pid>/stat; `None` if there is no such process, or only its remains.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is regular.
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_that_has_ended_is_dead() {
        assert_eq!(Process::this().life(), Life::Alive);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = Process {
            pid: child.id(),
            started_ticks: started_ticks(child.id()).unwrap_or(1),
            ..Process::this()
        };
        child.wait().unwrap();
        assert_eq!(ended.life(), Life::Dead);
    }

    #[test]
    fn a_process_id_given_again_is_not_taken_for_the_old_process() {
        let mut other = Process::this();
        other.started_ticks += 1;
        assert_eq!(other.life(), Life::Dead);
    }

    #[test]
    fn nothing_is_known_of_another_host_and_a_reboot_ends_everything() {
        let elsewhere = Process { host: "another".into(), ..Process::this() };
        assert_eq!(elsewhere.life(), Life::Unknown);
        let before = Process { boot: "another".into(), ..Process::this() };
        assert_eq!(before.life(), Life::Dead);
    }
}
