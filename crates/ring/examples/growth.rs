//! How throughput grows with ingesters, simulated: the ring, the widths and the placement are the product's own,
//! what an item costs is measured (`loadtest.py replication` and `scale`; see `loadtest/README.md`).
//!
//! ```sh
//! cargo run --release --example growth -- --leader 0.7 --follower 0.15 --distributor 0.4 --bytes 200 --idle 0.003
//! ```
//!
//! The model: every ingester has one core and one partition of each signal; a partition's leader is at home, its
//! followers on the next ingesters. 300 services send logs, metrics and traces, the n-th 1/n of what the first sends
//! (Zipf). A service's width follows from its rate (`ShardWidth`, half a minute's memory, one distributor's view), its
//! partitions from the ring; it spreads evenly over them. An item costs its leader and each follower CPU; a hosted
//! partition costs CPU while idle. The rate grows until the busiest ingester's core is full: that is what the cluster
//! takes. Distributors are added as needed. Not in the model: network, object store, bursts, more than one core.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use bonghwa_model::TenantId;
use bonghwa_ring::{Ring, ShardWidth, ShardWidthOptions, key};

const SIGNALS: [&str; 3] = ["logs", "metrics", "traces"];
const SERVICES: usize = 300;
/// Seconds after which widths have settled.
const SETTLED: u64 = 180;

/// CPU-seconds per million items, bytes per item, and cores per idle partition.
struct Costs {
    leader: f64,
    follower: f64,
    distributor: f64,
    bytes: f64,
    idle: f64,
}

impl Costs {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut costs = Costs { leader: 0.7, follower: 0.15, distributor: 0.4, bytes: 200.0, idle: 0.003 };
        while let Some(name) = args.next() {
            let field = match name.as_str() {
                "--leader" => &mut costs.leader,
                "--follower" => &mut costs.follower,
                "--distributor" => &mut costs.distributor,
                "--bytes" => &mut costs.bytes,
                "--idle" => &mut costs.idle,
                _ => return Err(format!("{name} is no option: --leader, --follower, --distributor, --bytes, --idle")),
            };
            let value = args.next().ok_or_else(|| format!("{name} needs a number"))?;
            *field = value.parse().map_err(|_| format!("{name}: {value:?} is no number"))?;
        }
        Ok(costs)
    }
}

/// Shares of a signal's items by service: the n-th gets 1/n of the first one's.
fn shares() -> Vec<f64> {
    let sum: f64 = (1..=SERVICES).map(|n| 1.0 / n as f64).sum();
    (1..=SERVICES).map(|n| 1.0 / n as f64 / sum).collect()
}

/// The width of each service at a rate of items per second of one signal.
fn widths(costs: &Costs, rate: f64, partitions: usize) -> Vec<usize> {
    let mut widths = ShardWidth::new(ShardWidthOptions::default());
    let mut settled = vec![1; SERVICES];
    for second in 0..SETTLED {
        for (service, share) in shares().iter().enumerate() {
            let bytes = (rate * share * costs.bytes) as u64;
            settled[service] = widths.observe(service as u64, bytes, Duration::from_secs(second), partitions);
        }
    }
    settled
}

/// Cores that each ingester needs at a rate of items per second, all signals together.
fn cores(costs: &Costs, ingesters: usize, factor: usize, rate: f64) -> Vec<f64> {
    let mut cores = vec![costs.idle * (SIGNALS.len() * factor) as f64; ingesters];
    let tenant = TenantId::default_tenant();
    for signal in SIGNALS {
        let names: Vec<String> = (0..ingesters).map(|n| format!("{signal}-{n:04}")).collect();
        let home: HashMap<&str, usize> = names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
        let ring = Ring::new(names.iter().map(String::as_str));
        let rate = rate / SIGNALS.len() as f64;
        let widths = widths(costs, rate, ingesters);
        for (service, (share, width)) in shares().iter().zip(widths).enumerate() {
            let set = ring.shard_set(key(&tenant, &format!("service-{service}")), width);
            let each = rate * share / set.len() as f64 / 1e6;
            for partition in set.partitions() {
                let Some(home) = home.get(&**partition) else { continue };
                cores[*home] += each * costs.leader;
                for follower in 1..factor {
                    cores[(home + follower) % ingesters] += each * costs.follower;
                }
            }
        }
    }
    cores
}

fn busiest(cores: &[f64]) -> f64 {
    cores.iter().copied().fold(0.0, f64::max)
}

/// The rate at which the busiest ingester's core is full.
fn most(costs: &Costs, ingesters: usize, factor: usize) -> f64 {
    let (mut low, mut high) = (0.0, 2e6 * ingesters as f64 / costs.leader.max(0.01));
    for _ in 0..24 {
        let middle = (low + high) / 2.0;
        if busiest(&cores(costs, ingesters, factor, middle)) <= 1.0 { low = middle } else { high = middle }
    }
    low
}

fn main() -> ExitCode {
    let costs = match Costs::parse(std::env::args().skip(1)) {
        Ok(costs) => costs,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "| Ingesters | Replication factor | Items/s | per ingester | Ingesters busy, mean | Distributors' cores | CPU-s per million, all |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (ingesters, factor) in [1, 2, 4, 8, 16, 32, 64].into_iter().flat_map(|n| [(n, 1), (n, 3)]) {
        if factor > ingesters {
            continue;
        }
        let rate = most(&costs, ingesters, factor);
        let cores = cores(&costs, ingesters, factor, rate);
        let (busy, distributors) = (cores.iter().sum::<f64>(), rate / 1e6 * costs.distributor);
        println!(
            "| {ingesters} | {factor} | {:.2} million | {:.2} million | {:.0} % | {distributors:.1} | {:.2} |",
            rate / 1e6,
            rate / 1e6 / ingesters as f64,
            100.0 * busy / ingesters as f64,
            (busy + distributors) / (rate / 1e6),
        );
    }
    ExitCode::SUCCESS
}
