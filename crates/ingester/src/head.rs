//! The head of one partition: the state machine of its log. On every replica it keeps the watermark
//! and the [`Window`] of batch names; on the leader also what the log holds beyond the watermark,
//! decoded and readable.
//!
//! A follower keeps bytes only. When a node begins to lead, [`begin_loading`](Head::begin_loading)
//! and [`load`](Head::load) bring the head up from the node's own log, while new entries are applied;
//! [`finish_loading`](Head::finish_loading) closes the gap between both.

use std::collections::VecDeque;
use std::sync::Arc;

use bonghwa_cluster::seam::{self, Instant};
use bonghwa_model::TenantId;
use bonghwa_model::batch::Batch;
use bonghwa_model::codec::{self, CodecError};
use bonghwa_model::thin::Piece;
use bonghwa_protocol::BatchId;
use bonghwa_replog::{Payload, Snapshot, StateMachine};
use bytes::{BufMut, Bytes};
use parking_lot::Mutex;

use crate::frame::{Frame, Framed};
use crate::memory::{HeadMemory, Reservation};
use crate::window::{Fate, Window};
use crate::{frame, metrics};

mod derived;
mod known;

use derived::Derived;
pub(crate) use derived::SeriesError;
pub(crate) use known::Kept;
use known::{Generation, Known};

/// A batch and whose it is.
pub(crate) type Rows = (TenantId, Arc<Batch>);

/// The decoded form of a log entry, riding along from the appending node with the memory
/// that is reserved for it.
pub(crate) struct Staged {
    names: Vec<Option<BatchId>>,
    rows: Vec<Rows>,
    reserved: Mutex<Vec<Reservation>>,
}

impl Staged {
    pub(crate) fn new(names: Vec<Option<BatchId>>, rows: Vec<Rows>, reserved: Vec<Reservation>) -> Self {
        Staged { names, rows, reserved: Mutex::new(reserved) }
    }
}

/// Whether the head holds what lies beyond the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It holds nothing: another node leads.
    Following,
    /// It holds what lies before `next`; the rest is being read from the log.
    Loading { next: u64 },
    /// It holds everything that is applied.
    Leading,
}

/// Why a tail cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailError {
    /// The watermark lies below what is still kept: the caller needs a newer catalog copy.
    Stale,
    /// The head does not hold everything: wait, or ask the leader.
    NotLoaded,
}

struct Entry {
    position: u64,
    arrived: Instant,
    kept: Vec<Kept>,
    bytes: usize,
    /// Entries from here on are what it needs: they tell of its series.
    needs: u64,
}

struct State {
    mode: Mode,
    /// Grows with each change of the mode that empties the head: what was decoded for an earlier
    /// one is not put in.
    epoch: u64,
    /// Entries in position order; those up to `watermark` are kept for older catalog copies.
    entries: VecDeque<Entry>,
    /// Queries may ask from here on: everything after it is in `entries`, once loaded.
    kept_from: u64,
    /// Committed to the catalog up to here.
    watermark: u64,
    /// Applied up to here.
    applied: u64,
    /// New samples do without what entries from here on tell of their series.
    told_since: u64,
    /// What was applied up to here is in `entries`, if this node leads.
    visible: u64,
    /// The log may have nothing up to here any more: it was trimmed past the last flushed record,
    /// over entries of its own.
    covered: u64,
    /// Memory of the entries beyond the watermark.
    unflushed_bytes: usize,
    /// When the watermark reached which position.
    flushed: VecDeque<(Instant, u64)>,
    window: Window,
    /// Why this build cannot read an entry that a newer one wrote.
    newer: Option<String>,
}

/// What a flush takes: the entries with positions in `from < p <= to`.
pub(crate) struct FlushRange {
    pub from: u64,
    pub to: u64,
    pub kept: Vec<Kept>,
}

pub(crate) struct Head {
    partition: String,
    memory: Arc<HeadMemory>,
    state: Mutex<State>,
    derived: Mutex<Derived>,
    /// Locked while `state` is, and never the other way round.
    known: Mutex<Known>,
}

