//! The one thread that writes segments: it drains the requests of all groups into one frame and one
//! sync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use bytes::Bytes;
use openraft::Instant as _;
use openraft::type_config::TypeConfigExt;
use parking_lot::Mutex;
use rocksdb::{WriteBatch, WriteOptions};

use super::disk::{SegmentDisk, read};
use super::files::SegmentWriter;
use super::frame::{Draft, Item};
use super::index::{Index, Wanted};
use crate::StoreOptions;
use crate::disk::Batch;
use crate::raft_types::{Entry, LogId, TypeConfig};
use crate::request::{Progress, Request};
use crate::states::Db;

/// openraft's clock, so that the thread has no other.
type Instant = openraft::type_config::alias::InstantOf<TypeConfig>;

pub(crate) struct Writer {
    db: Arc<Db>,
    index: Arc<Mutex<Index>>,
    segments: SegmentWriter,
    progress: Arc<Progress>,
    linger: Duration,
    max_bytes: usize,
    max_segments: usize,
}

impl Writer {
    pub fn new(disk: &SegmentDisk, segments: SegmentWriter, progress: Arc<Progress>, options: &StoreOptions) -> Self {
        Self {
            db: disk.db.clone(),
            index: disk.index.clone(),
            segments,
            progress,
            linger: options.linger,
            max_bytes: options.max_write_bytes,
            max_segments: options.max_segments,
        }
    }

    /// Runs until it is told to stop or nobody can send any more.
    pub fn run(mut self, requests: Receiver<Request>) {
        self.serve(&requests);
        if self.progress.failure.get().is_none()
            && let Err(error) = self.close()
        {
            tracing::warn!(%error, "the log was not closed; the next start looks at its last write");
        }
    }

    fn serve(&mut self, requests: &Receiver<Request>) {
        let mut expected = 0;
        let mut last_end = TypeConfig::now();
        while let Ok(first) = requests.recv() {
            // Under load the next requests are on their way already: those whose appends the last
            // round just acknowledged. Wait for as many, but not long. A lone append never waits.
            let loaded = expected > 1 && last_end.elapsed() < self.linger;
            let deadline = loaded.then(|| TypeConfig::now() + self.linger);
            let (round, stop) = self.gather(requests, first, expected, deadline);
            expected = round.iter().filter(|r| matches!(r, Request::Append { .. })).count();
            self.commit(round);
            last_end = TypeConfig::now();
            if stop {
                return;
            }
        }
    }

    fn gather(
        &self,
        requests: &Receiver<Request>,
        first: Request,
        expected: usize,
        deadline: Option<Instant>,
    ) -> (Vec<Request>, bool) {
        let mut round = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        loop {
            match next.take() {
                Some(Request::Stop) => return (round, true),
                Some(request) => {
                    bytes += request.len();
                    round.push(request);
                }
                None => {}
            }
            if bytes >= self.max_bytes {
                return (round, false);
            }
            next = match requests.try_recv() {
                Ok(request) => Some(request),
                Err(TryRecvError::Disconnected) => return (round, true),
                Err(TryRecvError::Empty) => {
                    let left = deadline.map(|at| at.saturating_duration_since(TypeConfig::now()));
                    match left {
                        Some(left) if !left.is_zero() && round.len() < expected => match requests.recv_timeout(left) {
                            Ok(request) => Some(request),
                            Err(RecvTimeoutError::Timeout) => return (round, false),
                            Err(RecvTimeoutError::Disconnected) => return (round, true),
                        },
                        _ => return (round, false),
                    }
                }
            };
        }
    }

    fn commit(&mut self, round: Vec<Request>) {
        let result = self.write(&round);
        self.progress.conclude(round, &result);
    }

