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

/// Samples in one batch of series, about.
const BATCH_SAMPLES: usize = 64 * 1024;

/// The rows of a batch as these logical columns: the same values as from a block.
/// Logs and spans keep their order; metric points come series by series.
pub fn to_record_batch(batch: &Batch, columns: &[Column]) -> Result<RecordBatch, BlockError> {
    let signal = batch.signal();
    let input = Input::new(signal, vec![batch])?;
    let rows = in_batch_order(&input, &[0]);
    let view = View::new(&input, columns)?;
    match signal {
        Signal::Logs | Signal::Traces => view.show(Rows::Records(&rows)),
        Signal::Metrics => match Series::order(&input, rows)?.slices(usize::MAX).first() {
            Some(all) => view.show(Rows::Series(*all)),
            None => Ok(RecordBatch::new_empty(schema(signal, columns))),
        },
    }
}

/// The series of many batches of metrics, a row each, by their lists of samples: the same values as
/// from a block. Only those of metrics whose name is wanted, of any resource.
pub fn to_series(
    batches: &[&Batch],
    columns: &[Column],
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<RecordBatch>, BlockError> {
    let input = Input::new(Signal::Metrics, batches.to_vec())?;
    let is_wanted: Vec<bool> = input.metrics.iter().map(|metric| wanted(&metric.name)).collect();
    let numbers: Vec<u32> = (0..batches.len() as u32).collect();
    let mut rows = in_batch_order(&input, &numbers);
    if is_wanted.contains(&false) {
        rows.retain(|row| match batches[row.batch as usize] {
            Batch::Metrics(batch) => {
                let metric = batch.metric[row.row as usize] as usize;
                is_wanted[input.metric_ids[row.batch as usize][metric] as usize]
            }
            Batch::Logs(_) | Batch::Traces(_) => false,
        });
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let view = View::new(&input, columns)?;
    let series = Series::order(&input, rows)?;
    series.slices(BATCH_SAMPLES).into_iter().map(|slice| view.show(Rows::Series(slice))).collect()
}

/// How rows of some batches are shown.
struct View<'a> {
    input: &'a Input<'a>,
    layout: Layout,
    mapping: Mapping,
}

impl<'a> View<'a> {
    fn new(input: &'a Input<'a>, columns: &[Column]) -> Result<Self, BlockError> {
        let batches = &input.batches;
        let signal = batches.first().map_or(Signal::Metrics, |batch| batch.signal());
        let described = describe(batches.iter().copied());
        let layout = Layout::for_columns(signal, &described, columns);
        let rest_holds = |owner: Owner, key: &str| match owner {
            Owner::Resource => described.resource.contains_key(key),
            Owner::Record => described.record.contains_key(key),
        };
        let mapping = Mapping::new(&layout, columns, &rest_holds)?;
        Ok(View { input, layout, mapping })
    }

    fn show(&self, rows: Rows<'_>) -> Result<RecordBatch, BlockError> {
        let wanted = |index| self.mapping.needed.contains(&index);
        let built = Builder::new(self.input, &self.layout, &wanted).build(rows, "")?;
        let mut arrays = Arrays { columns: Vec::with_capacity(built.columns.len()), rows: built.rows };
        for (column, field) in built.columns.into_iter().zip(self.layout.schema.fields()) {
            arrays.columns.push(column.map(|c| c.into_array(field.data_type())).transpose()?);
        }
        self.mapping.apply(&arrays, &(i64::MIN..=i64::MAX))
    }
}