/// Rows of a tenant beyond a position.
struct Beyond {
    /// Those up to here were let go of.
    after: u64,
    /// Those up to here are in.
    through: u64,
    pieces: Vec<(u64, Piece)>,
}

impl State {
    fn generation(&self) -> Generation {
        Generation { epoch: self.epoch, since: self.told_since }
    }
}

impl Head {
    /// A head whose records up to `watermark` lie in blocks.
    pub(crate) fn new(partition: String, watermark: u64, memory: Arc<HeadMemory>) -> Self {
        let state = State {
            mode: Mode::Following,
            epoch: 0,
            entries: VecDeque::new(),
            kept_from: watermark,
            watermark,
            applied: 0,
            told_since: watermark + 1,
            visible: 0,
            covered: 0,
            unflushed_bytes: 0,
            flushed: VecDeque::new(),
            window: Window::default(),
            newer: None,
        };
        Head { partition, memory, state: Mutex::new(state), derived: Mutex::default(), known: Mutex::default() }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.state.lock().mode
    }

    pub(crate) fn watermark(&self) -> u64 {
        self.state.lock().watermark
    }

    pub(crate) fn applied(&self) -> u64 {
        self.state.lock().applied
    }

    /// The entry that sealed the partition.
    pub(crate) fn sealed(&self) -> Option<u64> {
        self.state.lock().window.sealed()
    }

    /// Bytes beyond the watermark, and since when the oldest of them is here.
    pub(crate) fn unflushed(&self) -> (usize, Option<Instant>) {
        let state = self.state.lock();
        let first = state.entries.partition_point(|e| e.position <= state.watermark);
        (state.unflushed_bytes, state.entries.get(first).map(|e| e.arrived))
    }

    /// Another node leads: what is held is let go.
    pub(crate) fn follow(&self) {
        let mut state = self.state.lock();
        if state.mode != Mode::Following {
            self.empty(&mut state, Mode::Following);
        }
    }

    /// This node leads: the head is to be filled from the log.
    pub(crate) fn begin_loading(&self) {
        let mut state = self.state.lock();
        let next = state.watermark.max(state.covered) + 1;
        self.empty(&mut state, Mode::Loading { next });
    }

    fn empty(&self, state: &mut State, mode: Mode) {
        let bytes = state.entries.drain(..).map(|e| e.bytes).sum();
        state.mode = mode;
        state.epoch += 1;
        state.kept_from = state.watermark;
        state.unflushed_bytes = 0;
        state.flushed.clear();
        self.forget_series(state);
        self.derived.lock().begin(state.epoch);
        self.memory.sub(bytes);
    }

    /// From now on entries tell of their series again.
    fn forget_series(&self, state: &mut State) {
        state.told_since = state.entries.back().map_or(0, |last| last.position).max(state.watermark) + 1;
        self.forget_known();
    }

    /// Puts in an entry that was read from the log while loading, unless it is in or flushed.
    pub(crate) fn load(&self, position: u64, bytes: &Bytes) {
        let generation = {
            let state = self.state.lock();
            let wanted = matches!(state.mode, Mode::Loading { next } if position >= next);
            if !wanted {
                return;
            }
            state.generation()
        };
        let rows = match self.read(position, bytes) {
            Some(Frame::Batches(batches)) => {
                let skipped = self.state.lock().window.skipped(position).to_vec();
                self.decode(position, batches, |at| !skipped.contains(&at))
            }
            Some(Frame::Seal) | None => Vec::new(),
        };
        let kept = self.thin(generation, &rows);
        let mut state = self.state.lock();
        if state.epoch != generation.epoch {
            return;
        }
        if let Mode::Loading { next } = &mut state.mode
            && position >= *next
        {
            *next = position + 1;
            self.insert(&mut state, position, rows, (generation, kept));
        }
    }

