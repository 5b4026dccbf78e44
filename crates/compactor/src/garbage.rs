//! Clearing the object store: of objects that were replaced, once no query reads them any
//! more, and of objects that no catalog lists.

use bonghwa_cluster::Catalog;
use bonghwa_model::Signal;
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command::Kind;

use crate::lease::Commands;
use crate::options::nanos;
use crate::{CompactorError, CompactorOptions, Storage};

/// Paths in one command at most.
const AT_ONCE: usize = 1_000;

/// Deletes objects that were replaced longer ago than the grace. How many.
pub(crate) async fn collect(
    commands: &Commands,
    storage: &Storage,
    options: &CompactorOptions,
    now: i64,
) -> Result<u64, CompactorError> {
    const LEASE: &str = "compaction/garbage";
    let before = now.saturating_sub(nanos(options.grace));
    if due(&commands.view.current(), before).is_empty() {
        return Ok(0);
    }
    let Some(catalog) = commands.acquire(LEASE).await? else { return Ok(0) };
    let collected = delete_all(commands, storage, due(&catalog, before)).await;
    commands.release(LEASE).await;
    collected
}

fn due(catalog: &Catalog, before: i64) -> Vec<String> {
    // What the catalog lists is no garbage, whatever else it says.
    let due = catalog.garbage().filter(|(path, since)| *since <= before && catalog.block(path).is_none());
    due.map(|(path, _)| path.to_owned()).collect()
}

async fn delete_all(commands: &Commands, storage: &Storage, due: Vec<String>) -> Result<u64, CompactorError> {
    let mut collected = 0;
    for paths in due.chunks(AT_ONCE) {
        for path in paths {
            storage.delete(path).await?;
        }
        // Only now: a path that is forgotten before its object is gone would be an orphan.
        let command = v1::CollectGarbage { paths: paths.to_vec() };
        match commands.run(Kind::CollectGarbage(command)).await? {
            Ok(result) => commands.follow(result.version).await?,
            Err(rejection) => {
                return Err(CompactorError::Refused { command: "CollectGarbage", message: rejection.message });
            }
        };
        collected += paths.len() as u64;
    }
    Ok(collected)
}

/// Deletes objects that are old, that the catalog does not list, and that nobody can be
/// about to commit. How many.
pub(crate) async fn orphans(
    commands: &Commands,
    storage: &Storage,
    options: &CompactorOptions,
    now: i64,
) -> Result<u64, CompactorError> {
    const LEASE: &str = "compaction/orphans";
    let mut old = Vec::new();
    for signal in Signal::ALL {
        for object in storage.list(signal).await? {
            let written = object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
            if written <= now.saturating_sub(nanos(options.orphan_age)) {
                old.push(object.location.to_string());
            }
        }
    }
    // The catalog comes after the list: what was committed in between is in it.
    let Some(catalog) = commands.acquire(LEASE).await? else { return Ok(0) };
    let mut deleted = 0;
    let mut result = Ok(());
    for path in old.iter().filter(|path| is_orphan(&catalog, path)) {
        result = storage.delete(path).await;
        if result.is_err() {
            break;
        }
        tracing::info!(path, "deleted an object that the catalog does not list");
        deleted += 1;
    }
    commands.release(LEASE).await;
    result.map(|()| deleted)
}

/// Whether an old object is one of ours that no catalog lists or will list.
///
/// A compaction gives up long before its objects are old. A flush does not: it asks meta
/// until it gets an answer. But meta takes a flush only where it begins at the watermark,
/// so one that ends at the watermark or before can no longer be committed.
fn is_orphan(catalog: &Catalog, path: &str) -> bool {
    if catalog.block(path).is_some() || catalog.is_garbage(path) {
        return false;
    }
    match ObjectName::parse(path) {
        Some(ObjectName::Flush { partition, to }) => {
            catalog.partition(partition).is_none_or(|partition| partition.watermark >= to)
        }
        Some(ObjectName::Compaction) => true,
        // Whatever it is, it is not ours to delete.
        None => false,
    }
}

/// What a path says of its object.
#[derive(Debug, PartialEq, Eq)]
enum ObjectName<'a> {
    /// `SIGNAL/l0/PARTITION/FROM-TO-RANDOM.parquet`
    Flush { partition: &'a str, to: u64 },
    /// `SIGNAL/lLEVEL/TENANT/SECONDS-COMPACTION-ORDINAL.parquet`
    Compaction,
}

impl<'a> ObjectName<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.split('/');
        let (_signal, level, owner, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let name = name.strip_suffix(".parquet")?;
        let level: u32 = level.strip_prefix('l')?.parse().ok()?;
        if level == 0 {
            let mut parts = name.split('-');
            let (_from, to, suffix) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse().ok()?, parts.next()?);
            let known = parts.next().is_none() && u64::from_str_radix(suffix, 16).is_ok();
            return known.then_some(ObjectName::Flush { partition: owner, to });
        }
        let (seconds, rest) = name.rsplit_once('-').and_then(|(rest, ordinal)| {
            ordinal.parse::<u32>().ok()?;
            rest.rsplit_once('-')
        })?;
        let known = seconds.parse::<i64>().is_ok() && u64::from_str_radix(rest, 16).is_ok();
        known.then_some(ObjectName::Compaction)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FLUSH: &str = "logs/l0/logs-0001/00000000000000000000-00000000000000000009-0a1b2c3d.parquet";

    #[test]
    fn names() {
        for (path, expected) in [
            (FLUSH, Some(ObjectName::Flush { partition: "logs-0001", to: 9 })),
            ("logs/l1/a/1767225600-00000000deadbeef-0003.parquet", Some(ObjectName::Compaction)),
            ("logs/l2/a/-7200-00000000deadbeef-0003.parquet", Some(ObjectName::Compaction)),
            ("logs/l1/a/notes.txt", None),
            ("logs/l1/a/notes.parquet", None),
            ("logs/readme/a/1-2-3.parquet", None),
            ("logs/l0/logs-0001/0-9-0a1b2c3d.parquet.tmp", None),
            ("logs/l0/logs-0001/x/0-9-0a.parquet", None),
        ] {
            assert_eq!(ObjectName::parse(path), expected, "{path}");
        }
    }

    #[test]
    fn a_flush_that_may_still_be_committed_is_no_orphan() {
        let partition = |watermark| v1::Partition { name: "logs-0001".into(), watermark, ..Default::default() };
        for (partitions, expected) in
            [(vec![partition(8)], false), (vec![partition(9)], true), (vec![partition(20)], true), (vec![], true)]
        {
            let catalog = Catalog::from_snapshot(&v1::Snapshot { version: 1, partitions, ..Default::default() });
            assert_eq!(is_orphan(&catalog, FLUSH), expected, "{:?}", catalog.partition("logs-0001"));
        }
        let block = v1::Block { path: FLUSH.into(), ..Default::default() };
        let listed =
            v1::Snapshot { version: 1, partitions: vec![partition(9)], blocks: vec![block], ..Default::default() };
        assert!(!is_orphan(&Catalog::from_snapshot(&listed), FLUSH));
        let garbage = vec![v1::Garbage { path: FLUSH.into(), removed_at: 1 }];
        let replaced = v1::Snapshot { version: 1, garbage, ..Default::default() };
        assert!(!is_orphan(&Catalog::from_snapshot(&replaced), FLUSH));
        assert!(!is_orphan(&Catalog::default(), "logs/somebody-elses.parquet"));
    }
}
