//! One group's log: what is known of it in memory, and reading it from the tail or the disk.
//!
//! All changes are made in memory first, under one short lock, and sent to the writer in the same
//! order; so a reader sees an entry as soon as it is appended.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::codec::{Reader, Write};
use crate::disk::{Disk, DiskError};
use crate::raft_types::{Entry, LogId, RaftSnapshot, TypeConfig, Vote};
use crate::request::Request;
use crate::store::StoreCore;
use crate::tail::Tail;
use crate::{Error, record, stored_snapshot};

/// What a group stores beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateKey {
    Vote,
    Committed,
    Purged,
    Snapshot,
}

impl StateKey {
    pub const ALL: [Self; 4] = [Self::Vote, Self::Committed, Self::Purged, Self::Snapshot];

    /// The key: the group's name, NUL (which no name has), one letter.
    pub fn of(self, group: &str) -> Vec<u8> {
        [group.as_bytes(), self.suffix()].concat()
    }

    /// What the key ends with.
    pub fn suffix(self) -> &'static [u8] {
        match self {
            Self::Vote => b"\0v",
            Self::Committed => b"\0c",
            Self::Purged => b"\0p",
            Self::Snapshot => b"\0s",
        }
    }
}

pub(crate) struct GroupLog {
    pub name: Arc<str>,
    core: Arc<StoreCore>,
    state: Mutex<State>,
    /// The first permanent failure.
    failure: OnceLock<Error>,
}

struct State {
    vote: Option<Vote>,
    committed: Option<LogId>,
    committed_unsaved: bool,
    /// The last entry that is deleted because a snapshot covers it.
    purged: Option<LogId>,
    /// The first position the log has or would have: after `purged`, 0 in a new log.
    first: u64,
    /// The last entry, or `purged` if there is none.
    last: Option<LogId>,
    tail: Tail,
    /// Stored bytes of each entry; 0 where not known since the start.
    sizes: VecDeque<u32>,
    bytes: u64,
    /// The position after the last one that is on disk, and applied, respectively.
    flushed_end: u64,
    applied_end: u64,
    /// Counts truncations, so that a late completion of what was cut off does not count.
    epoch: u64,
}

impl State {
    fn next(&self) -> u64 {
        self.last.map_or(self.first, |id| id.index + 1)
    }

    fn evict(&mut self) {
        self.tail.evict_before(self.flushed_end.min(self.applied_end));
    }
}

impl GroupLog {
    /// Reads what is stored of a group and checks that its log has two good ends.
    pub fn load(name: &str, core: Arc<StoreCore>, keep_tail: bool) -> Result<Self, Error> {
        let disk = core.disk.as_ref();
        let stored = |key: StateKey| -> Result<Option<Reader>, Error> {
            let value = read_state(disk, name, key)?;
            Ok(value.map(Reader::new))
        };
        let damaged = |what: &str, e| Error::corrupt(name, None, format!("{what}: {e}"));
        let log_id = |key, what| -> Result<Option<LogId>, Error> {
            stored(key)?.map(|mut r| r.log_id()).transpose().map_err(|e| damaged(what, e))
        };
        let vote = stored(StateKey::Vote)?.map(|mut r| r.vote()).transpose().map_err(|e| damaged("vote", e))?;
        let committed = log_id(StateKey::Committed, "committed position")?;
        let purged = log_id(StateKey::Purged, "trim point")?;
        let last = find_last(disk, name, purged)?;
        // What was committed may have been written before the entry was.
        let ahead = committed.is_some_and(|id| last.is_none_or(|last| last.index < id.index));
        let committed = if ahead { last } else { committed };
        check_covered(disk, name, purged)?;
        let state = State {
            vote,
            committed,
            committed_unsaved: false,
            purged,
            first: purged.map_or(0, |id| id.index + 1),
            last,
            tail: Tail::new(core.tail_total.clone(), core.tail_budget, keep_tail),
            sizes: VecDeque::new(),
            bytes: 0,
            flushed_end: last.map_or(0, |id| id.index + 1),
            applied_end: 0,
            epoch: 0,
        };
        let known = (state.next() - state.first) as usize;
        let state = State { sizes: VecDeque::from(vec![0; known]), ..state };
        Ok(Self { name: name.into(), core, state: Mutex::new(state), failure: OnceLock::new() })
    }

