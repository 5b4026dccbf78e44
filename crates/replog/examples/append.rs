//! Measures appends: `cargo run --release -p bonghwa-replog --example append -- [groups] [writers]
//! [entry KiB] [seconds] [voters]`. Prints throughput, syncs and latency; trims as a partition would.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bonghwa_replog::{
    BoxError, Group, GroupOptions, Host, HostOptions, LocalNetwork, Payload, Snapshot, StateMachine, Store,
    StoreOptions,
};
use bytes::Bytes;

/// Counts, and calls everything flushed that is older than the last 64 entries.
#[derive(Default)]
struct Count(AtomicU64);

impl StateMachine for Count {
    fn apply(&self, position: u64, _payload: &Payload) -> Bytes {
        self.0.store(position, Ordering::Relaxed);
        Bytes::new()
    }

    fn snapshot(&self) -> Result<Snapshot, BoxError> {
        Ok(Snapshot { position: self.0.load(Ordering::Relaxed).saturating_sub(64), data: Bytes::new() })
    }

    fn restore(&self, position: u64, _data: Bytes) -> Result<(), BoxError> {
        self.0.store(position, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().unwrap());
    let groups = args.next().unwrap_or(6);
    let writers = args.next().unwrap_or(4);
    let kib = args.next().unwrap_or(256);
    let seconds = args.next().unwrap_or(5);
    let voters = args.next().unwrap_or(1);

    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let network = LocalNetwork::new();
    let mut hosts = Vec::new();
    for id in 1..=voters {
        let store = Store::open(dir.path().join(id.to_string()), StoreOptions::default()).unwrap();
        let host = Host::new(id, store, network.transport(id), HostOptions::default());
        network.attach(&host);
        hosts.push(host);
    }
    let members: BTreeMap<u64, String> = (1..=voters).map(|id| (id, format!("node-{id}"))).collect();
    let mut all: Vec<Vec<Arc<Group>>> = Vec::new();
    for i in 0..groups {
        let options = GroupOptions {
            name: format!("logs-{i}"),
            members: members.clone(),
            bootstrap: true,
            prompt_commits: false,
        };
        let mut replicas = Vec::new();
        for host in &hosts {
            let opened = host.open_group(options.clone(), Arc::new(Count::default())).await;
            replicas.push(opened.unwrap());
        }
        all.push(replicas);
    }
    let mut leaders = Vec::new();
    for replicas in &all {
        let leader = replicas[0].wait_leader(Duration::from_secs(30)).await.unwrap();
        leaders.push(replicas[leader as usize - 1].clone());
    }
    println!("{groups} groups lead; resident {} MB", resident_mb());
    if std::env::var("IDLE").is_ok() {
        let cpu = cpu_seconds();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let used = (cpu_seconds() - cpu) / seconds as f64 * 100.0;
        println!("idle: {used:.1} % of a core, resident {} MB", resident_mb());
        return;
    }

    // Not compressible, as real entries are.
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    })
    .take(kib as usize * 1024)
    .collect();
    let body = Bytes::from(body);
    let before: u64 = hosts.iter().map(|host| host.store().stats().syncs).sum();
    let (cpu, start) = (cpu_seconds(), Instant::now());
    let end = start + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for group in &leaders {
        for _ in 0..writers {
            let (group, body) = (group.clone(), body.clone());
            tasks.push(tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let sent = Instant::now();
                    group.append(Payload::new(body.clone())).await.unwrap();
                    latencies.push(sent.elapsed());
                }
                latencies
            }));
        }
    }
    for group in all.into_iter().flatten() {
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                if group.trim(u64::MAX).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let elapsed = start.elapsed().as_secs_f64();
    latencies.sort();
    let mb = latencies.len() as f64 * kib as f64 / 1024.0;
    let syncs: u64 = hosts.iter().map(|host| host.store().stats().syncs).sum();
    let at = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    println!(
        "{voters} voters, {groups} groups, {writers} writers each, {kib} KiB: {:.0} MB/s, {:.0} syncs/s, \
         p50 {:.1} ms, p99 {:.1} ms, {:.2} CPU-s/GB, resident {} MB",
        mb / elapsed,
        (syncs - before) as f64 / elapsed,
        at(0.5),
        at(0.99),
        (cpu_seconds() - cpu) / (mb / 1024.0),
        resident_mb(),
    );
    for host in &hosts {
        host.shutdown().await.unwrap();
    }
}

/// Resident memory of this process, from Linux's /proc.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// User and system time of this process, from Linux's /proc.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
