//! Rows that are not in a block yet, in the form in which blocks show theirs.

use arrow_array::RecordBatch;
use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;

use crate::BlockError;
use crate::column::{Column, schema};
use crate::describe::describe;
use crate::layout::{Layout, Owner};
use crate::logical::{Arrays, Mapping};
use crate::rows::{Builder, Input, Rows, Series, in_batch_order};

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
    let wanted = |index| mapping.needed.contains(&index);
    let builder = Builder::new(&input, &layout, &wanted);
    let rows = in_batch_order(&input, &[0]);
    let built = match signal {
        Signal::Logs | Signal::Traces => builder.build(Rows::Records(&rows), "")?,
        Signal::Metrics => {
            let series = Series::order(&input, rows)?;
            match series.slices(usize::MAX).first() {
                Some(all) => builder.build(Rows::Series(*all), "")?,
                None => return Ok(RecordBatch::new_empty(schema(signal, columns))),
            }
        }
    };
    let mut arrays = Arrays { columns: Vec::with_capacity(built.columns.len()), rows: built.rows };
    for (column, field) in built.columns.into_iter().zip(layout.schema.fields()) {
        arrays.columns.push(column.map(|c| c.into_array(field.data_type())).transpose()?);
    }
    mapping.apply(&arrays, &(i64::MIN..=i64::MAX))
}
