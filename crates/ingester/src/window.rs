//! The names of the batches that a partition took last, and which copies it refused: part of the
//! replicated state, the same on every replica, and outliving the log's trim in its snapshot.
//!
//! A writer that lost its answer sends the batch again, to whoever leads by then. The first copy in
//! the log is stored, the others are answered with its position.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bonghwa_protocol::BatchId;
use bytes::{Buf, BufMut, Bytes};
use foldhash::fast::FixedState;

/// Names remembered. A name is forgotten when so many others came after it.
const CAPACITY: usize = 32_768;
const VERSION: u8 = 1;

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is stored at the entry's own position.
    Stored,
    /// It has this position already.
    Duplicate(u64),
    /// The partition is sealed: it is stored nowhere here.
    Refused,
}

/// The replicated state of a partition beside its records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Window {
    order: VecDeque<(BatchId, u64)>,
    positions: HashMap<BatchId, u64, FixedState>,
    /// The last entry decided about. Those up to here are applied again after a start, and must
    /// change nothing.
    through: u64,
    /// Entry -> batches in it, by their place, that are stored elsewhere or not at all.
    skipped: BTreeMap<u64, Vec<u32>>,
    /// The entry that sealed the partition.
    sealed: Option<u64>,
}

/// A snapshot that this build cannot read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WindowError {
    #[error("the partition's snapshot has version {0}, this build reads up to {VERSION}: upgrade this node")]
    Version(u8),
    #[error("the partition's snapshot ends early")]
    Truncated,
}

impl Window {
    /// Decides about the batches of the entry at `position`, in their order, and remembers it.
    pub(crate) fn take(&mut self, position: u64, names: impl Iterator<Item = Option<BatchId>>) -> Vec<Fate> {
        if position <= self.through {
            let skipped = self.skipped(position);
            let again = |at| if skipped.contains(&at) { Fate::Refused } else { Fate::Stored };
            return (0u32..).zip(names).map(|(at, _)| again(at)).collect();
        }
        self.through = position;
        let fates: Vec<Fate> = names.map(|name| self.take_one(position, name)).collect();
        let skipped: Vec<u32> =
            (0u32..).zip(&fates).filter(|(_, fate)| **fate != Fate::Stored).map(|(at, _)| at).collect();
        if !skipped.is_empty() {
            self.skipped.insert(position, skipped);
        }
        fates
    }

    fn take_one(&mut self, position: u64, name: Option<BatchId>) -> Fate {
        if let Some(known) = name.and_then(|name| self.positions.get(&name)) {
            return Fate::Duplicate(*known);
        }
        if self.sealed.is_some_and(|sealed| sealed < position) {
            return Fate::Refused;
        }
        if let Some(name) = name {
            if self.order.len() == CAPACITY
                && let Some((oldest, _)) = self.order.pop_front()
            {
                self.positions.remove(&oldest);
            }
            self.order.push_back((name, position));
            self.positions.insert(name, position);
        }
        Fate::Stored
    }

    /// The batches of an applied entry that are not stored with it.
    pub(crate) fn skipped(&self, position: u64) -> &[u32] {
        self.skipped.get(&position).map_or(&[], Vec::as_slice)
    }

    /// The partition takes nothing after this position.
    pub(crate) fn seal(&mut self, position: u64) {
        self.sealed.get_or_insert(position);
    }

    /// The entry that sealed the partition.
    pub(crate) fn sealed(&self) -> Option<u64> {
        self.sealed
    }

    /// Forgets what was skipped up to here: those entries are not read again.
    pub(crate) fn trim(&mut self, watermark: u64) {
        self.skipped = self.skipped.split_off(&(watermark + 1));
    }

    /// The state as bytes, and beside it the watermark that it is stored with.
    pub(crate) fn encode(&self, watermark: u64) -> Bytes {
        let mut out = Vec::with_capacity(48 + self.order.len() * 24);
        out.put_u8(VERSION);
        out.put_u64_le(watermark);
        out.put_u64_le(self.through);
        out.put_u64_le(self.sealed.unwrap_or(0));
        out.put_u32_le(self.order.len() as u32);
        for (name, position) in &self.order {
            out.put_slice(&name.to_bytes());
            out.put_u64_le(*position);
        }
        out.put_u32_le(self.skipped.len() as u32);
        for (position, skipped) in &self.skipped {
            out.put_u64_le(*position);
            out.put_u32_le(skipped.len() as u32);
            skipped.iter().for_each(|at| out.put_u32_le(*at));
        }
        out.into()
    }

