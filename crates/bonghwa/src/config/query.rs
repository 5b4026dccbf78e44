//! The section of queries.

use std::path::PathBuf;

use bonghwa_query::{EngineOptions, SeriesLimits};
use serde::{Deserialize, Serialize};

use crate::units::{Size, Time};

/// Queries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// How long a query may take.
    pub timeout: Time,
    /// Memory that the operators of one query may hold on one node; beyond it the query fails.
    pub memory_bytes: Size,
    /// Memory that all queries together may hold on one node; who needs more while it is held is told to come back
    /// (503). Caches are not in it.
    pub total_memory_bytes: Size,
    /// Queries that run at a time on one node; others wait for their turn.
    pub concurrent: usize,
    /// Series that one query of PromQL may read; more end it with an error. Each takes about half a
    /// KiB of `memory_bytes`.
    pub max_series: u64,
    /// Samples that one query of PromQL may look at; more end it with an error. Each takes 16 bytes of
    /// `memory_bytes`. Those that lie between the windows of two steps do not count.
    pub max_samples: u64,
    /// Memory for footers and indexes of blocks.
    pub footer_cache_bytes: Size,
    /// Memory for labels of series that were read lately. 0: none.
    pub series_cache_bytes: Size,
    /// Memory for values of PromQL's range queries at past steps, which the same query finds again. 0: none.
    pub results_cache_bytes: Size,
    /// Memory for parts of blocks that were read lately. 0: none.
    pub cache_memory_bytes: Size,
    /// Disk for them; what lies there survives restarts, and may stay for a while after its block
    /// was deleted. 0: none, else at least 64MiB.
    pub cache_disk_bytes: Size,
    /// Where on disk. Empty: `<data_dir>/cache`.
    pub cache_dir: PathBuf,
    /// Whether queries that are asked here are shared out to the other queriers, where there are any.
    /// This one works for others in any case.
    pub distributed: bool,
    /// What a querier reads by itself: a table of which so many bytes must be read, as they lie in
    /// blocks, goes to as many queriers as there are multiples of it.
    pub distributed_bytes: Size,
    /// The same of queries of PromQL, in samples to read: evaluating so many takes a querier some tens of milliseconds,
    /// and asking another a few. Range queries are shared out by time; those that cannot be, and instant queries, by
    /// series, where an aggregation or a long range leaves little of them.
    pub distributed_samples: u64,
}

impl Default for Query {
    fn default() -> Self {
        let options = EngineOptions::default();
        Query {
            timeout: Time(options.timeout),
            memory_bytes: Size(options.memory_bytes),
            total_memory_bytes: Size(options.total_memory_bytes),
            concurrent: options.concurrent,
            max_series: options.series.series,
            max_samples: options.series.samples,
            footer_cache_bytes: Size(options.footer_cache_bytes),
            series_cache_bytes: Size(options.series_cache_bytes),
            results_cache_bytes: Size(options.results_cache_bytes),
            cache_memory_bytes: Size(64 << 20),
            cache_disk_bytes: Size(0),
            cache_dir: PathBuf::new(),
            distributed: true,
            distributed_bytes: Size(64 << 20),
            distributed_samples: 2_000_000,
        }
    }
}

impl Query {
    /// The query engine's options, as far as they stand in this section.
    pub(super) fn options(&self) -> EngineOptions {
        EngineOptions {
            timeout: self.timeout.0,
            memory_bytes: self.memory_bytes.0,
            total_memory_bytes: self.total_memory_bytes.0,
            concurrent: self.concurrent,
            footer_cache_bytes: self.footer_cache_bytes.0,
            series_cache_bytes: self.series_cache_bytes.0,
            results_cache_bytes: self.results_cache_bytes.0,
            series: SeriesLimits { series: self.max_series, samples: self.max_samples },
            ..EngineOptions::default()
        }
    }
}
