//! Ranges of blocks read lately, in memory and, where wished, on disk. An object never
//! changes and no name is used twice, so nothing that is kept here can be outdated. What
//! is kept of a deleted object is asked for only by queries whose catalog still has it,
//! and makes room for others in time.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy, RecoverMode,
    Source,
};
use futures::future::join_all;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use super::metrics::{HIT_BYTES, HITS, MEMORY_BYTES, MISS_BYTES, MISSES};
use crate::BlockError;

/// The version of what lies on disk: part of every key, so that another version finds nothing.
const VERSION: u32 = 1;
/// A range larger than this is not kept: it would push out too many others.
const MAX_RANGE_BYTES: u64 = 8 * 1024 * 1024;
/// What is written and given up on disk at once, at most.
const DISK_BLOCK_BYTES: usize = 16 * 1024 * 1024;
/// The disk is divided into at least so many of those.
const DISK_BLOCKS: usize = 8;
/// What an entry takes in memory beside its bytes and its key, roughly.
const ENTRY_BYTES: usize = 128;

/// How much of blocks is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes in memory; 0: none.
    pub memory_bytes: usize,
    /// Bytes on disk; 0: none, else at least 64 MiB.
    pub disk_bytes: usize,
    /// Where on disk; it survives restarts. No other process may use it.
    pub directory: PathBuf,
}

impl CacheOptions {
    /// The least that is of use on disk.
    pub const MIN_DISK_BYTES: usize = 64 * 1024 * 1024;
}

/// A cache that several stores' readers may share, if their objects' names differ.
#[derive(Clone)]
pub struct RangeCache {
    kept: HybridCache<String, Bytes>,
}

impl RangeCache {
    /// Opens the cache; none where it may keep nothing. Needs a Tokio runtime.
    pub async fn open(options: &CacheOptions) -> std::result::Result<Option<Self>, BlockError> {
        let CacheOptions { memory_bytes, disk_bytes, directory } = options;
        if *memory_bytes == 0 && *disk_bytes == 0 {
            return Ok(None);
        }
        if (1..CacheOptions::MIN_DISK_BYTES).contains(disk_bytes) {
            let least = CacheOptions::MIN_DISK_BYTES;
            return Err(BlockError::Request(format!(
                "the cache's disk bytes are {disk_bytes}: give 0 for none, or at least {least}"
            )));
        }
        let storage = HybridCacheBuilder::new()
            .with_name("bonghwa_block_cache")
            // What is on disk only when it leaves memory is lost by a crash.
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .memory((*memory_bytes).max(1))
            .with_weighter(|key: &String, value: &Bytes| key.len() + value.len() + ENTRY_BYTES)
            .storage();
        let failed = |error: foyer::Error| {
            BlockError::Request(format!("the cache in {} cannot be used: {error}", directory.display()))
        };
        let kept = if *disk_bytes == 0 {
            storage.build().await
        } else {
            let device = FsDeviceBuilder::new(directory).with_capacity(*disk_bytes).build().map_err(failed)?;
            let block_bytes = (disk_bytes / DISK_BLOCKS).min(DISK_BLOCK_BYTES);
            storage
                .with_engine_config(BlockEngineConfig::new(device).with_block_size(block_bytes))
                .with_recover_mode(RecoverMode::Quiet)
                .build()
                .await
        };
        Ok(Some(RangeCache { kept: kept.map_err(failed)? }))
    }

    /// The same store, whose ranges are read through this cache.
    pub fn over(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(CachedStore { cache: self.clone(), store })
    }

    /// Writes what is still to be written to disk.
    pub async fn close(&self) {
        if let Err(error) = self.kept.close().await {
            tracing::warn!(%error, "closing the cache of blocks: what was read last will be read again");
        }
    }

    /// What is kept of a range. A cache that fails, or whose bytes are damaged, keeps nothing.
    async fn get(&self, key: &str, bytes: u64) -> Option<Bytes> {
        let entry = match self.kept.get(key).await {
            Ok(entry) => entry?,
            Err(error) => {
                tracing::debug!(key, %error, "the cache of blocks could not be read");
                return None;
            }
        };
        let value = entry.value();
        if value.len() as u64 != bytes {
            return None;
        }
        let tier = if entry.source() == Source::Disk { "disk" } else { "memory" };
        HITS.with_label_values(&[tier]).inc();
        HIT_BYTES.with_label_values(&[tier]).inc_by(bytes);
        Some(value.clone())
    }

    fn put(&self, key: String, bytes: &Bytes) {
        MISSES.inc();
        MISS_BYTES.inc_by(bytes.len() as u64);
        if bytes.len() as u64 <= MAX_RANGE_BYTES {
            // A copy: ranges that were read together would keep each other in memory.
            self.kept.insert(key, Bytes::copy_from_slice(bytes));
            MEMORY_BYTES.set(i64::try_from(self.kept.memory().usage()).unwrap_or(i64::MAX));
        }
    }
}

impl fmt::Debug for RangeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeCache").field("memory_bytes", &self.kept.memory().usage()).finish_non_exhaustive()
    }
}

fn key(path: &Path, range: &Range<u64>) -> String {
    format!("{VERSION}:{}-{}:{path}", range.start, range.end)
}

