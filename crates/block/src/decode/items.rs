//! The items of physical rows, and by what they are sorted: a log record or a span is a
//! row, a metric's row has many samples.

use bonghwa_model::Signal;

use super::cells::{Cells, Ids, Texts};
use crate::BlockError;
use crate::layout::{Layout, Order};
use crate::logical::{Arrays, missing};

/// By what an item is sorted in a compacted block: of logs the service and the time, of
/// spans the trace and the start, of samples the name, the service, the series and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyRef<'a> {
    pub first: &'a str,
    pub second: &'a str,
    pub id: [u8; 16],
    pub time: i64,
}

/// The items of some physical rows.
pub(crate) struct Items<'a> {
    order: Order,
    first: Texts<'a>,
    second: Texts<'a>,
    ids: Ids<'a>,
    times: &'a [i64],
    /// Of metrics: where the samples of each row begin in `times`, and the last end.
    offsets: Option<&'a [i32]>,
}

/// Physical columns that [`Items`] needs.
pub(crate) fn key_columns(signal: Signal) -> &'static [&'static str] {
    match signal {
        Signal::Logs => &["service_name", "time"],
        Signal::Traces => &["trace_id", "start_time"],
        Signal::Metrics => &["name", "service_name", "series_id", "times"],
    }
}

impl<'a> Items<'a> {
    pub fn new(layout: &'a Layout, arrays: &'a Arrays) -> Result<Self, BlockError> {
        let cells = Cells { layout, arrays };
        let order = Order::of_compaction(layout.signal);
        let nothing = || cells.texts("no such column");
        let no_ids = || cells.ids("no such column");
        Ok(match order {
            Order::Service => {
                let times = cells.times("time")?.values();
                Items {
                    order,
                    first: cells.texts("service_name")?,
                    second: nothing()?,
                    ids: no_ids()?,
                    times,
                    offsets: None,
                }
            }
            Order::Trace => {
                let times = cells.times("start_time")?.values();
                Items {
                    order,
                    first: nothing()?,
                    second: nothing()?,
                    ids: cells.ids("trace_id")?,
                    times,
                    offsets: None,
                }
            }
            Order::Series => {
                let list = layout.index("times").and_then(|index| cells.at(index));
                let list = list.and_then(|a| arrow_array::cast::AsArray::as_list_opt::<i32>(a));
                let list = list.ok_or_else(|| missing("times"))?;
                let times = cells.list("times")?.times()?.ok_or_else(|| missing("times"))?;
                Items {
                    order,
                    first: cells.texts("name")?,
                    second: cells.texts("service_name")?,
                    ids: cells.ids("series_id")?,
                    times: times.values(),
                    offsets: Some(list.value_offsets()),
                }
            }
        })
    }

    /// How many items.
    pub fn len(&self) -> usize {
        match self.offsets {
            Some(offsets) => offsets.last().zip(offsets.first()).map_or(0, |(last, first)| (last - first) as usize),
            None => self.times.len(),
        }
    }

    /// The items of a physical row, as numbers from 0.
    pub fn of_row(&self, row: usize) -> std::ops::Range<usize> {
        match self.offsets {
            Some(offsets) => (offsets[row] - offsets[0]) as usize..(offsets[row + 1] - offsets[0]) as usize,
            None => row..row + 1,
        }
    }

    /// The time of an item, Unix nanoseconds.
    pub fn time(&self, item: usize) -> i64 {
        self.times[item + self.offsets.map_or(0, |offsets| offsets[0] as usize)]
    }

    /// Physical rows.
    pub fn rows(&self) -> usize {
        self.offsets.map_or(self.times.len(), |offsets| offsets.len().saturating_sub(1))
    }

    /// The key of a row's item.
    pub fn key(&self, row: usize, item: usize) -> KeyRef<'a> {
        let time = self.time(item);
        match self.order {
            Order::Service => KeyRef { first: self.first.get(row), second: "", id: [0; 16], time },
            Order::Trace => KeyRef { first: "", second: "", id: self.ids.get(row), time },
            Order::Series => {
                KeyRef { first: self.first.get(row), second: self.second.get(row), id: self.ids.get(row), time }
            }
        }
    }
}