    pub fn state_key(&self, key: StateKey) -> Vec<u8> {
        key.of(&self.name)
    }

    pub fn vote(&self) -> Option<Vote> {
        self.state.lock().vote
    }

    pub fn committed(&self) -> Option<LogId> {
        self.state.lock().committed
    }

    /// The last purged entry and the last one.
    pub fn ends(&self) -> (Option<LogId>, Option<LogId>) {
        let state = self.state.lock();
        (state.purged, state.last)
    }

    /// The position after the last one that is applied.
    pub fn applied_end(&self) -> u64 {
        self.state.lock().applied_end
    }

    /// Bytes of entries on disk, as far as known since the start.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    /// Bytes of entries in memory.
    pub fn tail_bytes(&self) -> usize {
        self.state.lock().tail.bytes()
    }

    /// Why the log takes no more writes, if it does not.
    pub fn failure(&self) -> Option<Error> {
        if let Some(error) = self.failure.get() {
            return Some(error.clone());
        }
        let message = self.core.progress.failure.get()?;
        Some(Error::storage(&self.name, message))
    }

    /// Remembers a permanent failure, so that callers learn it in its own words.
    pub fn fail(&self, error: Error) -> Error {
        tracing::error!(group = %self.name, %error, "the log failed");
        // The first failure stays; later ones follow from it.
        let _ = self.failure.set(error.clone());
        error
    }

    pub fn append(self: &Arc<Self>, entries: Vec<Entry>, done: IOFlushed<TypeConfig>) -> io::Result<()> {
        let mut state = self.state.lock();
        for entry in &entries {
            let index = entry.log_id.index;
            if state.last.is_none() {
                state.first = index;
            } else if index != state.next() {
                let message = format!("position {index} was appended after {}", state.next() - 1);
                return Err(self.fail(Error::storage(&self.name, message)).into());
            }
            let len = record::stored_len(entry);
            state.sizes.push_back(len as u32);
            state.bytes += len as u64;
            state.last = Some(entry.log_id);
            state.tail.push(entry.clone());
        }
        let epoch = state.epoch;
        drop(state);
        self.core.send(Request::Append { log: self.clone(), epoch, entries, done })
    }

    /// Everything up to a position is on disk.
    pub fn flushed(&self, epoch: u64, index: u64) {
        let mut state = self.state.lock();
        if state.epoch == epoch {
            state.flushed_end = state.flushed_end.max(index + 1);
            state.evict();
        }
    }

    /// Everything up to a position is applied.
    pub fn applied(&self, index: u64) {
        let mut state = self.state.lock();
        state.applied_end = state.applied_end.max(index + 1);
        state.tail.forget_decoded(index);
        state.evict();
    }

    /// Removes entries from a position on; they were never acknowledged.
    pub fn truncate(self: &Arc<Self>, from: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let (from, to) = (from.max(state.first), state.next());
        if from >= to {
            return Ok(());
        }
        state.last = if from == state.first {
            state.purged
        } else {
            // Nobody else changes the log meanwhile: openraft's core is its one writer.
            drop(state);
            let before = self.log_id_at(from - 1)?;
            state = self.state.lock();
            Some(before)
        };
        state.tail.drop_from(from);
        for _ in from..to {
            let len = state.sizes.pop_back().unwrap_or(0);
            state.bytes -= u64::from(len);
        }
        state.epoch += 1;
        state.flushed_end = state.flushed_end.min(from);
        drop(state);
        let log = self.clone();
        self.core.send(Request::Truncate { log, from, to })
    }

    /// Removes entries up to a position; a durable snapshot covers them.
    pub fn purge(self: &Arc<Self>, upto: LogId) -> io::Result<()> {
        let mut state = self.state.lock();
        let from = state.first;
        if state.purged.is_some_and(|purged| upto.index <= purged.index) {
            return Ok(());
        }
        for _ in from..=upto.index {
            let Some(len) = state.sizes.pop_front() else { break };
            state.bytes -= u64::from(len);
        }
        state.tail.drop_through(upto.index);
        state.purged = Some(upto);
        state.first = upto.index + 1;
        if state.last.is_none_or(|last| last.index <= upto.index) {
            state.last = Some(upto);
            state.flushed_end = state.flushed_end.max(upto.index + 1);
        }
        drop(state);
        let log = self.clone();
        self.core.send(Request::Purge { log, from, upto })
    }

