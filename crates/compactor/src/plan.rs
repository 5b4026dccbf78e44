//! What is to be done, by the catalog alone: a pure function, so that every compactor
//! plans the same and only the leases say who does it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bonghwa_block::Removal;
use bonghwa_cluster::Catalog;
use bonghwa_model::Signal;
use bonghwa_protocol::v1;

use crate::CompactorOptions;
use crate::options::nanos;

/// What kind of work a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// Flushed blocks, which hold many tenants, become blocks of one tenant each.
    Flushes,
    /// Small blocks of one tenant and window become few.
    Merge,
    /// A block is written again without what is deleted or past its retention.
    Rewrite,
    /// Blocks go whose rows all are past their retention.
    Expire,
}

impl Work {
    /// The name that metrics show.
    pub fn as_str(self) -> &'static str {
        match self {
            Work::Flushes => "flushes",
            Work::Merge => "merge",
            Work::Rewrite => "rewrite",
            Work::Expire => "expire",
        }
    }
}

/// Blocks that are to be replaced together.
#[derive(Clone, Debug)]
pub struct Job {
    /// What kind of work it is.
    pub work: Work,
    /// Of this signal.
    pub signal: Signal,
    /// The lease under which it is done. Jobs that could meet have the same.
    pub lease: String,
    /// The level of the new blocks.
    pub level: u32,
    /// The new blocks do not cross multiples of this many nanoseconds.
    pub window: i64,
    /// The blocks to replace.
    pub blocks: Vec<Arc<v1::Block>>,
}

/// What a footer takes in memory for each of its row groups, roughly: forty columns, each
/// with its statistics and page index.
const ROW_GROUP_BYTES: u64 = 40 << 10;

/// What is to be done at a time (Unix nanoseconds). No block is in two jobs.
pub fn plan(catalog: &Catalog, options: &CompactorOptions, now: i64) -> Vec<Job> {
    let mut jobs = Vec::new();
    for signal in Signal::ALL {
        let deletes = catalog.deletes().filter(|d| d.model_signal() == Ok(signal)).map(|d| &**d).collect();
        let mut planner = Planner { signal, options, now, deletes, taken: HashSet::new(), jobs: Vec::new() };
        let blocks: Vec<&Arc<v1::Block>> = catalog.blocks().filter(|b| b.model_signal() == Ok(signal)).collect();
        planner.expire(&blocks);
        planner.flushes(&blocks);
        planner.merges(&blocks);
        planner.rewrites(&blocks);
        jobs.append(&mut planner.jobs);
    }
    jobs
}

struct Planner<'a> {
    signal: Signal,
    options: &'a CompactorOptions,
    now: i64,
    deletes: Vec<&'a v1::Delete>,
    taken: HashSet<String>,
    jobs: Vec<Job>,
}

/// The start of the window that a time lies in.
fn start_of(time: i64, window: i64) -> i64 {
    time.checked_sub(time.rem_euclid(window)).unwrap_or(i64::MIN)
}

fn min_time(block: &v1::Block) -> i64 {
    block.tenants.iter().map(|rows| rows.min_time).min().unwrap_or(0)
}

fn max_time(block: &v1::Block) -> i64 {
    block.tenants.iter().map(|rows| rows.max_time).max().unwrap_or(0)
}

