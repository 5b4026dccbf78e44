//! Rows that are not in a block yet, in the form in which blocks show theirs.

use arrow_array::RecordBatch;
use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;
use bonghwa_model::thin::Piece;

use crate::BlockError;
use crate::column::{Column, schema};
use crate::describe::Describer;
use crate::layout::{Layout, Owner};
use crate::logical::{Arrays, Mapping};
use crate::rows::{Builder, Input, Ordered, Rows, in_batch_order};

/// The rows of a piece as these logical columns: the same values as from a block.
/// Logs and spans keep their order; metric points come series by series.
pub fn to_record_batch(piece: &Piece, columns: &[Column]) -> Result<RecordBatch, BlockError> {
    let signal = match piece {
        Piece::Whole(batch) => batch.signal(),
        Piece::Thin(_) => Signal::Metrics,
    };
    let (input, numbers) = Input::of_pieces(signal, std::iter::once(piece))?;
    let rows = in_batch_order(&input, &numbers);
    let mut described = Describer::default();
    described.add_piece(piece);
    let view = View::new(&input, &described, columns)?;
    match signal {
        Signal::Logs | Signal::Traces => view.show(Rows::Records(&rows.collect::<Vec<_>>())),
        Signal::Metrics => match Ordered::new(&input, rows)?.parts(usize::MAX, usize::MAX).next() {
            Some(series) => view.show(Rows::Series(series.all())),
            None => Ok(RecordBatch::new_empty(schema(signal, columns))),
        },
    }
}

/// The series of points of one batch, whose numbers are sorted; each is of another series. They come in the order of
/// the second answer.
pub(crate) fn show_series(
    batch: &Batch,
    points: &[u32],
    columns: &[Column],
) -> Result<(RecordBatch, Vec<u32>), BlockError> {
    let input = Input::new(Signal::Metrics, vec![batch])?;
    let rows = in_batch_order(&input, &[0]).filter(|row| points.binary_search(&row.row).is_ok());
    let mut described = Describer::default();
    described.add(batch);
    match Ordered::new(&input, rows)?.parts(usize::MAX, usize::MAX).next() {
        Some(series) => {
            let order = series.all().iter().map(|points| points[0].row.row).collect();
            Ok((View::new(&input, &described, columns)?.show(Rows::Series(series.all()))?, order))
        }
        None => Ok((RecordBatch::new_empty(schema(Signal::Metrics, columns)), Vec::new())),
    }
}

/// How rows are shown that are described like this.
struct View<'a> {
    input: &'a Input<'a>,
    layout: Layout,
    mapping: Mapping,
}

impl<'a> View<'a> {
    fn new(input: &'a Input<'a>, described: &Describer, columns: &[Column]) -> Result<Self, BlockError> {
        let signal = input.batches.first().map_or(Signal::Metrics, |batch| batch.signal());
        let layout = Layout::for_columns(signal, described, columns);
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