    /// Makes a vote durable.
    pub async fn save_vote(self: &Arc<Self>, vote: &Vote) -> io::Result<()> {
        let mut value = Vec::new();
        value.put_vote(vote);
        self.state.lock().vote = Some(*vote);
        self.put(StateKey::Vote, value).await
    }

    /// Remembers what is committed; the next append takes it along.
    pub fn set_committed(&self, committed: Option<LogId>) {
        let mut state = self.state.lock();
        state.committed = committed;
        state.committed_unsaved = committed.is_some();
    }

    pub fn take_unsaved_committed(&self) -> Option<LogId> {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.committed_unsaved) { state.committed } else { None }
    }

    /// Writes what is committed, so that the next start has nothing to wait for.
    pub async fn flush_committed(self: &Arc<Self>) -> io::Result<()> {
        let Some(committed) = self.take_unsaved_committed() else { return Ok(()) };
        let mut value = Vec::new();
        value.put_log_id(&committed);
        self.put(StateKey::Committed, value).await
    }

    /// Makes a snapshot durable.
    pub async fn save_snapshot(self: &Arc<Self>, encoded: Vec<u8>) -> io::Result<()> {
        self.put(StateKey::Snapshot, encoded).await
    }

    /// The last durable snapshot.
    pub fn snapshot(&self) -> Result<Option<RaftSnapshot>, Error> {
        let Some(value) = read_state(self.core.disk.as_ref(), &self.name, StateKey::Snapshot)? else { return Ok(None) };
        match stored_snapshot::decode(value) {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(e) => Err(self.fail(Error::corrupt(&self.name, None, format!("snapshot: {e}")))),
        }
    }

    async fn put(self: &Arc<Self>, key: StateKey, value: Vec<u8>) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        let log = self.clone();
        self.core.send(Request::Put { log, key, value, done })?;
        match synced.await {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the store is shut down")),
        }
    }

    /// The identity of the entry at a position.
    pub fn log_id_at(&self, index: u64) -> Result<LogId, Error> {
        let (purged, _) = self.ends();
        if let Some(purged) = purged.filter(|id| id.index == index) {
            return Ok(purged);
        }
        let entries = self.read(index, index + 1, usize::MAX)?;
        match entries.first() {
            Some(entry) => Ok(entry.log_id),
            None => {
                Err(Error::Trimmed { group: self.name.to_string(), position: index, first: self.state.lock().first })
            }
        }
    }

    /// Whether a read of the range would go to the disk.
    pub fn is_on_disk(&self, start: u64, end: u64) -> bool {
        let state = self.state.lock();
        let start = start.max(state.first);
        start < end.min(state.next()) && state.tail.first().is_none_or(|first| start < first)
    }

    /// The entries in `start..end` that the log has, at least one of them and then as many as
    /// `max_bytes` allow. May block on the disk where [`is_on_disk`](Self::is_on_disk) says so.
    pub fn read(&self, start: u64, end: u64, max_bytes: usize) -> Result<Vec<Entry>, Error> {
        let mut bytes = 0;
        let mut entries: Vec<Entry> = Vec::new();
        let (start, end, in_tail, epoch) = {
            let state = self.state.lock();
            let (start, end) = (start.max(state.first), end.min(state.next()));
            if start >= end {
                return Ok(entries);
            }
            let in_tail = state.tail.first().unwrap_or(end).max(start).min(end);
            if in_tail == start {
                for entry in state.tail.range(start, end) {
                    bytes += record::stored_len(entry);
                    if bytes > max_bytes && !entries.is_empty() {
                        break;
                    }
                    entries.push(entry.clone());
                }
                return Ok(entries);
            }
            // Taken now: what is in the tail may be evicted to the disk, but not the reverse.
            entries.extend(state.tail.range(in_tail, end).cloned());
            (start, end, in_tail, state.epoch)
        };
        let mut found = self.read_disk(start, in_tail, max_bytes, &mut bytes)?;
        let reached = start + found.len() as u64;
        if reached < in_tail && bytes <= max_bytes {
            // The range was there when the read began. It may have been trimmed or cut off since;
            // anything else is a hole.
            let state = self.state.lock();
            if state.epoch == epoch && reached >= state.first && reached < end {
                drop(state);
                return Err(self.fail(Error::corrupt(&self.name, Some(reached), "it is missing")));
            }
            return Ok(found);
        }
        for entry in entries {
            bytes += record::stored_len(&entry);
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }

    /// Reads a gapless run from the disk. Stops after the entry that exceeds `max_bytes`; the
    /// caller sees that by `bytes`.
    fn read_disk(&self, start: u64, end: u64, max_bytes: usize, bytes: &mut usize) -> Result<Vec<Entry>, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut expected = start;
        let mut damage = None;
        let scanned = self.core.disk.scan(&self.name, start, end, &mut |key, value| {
            if key != expected.to_be_bytes() {
                return false;
            }
            *bytes += value.len();
            if *bytes > max_bytes && !entries.is_empty() {
                return false;
            }
            match record::decode(expected, Bytes::copy_from_slice(value)) {
                Ok(entry) => entries.push(entry),
                Err(e) => {
                    damage = Some(e);
                    return false;
                }
            }
            self.learn_size(expected, value.len());
            expected += 1;
            true
        });
        if let Some(damage) = damage {
            return Err(self.fail(Error::corrupt(&self.name, Some(expected), damage)));
        }
        match scanned {
            Ok(()) => Ok(entries),
            Err(DiskError::NoFamily) => Err(Error::ShutDown { group: self.name.to_string() }),
            Err(e) => Err(self.fail(Error::storage(&self.name, e))),
        }
    }

    fn learn_size(&self, index: u64, len: usize) {
        let mut state = self.state.lock();
        let Some(at) = index.checked_sub(state.first) else { return };
        if let Some(size) = state.sizes.get_mut(at as usize).filter(|size| **size == 0) {
            *size = len as u32;
            state.bytes += len as u64;
        }
    }
}