    /// The state that [`encode`](Self::encode) wrote, and the watermark beside it; empty and 0 for
    /// the empty bytes of older releases.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<(Self, u64), WindowError> {
        let mut window = Window::default();
        if bytes.is_empty() {
            return Ok((window, 0));
        }
        match bytes.get_u8() {
            VERSION => {}
            other => return Err(WindowError::Version(other)),
        }
        let truncated = |_| WindowError::Truncated;
        let watermark = bytes.try_get_u64_le().map_err(truncated)?;
        window.through = bytes.try_get_u64_le().map_err(truncated)?;
        window.sealed = Some(bytes.try_get_u64_le().map_err(truncated)?).filter(|sealed| *sealed > 0);
        for _ in 0..bytes.try_get_u32_le().map_err(truncated)? {
            let mut name = [0; 16];
            bytes.try_copy_to_slice(&mut name).map_err(truncated)?;
            let position = bytes.try_get_u64_le().map_err(truncated)?;
            let Some(name) = BatchId::from_bytes(&name) else { continue };
            window.order.push_back((name, position));
            window.positions.insert(name, position);
        }
        for _ in 0..bytes.try_get_u32_le().map_err(truncated)? {
            let position = bytes.try_get_u64_le().map_err(truncated)?;
            let count = bytes.try_get_u32_le().map_err(truncated)?;
            let skipped: Result<Vec<u32>, _> = (0..count).map(|_| bytes.try_get_u32_le()).collect();
            window.skipped.insert(position, skipped.map_err(truncated)?);
        }
        Ok((window, watermark))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(n: u128) -> Option<BatchId> {
        Some(BatchId::new(n))
    }

    #[test]
    fn a_batch_is_stored_once_and_a_sealed_partition_takes_none() {
        let mut window = Window::default();
        assert_eq!(
            window.take(3, [name(1), None, name(1)].into_iter()),
            [Fate::Stored, Fate::Stored, Fate::Duplicate(3)]
        );
        assert_eq!(window.take(5, [name(2), name(1)].into_iter()), [Fate::Stored, Fate::Duplicate(3)]);
        window.seal(6);
        let after = window.take(7, [name(3), name(2), None].into_iter());
        assert_eq!(after, [Fate::Refused, Fate::Duplicate(5), Fate::Refused], "what it has, it has");
        assert_eq!((window.skipped(3), window.skipped(5), window.skipped(7)), (&[2][..], &[1][..], &[0, 1, 2][..]));
        window.trim(5);
        assert_eq!((window.skipped(5), window.skipped(7).len()), (&[][..], 3));
    }

    #[test]
    fn a_replay_comes_to_the_same() {
        let entries: Vec<(u64, Vec<Option<BatchId>>)> =
            (1..40).map(|p| (p, vec![name(u128::from(p % 13) + 1), name(u128::from(p % 7) + 100)])).collect();
        let mut window = Window::default();
        let fates: Vec<_> = entries.iter().map(|(p, names)| window.take(*p, names.iter().copied())).collect();
        let bytes = window.encode(17);
        for cut in 1..bytes.len() {
            assert!(Window::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        let (mut again, watermark) = Window::decode(bytes).unwrap();
        assert_eq!((&again, watermark), (&window, 17));
        for ((position, names), expected) in entries.iter().zip(fates).skip(20) {
            let stored = |fates: &[Fate]| fates.iter().map(|f| *f == Fate::Stored).collect::<Vec<_>>();
            let fates = again.take(*position, names.iter().copied());
            assert_eq!(stored(&fates), stored(&expected), "entry {position}");
        }
        assert_eq!(again, window, "and changes nothing");
    }

    #[test]
    fn old_names_are_forgotten_first() {
        let mut window = Window::default();
        for n in 0..=CAPACITY as u64 {
            window.take(n + 1, [name(u128::from(n) + 1)].into_iter());
        }
        let fates = window.take(u64::MAX, [name(2), name(1)].into_iter());
        assert_eq!(fates, [Fate::Duplicate(2), Fate::Stored]);
    }
}
