//! What is kept, within a bound of bytes; what was used the longest ago goes first.

use std::fmt;
use std::sync::Arc;

use bonghwa_promql::Part;
use foyer::{Cache, CacheBuilder};

use super::metrics;
use super::seen::Fingerprint;

/// What an entry takes beside what it holds, roughly.
const ENTRY_BYTES: usize = 256;
/// No entry takes more than this share of all.
const LARGEST_SHARE: usize = 4;

/// Values by query and bucket, shared by all queries of an engine.
pub(crate) struct PastCache {
    /// None where nothing may be kept.
    kept: Option<Cache<Key, Arc<Entry>>>,
}

/// A bucket of a query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Whose query, its text, and what else decides about its values.
    pub query: Arc<str>,
    /// The first step that may lie in the bucket, in Unix milliseconds.
    pub start_ms: i64,
}

/// What is known of a bucket.
#[derive(Debug)]
pub(crate) struct Entry {
    pub part: Part,
    /// The time of which samples are in it, Unix milliseconds, both inclusive.
    pub window_ms: (i64, i64),
    /// What the catalog had for that time.
    pub fingerprint: Fingerprint,
}

impl PastCache {
    /// Keeps about so many bytes, at most.
    pub(crate) fn new(capacity: usize) -> Self {
        metrics::show();
        let weigh = |key: &Key, entry: &Arc<Entry>| key.query.len() + entry.part.bytes() + ENTRY_BYTES;
        // Entries are few and large: one shard, so that the bound is one.
        let build = || CacheBuilder::new(capacity).with_shards(1).with_weighter(weigh).build();
        PastCache { kept: (capacity > 0).then(build) }
    }

    /// Whether it keeps anything at all.
    pub(crate) fn is_open(&self) -> bool {
        self.kept.is_some()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.kept.as_ref()?.get(key).map(|entry| entry.value().clone())
    }

    pub(super) fn insert(&self, key: Key, entry: Arc<Entry>) {
        let Some(kept) = &self.kept else { return };
        if entry.part.bytes() > kept.capacity() / LARGEST_SHARE {
            kept.remove(&key);
        } else {
            kept.insert(key, entry);
        }
        metrics::BYTES.set(i64::try_from(kept.usage()).unwrap_or(i64::MAX));
    }

    /// Whether an answer of so many bytes may be kept: a larger one would leave no room for others.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        self.kept.as_ref().is_some_and(|kept| bytes <= kept.capacity() / 2)
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, Cache::usage)
    }
}

impl fmt::Debug for PastCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastCache").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