fn read_state(disk: &dyn Disk, group: &str, key: StateKey) -> Result<Option<Bytes>, Error> {
    disk.state(&key.of(group)).map_err(|e| Error::storage(group, e))
}

/// What is trimmed must be covered by the snapshot, or entries are lost.
fn check_covered(disk: &dyn Disk, group: &str, purged: Option<LogId>) -> Result<(), Error> {
    let Some(purged) = purged else { return Ok(()) };
    let snapshot = read_state(disk, group, StateKey::Snapshot)?.map(stored_snapshot::decode);
    let snapshot = snapshot.transpose().map_err(|e| Error::corrupt(group, None, format!("snapshot: {e}")))?;
    let covered = snapshot.and_then(|s| s.meta.last_log_id).map(|id| id.index);
    if covered >= Some(purged.index) {
        return Ok(());
    }
    let message = format!("the log is trimmed up to {}, the snapshot covers {covered:?}", purged.index);
    Err(Error::corrupt(group, None, message))
}

/// The last entry on disk, after a check that the log begins where the trim point says.
fn find_last(disk: &dyn Disk, group: &str, purged: Option<LogId>) -> Result<Option<LogId>, Error> {
    let storage = |e: DiskError| Error::storage(group, e);
    let position = |key: &[u8]| -> Result<u64, Error> {
        let key = key.try_into().map_err(|_| Error::corrupt(group, None, "a key of the log"))?;
        Ok(u64::from_be_bytes(key))
    };
    let first = purged.map_or(0, |id| id.index + 1);
    let Some(key) = disk.first_key(group, first).map_err(storage)? else { return Ok(purged) };
    let found = position(&key)?;
    if found != first {
        let message = format!("it is missing; the log is trimmed before it and goes on at {found}");
        return Err(Error::corrupt(group, Some(first), message));
    }
    let Some((key, record)) = disk.last(group).map_err(storage)? else { return Ok(purged) };
    let index = position(&key)?;
    let entry = record::decode(index, record).map_err(|e| Error::corrupt(group, Some(index), e))?;
    Ok(Some(entry.log_id))
}
