//! Which process of this machine is at the other end of a connection, so that a server can kill it at an exact moment.
//!
//! In: the address of a peer. Out: a killed process. Linux only, as the tests' other signals are.

use std::fs;
use std::net::SocketAddr;

/// Kills the process at the other end of a connection with -9. Does nothing where it is gone already.
pub fn kill_peer(peer: SocketAddr) {
    if let Some(pid) = process_of(peer) {
        // SAFETY: sends a signal; the process was alive and held the socket a moment ago.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// The process that holds the socket bound to `local` (IPv4, this machine).
fn process_of(local: SocketAddr) -> Option<i32> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let port = format!(":{:04X}", local.port());
    // "  sl  local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …"
    let inode = table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&port)).then(|| fields.get(9).map(ToString::to_string))?
    })?;
    let socket = format!("socket:[{inode}]");
    let numbers = fs::read_dir("/proc").ok()?.flatten();
    numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &i32| {
        let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        held.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|link| link.as_os_str() == socket.as_str())
    })
}
