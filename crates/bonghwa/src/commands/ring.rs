//! `bonghwa ring`: who is in the cluster and where partitions are; `bonghwa ring drain` takes a node out,
//! `bonghwa ring undrain` takes it back.

use std::time::Duration;

use anyhow::{Result, bail};
use bonghwa_cluster::seam;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Address;
use super::table::{self, Row};
use crate::pages;

/// `bonghwa ring`.
#[derive(Args)]
pub struct RingArgs {
    #[command(subcommand)]
    command: Option<RingCommand>,
    #[command(flatten)]
    address: Address,
}

#[derive(Subcommand)]
enum RingCommand {
    /// Take a node off the rings: its partitions are replaced by new ones on other nodes, sealed and
    /// flushed. Waits until the node keeps nothing; it can be stopped then. It stays drained, whether
    /// it is restarted or not, until `undrain`, or until it has been away for `cluster.lost_after`.
    Drain {
        /// The node's name.
        node: String,
        /// How many seconds to wait; the draining goes on after that.
        #[arg(long, default_value_t = 600)]
        wait: u64,
        /// Take the node back once it keeps nothing and is started again.
        #[arg(long)]
        until_restart: bool,
    },
    /// Take a drained node back: it gets partitions again.
    Undrain {
        /// The node's name.
        node: String,
    },
}

/// Shows the ring, or changes it.
pub async fn run(args: RingArgs) -> Result<()> {
    match args.command {
        None => show(&args.address).await,
        Some(RingCommand::Drain { node, wait, until_restart }) => {
            drain(&args.address, &node, Duration::from_secs(wait), until_restart).await
        }
        Some(RingCommand::Undrain { node }) => undrain(&args.address, &node).await,
    }
}

async fn show(address: &Address) -> Result<()> {
    let ring = ring(address).await?;
    println!("catalog version {}, {} blocks", ring["version"], ring["blocks"]);
    for (section, columns) in [("nodes", pages::NODE_COLUMNS), ("partitions", pages::PARTITION_COLUMNS)] {
        println!("\n{section}");
        let row = |item: &Value| Row(columns.iter().map(|name| ((*name).to_owned(), item[*name].clone())).collect());
        table::print(&ring[section].as_array().into_iter().flatten().map(row).collect::<Vec<_>>())?;
    }
    Ok(())
}

async fn ring(address: &Address) -> Result<Value> {
    Ok(address.send(address.get("/ring")).await?.json().await?)
}

async fn undrain(address: &Address, node: &str) -> Result<()> {
    let answer: Value = address.send(address.delete(&format!("/admin/nodes/{node}/drain"))).await?.json().await?;
    println!("{node} is {}", answer["state"].as_str().unwrap_or("taken back"));
    Ok(())
}

async fn drain(address: &Address, node: &str, patience: Duration, until_restart: bool) -> Result<()> {
    address.send(address.post(&format!("/admin/nodes/{node}/drain?until_restart={until_restart}"))).await?;
    let deadline = seam::now() + patience;
    let mut shown = usize::MAX;
    loop {
        let ring = ring(address).await?;
        let keeps = |partition: &&Value| {
            partition["replicas"].as_array().is_some_and(|replicas| replicas.iter().any(|name| name == node))
        };
        let left = ring["partitions"].as_array().into_iter().flatten().filter(keeps).count();
        if left == 0 {
            println!("{node} keeps no partition: it can be stopped");
            return Ok(());
        }
        if left != shown {
            println!("{node} keeps {left} partitions");
            shown = left;
        }
        if seam::now() >= deadline {
            bail!("{node} still keeps {left} partitions after {patience:?}; it goes on draining: see `bonghwa ring`");
        }
        seam::sleep(Duration::from_millis(500)).await;
    }
}
