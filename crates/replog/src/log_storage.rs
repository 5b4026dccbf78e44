//! openraft's view of a group's log: its storage traits, answered by [`GroupLog`].

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;

use bonghwa_seam as seam;
use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use crate::Error;
use crate::group_log::GroupLog;
use crate::raft_types::{Entry, LogId, TypeConfig, Vote};

/// Bytes of entries read at once when many are applied.
const APPLY_CHUNK: usize = 8 << 20;

#[derive(Clone)]
pub(crate) struct LogStorage {
    log: Arc<GroupLog>,
    /// Bytes of entries in one message to a follower.
    max_message_bytes: usize,
}

impl LogStorage {
    pub fn new(log: Arc<GroupLog>, max_message_bytes: usize) -> Self {
        Self { log, max_message_bytes }
    }
}

/// Reads on a thread that may block, unless the entries are in memory.
pub(crate) async fn read(log: &Arc<GroupLog>, start: u64, end: u64, max_bytes: usize) -> Result<Vec<Entry>, Error> {
    if !log.is_on_disk(start, end) {
        return log.read(start, end, max_bytes);
    }
    let reader = log.clone();
    let reading = seam::blocking(move || reader.read(start, end, max_bytes));
    reading.await.unwrap_or_else(|| Err(Error::ShutDown { group: log.name.to_string() }))
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for LogStorage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        Ok(read(&self.log, start, end, usize::MAX).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.vote())
    }

    /// By bytes, not by count: a follower that is behind gets what fits in one message. Entries
    /// that exist are never left out to nothing: the first one is always given.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(read(&self.log, start, end, self.max_message_bytes).await?)
    }

    /// In chunks, so that applying a long log does not hold it in memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        chunked(self.log.clone(), start, end)
    }
}

fn chunked(log: Arc<GroupLog>, start: u64, end: u64) -> Pin<Box<dyn Stream<Item = Result<Entry, io::Error>> + Send>> {
    let first: std::vec::IntoIter<Entry> = Vec::new().into_iter();
    Box::pin(futures::stream::try_unfold((first, start), move |(mut chunk, next)| {
        let log = log.clone();
        async move {
            if chunk.len() == 0 && next < end {
                chunk = read(&log, next, end, APPLY_CHUNK).await?.into_iter();
            }
            Ok(chunk.next().map(|entry| {
                let next = entry.log_id.index + 1;
                (entry, (chunk, next))
            }))
        }
    }))
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let (last_purged_log_id, last_log_id) = self.log.ends();
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.log.save_vote(vote).await
    }

    /// Not synced, not even written: the next append takes it along.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.log.set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.log.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.log.append(entries.into_iter().collect(), callback)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.log.truncate(last_log_id.map_or(0, |id| id.index + 1))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.log.purge(log_id)
    }
}
