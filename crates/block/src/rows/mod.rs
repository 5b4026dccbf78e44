//! From batches to physical columns: whose rows they are, in which order they go
//! into the block, and one builder per signal.

mod attributes;
mod common;
mod logs;
mod metrics;
mod order;
mod records;
mod series;
mod spans;
mod tables;

use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;

pub(crate) use attributes::kind_name;
pub(crate) use common::Input;
pub(crate) use metrics::Samples;
pub(crate) use order::{Row, by_trace, in_batch_order, sorted};
pub(crate) use series::{Ordered, Point, Series, SeriesSlice};

use crate::BlockError;
use crate::layout::Layout;
use crate::physical::PhysicalColumn;

/// Tells which physical columns are wanted, by their index in the layout.
pub(crate) type Wanted<'a> = &'a dyn Fn(usize) -> bool;

/// Builds columns of rows: of which batches, in which layout, and which of its columns.
pub(crate) struct Builder<'a> {
    input: &'a Input<'a>,
    layout: &'a Layout,
    wanted: Wanted<'a>,
    places: attributes::Places,
}

impl<'a> Builder<'a> {
    pub fn new(input: &'a Input<'a>, layout: &'a Layout, wanted: Wanted<'a>) -> Self {
        Builder { input, layout, wanted, places: attributes::Places::new(input, layout, wanted) }
    }

    /// Builds the columns of rows, in their order.
    pub fn build(&self, rows: Rows<'_>, tenant: &str) -> Result<Built, BlockError> {
        match (self.layout.signal, rows) {
            (Signal::Logs, Rows::Records(rows)) => logs::build(self, rows, tenant),
            (Signal::Traces, Rows::Records(rows)) => spans::build(self, rows, tenant),
            (Signal::Metrics, Rows::Series(series)) => metrics::build(self, series, tenant),
            (signal, _) => Err(BlockError::Request(format!("rows of {signal} came in another signal's order"))),
        }
    }

    /// Columns of as many rows, none of them built yet.
    fn start(&self, rows: usize) -> Built {
        Built { columns: vec![None; self.layout.schema.fields().len()], rows }
    }

    /// Builds a column if it is wanted.
    fn set(
        &self,
        built: &mut Built,
        name: &str,
        build: impl FnOnce() -> Result<PhysicalColumn, BlockError>,
    ) -> Result<(), BlockError> {
        if let Some(index) = self.layout.index(name).filter(|index| (self.wanted)(*index)) {
            let column = build()?;
            debug_assert_eq!(column.rows(), built.rows, "{name}");
            built.columns[index] = Some(column);
        }
        Ok(())
    }
}

/// Rows in the order in which they go into a block.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// Log records or spans.
    Records(&'a [Row]),
    /// Metric points.
    Series(SeriesSlice<'a>),
}

/// The columns of some rows, by their index in the layout; `None` where not wanted.
pub(crate) struct Built {
    pub columns: Vec<Option<PhysicalColumn>>,
    pub rows: usize,
}

/// The batch of one signal, or an error that names what came instead.
macro_rules! of_signal {
    ($batch:expr, $variant:ident) => {
        match $batch {
            Batch::$variant(batch) => Ok(batch),
            other => Err(crate::BlockError::Request(format!(
                "a batch of {} cannot become rows of {}",
                other.signal(),
                stringify!($variant).to_lowercase()
            ))),
        }
    };
}
pub(crate) use of_signal;

/// Whether a batch has only rows that its tables know: batches decoded from the
/// log are checked there, so this only guards against our own mistakes.
pub(crate) fn check(signal: Signal, batch: &Batch) -> Result<(), BlockError> {
    if batch.signal() != signal {
        return Err(BlockError::Request(format!("a batch of {} came where {signal} were expected", batch.signal())));
    }
    let common = batch.common();
    let last = common.groups.last().map_or(0, |g| g.end as usize);
    let known = |g: &bonghwa_model::batch::Group| {
        (g.resource as usize) < common.resources.len() && (g.scope as usize) < common.scopes.len()
    };
    if last != batch.rows() || !common.groups.iter().all(known) {
        return Err(BlockError::Request("a batch has rows outside its groups, or groups outside its tables".into()));
    }
    let keys = common.keys.names().len() as u32;
    if batch.attributes().keys.iter().any(|key| *key >= keys) {
        return Err(BlockError::Request("a batch has attributes whose key it does not name".into()));
    }
    if let Batch::Metrics(b) = batch
        && b.metric.iter().any(|m| *m as usize >= b.metrics.len())
    {
        return Err(BlockError::Request("a batch has points of a metric that it does not name".into()));
    }
    Ok(())
}
