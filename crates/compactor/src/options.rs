//! Configuration of the compactor.

use std::time::Duration;

use bonghwa_block::WriteOptions;

use crate::Retention;

/// When and how blocks are put together, and how long rows are kept.
#[derive(Clone, Debug)]
pub struct CompactorOptions {
    /// Time between two runs.
    pub interval: Duration,
    /// Windows that blocks of level 1, 2 and so on do not cross, each a multiple of the one
    /// before it. They begin at multiples of their length since 1970. But for the first, those that are
    /// longer than a quarter of a tenant's retention are not for it: a block goes when all its rows may.
    pub windows: Vec<Duration>,
    /// A window is compacted when this much time has passed since its end: late records.
    pub settle: Duration,
    /// Flushed blocks of a window that does not end yet are put together when there are so many.
    pub eager_blocks: usize,
    /// Blocks that one job puts together at most.
    pub job_blocks: usize,
    /// Bytes that one job may hold in memory.
    pub memory_bytes: usize,
    /// Jobs that run at once on this node; each may hold `memory_bytes`.
    pub concurrency: usize,
    /// Objects that were replaced are deleted after this time: longer than any query takes.
    pub grace: Duration,
    /// Objects that the catalog does not list are deleted when they are this old: longer
    /// than any job takes.
    pub orphan_age: Duration,
    /// Time between two searches for such objects: each lists the store.
    pub orphan_interval: Duration,
    /// How long rows are kept.
    pub retention: Retention,
    /// How blocks are written.
    pub write: WriteOptions,
}

impl Default for CompactorOptions {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        CompactorOptions {
            interval: Duration::from_secs(60),
            windows: vec![hours(2), hours(24), hours(7 * 24), hours(28 * 24)],
            settle: Duration::from_secs(15 * 60),
            eager_blocks: 32,
            job_blocks: 512,
            memory_bytes: 256 << 20,
            concurrency: 1,
            grace: Duration::from_secs(15 * 60),
            orphan_age: hours(24),
            orphan_interval: hours(1),
            retention: Retention::default(),
            write: WriteOptions::default(),
        }
    }
}

impl CompactorOptions {
    /// Fails with a sentence for whoever wrote the configuration.
    pub fn check(&self) -> Result<(), String> {
        let Some(first) = self.windows.first() else {
            return Err("compactor.windows is empty: name at least one, such as 2h".into());
        };
        if first.is_zero() {
            return Err("compactor.windows has 0s: a window has a length, such as 2h".into());
        }
        for pair in self.windows.windows(2) {
            if pair[1] <= pair[0] || !pair[1].as_nanos().is_multiple_of(pair[0].as_nanos()) {
                return Err(format!(
                    "compactor.windows has {:?} after {:?}: each must be a multiple of the one before it",
                    pair[1], pair[0]
                ));
            }
        }
        if self.memory_bytes < 16 << 20 {
            return Err(format!(
                "compactor.memory_bytes is {}: a job needs at least 16 MiB (16777216)",
                self.memory_bytes
            ));
        }
        if self.job_blocks < 2 {
            return Err(format!("compactor.job_blocks is {}: a merge takes at least 2", self.job_blocks));
        }
        if self.orphan_age < self.grace {
            return Err(format!(
                "compactor.orphan_age is {:?}, shorter than grace {:?}: raise it",
                self.orphan_age, self.grace
            ));
        }
        Ok(())
    }

    /// The length of a level's window, nanoseconds; of levels beyond the last the last one's.
    pub(crate) fn window(&self, level: u32) -> i64 {
        let at = (level.max(1) as usize - 1).min(self.windows.len().saturating_sub(1));
        self.windows.get(at).map_or(i64::MAX, |window| nanos(*window)).max(1)
    }

    /// The highest level.
    pub(crate) fn levels(&self) -> u32 {
        self.windows.len().max(1) as u32
    }

    /// Of a job's memory: for objects that are read whole, for footers, and for rows.
    pub(crate) fn object_memory(&self) -> usize {
        self.memory_bytes / 4
    }

    pub(crate) fn merge_memory(&self) -> usize {
        self.memory_bytes / 2
    }
}

pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
