//! `bonghwa meta rebuild`: the catalog from the blocks' own descriptions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bonghwa_block::BlockError;
use bonghwa_cluster::Backoff;
use bonghwa_meta::MetaOptions;
use bonghwa_model::Signal;
use bonghwa_protocol::{MetaClient, RemoteOptions, v1};
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore};

use crate::config::Config;
use crate::identity::Identity;
use crate::{node, storage};

/// How often the object store is asked before the rebuild gives up.
const ATTEMPTS: usize = 6;

/// What the objects in the store say of themselves.
#[derive(Debug, Default)]
struct Found {
    blocks: Vec<v1::Block>,
    damaged: Vec<BlockError>,
}

/// Recreates the catalog. Partitions come back sealed and without replicas: their logs are
/// gone, what they flushed stays, and the next start creates new partitions beside them.
pub async fn rebuild(config: Config) -> Result<()> {
    let store = storage::open(&config)?;
    let found = find_blocks(&store.store).await?;
    let rebuilt = bonghwa_meta::rebuild(found.blocks);
    let blocks = rebuilt.catalog.blocks.len();
    restore(&config, rebuilt.catalog).await?;
    for error in &found.damaged {
        println!("left out: {error}");
    }
    for orphan in &rebuilt.orphans {
        println!("left out: {}: {}", orphan.path, orphan.reason);
    }
    let (orphans, unreadable) = (rebuilt.orphans.len(), found.damaged.len());
    println!("{blocks} blocks are in the catalog again; {orphans} left out, {unreadable} unreadable");
    Ok(())
}

/// Reads what all objects say. A catalog is restored once, and a block that is missing then stays
/// missing: only what no attempt and no other version could read is passed over.
async fn find_blocks(store: &Arc<dyn ObjectStore>) -> Result<Found> {
    let mut found = Found::default();
    for object in list(store).await? {
        let path = object.location.as_ref();
        match patiently(|| bonghwa_block::read_footer(store, path), BlockError::retryable).await {
            Ok(block) => found.blocks.push(block),
            Err(error @ BlockError::Damaged { .. }) => found.damaged.push(error),
            Err(error @ BlockError::Version { .. }) => {
                bail!("{error}; nothing was restored: run `meta rebuild` of the version that wrote it")
            }
            Err(error) => {
                bail!(
                    "object_store: {error}; nothing was restored: run `meta rebuild` again when the block can be read"
                )
            }
        }
    }
    Ok(found)
}

async fn list(store: &Arc<dyn ObjectStore>) -> Result<Vec<ObjectMeta>> {
    let mut objects = Vec::new();
    for signal in Signal::ALL {
        let listed = patiently(|| storage::objects(store.as_ref(), signal).try_collect::<Vec<_>>(), |_| true).await;
        objects.extend(listed.context("object_store: it cannot be listed, and nothing was restored")?);
    }
    Ok(objects)
}

/// Tries again, a few times, while the error is one that may pass.
async fn patiently<T, E>(attempt: impl AsyncFn() -> Result<T, E>, may_pass: impl Fn(&E) -> bool) -> Result<T, E> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if may_pass(&error) => backoff.wait().await,
            done => return done,
        }
    }
    attempt().await
}

/// Puts the catalog into a new meta.
async fn restore(config: &Config, mut catalog: v1::RestoreCatalog) -> Result<()> {
    for partition in &mut catalog.partitions {
        partition.set_state(v1::PartitionState::Sealed);
        partition.replicas.clear();
    }
    if config.meta_peer_addresses().len() > 1 {
        bail!(
            "meta_peers: {} are several nodes, and a rebuild makes a group of one: rebuild with an empty meta_peers \
             and run meta on that node alone",
            config.meta_peers
        );
    }
    let node = Identity::of_disk(config)?;
    let (host, _) = node::open_log(config, node.id, &RemoteOptions::default())?;
    let members = BTreeMap::from([(node.id, config.grpc_listen.clone())]);
    let meta = node::open_meta(&host, MetaOptions::new(members, true)).await?;
    meta.wait_leader(Duration::from_secs(30)).await?;
    let kind = Some(v1::command::Kind::RestoreCatalog(catalog));
    let result = meta.execute(v1::Command { kind }).await?;
    meta.shutdown().await?;
    if let Some(v1::command_result::Outcome::Rejection(rejection)) = result.outcome {
        bail!("{}", rejection.message);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bonghwa_block::WriteOptions;
    use bonghwa_model::TenantId;
    use bonghwa_model::thin::Piece;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    const GOOD: &str = "logs/l0/good.parquet";

    async fn store_with(objects: &[(&str, &[u8])]) -> Arc<dyn ObjectStore> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for (path, bytes) in objects {
            store.put(&(*path).into(), bytes.to_vec().into()).await.unwrap();
        }
        store
    }

    /// A block without records.
    fn block(path: &str) -> Vec<u8> {
        let (nothing, options): (&[(TenantId, Piece)], _) = (&[], WriteOptions::default());
        bonghwa_block::write_l0(Signal::Logs, "logs-0001", 0, 1, path.into(), nothing, &options).unwrap().bytes.to_vec()
    }

    /// The block as a later version would write it.
    fn of_a_later_version(mut block: Vec<u8>) -> Vec<u8> {
        // Thrift's compact protocol: the value follows its key, with a byte for its type and one for its length.
        let key = b"bonghwa.version";
        let at = block.windows(key.len()).position(|w| w == key).unwrap() + key.len();
        assert_eq!(block[at + 1], 1, "a version of one digit");
        block[at + 2] = b'9';
        block
    }

    #[tokio::test]
    async fn a_damaged_block_is_passed_over() {
        let garbage = &b"no parquet at all, but long enough"[..];
        let store = store_with(&[(GOOD, &block(GOOD)), ("logs/l0/x.parquet", garbage), ("metrics/y", b"short")]).await;
        let found = find_blocks(&store).await.unwrap();
        assert_eq!(found.blocks.iter().map(|b| b.path.as_str()).collect::<Vec<_>>(), [GOOD]);
        let said: Vec<String> = found.damaged.iter().map(BlockError::to_string).collect();
        assert!(said.len() == 2 && said[0].contains("logs/l0/x.parquet is damaged"), "{said:?}");
    }

    #[tokio::test]
    async fn a_later_versions_block_ends_the_rebuild() {
        let later = of_a_later_version(block(GOOD));
        let store = store_with(&[("logs/l0/also.parquet", &block(GOOD)), (GOOD, &later)]).await;
        let error = find_blocks(&store).await.unwrap_err().to_string();
        for words in [GOOD, "version 9", "nothing was restored", "the version that wrote it"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again() {
        for (fails, passes, tries, result) in
            [(0, true, 1, Ok(1)), (2, true, 3, Ok(3)), (2, false, 1, Err(1)), (ATTEMPTS, true, ATTEMPTS, Err(ATTEMPTS))]
        {
            let tried = Cell::new(0);
            let attempt = async || {
                tried.set(tried.get() + 1);
                if tried.get() > fails { Ok(tried.get()) } else { Err(tried.get()) }
            };
            assert_eq!(patiently(attempt, |_| passes).await, result);
            assert_eq!(tried.get(), tries);
        }
    }
}
