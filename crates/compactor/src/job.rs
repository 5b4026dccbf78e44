//! Carrying out one job: read, merge, count, upload, swap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bonghwa_block::{BlockReader, FooterCache, Merge, MergeOptions, Removal, Removals};
use bonghwa_cluster::{Catalog, object_hash, seam};
use bonghwa_model::TenantId;
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command::Kind;

use crate::lease::Commands;
use crate::output::Outputs;
use crate::retention::Rule;
use crate::{CompactorError, CompactorOptions, Job, RunReport, Storage, Work};

/// How often a commit whose outcome is unknown is asked for again.
const ATTEMPTS: usize = 10;

/// What a job needs.
pub(crate) struct Worker<'a> {
    pub commands: &'a Commands,
    pub storage: &'a Storage,
    pub options: &'a CompactorOptions,
    /// Unix nanoseconds.
    pub now: i64,
}

/// What a tenant's rows came to.
#[derive(Clone, Copy, Default)]
struct Count {
    kept: u64,
    dropped: u64,
}

impl Worker<'_> {
    /// Does a job, unless another node does it or has done it.
    pub async fn run(&self, job: &Job) -> Result<RunReport, CompactorError> {
        let skipped = RunReport { skipped: 1, ..Default::default() };
        let Some(catalog) = self.commands.acquire(&job.lease).await? else { return Ok(skipped) };
        let done = if job.blocks.iter().all(|block| catalog.block(&block.path) == Some(block)) {
            self.replace(job, &catalog).await
        } else {
            Ok(skipped)
        };
        self.commands.release(&job.lease).await;
        done
    }

    async fn replace(&self, job: &Job, catalog: &Catalog) -> Result<RunReport, CompactorError> {
        let started = seam::now();
        let open_deletes = catalog.deletes().map(|delete| delete.id).max().unwrap_or(0);
        let carried_out = job.blocks.iter().map(|block| block.deletes_through).min().unwrap_or(0);
        let mut outputs = Outputs {
            storage: self.storage,
            signal: job.signal,
            level: job.level,
            origin: v1::Origin::default(),
            deletes_through: open_deletes.max(carried_out),
            now: self.now,
            open: None,
            blocks: Vec::new(),
            paths: Vec::new(),
        };
        let merged = match job.work {
            Work::Expire => Ok((expired(job), 0)),
            Work::Flushes | Work::Merge | Work::Rewrite => self.merge(job, catalog, &mut outputs).await,
        };
        let checked = merged.and_then(|(counts, peak)| {
            balance(job, &counts, &outputs.blocks)?;
            // Half of it, so that no clock that is a little off makes orphans of the new blocks.
            let elapsed = started.elapsed();
            if elapsed > self.options.orphan_age / 2 {
                return Err(CompactorError::TooSlow { blocks: job.blocks.len(), seconds: elapsed.as_secs() });
            }
            Ok((counts, peak))
        });
        let (counts, peak) = match checked {
            Ok(checked) => checked,
            Err(error) => {
                self.discard(&outputs.paths).await;
                return Err(error);
            }
        };
        self.commit(job, &outputs, &counts).await?;
        Ok(report(job, &outputs.blocks, &counts, peak))
    }

    /// Merges each tenant's rows into new blocks.
    async fn merge(
        &self,
        job: &Job,
        catalog: &Catalog,
        outputs: &mut Outputs<'_>,
    ) -> Result<(BTreeMap<String, Count>, usize), CompactorError> {
        let readers = self.open(job).await?;
        outputs.origin = origin(&readers);
        let options = MergeOptions {
            write: self.options.write.clone(),
            memory_bytes: self.options.merge_memory(),
            window_nanos: job.window,
        };
        let tenants: BTreeSet<&str> = job.blocks.iter().flat_map(|b| &b.tenants).map(|t| t.tenant.as_str()).collect();
        let (mut counts, mut peak) = (BTreeMap::new(), 0);
        for name in tenants {
            let tenant = TenantId::new(name).map_err(|error| CompactorError::Refused {
                command: "a compaction",
                message: format!("tenant is {name:?}: {error}"),
            })?;
            let (count, bytes) = self.tenant(job, catalog, &tenant, &readers, &options, outputs).await?;
            counts.insert(name.to_owned(), count);
            peak = peak.max(bytes);
        }
        outputs.end(true).await?;
        Ok((counts, peak))
    }

    async fn tenant(
        &self,
        job: &Job,
        catalog: &Catalog,
        tenant: &TenantId,
        readers: &[Arc<BlockReader>],
        options: &MergeOptions,
        outputs: &mut Outputs<'_>,
    ) -> Result<(Count, usize), CompactorError> {
        let own = |reader: &BlockReader| reader.block().tenants.iter().any(|rows| rows.tenant == tenant.as_str());
        let blocks: Vec<Arc<BlockReader>> = readers.iter().filter(|reader| own(reader)).cloned().collect();
        let rules = self.options.retention.rules(tenant.as_str(), job.signal);
        let removals = self.removals(job, catalog, tenant, &rules);
        let mut merge = Merge::new(job.signal, tenant.clone(), blocks, removals, options.clone());
        let survey = merge.survey().await?;
        for window in survey.windows {
            let start = window.start;
            let mut rows = merge.window(window);
            let mut full = true;
            while let Some(chunk) = merge.next(&mut rows).await? {
                if full {
                    outputs.begin(tenant, &rules, start, &rows, options).await?;
                }
                full = outputs.write(chunk).await? >= options.block_bytes();
            }
        }
        Ok((Count { kept: survey.kept, dropped: survey.removed }, merge.peak_bytes()))
    }

    /// What of the tenant's rows is to go.
    fn removals(&self, job: &Job, catalog: &Catalog, tenant: &TenantId, rules: &[Rule]) -> Removals {
        let rows: Vec<&v1::TenantRows> =
            job.blocks.iter().flat_map(|b| &b.tenants).filter(|rows| rows.tenant == tenant.as_str()).collect();
        let deletes = catalog
            .deletes()
            .filter(|delete| delete.tenant == tenant.as_str() && delete.model_signal() == Ok(job.signal))
            .map(|delete| Removal::of_delete(delete));
        let all = deletes.chain(rules.iter().map(|rule| rule.removal(self.now)));
        Removals::new(job.signal, all.filter(|removal| rows.iter().any(|rows| removal.may_match(rows))).collect())
    }

    /// Opens the blocks, the one that was written last at the end: of samples of one time it has the one that counts.
    /// Those that fit into memory together are read at once.
    async fn open(&self, job: &Job) -> Result<Vec<Arc<BlockReader>>, CompactorError> {
        let bytes: u64 = job.blocks.iter().map(|block| block.bytes).sum();
        let store = if bytes <= self.options.object_memory() as u64 {
            self.storage.fetch(job.blocks.iter().map(|block| block.path.as_str())).await?
        } else {
            self.storage.store.clone()
        };
        // Footers are held by their readers, and each is read once.
        let footers = FooterCache::new(0);
        let mut readers = Vec::with_capacity(job.blocks.len());
        let mut blocks: Vec<&Arc<v1::Block>> = job.blocks.iter().collect();
        blocks.sort_by_key(|block| (block.written, block.to));
        for block in blocks {
            readers.push(Arc::new(BlockReader::open(store.clone(), block.clone(), &footers).await?));
        }
        Ok(readers)
    }

    /// Swaps the blocks. A commit whose outcome is unknown is asked for again; if it stays
    /// unknown the new objects stay, because the catalog may list them.
    async fn commit(
        &self,
        job: &Job,
        outputs: &Outputs<'_>,
        counts: &BTreeMap<String, Count>,
    ) -> Result<(), CompactorError> {
        let dropped = counts.iter().filter(|(_, count)| count.dropped > 0);
        let command = v1::CommitCompaction {
            removed: job.blocks.iter().map(|block| block.path.clone()).collect(),
            added: outputs.blocks.clone(),
            dropped: dropped.map(|(t, c)| v1::DroppedRows { tenant: t.clone(), items: c.dropped }).collect(),
            removed_at: self.now,
        };
        let mut backoff =
            bonghwa_cluster::Backoff::new(std::time::Duration::from_millis(100), std::time::Duration::from_secs(10));
        let mut unknown = false;
        for _ in 1..ATTEMPTS {
            match self.commands.run(Kind::CommitCompaction(command.clone())).await {
                Ok(Ok(result)) => return self.commands.follow(result.version).await.map(|_| ()),
                Ok(Err(rejection)) => {
                    if !unknown {
                        self.discard(&outputs.paths).await;
                    }
                    return Err(CompactorError::Refused { command: "CommitCompaction", message: rejection.message });
                }
                Err(CompactorError::Meta(error)) if error.is_retryable() => {
                    unknown = true;
                    tracing::warn!(lease = job.lease, %error, "commit of a compaction is tried again");
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
        let last = self.commands.run(Kind::CommitCompaction(command)).await?;
        last.map(|_| ()).map_err(|r| CompactorError::Refused { command: "CommitCompaction", message: r.message })
    }

    /// Deletes objects that no catalog will list. One that stays is an orphan, no more.
    async fn discard(&self, paths: &[String]) {
        for path in paths {
            if let Err(error) = self.storage.delete(path).await {
                tracing::warn!(path, %error, "an object that is not in the catalog stays behind");
            }
        }
    }
}

/// All rows of blocks that go as a whole.
fn expired(job: &Job) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for rows in job.blocks.iter().flat_map(|block| &block.tenants) {
        counts.entry(rows.tenant.clone()).or_default().dropped += rows.items;
    }
    counts
}

/// What the new blocks say of where they come from.
fn origin(readers: &[Arc<BlockReader>]) -> v1::Origin {
    let mut positions: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for block in readers.iter().map(|reader| reader.block()) {
        if block.level == 0 {
            positions.entry(&block.partition).or_default().push((block.from, block.to));
        }
        for range in block.origin.iter().flat_map(|origin| &origin.positions) {
            positions.entry(&range.partition).or_default().push((range.from, range.to));
        }
    }
    let joined = positions.into_iter().flat_map(|(partition, ranges)| {
        let positions = |(from, to)| v1::Positions { partition: partition.to_owned(), from, to };
        join(ranges).into_iter().map(positions).collect::<Vec<_>>()
    });
    v1::Origin {
        compaction: seam::random(),
        replaces: readers.iter().map(|reader| object_hash(&reader.block().path)).collect(),
        positions: joined.collect(),
        ..Default::default()
    }
}

/// Ranges that meet become one.
fn join(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, to) in ranges {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// Proves that no row was lost or doubled: what the catalog says of the blocks read, what
/// was counted while reading, and what was written must agree.
fn balance(job: &Job, counts: &BTreeMap<String, Count>, written: &[v1::Block]) -> Result<(), CompactorError> {
    let items = |blocks: &mut dyn Iterator<Item = &v1::Block>| {
        let mut items: BTreeMap<String, u64> = BTreeMap::new();
        for rows in blocks.flat_map(|block| &block.tenants) {
            *items.entry(rows.tenant.clone()).or_default() += rows.items;
        }
        items
    };
    let read = items(&mut job.blocks.iter().map(|block| &**block));
    let written = items(&mut written.iter());
    for tenant in read.keys().chain(counts.keys()).chain(written.keys()) {
        let of = |items: &BTreeMap<String, u64>| items.get(tenant).copied().unwrap_or(0);
        let count = counts.get(tenant).copied().unwrap_or_default();
        if of(&written) != count.kept || of(&read) != count.kept + count.dropped {
            return Err(CompactorError::Unbalanced {
                tenant: tenant.clone(),
                read: of(&read),
                written: of(&written),
                dropped: count.dropped,
                blocks: job.blocks.iter().map(|block| block.path.clone()).collect(),
            });
        }
    }
    Ok(())
}

fn report(job: &Job, added: &[v1::Block], counts: &BTreeMap<String, Count>, peak: usize) -> RunReport {
    RunReport {
        jobs: 1,
        blocks_removed: job.blocks.len() as u64,
        blocks_added: added.len() as u64,
        bytes_removed: job.blocks.iter().map(|block| block.bytes).sum(),
        bytes_added: added.iter().map(|block| block.bytes).sum(),
        items_written: counts.values().map(|count| count.kept).sum(),
        items_dropped: counts.values().map(|count| count.dropped).sum(),
        peak_bytes: peak as u64,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_become_one() {
        for (ranges, expected) in [
            (vec![], vec![]),
            (vec![(5, 9), (0, 5)], vec![(0, 9)]),
            (vec![(0, 5), (6, 9)], vec![(0, 5), (6, 9)]),
            (vec![(0, 9), (2, 3), (4, 12)], vec![(0, 12)]),
        ] {
            assert_eq!(join(ranges), expected);
        }
    }
}