    /// Ends loading if everything that is applied is in; the next position to load otherwise.
    pub(crate) fn finish_loading(&self) -> Option<u64> {
        let mut state = self.state.lock();
        match state.mode {
            Mode::Loading { next } if state.applied >= next => Some(next),
            Mode::Loading { .. } => {
                state.mode = Mode::Leading;
                None
            }
            Mode::Following | Mode::Leading => None,
        }
    }

    /// Everything up to here was read from the log, and it has no more batches.
    pub(crate) fn loaded_through(&self, position: u64) {
        if let Mode::Loading { next } = &mut self.state.lock().mode {
            *next = (*next).max(position + 1);
        }
    }

    /// What is applied and not flushed, oldest first, up to about so many bytes; `None` if
    /// there is nothing. A range without rows ends at the entry that sealed the partition.
    /// What comes behind it tells of its series again.
    pub(crate) fn flush_range(&self, about: usize) -> Option<FlushRange> {
        let mut state = self.state.lock();
        let range = self.range(&state, about)?;
        self.forget_series(&mut state);
        Some(range)
    }

    fn range(&self, state: &State, about: usize) -> Option<FlushRange> {
        let first = state.entries.partition_point(|e| e.position <= state.watermark);
        let mut kept: Vec<Kept> = Vec::new();
        let (mut bytes, mut last) = (0, state.watermark);
        for entry in state.entries.range(first..) {
            if bytes >= about {
                return Some(FlushRange { from: state.watermark, to: last, kept });
            }
            kept.extend(entry.kept.iter().cloned());
            bytes += entry.bytes;
            last = entry.position;
        }
        let to = match state.mode {
            Mode::Following => return None,
            Mode::Loading { .. } => last,
            // Of what is applied the last entry may be on its way into `entries`: it is not taken.
            Mode::Leading => state.visible.max(last),
        };
        let sealed = state.window.sealed().filter(|_| state.mode == Mode::Leading);
        let seals = sealed.is_some_and(|sealed| sealed > state.watermark && sealed <= to);
        (!kept.is_empty() || seals).then_some(FlushRange { from: state.watermark, to, kept })
    }

    /// Why an entry cannot be read that a newer Bonghwa wrote. A flush would pass over it, and
    /// the log forget it: such a head must not be used.
    pub(crate) fn newer(&self) -> Option<String> {
        self.state.lock().newer.clone()
    }

    /// The catalog holds everything up to `to` now.
    pub(crate) fn mark_flushed(&self, to: u64) {
        let mut state = self.state.lock();
        if to <= state.watermark {
            return;
        }
        let first = state.entries.partition_point(|e| e.position <= state.watermark);
        let end = state.entries.partition_point(|e| e.position <= to);
        let bytes: usize = state.entries.range(first..end).map(|e| e.bytes).sum();
        state.unflushed_bytes -= bytes;
        state.watermark = to;
        state.window.trim(to);
        match &mut state.mode {
            Mode::Leading => state.flushed.push_back((seam::now(), to)),
            // What another leader flushed is not read here any more.
            Mode::Loading { next } => {
                let skipped = *next <= to;
                *next = (*next).max(to + 1);
                if skipped {
                    let released = state.entries.drain(..end).map(|e| e.bytes).sum();
                    state.kept_from = to;
                    self.memory.sub(released);
                } else {
                    state.flushed.push_back((seam::now(), to));
                }
            }
            Mode::Following => state.kept_from = to,
        }
        // Another leader flushed: what it took goes.
        if to >= state.told_since {
            self.forget_series(&mut state);
        }
    }

