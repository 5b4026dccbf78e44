//! The rows of a window, a range of keys at a time.

use futures::TryStreamExt;

use super::key::{Key, KeyRange, each_key};
use super::survey::View;
use super::{Chunk, Merge, Window, WindowRows};
use crate::BlockError;
use crate::column::Column;
use crate::decode::{Gatherer, Items};
use crate::layout::Order;
use crate::read::{BlockReader, Comparison, Op, Predicate, Scalar};

/// Bytes of an item in memory before any was seen.
const FIRST_GUESS: usize = 256;
/// Keys looked at to halve a range.
const LOOKED_AT: usize = 1024;

/// How far the rows of a window have come.
#[derive(Default)]
pub(super) struct Cursor {
    from: Option<Key>,
    ended: bool,
    /// Of the chunks so far.
    items: u64,
    bytes: u64,
}

impl Cursor {
    fn bytes_per_item(&self) -> u64 {
        self.bytes.checked_div(self.items).unwrap_or(FIRST_GUESS as u64).max(16)
    }
}

impl Merge {
    /// The next rows of a window, in no order; none after the last. All rows of a chunk
    /// come before all of the next, in the order of compacted blocks.
    pub async fn next(&mut self, rows: &mut WindowRows) -> Result<Option<Chunk>, BlockError> {
        while !rows.cursor.ended {
            let cursor = &mut rows.cursor;
            let items = self.options.chunk_bytes() as u64 / cursor.bytes_per_item();
            let mut range = KeyRange { from: cursor.from.clone(), to: None };
            range.to = rows.window.sample.after(range.from.as_ref(), items);
            let mut gathered = Gatherer::new(self.signal);
            for block in self.blocks.clone() {
                self.gather(&block, &rows.window, &mut range, &mut gathered).await?;
            }
            cursor.ended = range.to.is_none();
            cursor.from = range.to;
            cursor.items += gathered.batch().rows() as u64;
            cursor.bytes += gathered.heap_bytes() as u64;
            if gathered.batch().rows() > 0 {
                return Ok(Some(Chunk { gathered, layout: rows.window.layout.clone() }));
            }
        }
        Ok(None)
    }

    /// Adds a block's rows of a range, which gets shorter where there are too many.
    async fn gather(
        &mut self,
        block: &BlockReader,
        window: &Window,
        range: &mut KeyRange,
        gathered: &mut Gatherer,
    ) -> Result<(), BlockError> {
        let layout = &block.footer.layout;
        let mut plan = block.plan(&self.request(predicate(window, range, Order::of_compaction(self.signal)))).await?;
        if Order::of_compaction(self.signal) == Order::Trace {
            let bound = |key: &Option<Key>, open: [u8; 16]| key.as_ref().map_or(open, |key| key.id);
            plan = plan.with_ids_between(bound(&range.from, [0; 16])..=bound(&range.to, [0xff; 16]));
        }
        let needed = (0..layout.schema.fields().len()).collect();
        let view = View::new(self, block)?;
        let mut peak = 0;
        let mut stream = block.arrays(&plan, &needed)?;
        while let Some(arrays) = stream.try_next().await? {
            let add = |gathered: &mut Gatherer| {
                let items = Items::new(layout, &arrays)?;
                let mut kept = view.stays(&arrays, items.len())?;
                for row in 0..items.rows() {
                    for item in items.of_row(row) {
                        kept[item] = kept[item]
                            && (window.start..=window.end).contains(&items.time(item))
                            && range.contains(items.key(row, item));
                    }
                }
                gathered.add(layout, &arrays, &items, &kept)
            };
            add(gathered).map_err(|e| e.at(&block.path))?;
            peak = peak.max(gathered.heap_bytes());
            while gathered.heap_bytes() > self.options.chunk_bytes() && halve(gathered, range) {}
        }
        drop(view);
        self.peak = self.peak.max(peak);
        Ok(())
    }
}

/// What a block can prune by.
fn predicate(window: &Window, range: &KeyRange, order: Order) -> Predicate {
    let mut predicate = Predicate { min_time: window.start, max_time: window.end, ..Default::default() };
    let mut bound = |column: &'static str, op, text: &str| {
        let (column, value) = (Column::Base(column), Scalar::String(text.to_owned()));
        predicate.comparisons.push(Comparison { column, op, value });
    };
    let first = match order {
        Order::Service => "service_name",
        Order::Series => "name",
        Order::Trace => return predicate,
    };
    if let Some(from) = &range.from {
        bound(first, Op::Ge, &from.first);
    }
    if let Some(to) = &range.to {
        bound(first, Op::Le, &to.first);
    }
    if let (Order::Service, Some(from), Some(to)) = (order, &range.from, &range.to)
        && from.first == to.first
    {
        predicate.min_time = predicate.min_time.max(from.time);
        predicate.max_time = predicate.max_time.min(to.time);
    }
    predicate
}

/// Shortens a range to about half of what it has so far, and lets go of the rows behind.
/// False if all of them have one key.
fn halve(gathered: &mut Gatherer, range: &mut KeyRange) -> bool {
    let step = gathered.batch().rows().div_ceil(LOOKED_AT).max(1);
    let mut keys: Vec<Key> = Vec::with_capacity(LOOKED_AT);
    each_key(gathered.batch(), |row, key| {
        if (row as usize).is_multiple_of(step) {
            keys.push(key.into());
        }
    });
    keys.sort_unstable();
    let middle = keys.len() / 2;
    // Nothing may be left in the first half of a range that begins with its middle.
    let Some(cut) = keys.iter().skip(middle).find(|key| Some(*key) > keys.first()).cloned() else { return false };
    let mut before = Vec::new();
    each_key(gathered.batch(), |row, key| {
        if key < cut.as_ref() {
            before.push(row);
        }
    });
    gathered.retain(&before);
    range.to = Some(cut);
    true
}
