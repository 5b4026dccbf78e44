//! Rows that are not in a block yet, in the form in which blocks show theirs.

use arrow_array::RecordBatch;
use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;

use crate::BlockError;
use crate::column::Column;
use crate::describe::describe;
use crate::layout::{Layout, Owner};
use crate::logical::{Arrays, Mapping};
use crate::rows::{Builder, Input, in_batch_order, order_series};

/// The rows of a batch as these logical columns: the same values as from a block.
/// Logs and spans keep their order; metric points come series by series.
pub fn to_record_batch(batch: &Batch, columns: &[Column]) -> Result<RecordBatch, BlockError> {
    let signal = batch.signal();
    let input = Input::new(signal, vec![batch])?;
    let described = describe(std::iter::once(batch));
    let layout = Layout::for_columns(signal, &described, columns);
    let rest_holds = |owner: Owner, key: &str| match owner {
        Owner::Resource => described.resource.contains_key(key),
        Owner::Record => described.record.contains_key(key),
    };
    let mapping = Mapping::new(&layout, columns, &rest_holds)?;
    let mut rows = in_batch_order(&input, &[0]);
    if signal == Signal::Metrics {
        rows = order_series(&input, rows)?;
    }
    let wanted = |index| mapping.needed.contains(&index);
    let built = Builder::new(&input, &layout, &wanted).build(&rows, "")?;
    let mut arrays = Arrays { columns: Vec::with_capacity(built.columns.len()), rows: built.rows };
    for (column, field) in built.columns.into_iter().zip(layout.schema.fields()) {
        arrays.columns.push(column.map(|c| c.into_array(field.data_type())).transpose()?);
    }
    mapping.apply(&arrays, &(i64::MIN..=i64::MAX))
}