/// An object store whose ranges are cached.
#[derive(Debug)]
struct CachedStore {
    cache: RangeCache,
    store: Arc<dyn ObjectStore>,
}

impl fmt::Display for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cached {}", self.store)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for CachedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    /// Those that are kept; the others are fetched together, so that the store can join neighbours.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let keys: Vec<String> = ranges.iter().map(|range| key(location, range)).collect();
        let bytes = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let kept = keys.iter().zip(ranges).map(|(key, range)| self.cache.get(key, bytes(range)));
        let mut found = join_all(kept).await;
        let missing: Vec<usize> = (0..ranges.len()).filter(|at| found[*at].is_none()).collect();
        if !missing.is_empty() {
            let wanted: Vec<Range<u64>> = missing.iter().map(|at| ranges[*at].clone()).collect();
            let fetched = self.store.get_ranges(location, &wanted).await?;
            for (at, fetched) in missing.into_iter().zip(fetched) {
                // Fewer bytes than asked for are the reader's to complain about, and not worth keeping.
                if fetched.len() as u64 == bytes(&ranges[at]) {
                    self.cache.put(keys[at].clone(), &fetched);
                }
                found[at] = Some(fetched);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.store.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    const SIZE: usize = 300_000;

    fn content() -> Bytes {
        (0..SIZE).map(|at| (at * 31 % 251) as u8).collect()
    }

    /// A store with an object, and the path of it.
    async fn store() -> (Arc<dyn ObjectStore>, Path) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("logs/l0/x.parquet");
        store.put(&path, content().into()).await.unwrap();
        (store, path)
    }

    fn options(memory_bytes: usize, directory: &std::path::Path) -> CacheOptions {
        let disk_bytes = if memory_bytes > 1 { 0 } else { CacheOptions::MIN_DISK_BYTES };
        CacheOptions { memory_bytes, disk_bytes, directory: directory.to_owned() }
    }

    fn ranges() -> Vec<Range<u64>> {
        vec![10..20, 100_000..200_000, 299_000..300_000]
    }

    fn expected() -> Vec<Bytes> {
        ranges().into_iter().map(|r| content().slice(r.start as usize..r.end as usize)).collect()
    }

    #[tokio::test]
    async fn what_was_read_is_not_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RangeCache::open(&options(16 << 20, dir.path())).await.unwrap().unwrap();
        let (store, path) = store().await;
        let cached = cache.over(store.clone());
        assert_eq!(cached.get_ranges(&path, &ranges()[1..]).await.unwrap(), expected()[1..]);
        assert_eq!(cached.get_ranges(&path, &ranges()).await.unwrap(), expected());
        store.delete(&path).await.unwrap();
        assert_eq!(cached.get_ranges(&path, &ranges()).await.unwrap(), expected());
        // Another range of the same object was never read.
        cached.get_ranges(&path, &[0..10]).await.unwrap_err();
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RangeCache::open(&options(1 << 20, dir.path())).await.unwrap().unwrap();
        let (store, path) = store().await;
        let cached = cache.over(store);
        for start in 0..200_000 {
            if start % 97 == 0 {
                cached.get_ranges(&path, &[start..start + 50_000]).await.unwrap();
            }
        }
        assert!(cache.kept.memory().usage() <= 1 << 20, "{}", cache.kept.memory().usage());
    }

    #[tokio::test]
    async fn the_disk_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (store, path) = store().await;
        let cache = RangeCache::open(&options(1, dir.path())).await.unwrap().unwrap();
        assert_eq!(cache.over(store.clone()).get_ranges(&path, &ranges()).await.unwrap(), expected());
        cache.close().await;
        drop(cache);
        store.delete(&path).await.unwrap();
        let cache = RangeCache::open(&options(1, dir.path())).await.unwrap().unwrap();
        assert_eq!(cache.over(store).get_ranges(&path, &ranges()).await.unwrap(), expected());
    }

    /// Changes bytes of every file, sparsely.
    fn damage(dir: &std::path::Path) {
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            for at in (8192..written).step_by(1000) {
                bytes[at] ^= 0x55;
            }
            std::fs::write(&path, bytes).unwrap();
        }
    }

    #[tokio::test]
    async fn damaged_files_never_give_wrong_bytes() {
        for damaged_while_open in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (store, path) = store().await;
            let cache = RangeCache::open(&options(1, dir.path())).await.unwrap().unwrap();
            cache.over(store.clone()).get_ranges(&path, &ranges()).await.unwrap();
            cache.close().await;
            drop(cache);
            if !damaged_while_open {
                damage(dir.path());
            }
            let cache = RangeCache::open(&options(1, dir.path())).await.unwrap().unwrap();
            if damaged_while_open {
                damage(dir.path());
            }
            let cached = cache.over(store);
            for _ in 0..2 {
                assert_eq!(cached.get_ranges(&path, &ranges()).await.unwrap(), expected(), "{damaged_while_open}");
            }
        }
    }

    #[tokio::test]
    async fn a_cache_of_nothing_is_none_and_a_tiny_disk_is_refused() {
        assert!(RangeCache::open(&CacheOptions::default()).await.unwrap().is_none());
        let tiny = CacheOptions { disk_bytes: 1000, ..Default::default() };
        let error = RangeCache::open(&tiny).await.unwrap_err().to_string();
        assert!(error.contains("1000"), "{error}");
    }
}