    fn write(&mut self, round: &[Request]) -> Result<(), String> {
        let progress = self.progress.clone();
        let durable = round.iter().any(|request| matches!(request, Request::Put { .. }));
        let sync = self.apply(durable, |batch| progress.fill(round, batch))?;
        if sync {
            progress.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes what `fill` adds to a batch: entries durably, states too where they must be.
    ///
    /// States first: a log that begins behind a gap must say so before entries follow the gap. What
    /// is committed travels with the entries, so that a round of appends is one write.
    pub(super) fn apply<T>(
        &mut self,
        durable: bool,
        fill: impl FnOnce(&mut Changes) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut changes = Changes { index: self.index.clone(), ..Default::default() };
        let filled = fill(&mut changes)?;
        let Changes { draft, states, trims, gap, .. } = changes;
        if !states.is_empty() {
            let mut options = WriteOptions::default();
            options.set_sync(gap || durable);
            self.db.write_opt(states, &options).map_err(|e| e.to_string())?;
        }
        if !draft.is_empty() {
            self.append(draft)?;
        }
        if !trims.is_empty() {
            let mut index = self.index.lock();
            trims.iter().for_each(|(family, upto)| index.remove(*family, ..=*upto));
        }
        // Nothing acknowledged depends on it.
        if let Err(error) = self.reclaim() {
            tracing::warn!(%error, "cannot reuse the space of trimmed entries");
        }
        Ok(filled)
    }

    fn append(&mut self, draft: Draft) -> Result<(), String> {
        let (written, begun) = self.segments.append(draft).map_err(|e| e.to_string())?;
        let mut index = self.index.lock();
        begun.into_iter().for_each(|segment| index.add_segment(segment));
        index.apply(written.segment, written.items, written.end);
        Ok(())
    }

    /// Gives up segments in which nothing is wanted, the oldest first.
    fn reclaim(&mut self) -> Result<(), String> {
        let current = self.segments.current();
        let (can, (count, mostly_trimmed)) = {
            let index = self.index.lock();
            (index.can_give_up(current), index.crowding())
        };
        if can {
            // Entries must not be gone before the trim points say so.
            self.db.flush_wal(true).map_err(|e| e.to_string())?;
            let mut given_up = Vec::new();
            let mut index = self.index.lock();
            while let Some(segment) = index.give_up(current) {
                given_up.push(segment);
            }
            drop(index);
            self.segments.recycle(given_up).map_err(|e| e.to_string())?;
        } else if count > self.max_segments && mostly_trimmed {
            self.move_oldest(current)?;
        }
        Ok(())
    }

    /// Writes again what is wanted of the oldest segment, as much as one write may be.
    fn move_oldest(&mut self, current: u64) -> Result<(), String> {
        let Some((segment, wanted)) = self.index.lock().oldest(current) else { return Ok(()) };
        let mut draft = Draft::default();
        for Wanted { family, position, place } in wanted {
            if draft.len() >= self.max_bytes {
                break;
            }
            let record = read(&segment, &place).map_err(|e| e.to_string())?;
            draft.moved(family, position, Bytes::from(record));
        }
        drop(segment);
        if draft.is_empty() { Ok(()) } else { self.append(draft) }
    }

    /// Writes records of entries that were stored elsewhere; they are durable.
    pub fn import(&mut self, family: &str, records: Vec<(u64, Bytes)>) -> Result<(), String> {
        let id = self.index.lock().id(family).ok_or("its family is gone")?;
        let mut draft = Draft::default();
        records.into_iter().for_each(|(position, record)| draft.record(id, position, record));
        if draft.is_empty() { Ok(()) } else { self.append(draft) }
    }

    /// Says that the log ends here.
    pub(super) fn close(&mut self) -> Result<(), String> {
        if !self.segments.is_open() {
            return Ok(());
        }
        let mut draft = Draft::default();
        draft.push(Item::Closed);
        self.append(draft)
    }
}

/// One round's changes.
#[derive(Default)]
pub(super) struct Changes {
    index: Arc<Mutex<Index>>,
    draft: Draft,
    states: WriteBatch,
    /// The last trimmed position by family.
    trims: BTreeMap<u64, u64>,
    /// Whether a log will go on behind a gap.
    gap: bool,
}

impl Changes {
    fn id(&self, family: &str) -> Option<u64> {
        self.index.lock().id(family)
    }
}

impl Batch for Changes {
    fn has_family(&self, family: &str) -> bool {
        self.id(family).is_some()
    }

    fn put_entries(&mut self, family: &str, entries: &[Entry]) -> u64 {
        let Some(id) = self.id(family) else { return 0 };
        entries.iter().map(|entry| self.draft.entry(id, entry)).sum()
    }

    fn delete_entries(&mut self, family: &str, start: u64, _end: u64) {
        let Some(family) = self.id(family) else { return };
        self.draft.push(Item::Truncate { family, from: start });
    }

    fn trim(&mut self, family: &Arc<str>, _from: u64, upto: u64) {
        let Some(id) = self.id(family) else { return };
        let written = self.draft.last(id);
        let last = written.or_else(|| self.index.lock().family(family)?.entries.last_key_value().map(|(at, _)| *at));
        self.gap |= last.is_none_or(|last| last < upto);
        self.trims.insert(id, upto);
    }

    fn put_committed(&mut self, family: &str, committed: &LogId) {
        let Some(family) = self.id(family) else { return };
        self.draft.push(Item::Committed { family, id: *committed });
    }

    fn put_state(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.states.put(key, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::{
        BoxError, Error, GroupOptions, Host, HostOptions, LocalTransport, Payload, Snapshot, StateMachine, Store,
    };

    struct Forgetful;

    impl StateMachine for Forgetful {
        fn apply(&self, _position: u64, _payload: &Payload) -> Bytes {
            Bytes::new()
        }

        fn snapshot(&self) -> Result<Snapshot, BoxError> {
            Err("nothing to keep".into())
        }

        fn restore(&self, _position: u64, _data: Bytes) -> Result<(), BoxError> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broken_disk_is_permanent_and_acknowledges_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let host = Host::new(1, store.clone(), LocalTransport::alone(), HostOptions::default());
        let mut groups = Vec::new();
        for name in ["logs-0", "logs-1"] {
            let options = GroupOptions {
                name: name.to_owned(),
                members: BTreeMap::from([(1, String::new())]),
                bootstrap: true,
                prompt_commits: false,
            };
            let group = host.open_group(options, Arc::new(Forgetful)).await.unwrap();
            group.append(Payload::new("fine")).await.unwrap();
            groups.push(group);
        }
        store.core().progress.break_disk.store(true, Ordering::Relaxed);
        for group in &groups {
            let error = group.append(Payload::new("lost")).await.unwrap_err();
            assert!(matches!(error, Error::Storage { .. }) && !error.is_retryable(), "{error}");
        }
        // A disk that comes back does not bring the log back: what it missed is unknown.
        store.core().progress.break_disk.store(false, Ordering::Relaxed);
        for group in &groups {
            let error = group.append(Payload::new("lost")).await.unwrap_err();
            assert!(matches!(error, Error::Storage { .. }), "{error}");
            assert!(group.status().failure.is_some() && !group.is_leader());
            assert!(matches!(group.failed().await, Error::Storage { .. }));
        }
    }
}
