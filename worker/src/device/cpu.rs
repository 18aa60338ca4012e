//! What the CPU is, by /proc.

use std::fs;

/// The CPU's model, for people.
pub(super) fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    // Arm gives no model name.
    value("model name")
        .or_else(|| value("CPU part").map(|part| format!("Arm part {part}")))
        .unwrap_or_else(|| "CPU".to_owned())
}

/// Memory of the machine, bytes, or of this process's control group if that is less.
pub(super) fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = field_kib(&text, "MemTotal:").unwrap_or(0);
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|t| t.trim().parse().ok());
    group.unwrap_or(u64::MAX).min(kib * 1024)
}

/// The peak resident set of this process, MiB.
pub(super) fn peak_rss_mib() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field_kib(&text, "VmHWM:").unwrap_or(0) as f64 / 1024.0
}

/// Starts a new peak, where the kernel lets us.
pub(super) fn reset_peak_rss() {
    if let Err(error) = fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!(%error, "the peak resident set counts from the process's start");
    }
}

fn field_kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
