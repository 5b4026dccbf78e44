//! The first look at the rows: how many there are in each window, their attributes, and
//! where to cut them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bonghwa_model::Signal;
use futures::TryStreamExt;

use super::Merge;
use super::key::Sample;
use crate::BlockError;
use crate::decode::{Gatherer, Items, key_columns};
use crate::describe::Describer;
use crate::layout::{Layout, Owner};
use crate::logical::{Arrays, Mapping};
use crate::read::{BlockReader, Predicate, ScanRequest};

/// What [`Merge::survey`] found.
pub struct Survey {
    /// The windows that have rows, earliest first.
    pub windows: Vec<Window>,
    /// Log records, spans or samples that stay.
    pub kept: u64,
    /// Those that are to be removed.
    pub removed: u64,
}

/// A window of time that has rows.
#[derive(Clone)]
pub struct Window {
    /// Unix nanoseconds.
    pub start: i64,
    /// Unix nanoseconds, inclusive.
    pub end: i64,
    /// Log records, spans or samples.
    pub items: u64,
    pub(super) layout: Arc<Layout>,
    pub(super) sample: Sample,
}

#[derive(Default)]
struct Seen {
    items: u64,
    describer: Describer,
    sample: Sample,
}

impl Merge {
    /// Looks at all rows once. Memory: a few pages, and what describes the windows.
    pub async fn survey(&mut self) -> Result<Survey, BlockError> {
        let mut windows: BTreeMap<i64, Seen> = BTreeMap::new();
        let mut removed = 0;
        for block in &self.blocks {
            let view = View::new(self, block)?;
            let needed = view.with(attribute_columns(&block.footer.layout));
            let plan = block.plan(&self.request(Predicate::default())).await?;
            let mut stream = block.arrays(&plan, &needed)?;
            while let Some(arrays) = stream.try_next().await? {
                let items = Items::new(&block.footer.layout, &arrays).map_err(|e| e.at(&block.path))?;
                let stays = view.stays(&arrays, items.len()).map_err(|e| e.at(&block.path))?;
                removed += stays.iter().filter(|stays| !**stays).count() as u64;
                self.look(&mut windows, block, &arrays, &items, &stays).map_err(|e| e.at(&block.path))?;
            }
        }
        let kept = windows.values().map(|seen| seen.items).sum();
        let windows = windows.into_iter().map(|(start, mut seen)| {
            seen.sample.sort();
            let end = start.saturating_add(self.options.window_nanos - 1);
            let layout = Arc::new(Layout::choose(self.signal, &seen.describer));
            Window { start, end, items: seen.items, layout, sample: seen.sample }
        });
        Ok(Survey { windows: windows.collect(), kept, removed })
    }

    fn look(
        &self,
        windows: &mut BTreeMap<i64, Seen>,
        block: &BlockReader,
        arrays: &Arrays,
        items: &Items<'_>,
        stays: &[bool],
    ) -> Result<(), BlockError> {
        let mut left: Vec<bool> = stays.to_vec();
        // Nearly always all of them lie in one window, or in two.
        while let Some(first) = left.iter().position(|left| *left) {
            let start = window_start(items.time(first), self.options.window_nanos);
            let seen = windows.entry(start).or_default();
            let mut heads = vec![false; left.len()];
            for row in 0..items.rows() {
                let mut head = true;
                for item in items.of_row(row) {
                    if left[item] && window_start(items.time(item), self.options.window_nanos) == start {
                        left[item] = false;
                        seen.items += 1;
                        seen.sample.add(items.key(row, item));
                        // The samples of a series share its attributes: they count once.
                        heads[item] = std::mem::take(&mut head) || self.signal != Signal::Metrics;
                    }
                }
            }
            let mut gatherer = Gatherer::new(self.signal);
            gatherer.add(&block.footer.layout, arrays, items, &heads)?;
            seen.describer.add(gatherer.batch());
        }
        Ok(())
    }

    pub(super) fn request(&self, predicate: Predicate) -> ScanRequest {
        ScanRequest { tenant: self.tenant.clone(), columns: Vec::new(), predicate }
    }
}

/// Where the window of a time begins.
fn window_start(time: i64, window: i64) -> i64 {
    // The first window of all is cut off by the least time there is.
    time.checked_sub(time.rem_euclid(window)).unwrap_or(i64::MIN)
}

/// The columns of attributes and of the service: what a layout is chosen by.
fn attribute_columns(layout: &Layout) -> Vec<usize> {
    let fixed = ["service_name", Owner::Resource.rest(), Owner::Record.rest()];
    let fixed = fixed.iter().filter_map(|name| layout.index(name));
    fixed.chain(layout.promoted.iter().map(|promoted| promoted.index)).collect()
}

/// How one block shows what removals ask for.
pub(super) struct View<'a> {
    merge: &'a Merge,
    mapping: Mapping,
    keys: BTreeSet<usize>,
    carried_out: u64,
}

impl<'a> View<'a> {
    pub fn new(merge: &'a Merge, block: &BlockReader) -> Result<Self, BlockError> {
        let layout = &block.footer.layout;
        // Text of every type that a value may have: what is promoted is found as such.
        let mapping = Mapping::new(layout, merge.removals.columns(), &|_, _| true).map_err(|e| e.at(&block.path))?;
        let keys = key_columns(layout.signal).iter().filter_map(|name| layout.index(name)).collect();
        Ok(View { merge, mapping, keys, carried_out: block.deletes_through() })
    }

    /// These physical columns, and those that keys and removals need.
    pub fn with(&self, columns: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        self.keys.iter().chain(&self.mapping.needed).copied().chain(columns).collect()
    }

    /// Which items are not to be removed.
    pub fn stays(&self, arrays: &Arrays, items: usize) -> Result<Vec<bool>, BlockError> {
        if self.merge.removals.is_empty() {
            return Ok(vec![true; items]);
        }
        let shown = self.mapping.apply(arrays, &(i64::MIN..=i64::MAX))?;
        let stays = self.merge.removals.stays(shown.columns(), items, self.carried_out)?;
        Ok((0..items).map(|item| stays.value(item)).collect())
    }
}
