//! A real `espalier coordinator` with many workers that compute nothing: every cell is committed once, and what a shard costs the
//! coordinator. `make bench-coordinator` prints figures; every day a small one is run.

use crate::bare::processor_time_of_a_call;
use crate::fakes::{Done, Fake, Ground};
use crate::harness::sweep;
use espalier::serve::epoch::Epoch;
use espalier::serve::log;
use espalier_proto::bucket::Bucket;
use espalier_proto::messages as m;
use espalier_proto::messages::sweep_api_client::SweepApiClient;
use espalier_proto::sweep::LogEvent;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;

/// About as long as a variant's spec is in an order.
const SPEC_BYTES: usize = 600;

/// How large a cluster is, and how long a cell takes.
#[derive(Clone, Copy)]
struct Size {
    workers: usize,
    connections: usize,
    variants: usize,
    tasks: usize,
    cell: (Duration, Duration),
}

/// The coordinator's process; killed when this is dropped.
pub(crate) struct Coordinator {
    child: Child,
    url: String,
    http: String,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Coordinator {
    pub(crate) fn start(bucket: &Bucket) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_espalier"))
            .args(["coordinator", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--output", "json"])
            .args(["--bucket", bucket.url()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        let value: serde_json::Value = loop {
            said += &lines.next().expect("it says where it listens").unwrap();
            if let Ok(value) = serde_json::from_str(&said) {
                break value;
            }
        };
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        Self { child, url: text("address"), http: text("http").replace("http://", "") }
    }

    /// Samples of /metrics, by name and labels but the instance's.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.get("/metrics");
        let text =
            text.replace("{espalier_instance=\"main\"}", "").replace("espalier_instance=\"main\",", "");
        let samples = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit_once(' '));
        samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.http).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// It has taken up its sweeps.
    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").starts_with("HTTP/1.0 200")
    }

    /// Time on a processor so far, in user and in system mode; memory, MiB.
    pub(crate) fn spent(&self) -> (Duration, f64) {
        spent(self.child.id())
    }
}

/// A process's time on a processor so far, in user and in system mode; memory, MiB.
pub(crate) fn spent(pid: u32) -> (Duration, f64) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    (Duration::from_millis(ticks * 10), memory(pid, "VmRSS:"))
}