impl Planner<'_> {
    fn push(&mut self, work: Work, lease: String, level: u32, blocks: Vec<Arc<v1::Block>>) {
        self.taken.extend(blocks.iter().map(|block| block.path.clone()));
        let window = self.options.window(level);
        let lease = format!("compaction/{}/{lease}", self.signal);
        self.jobs.push(Job { work, signal: self.signal, lease, level, window, blocks });
    }

    fn is_free(&self, block: &v1::Block) -> bool {
        !self.taken.contains(&block.path)
    }

    /// Whether a window that starts there has ended, late records included.
    fn is_closed(&self, start: i64, window: i64) -> bool {
        start.saturating_add(window).saturating_add(nanos(self.options.settle)) <= self.now
    }

    /// Blocks whose rows all are past their retention.
    fn expire(&mut self, blocks: &[&Arc<v1::Block>]) {
        let expired = |rows: &v1::TenantRows| {
            let keep = self.options.retention.longest(&rows.tenant, self.signal);
            keep.is_some_and(|keep| rows.max_time < self.now.saturating_sub(keep))
        };
        let gone = blocks.iter().filter(|block| block.tenants.iter().all(expired));
        let gone: Vec<Arc<v1::Block>> = gone.map(|block| Arc::clone(block)).collect();
        for some in gone.chunks(self.options.job_blocks.max(1)) {
            self.push(Work::Expire, "expired".into(), 1, some.to_vec());
        }
    }

    /// Flushed blocks by the window in which their last rows lie.
    fn flushes(&mut self, blocks: &[&Arc<v1::Block>]) {
        let window = self.options.window(1);
        let mut windows: BTreeMap<i64, Vec<Arc<v1::Block>>> = BTreeMap::new();
        for block in blocks.iter().filter(|block| block.level == 0 && self.is_free(block)) {
            // Rows from the future must not keep a block from being compacted.
            let last = if max_time(block) <= self.now { max_time(block) } else { min_time(block) };
            windows.entry(start_of(last, window)).or_default().push(Arc::clone(block));
        }
        for (start, mut group) in windows {
            if !self.is_closed(start, window) && start <= self.now && group.len() < self.options.eager_blocks {
                group.retain(|block| self.is_due(block));
            }
            for some in self.runs(blocks, group).into_iter().flat_map(|run| self.portions(run)).collect::<Vec<_>>() {
                self.push(Work::Flushes, format!("flushes/{start}"), 1, some);
            }
        }
    }

    /// Those of a group that may become one block, in the order in which they are to be cut into jobs.
    ///
    /// Of two samples of one series and time the one that was written last counts, and a new block counts as written
    /// when the last of its sources was. So no block that stays beside them, and has rows of the same time, may have
    /// been written between them.
    fn runs(&self, all: &[&Arc<v1::Block>], mut group: Vec<Arc<v1::Block>>) -> Vec<Vec<Arc<v1::Block>>> {
        if self.signal != Signal::Metrics {
            group.sort_by_cached_key(|block| (min_time(block), block.path.clone()));
            return vec![group];
        }
        group.sort_by_cached_key(|block| (block.written, min_time(block), block.path.clone()));
        let own: HashSet<&str> = group.iter().map(|block| block.path.as_str()).collect();
        let mut times: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for rows in group.iter().flat_map(|block| &block.tenants) {
            let (first, last) = times.entry(&rows.tenant).or_insert((rows.min_time, rows.max_time));
            (*first, *last) = (rows.min_time.min(*first), rows.max_time.max(*last));
        }
        let meets = |rows: &v1::TenantRows| {
            times
                .get(rows.tenant.as_str())
                .is_some_and(|(first, last)| rows.min_time <= *last && rows.max_time >= *first)
        };
        let beside = all.iter().filter(|block| !own.contains(block.path.as_str()) && block.tenants.iter().any(meets));
        let beside: BTreeSet<u64> = beside.map(|block| block.written).collect();
        let together = |a: &Arc<v1::Block>, b: &Arc<v1::Block>| {
            a.written == b.written || beside.range(a.written + 1..=b.written).next().is_none()
        };
        group.chunk_by(together).map(<[_]>::to_vec).collect()
    }

    /// Cuts blocks into jobs that fit into memory.
    fn portions(&self, blocks: Vec<Arc<v1::Block>>) -> Vec<Vec<Arc<v1::Block>>> {
        let most = self.options.object_memory() as u64;
        let mut portions: Vec<Vec<Arc<v1::Block>>> = Vec::new();
        let (mut footers, mut bytes) = (0, 0);
        for block in blocks {
            let footer = footer_bytes(&block);
            let full = portions.last().is_none_or(|portion| {
                portion.len() >= self.options.job_blocks || footers + footer > most || bytes + block.bytes > most
            });
            if full {
                portions.push(Vec::new());
                (footers, bytes) = (0, 0);
            }
            footers += footer;
            bytes += block.bytes;
            if let Some(portion) = portions.last_mut() {
                portion.push(block);
            }
        }
        portions
    }

    /// Small blocks of a tenant and window, from the longest windows to the shortest.
    fn merges(&mut self, blocks: &[&Arc<v1::Block>]) {
        let small = self.options.merge_memory() as u64 / 8;
        for level in (1..=self.options.levels()).rev() {
            let window = self.options.window(level);
            let mut groups: BTreeMap<(&str, i64), Vec<Arc<v1::Block>>> = BTreeMap::new();
            for block in blocks.iter().filter(|b| (1..=level).contains(&b.level) && b.bytes < small && self.is_free(b))
            {
                if let [rows] = &block.tenants[..] {
                    let key = (rows.tenant.as_str(), start_of(rows.min_time, window));
                    groups.entry(key).or_default().push(Arc::clone(block));
                }
            }
            for ((tenant, start), group) in groups {
                if level > 1 && self.is_too_long(window, tenant) {
                    continue;
                }
                let wanted = self.is_closed(start, window) || (level == 1 && group.len() >= self.options.eager_blocks);
                if group.len() < 2 || !wanted {
                    continue;
                }
                let lease = self.lease_of(tenant, start);
                for run in self.runs(blocks, group) {
                    for some in run.chunks(self.options.job_blocks.max(2)).filter(|some| some.len() > 1) {
                        self.push(Work::Merge, lease.clone(), level, some.to_vec());
                    }
                }
            }
        }
    }

    /// Whether a block of such a window would keep rows much longer than they are to be kept.
    fn is_too_long(&self, window: i64, tenant: &str) -> bool {
        self.options.retention.longest(tenant, self.signal).is_some_and(|keep| window > keep / 4)
    }

    /// Blocks with rows that are deleted, or past a rule of retention that the others of
    /// their block are not subject to.
    fn rewrites(&mut self, blocks: &[&Arc<v1::Block>]) {
        for block in blocks.iter().filter(|block| block.level > 0 && self.is_free(block)).collect::<Vec<_>>() {
            if self.is_due(block)
                && let Some(rows) = block.tenants.first()
            {
                let lease = self.lease_of(&rows.tenant, rows.min_time);
                self.push(Work::Rewrite, lease, block.level, vec![Arc::clone(block)]);
            }
        }
    }

    /// All levels of a tenant's time have one lease.
    fn lease_of(&self, tenant: &str, time: i64) -> String {
        format!("{tenant}/{}", start_of(time, self.options.window(self.options.levels())))
    }

    /// Whether a block may hold rows that are to go by themselves.
    fn is_due(&self, block: &v1::Block) -> bool {
        let deleted = self.deletes.iter().any(|delete| may_hold(block, delete));
        deleted
            || block.tenants.iter().any(|rows| {
                self.options.retention.rules(&rows.tenant, self.signal).iter().any(|rule| {
                    let removal = rule.removal(self.now);
                    rows.max_time <= removal.max_time
                        && removal.may_match(rows)
                        && !block.retention_rules.contains(&rule.fingerprint)
                })
            })
    }
}

/// Whether a block may hold rows of a delete that was not carried out on it.
pub(crate) fn may_hold(block: &v1::Block, delete: &v1::Delete) -> bool {
    let removal = Removal::of_delete(delete);
    block.signal == delete.signal
        && delete.id > block.deletes_through
        && block.tenants.iter().any(|rows| rows.tenant == delete.tenant && removal.may_match(rows))
}

/// What a block's footer takes in memory, roughly.
fn footer_bytes(block: &v1::Block) -> u64 {
    let row_groups: BTreeSet<u32> = block.tenants.iter().flat_map(|rows| rows.row_groups.iter().copied()).collect();
    row_groups.len().max(1) as u64 * ROW_GROUP_BYTES
}

#[cfg(test)]
mod tests;