    /// Forgets flushed entries: those flushed before `before`, or all of them if memory is short.
    pub(crate) fn release(&self, before: Option<Instant>) {
        let mut state = self.state.lock();
        let upto = match before {
            None => {
                state.flushed.clear();
                state.watermark
            }
            Some(before) => {
                let mut upto = state.kept_from;
                while let Some(&(at, to)) = state.flushed.front() {
                    if at > before {
                        break;
                    }
                    upto = to;
                    state.flushed.pop_front();
                }
                upto
            }
        };
        let mut end = state.entries.partition_point(|e| e.position <= upto);
        if end > 0 {
            // What tells of the series of entries that stay, stays with them.
            let needed = state.entries.range(end..).map(|e| e.needs).min().unwrap_or(u64::MAX);
            end = end.min(state.entries.partition_point(|e| e.position < needed));
        }
        let released: Vec<Entry> = state.entries.drain(..end).collect();
        state.kept_from = state.kept_from.max(upto);
        let kept_from = state.kept_from;
        drop(state);
        self.memory.sub(released.iter().map(|e| e.bytes).sum());
        if !released.is_empty() {
            self.forget_derived(kept_from);
        }
    }

    /// The tenant's rows with positions in `watermark < p <= through`.
    pub(crate) fn tail(&self, tenant: &TenantId, watermark: u64, through: u64) -> Result<Vec<Piece>, TailError> {
        let state = self.state.lock();
        if state.mode != Mode::Leading {
            return Err(TailError::NotLoaded);
        }
        if watermark < state.kept_from {
            return Err(TailError::Stale);
        }
        let first = state.entries.partition_point(|e| e.position <= watermark);
        let end = state.entries.partition_point(|e| e.position <= through);
        let kept = state.entries.range(first..end.max(first)).flat_map(|e| &e.kept);
        Ok(kept.filter(|(t, _)| t == tenant).map(|(_, piece)| piece.clone()).collect())
    }

    /// The tenant's rows beyond a position, of the head as it was since an epoch began.
    fn beyond(&self, tenant: &TenantId, epoch: u64, from: u64) -> Result<Beyond, TailError> {
        let state = self.state.lock();
        if state.mode != Mode::Leading || state.epoch != epoch {
            return Err(TailError::NotLoaded);
        }
        let first = state.entries.partition_point(|e| e.position <= from);
        let end = state.entries.partition_point(|e| e.position <= state.visible);
        let of_entry = |entry: &Entry| {
            let kept = entry.kept.iter().filter(|(t, _)| t == tenant);
            kept.map(|(_, piece)| (entry.position, piece.clone())).collect::<Vec<_>>()
        };
        let pieces = state.entries.range(first..end.max(first)).flat_map(of_entry).collect();
        Ok(Beyond { after: state.kept_from, through: state.visible, pieces })
    }

    /// Adds the rows of an entry, and what was made of them for a generation.
    fn insert(&self, state: &mut State, position: u64, rows: Vec<Rows>, (generation, thin): (Generation, Vec<Kept>)) {
        let kept: Vec<Kept> = match generation == state.generation() {
            true => thin,
            // A flush took meanwhile what told of its series.
            false => rows.into_iter().map(|(tenant, batch)| (tenant, batch.into())).collect(),
        };
        let needs = match kept.iter().any(|(_, piece)| matches!(piece, Piece::Thin(_))) {
            true => generation.since,
            false => position,
        };
        let bytes = kept.iter().map(|(_, piece)| piece.heap_bytes()).sum();
        self.memory.add(bytes);
        state.unflushed_bytes += bytes;
        state.entries.push_back(Entry { position, arrived: seam::now(), kept, bytes, needs });
    }

    /// The frame of an entry; an unreadable one is told of and has none.
    fn read(&self, position: u64, bytes: &Bytes) -> Option<Frame> {
        frame::decode(bytes).map_err(|error| self.unreadable(position, &error, error.is_newer())).ok()
    }

    /// The batches that are wanted, by their place in the entry.
    fn decode(&self, position: u64, batches: Vec<Framed>, wanted: impl Fn(u32) -> bool) -> Vec<Rows> {
        let mut rows = Vec::with_capacity(batches.len());
        for (_, framed) in (0u32..).zip(batches).filter(|(at, _)| wanted(*at)) {
            match codec::decode(&framed.batch) {
                Ok(batch) => rows.push((framed.tenant, Arc::new(batch))),
                Err(error) => self.unreadable(position, &error, matches!(error, CodecError::Version(_))),
            }
        }
        rows
    }

