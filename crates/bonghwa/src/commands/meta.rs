//! `bonghwa meta rebuild`: the catalog from the blocks' own descriptions.

use anyhow::{Context, Result, bail};
use bonghwa_model::Signal;
use bonghwa_protocol::{MetaClient, v1};
use futures::TryStreamExt;
use object_store::path::Path;

use crate::config::Config;
use crate::{node, storage};

/// Recreates the catalog. Partitions come back sealed and without replicas: their logs are
/// gone, what they flushed stays, and the next start creates new partitions beside them.
pub async fn rebuild(config: Config) -> Result<()> {
    let store = storage::open(&config)?;
    let mut footers = Vec::new();
    let mut unreadable = 0;
    for signal in Signal::ALL {
        let mut objects = store.store.list(Some(&Path::from(signal.as_str())));
        while let Some(object) = objects.try_next().await.context("listing the object store")? {
            match bonghwa_block::read_footer(&store.store, object.location.as_ref()).await {
                Ok(block) => footers.push(block),
                Err(error) => {
                    unreadable += 1;
                    eprintln!("left out: {error}");
                }
            }
        }
    }
    let rebuilt = bonghwa_meta::rebuild(footers);
    let mut catalog = rebuilt.catalog;
    for partition in &mut catalog.partitions {
        partition.set_state(v1::PartitionState::Sealed);
        partition.replicas.clear();
    }
    let blocks = catalog.blocks.len();
    let (host, id) = node::open_log(&config)?;
    let meta = node::open_meta(&host, id, &config.grpc_listen).await?;
    let kind = Some(v1::command::Kind::RestoreCatalog(catalog));
    let result = meta.execute(v1::Command { kind }).await?;
    meta.shutdown().await?;
    if let Some(v1::command_result::Outcome::Rejection(rejection)) = result.outcome {
        bail!("{}", rejection.message);
    }
    for orphan in &rebuilt.orphans {
        println!("left out: {}: {}", orphan.path, orphan.reason);
    }
    let orphans = rebuilt.orphans.len();
    println!("{blocks} blocks are in the catalog again; {orphans} left out, {unreadable} unreadable");
    Ok(())
}