/// A process's memory by the kernel's account, MiB: now (`VmRSS:`), or the most so far (`VmHWM:`).
fn memory(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// What came of it.
struct Figures {
    took: Duration,
    cpu: Duration,
    rss_mib: f64,
    rss_idle_mib: f64,
    metrics: BTreeMap<String, f64>,
    starts: Vec<Duration>,
    won: u64,
    lost: u64,
    calls: u64,
    failed_calls: u64,
}

/// The sweep waits, paused, until every worker is there; then it is resumed.
fn measure(size: Size) -> Figures {
    // Records are many and small: where there is a file system in memory it takes them.
    let in_memory = std::path::Path::new("/dev/shm");
    let folder =
        if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() }.unwrap();
    let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sweep = runtime.block_on(async {
        let sweep = sweep(&bucket, size.variants, size.tasks).await;
        let me = Epoch { instance: "main".parse().unwrap(), n: 1, probe_nonce: String::new() };
        log::submit(&bucket, &me, &sweep, None, false).await.unwrap();
        log::write(&bucket, &me, &sweep.name, LogEvent::Pause).await.unwrap();
        sweep
    });
    let coordinator = Coordinator::start(&bucket);
    let ground: &'static Ground =
        Box::leak(Box::new(Ground { bucket, cell: size.cell, done: Done::default() }));
    let channels: Vec<_> = (0..size.connections)
        .map(|_| Endpoint::from_shared(coordinator.url.clone()).unwrap().tcp_nodelay(true))
        .map(|endpoint| runtime.block_on(endpoint.connect()).unwrap())
        .collect();
    for n in 0..size.workers {
        runtime.spawn(Fake::new(ground, channels[n % channels.len()].clone(), n).live());
    }
    let held = "espalier_sync_calls_held";
    until("every worker's call is held", || coordinator.metrics()[held] == size.workers as f64);
    let (_, rss_idle_mib) = coordinator.spent();
    runtime.block_on(async {
        let mut users = SweepApiClient::connect(coordinator.url.clone()).await.unwrap();
        let request = m::ControlRequest {
            action: m::Action::Resume.into(),
            sweep: sweep.name.to_string(),
            only: Vec::new(),
        };
        users.control(request).await.unwrap();
    });
    // What follows are shards; before it was the sweep that was looked through once.
    let (before, since) = (coordinator.spent().0, Instant::now());
    let missing = format!("espalier_cells{{sweep=\"{}\",state=\"missing\"}}", sweep.name);
    let done = &ground.done;
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut scraped = Instant::now();
    until("every cell is done", || {
        // A scrape counts every variant: one a second costs what several scrapers would.
        if scraped.elapsed() > Duration::from_secs(1) {
            coordinator.metrics();
            scraped = Instant::now();
        }
        read(&done.won) == (size.variants * size.tasks) as u64
    });
    // What follows is the report's.
    let (after, took) = (coordinator.spent().0, since.elapsed());
    let rss_mib = memory(coordinator.child.id(), "VmHWM:");
    until("the coordinator has heard of it", || coordinator.metrics()[&missing] == 0.0);
    let metrics = coordinator.metrics();
    let mut starts = std::mem::take(&mut *done.starts.lock().unwrap());
    starts.sort_unstable();
    let figures = Figures {
        took,
        cpu: after - before,
        rss_mib,
        rss_idle_mib,
        metrics,
        starts,
        won: read(&done.won),
        lost: read(&done.lost),
        calls: read(&done.calls),
        failed_calls: read(&done.failed_calls),
    };
    runtime.shutdown_background();
    figures
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(900), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn of_two_hundred_workers_every_cell_is_committed_once_and_the_sweep_ends() {
    let cell = (Duration::ZERO, Duration::from_millis(5));
    let size = Size { workers: 200, connections: 50, variants: 250, tasks: 8, cell };
    let figures = measure(size);
    // A cell that is split off may be begun by both, just then; the second record is dropped.
    assert_eq!((figures.won, figures.failed_calls), (2_000, 0), "and {} dropped", figures.lost);
    assert_eq!(figures.metrics["espalier_cells{sweep=\"demo\",state=\"done\"}"], 2_000.0);
    assert_eq!(figures.metrics["espalier_cells{sweep=\"demo\",state=\"failed\"}"], 0.0);
}

/// A number from the environment.
pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
#[ignore = "measures, and only an optimized build is worth measuring; make bench-coordinator runs it"]
fn what_ten_thousand_workers_cost_a_coordinator() {
    let workers = number("WORKERS", 10_000);
    let cell_ms = number("CELL_MS", 5_000) as u64;
    let size = Size {
        workers,
        connections: number("CONNECTIONS", workers),
        variants: number("VARIANTS", 12_500),
        tasks: number("TASKS", 8),
        cell: (Duration::from_millis(cell_ms / 2), Duration::from_millis(cell_ms * 3 / 2)),
    };
    let f = measure(size);
    let (shards, cells) = (f.metrics["espalier_attempts_total"], (size.variants * size.tasks) as f64);
    let (calls, steps) = (f.metrics["espalier_sync_calls_total"], f.metrics["espalier_step_seconds_count"]);
    let cpu = f.cpu.as_secs_f64() * 1e6;
    println!(
        "{} workers on {} connections, {cells} cells in {} variants",
        size.workers, size.connections, size.variants
    );
    println!(
        "took {:.1} s; {shards} shards, {calls} calls ({:.1} a shard)",
        f.took.as_secs_f64(),
        calls / shards
    );
    println!(
        "coordinator's processor time {:.1} s: {:.1} us a shard, {:.1} us a cell, {:.1} us a call",
        cpu / 1e6,
        cpu / shards,
        cpu / cells,
        cpu / calls
    );
    let bare = processor_time_of_a_call(size.connections.min(2_000), SPEC_BYTES).as_secs_f64() * 1e6;
    println!(
        "a gRPC server that does nothing: {bare:.1} us a call; the coordinator's call is {:.2} of these, its shard {:.2}",
        cpu / calls / bare,
        cpu / shards / bare
    );
    println!("step: {:.2} us mean of {steps}", f.metrics["espalier_step_seconds_sum"] * 1e6 / steps);
    println!("memory: {:.0} MiB with idle workers, {:.0} MiB at most", f.rss_idle_mib, f.rss_mib);
    let at = |part: usize| {
        f.starts.get(f.starts.len() * part / 100).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    println!("a shard starts after {:.2} ms median, {:.2} ms 99th of {}", at(50), at(99), f.starts.len());
    println!(
        "records: {} written once, {} written before by others; {} calls failed of {}",
        f.won, f.lost, f.failed_calls, f.calls
    );
    assert_eq!(f.won as f64, cells);
}