    fn unreadable(&self, position: u64, error: &dyn std::fmt::Display, newer: bool) {
        metrics::UNREADABLE.inc();
        tracing::error!(partition = self.partition, position, %error, "a log entry cannot be decoded; its records are not visible");
        if newer {
            self.state.lock().newer.get_or_insert_with(|| format!("position {position}: {error}"));
        }
    }
}

/// What a log answers for an entry: the position of each of its batches, 0 where it was refused.
pub(crate) fn positions(answer: &Bytes) -> impl Iterator<Item = u64> {
    answer.chunks_exact(8).map(|bytes| u64::from_le_bytes(std::array::from_fn(|at| bytes[at])))
}

fn answer(position: u64, fates: &[Fate]) -> Bytes {
    let mut out = Vec::with_capacity(fates.len() * 8);
    for fate in fates {
        out.put_u64_le(match fate {
            Fate::Stored => position,
            Fate::Duplicate(position) => *position,
            Fate::Refused => 0,
        });
    }
    out.into()
}

impl Head {
    fn apply_entry(&self, position: u64, payload: &Payload) -> Bytes {
        let staged = payload.decoded.as_ref().and_then(|d| d.downcast_ref::<Staged>());
        // Given back at the end, when the head counts what it got.
        let _reserved = staged.map(|s| std::mem::take(&mut *s.reserved.lock()));
        let frame = match staged {
            Some(_) => None,
            None => self.read(position, &payload.bytes),
        };
        let (fates, generation) = {
            let mut state = self.state.lock();
            state.applied = state.applied.max(position);
            let fates = match (staged, &frame) {
                (Some(staged), _) => state.window.take(position, staged.names.iter().copied()),
                (None, Some(Frame::Batches(batches))) => state.window.take(position, batches.iter().map(|f| f.id)),
                (None, Some(Frame::Seal)) => {
                    state.window.seal(position);
                    return Bytes::new();
                }
                (None, None) => return Bytes::new(),
            };
            if state.mode != Mode::Leading || position <= state.watermark {
                return answer(position, &fates);
            }
            (fates, state.generation())
        };
        let stored = |at: u32| fates[at as usize] == Fate::Stored;
        let rows = match (staged, frame) {
            (Some(staged), _) => {
                let kept = (0u32..).zip(&staged.rows).filter(|(at, _)| stored(*at));
                kept.map(|(_, rows)| rows.clone()).collect()
            }
            (None, Some(Frame::Batches(batches))) => self.decode(position, batches, stored),
            (None, _) => Vec::new(),
        };
        let kept = self.thin(generation, &rows);
        let mut state = self.state.lock();
        if state.epoch == generation.epoch && state.mode == Mode::Leading {
            self.insert(&mut state, position, rows, (generation, kept));
        }
        answer(position, &fates)
    }
}

impl StateMachine for Head {
    fn apply(&self, position: u64, payload: &Payload) -> Bytes {
        let answer = self.apply_entry(position, payload);
        let mut state = self.state.lock();
        state.visible = state.visible.max(position);
        answer
    }

    fn snapshot(&self) -> Result<Snapshot, bonghwa_replog::BoxError> {
        let state = self.state.lock();
        if let Some(newer) = &state.newer {
            return Err(format!("{newer}: the log is kept for the version that wrote it").into());
        }
        let position = state.watermark.min(state.applied);
        Ok(Snapshot { position, data: state.window.encode(state.watermark) })
    }

    /// The log's own position may count entries of the log's own past the last record; the
    /// watermark that was stored beside it is the catalog's.
    fn restore(&self, position: u64, data: Bytes) -> Result<(), bonghwa_replog::BoxError> {
        let (window, watermark) = Window::decode(data)?;
        let mut state = self.state.lock();
        state.watermark = state.watermark.max(watermark);
        self.empty(&mut state, Mode::Following);
        state.window = window;
        state.applied = state.applied.max(position);
        state.visible = state.visible.max(position);
        state.covered = state.covered.max(position);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
