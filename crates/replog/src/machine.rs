//! Between openraft and a group's [`StateMachine`]: applying entries in order, and snapshots with
//! the membership that was in force at their position.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bonghwa_seam as seam;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;

use crate::group_log::GroupLog;
use crate::raft_types::{Content, Entry, LogId, RaftSnapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::{Error, StateMachine, stored_snapshot};

/// Entries applied in a row before other tasks get the worker.
const APPLY_RUN: u32 = 8;

/// Why work of the state machine has no result.
const STOPPED: &str = "it panicked, or the process stops";

/// What openraft drives.
#[derive(Clone)]
pub(crate) struct Machine(pub Arc<Applier>);

/// What openraft and the group share.
pub(crate) struct Applier {
    log: Arc<GroupLog>,
    state: Arc<dyn StateMachine>,
    marks: Mutex<Marks>,
    /// Held while a snapshot is taken or installed; guards what the last durable one covers.
    saved: tokio::sync::Mutex<Option<LogId>>,
    watermark: AtomicU64,
    /// Taken by a trim, for openraft to find when it is told to build one.
    prepared: Mutex<Option<RaftSnapshot>>,
}

/// How far entries were applied. Set just before the state machine sees an entry, so that they are
/// never behind a position it tells.
#[derive(Default)]
struct Marks {
    applied: Option<LogId>,
    last_payload: Option<u64>,
    /// The memberships since the last snapshot's, oldest first.
    memberships: Vec<StoredMembership>,
}

impl Marks {
    fn membership_at(&self, index: u64) -> Option<usize> {
        let in_force = |m: &StoredMembership| m.log_id().is_none_or(|id| id.index <= index);
        self.memberships.iter().rposition(in_force)
    }
}

impl Applier {
    pub fn new(log: Arc<GroupLog>, state: Arc<dyn StateMachine>) -> Self {
        Self {
            log,
            state,
            marks: Mutex::default(),
            saved: tokio::sync::Mutex::new(None),
            watermark: AtomicU64::new(0),
            prepared: Mutex::new(None),
        }
    }

    /// The last position the durable snapshot covers; 0 if there is none.
    pub fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// Takes a snapshot and makes it durable. Returns its last entry, or the last one of an
    /// earlier snapshot that covers as much; `None` if nothing is covered yet.
    pub async fn prepare_snapshot(&self) -> Result<Option<LogId>, Error> {
        let taken = self.take_snapshot().await?;
        let covered = taken.as_ref().and_then(|s| s.meta.last_log_id);
        *self.prepared.lock() = taken;
        match covered {
            Some(id) => Ok(Some(id)),
            None => Ok(*self.saved.lock().await),
        }
    }

    /// A new durable snapshot, or `None` if it would cover no more than the last one.
    async fn take_snapshot(&self) -> Result<Option<RaftSnapshot>, Error> {
        let mut saved = self.saved.lock().await;
        let (applied, last_payload) = {
            let marks = self.marks.lock();
            (marks.applied, marks.last_payload)
        };
        let state = self.state.clone();
        let taken = seam::blocking(move || state.snapshot()).await.ok_or_else(|| self.refused(STOPPED))?;
        let taken = taken.map_err(|e| self.refused(e))?;
        let beyond_marks = applied.is_none_or(|id| taken.position > id.index);
        let last = if !beyond_marks && last_payload.is_none_or(|last| taken.position >= last) {
            // It covers all payloads, and what follows them is the log's own: cover that too.
            applied
        } else if taken.position == 0 {
            None
        } else {
            self.check_applied(taken.position)?;
            Some(self.log.log_id_at(taken.position)?)
        };
        if last <= *saved {
            return Ok(None);
        }
        let meta = {
            let marks = self.marks.lock();
            let in_force = last.and_then(|id| marks.membership_at(id.index));
            SnapshotMeta {
                last_log_id: last,
                last_membership: in_force.map(|at| marks.memberships[at].clone()).unwrap_or_default(),
            }
        };
        self.save(&meta, &taken.data).await.map_err(|e| self.not_saved(e))?;
        *saved = last;
        self.set_watermark(last);
        if let Some(id) = last {
            let mut marks = self.marks.lock();
            if let Some(at) = marks.membership_at(id.index) {
                marks.memberships.drain(..at);
            }
        }
        Ok(Some(RaftSnapshot { meta, snapshot: taken.data }))
    }

    async fn install(&self, meta: &SnapshotMeta, data: Bytes) -> io::Result<()> {
        let mut saved = self.saved.lock().await;
        let position = meta.last_log_id.map_or(0, |id| id.index);
        let stored = self.log.snapshot()?.and_then(|s| s.meta.last_log_id);
        if stored != meta.last_log_id {
            self.save(meta, &data).await?;
        }
        let state = self.state.clone();
        let restored =
            seam::blocking(move || state.restore(position, data)).await.unwrap_or_else(|| Err(STOPPED.into()));
        restored.map_err(|e| self.log.fail(self.refused(e)))?;
        *self.marks.lock() = Marks {
            applied: meta.last_log_id,
            last_payload: Some(position),
            memberships: vec![meta.last_membership.clone()],
        };
        *saved = meta.last_log_id;
        self.set_watermark(meta.last_log_id);
        if meta.last_log_id.is_some() {
            self.log.applied(position);
        }
        Ok(())
    }

    fn apply(&self, entry: Entry) -> Bytes {
        let index = entry.log_id.index;
        {
            let mut marks = self.marks.lock();
            marks.applied = Some(entry.log_id);
            match &entry.payload {
                Content::Normal(_) => marks.last_payload = Some(index),
                Content::Membership(membership) => {
                    let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
                    marks.memberships.push(stored);
                }
                Content::Blank => {}
            }
        }
        let response = match &entry.payload {
            Content::Normal(payload) => self.state.apply(index, payload),
            Content::Blank | Content::Membership(_) => Bytes::new(),
        };
        self.log.applied(index);
        response
    }

    async fn save(&self, meta: &SnapshotMeta, data: &[u8]) -> io::Result<()> {
        self.log.save_snapshot(stored_snapshot::encode(meta, data)).await
    }

    fn set_watermark(&self, last: Option<LogId>) {
        self.watermark.store(last.map_or(0, |id| id.index), Ordering::Release);
    }

    fn check_applied(&self, position: u64) -> Result<(), Error> {
        let applied = self.marks.lock().applied.map_or(0, |id| id.index);
        if position <= applied {
            return Ok(());
        }
        let message = format!("its snapshot claims position {position}, but only {applied} is applied");
        Err(self.refused(message))
    }

    fn refused(&self, error: impl ToString) -> Error {
        Error::StateMachine { group: self.log.name.to_string(), message: error.to_string() }
    }

    fn not_saved(&self, error: io::Error) -> Error {
        self.log.failure().unwrap_or_else(|| Error::storage(&self.log.name, error))
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let marks = self.0.marks.lock();
        let membership = marks.memberships.last().cloned().unwrap_or_default();
        Ok((marks.applied, membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut run = 0;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let response = self.0.apply(entry);
            if let Some(responder) = responder {
                responder.send(response);
            }
            run += 1;
            if run % APPLY_RUN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        self.0.install(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(self.0.log.snapshot()?)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let prepared = self.0.prepared.lock().take();
        if let Some(snapshot) = prepared {
            return Ok(snapshot);
        }
        if let Some(snapshot) = self.0.take_snapshot().await? {
            return Ok(snapshot);
        }
        // Nothing new to cover: the last one, or one that covers nothing.
        let last = self.0.log.snapshot()?;
        Ok(last.unwrap_or_else(|| RaftSnapshot { meta: SnapshotMeta::default(), snapshot: Bytes::new() }))
    }
}
