//! Where every entry lies, in memory: by family and position; and how much of each segment is still
//! wanted.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

use super::files::Segment;
use super::frame::Item;
use crate::raft_types::LogId;

/// Where an entry's record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub segment: u64,
    pub offset: u64,
    pub length: u32,
}

/// An entry that is in the log.
pub(crate) struct Wanted {
    pub family: u64,
    pub position: u64,
    pub place: Place,
}

#[derive(Debug, Default)]
pub(crate) struct Family {
    pub entries: BTreeMap<u64, Place>,
    /// As of the frames.
    pub committed: Option<LogId>,
}

/// A segment and how many bytes of its records are in the log.
struct Held {
    segment: Arc<Segment>,
    live: u64,
    /// Bytes of its frames.
    bytes: u64,
}

#[derive(Default)]
pub(crate) struct Index {
    families: BTreeMap<u64, Family>,
    ids: BTreeMap<String, u64>,
    segments: BTreeMap<u64, Held>,
    /// The greatest number of a family that has, or had, an entry.
    last_family: u64,
}

impl Index {
    pub fn last_family(&self) -> u64 {
        self.last_family
    }

    pub fn has_segments(&self) -> bool {
        !self.segments.is_empty()
    }

    pub fn families(&self) -> impl Iterator<Item = &str> {
        self.ids.keys().map(String::as_str)
    }

    pub fn id(&self, name: &str) -> Option<u64> {
        self.ids.get(name).copied()
    }

    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.get(self.ids.get(name)?)
    }

    pub fn add_family(&mut self, name: &str, id: u64) {
        self.ids.insert(name.to_owned(), id);
        self.families.insert(id, Family::default());
    }

    pub fn drop_family(&mut self, name: &str) {
        let Some(id) = self.ids.remove(name) else { return };
        self.remove(id, ..);
        self.families.remove(&id);
    }

    pub fn forget_committed(&mut self, name: &str) {
        if let Some(family) = self.ids.get(name).and_then(|id| self.families.get_mut(id)) {
            family.committed = None;
        }
    }

    pub fn add_segment(&mut self, segment: Arc<Segment>) {
        self.segments.insert(segment.number, Held { segment, live: 0, bytes: 0 });
    }

    /// The segment of a place; none once it was given up.
    pub fn segment(&self, number: u64) -> Option<Arc<Segment>> {
        self.segments.get(&number).map(|held| held.segment.clone())
    }

    /// Takes in the items of a frame, with the offsets of their records in the segment, and where
    /// the frame ends.
    pub fn apply(&mut self, segment: u64, items: impl IntoIterator<Item = (Item, u64)>, end: u64) {
        if let Some(held) = self.segments.get_mut(&segment) {
            held.bytes = end;
        }
        for (item, offset) in items {
            match item {
                Item::Entry { family, position, length } => {
                    self.remove(family, position..);
                    self.put(family, position, Place { segment, offset, length });
                }
                Item::Moved { family, position, length } => {
                    self.remove(family, position..=position);
                    self.put(family, position, Place { segment, offset, length });
                }
                Item::Truncate { family, from } => self.remove(family, from..),
                Item::Committed { family, id } => {
                    if let Some(family) = self.families.get_mut(&family) {
                        family.committed = Some(id);
                    }
                }
                Item::Follows { .. } | Item::Closed => {}
            }
        }
    }

    /// Nothing, where the family was dropped.
    fn put(&mut self, family: u64, position: u64, place: Place) {
        self.last_family = self.last_family.max(family);
        let Some(family) = self.families.get_mut(&family) else { return };
        family.entries.insert(position, place);
        if let Some(held) = self.segments.get_mut(&place.segment) {
            held.live += u64::from(place.length);
        }
    }

    /// Forgets entries of a family.
    pub fn remove(&mut self, family: u64, positions: impl RangeBounds<u64>) {
        let Some(family) = self.families.get_mut(&family) else { return };
        for (_, place) in family.entries.extract_if(positions, |_, _| true) {
            if let Some(held) = self.segments.get_mut(&place.segment) {
                held.live -= u64::from(place.length);
            }
        }
    }

    /// Segments, and whether most of what they hold is wanted no more.
    pub fn crowding(&self) -> (usize, bool) {
        let (live, bytes) = self.segments.values().fold((0, 0), |(l, b), held| (l + held.live, b + held.bytes));
        (self.segments.len(), live < bytes / 2)
    }

    /// Gives up the oldest segment before `current`, if nothing in it is wanted.
    pub fn give_up(&mut self, current: u64) -> Option<Arc<Segment>> {
        let oldest = self.segments.first_entry().filter(|oldest| *oldest.key() < current && oldest.get().live == 0)?;
        Some(oldest.remove().segment)
    }

    /// Whether [`give_up`](Self::give_up) would.
    pub fn can_give_up(&self, current: u64) -> bool {
        self.segments.first_key_value().is_some_and(|(number, held)| *number < current && held.live == 0)
    }

    /// The oldest segment before `current`, and what is wanted of it.
    pub fn oldest(&self, current: u64) -> Option<(Arc<Segment>, Vec<Wanted>)> {
        let (number, held) = self.segments.first_key_value().filter(|(number, _)| **number < current)?;
        let mut wanted = Vec::new();
        for (id, family) in &self.families {
            let here = family.entries.iter().filter(|(_, place)| place.segment == *number);
            wanted.extend(here.map(|(position, place)| Wanted { family: *id, position: *position, place: *place }));
        }
        Some((held.segment.clone(), wanted))
    }
}
