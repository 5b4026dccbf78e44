//! Metric points as physical columns: one row per series, its samples as lists.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, ListArray, PrimitiveArray};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use bonghwa_model::batch::Batch;
use bonghwa_model::metrics::{Metric, MetricBatch, PointKind};
use bonghwa_model::refs::Ref;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::attributes::attributes;
use super::order::service_ranks;
use super::records::Records;
use super::tables::{Used, resource_and_scope, text_table};
use super::{Builder, Built, Input, Row, of_signal};
use crate::BlockError;
use crate::column::time_type;
use crate::intern::TextBuilder;
use crate::physical::{PhysicalColumn, finish_nulls};

/// What tells series apart: their identity, and what they would show as columns.
type SeriesKey = ([u64; 2], u32, u32, u32);

fn batch<'a>(input: &Input<'a>, row: &Row) -> Result<&'a MetricBatch, BlockError> {
    of_signal!(input.batches[row.batch as usize], Metrics)
}

fn series_key(input: &Input<'_>, b: &MetricBatch, row: &Row) -> SeriesKey {
    let metric = input.metric_ids[row.batch as usize][b.metric[row.row as usize] as usize];
    (b.series[row.row as usize], metric, row.resource, row.scope)
}

/// Orders points by metric name, service, series and time.
pub(crate) fn order_series(input: &Input<'_>, rows: Vec<Row>) -> Result<Vec<Row>, BlockError> {
    let mut ids: HashMap<SeriesKey, u32, FixedState> = HashMap::default();
    let mut keys: Vec<SeriesKey> = Vec::new();
    let mut counts: Vec<u32> = Vec::new();
    let mut series_of: Vec<u32> = Vec::with_capacity(rows.len());
    for row in &rows {
        let key = series_key(input, batch(input, row)?, row);
        let id = *ids.entry(key).or_insert_with(|| {
            keys.push(key);
            counts.push(0);
            keys.len() as u32 - 1
        });
        counts[id as usize] += 1;
        series_of.push(id);
    }
    let services = service_ranks(input);
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    order.sort_by_cached_key(|id| {
        let (series, metric, resource, scope) = keys[*id as usize];
        let name = input.metrics[metric as usize].name.as_str();
        (name, metric, services[resource as usize], resource, series, scope)
    });
    let mut next = vec![0u32; keys.len()];
    let mut start = 0;
    for id in &order {
        next[*id as usize] = start;
        start += counts[*id as usize];
    }
    let nowhere = (0i64, Row { batch: 0, row: 0, resource: 0, scope: 0 });
    let mut timed = vec![nowhere; rows.len()];
    for (row, id) in rows.into_iter().zip(series_of) {
        let time = batch(input, &row)?.time[row.row as usize];
        timed[next[id as usize] as usize] = (time, row);
        next[id as usize] += 1;
    }
    let mut start = 0;
    for id in order {
        let end = start + counts[id as usize] as usize;
        let samples = &mut timed[start..end];
        if !samples.is_sorted_by_key(|(time, _)| *time) {
            samples.sort_by_key(|(time, _)| *time);
        }
        start = end;
    }
    Ok(timed.into_iter().map(|(_, row)| row).collect())
}

/// Where each series starts in ordered points, and their end.
pub(crate) fn series_starts(input: &Input<'_>, rows: &[Row]) -> Result<Vec<usize>, BlockError> {
    let mut starts = Vec::new();
    let mut last = None;
    for (at, row) in rows.iter().enumerate() {
        let key = series_key(input, batch(input, row)?, row);
        if last != Some(key) {
            starts.push(at);
            last = Some(key);
        }
    }
    starts.push(rows.len());
    Ok(starts)
}

/// The points of some series, ordered by series.
struct Samples<'a> {
    batches: Vec<&'a MetricBatch>,
    rows: &'a [Row],
    starts: &'a [usize],
}

impl<'a> Samples<'a> {
    fn point(&self, at: usize) -> (&'a MetricBatch, usize) {
        let row = &self.rows[at];
        (self.batches[row.batch as usize], row.row as usize)
    }

    fn series(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }

    fn list(&self, items: ArrayRef, ends: Vec<i32>, valid: BooleanBufferBuilder) -> Result<PhysicalColumn, BlockError> {
        let field = Arc::new(Field::new("element", items.data_type().clone(), true));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        let list = ListArray::try_new(field, offsets, items, finish_nulls(valid)).map_err(BlockError::write)?;
        Ok(PhysicalColumn::Plain(Arc::new(list)))
    }

    /// A list of numbers per series; null for series where no sample has one.
    fn numbers<T: ArrowPrimitiveType>(
        &self,
        keep: impl Fn(std::ops::Range<usize>) -> bool,
        get: impl Fn(&MetricBatch, usize) -> Option<T::Native>,
    ) -> Result<PhysicalColumn, BlockError> {
        let mut values: Vec<T::Native> = Vec::new();
        let mut present = BooleanBufferBuilder::new(0);
        let mut ends = vec![0i32];
        let mut valid = BooleanBufferBuilder::new(self.starts.len());
        for series in self.series() {
            let start = values.len();
            let mut any = false;
            if keep(series.clone()) {
                for at in series {
                    let (b, i) = self.point(at);
                    let value = get(b, i);
                    any |= value.is_some();
                    present.append(value.is_some());
                    values.push(value.unwrap_or_default());
                }
                if !any {
                    values.truncate(start);
                    present.truncate(start);
                }
            }
            valid.append(any);
            ends.push(values.len() as i32);
        }
        let nulls = NullBuffer::new(present.finish());
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let items = PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls);
        let items: ArrayRef = match T::DATA_TYPE {
            DataType::Timestamp(..) => Arc::new(items.with_data_type(time_type())),
            _ => Arc::new(items),
        };
        self.list(items, ends, valid)
    }

    /// A list of JSON texts per series; null for series where all are empty.
    fn texts(&self, get: impl Fn(&MetricBatch, usize) -> Ref) -> Result<PhysicalColumn, BlockError> {
        let mut builder = TextBuilder::plain(0);
        let mut ends = vec![0i32];
        let mut valid = BooleanBufferBuilder::new(self.starts.len());
        for series in self.series() {
            let any = series.clone().any(|at| {
                let (b, i) = self.point(at);
                !get(b, i).is_empty()
            });
            if any {
                for at in series {
                    let (b, i) = self.point(at);
                    match get(b, i) {
                        r if r.is_empty() => builder.push_null(),
                        r => builder.push(b.common.arena.bytes(r)),
                    }
                }
            }
            valid.append(any);
            ends.push(builder.len() as i32);
        }
        let items = builder.finish()?.into_array(&DataType::Utf8)?;
        self.list(items, ends, valid)
    }

    /// Whether the samples of a series started at different times.
    fn starts_differ(&self, series: std::ops::Range<usize>) -> bool {
        let start = |at| {
            let (b, i) = self.point(at);
            b.start_time[i]
        };
        let first = start(series.start);
        series.into_iter().any(|at| start(at) != first)
    }
}

fn kind(b: &MetricBatch, i: usize) -> PointKind {
    PointKind::from_u8(b.point_kind[i]).unwrap_or(PointKind::None)
}

fn is_distribution(b: &MetricBatch, i: usize) -> bool {
    matches!(kind(b, i), PointKind::Distribution | PointKind::DistributionWithoutSum)
}

/// A text of the metric, for the first point of each series.
fn metric_text(
    input: &Input<'_>,
    heads: &Records<'_, MetricBatch>,
    get: impl Fn(&Metric) -> Option<&str>,
) -> Result<PhysicalColumn, BlockError> {
    let metrics = Used::new(
        input.metrics.len(),
        heads.rows.iter().map(|row| {
            let local = heads.batches[row.batch as usize].metric[row.row as usize];
            input.metric_ids[row.batch as usize][local as usize]
        }),
    );
    let text = |m: &Metric| get(m).map(|text| text.as_bytes().to_vec().into());
    Ok(metrics.column(text_table(metrics.ids.iter().map(|id| text(input.metrics[*id as usize])))))
}

fn temporality(number: u8) -> &'static str {
    match number {
        1 => "delta",
        2 => "cumulative",
        _ => "unspecified",
    }
}

pub(super) fn build(builder: &Builder<'_>, rows: &[Row], tenant: &str) -> Result<Built, BlockError> {
    let starts = series_starts(builder.input, rows)?;
    let head_rows: Vec<Row> = starts[..starts.len() - 1].iter().map(|at| rows[*at]).collect();
    let heads = Records::new(builder.input, &head_rows, |b| of_signal!(b, Metrics))?;
    let samples = Samples { batches: heads.batches.clone(), rows, starts: &starts };
    let mut built = builder.start(head_rows.len());
    series_columns(builder, &mut built, &heads, &samples, tenant)?;
    sample_columns(builder, &mut built, &samples)?;
    resource_and_scope(builder, &mut built, &head_rows)?;
    attributes(builder, &mut built, &head_rows)?;
    Ok(built)
}

fn series_columns(
    builder: &Builder<'_>,
    built: &mut Built,
    heads: &Records<'_, MetricBatch>,
    samples: &Samples<'_>,
    tenant: &str,
) -> Result<(), BlockError> {
    let input = builder.input;
    let rows = heads.rows.len();
    let times = |pick: fn(&std::ops::Range<usize>) -> usize| {
        let get = |series| {
            let (b, i) = samples.point(pick(&series));
            b.time[i]
        };
        let values: PrimitiveArray<TimestampNanosecondType> = samples.series().map(get).collect::<Vec<i64>>().into();
        PhysicalColumn::Plain(Arc::new(values.with_timezone("UTC")))
    };
    let mut set = |name: &str, build: &dyn Fn() -> Result<PhysicalColumn, BlockError>| builder.set(built, name, build);
    set("tenant", &|| Ok(PhysicalColumn::constant_text(tenant, rows)))?;
    set("name", &|| metric_text(input, heads, |m| Some(&m.name)))?;
    set("type", &|| metric_text(input, heads, |m| Some(m.metric_type.as_str())))?;
    set("unit", &|| metric_text(input, heads, |m| Some(&m.unit)))?;
    set("description", &|| metric_text(input, heads, |m| Some(&m.description)))?;
    set("temporality", &|| metric_text(input, heads, |m| Some(temporality(m.temporality))))?;
    set("metadata", &|| metric_text(input, heads, |m| (!m.metadata.is_empty()).then_some(m.metadata.as_str())))?;
    set("monotonic", &|| {
        let monotonic = heads.rows.iter().map(|row| {
            let b = heads.batches[row.batch as usize];
            Some(b.metrics[b.metric[row.row as usize] as usize].monotonic)
        });
        Ok(PhysicalColumn::Plain(Arc::new(monotonic.collect::<arrow_array::BooleanArray>())))
    })?;
    set("series_id", &|| {
        heads.id(
            |b, i| {
                let [high, low] = b.series[i];
                (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
            },
            false,
        )
    })?;
    set("min_time", &|| Ok(times(|series| series.start)))?;
    set("max_time", &|| Ok(times(|series| series.end - 1)))?;
    set("samples", &|| {
        let counts: Vec<i32> = samples.series().map(|s| s.len() as i32).collect();
        Ok(PhysicalColumn::Plain(Arc::new(PrimitiveArray::<Int32Type>::from(counts))))
    })?;
    set("start_time", &|| {
        let get = |series: std::ops::Range<usize>| {
            let (b, i) = samples.point(series.start);
            Some(b.start_time[i]).filter(|t| *t != 0 && !samples.starts_differ(series))
        };
        let values: PrimitiveArray<TimestampNanosecondType> = samples.series().map(get).collect();
        Ok(PhysicalColumn::Plain(Arc::new(values.with_timezone("UTC"))))
    })
}

fn sample_columns(builder: &Builder<'_>, built: &mut Built, samples: &Samples<'_>) -> Result<(), BlockError> {
    let always = |_| true;
    let mut set = |name: &str, build: &dyn Fn() -> Result<PhysicalColumn, BlockError>| builder.set(built, name, build);
    set("times", &|| samples.numbers::<TimestampNanosecondType>(always, |b, i| Some(b.time[i])))?;
    set("values", &|| {
        samples.numbers::<Float64Type>(always, |b, i| {
            (kind(b, i) == PointKind::Double).then(|| f64::from_bits(b.value[i]))
        })
    })?;
    set("ints", &|| {
        samples.numbers::<Int64Type>(always, |b, i| (kind(b, i) == PointKind::Int).then_some(b.value[i] as i64))
    })?;
    set("start_times", &|| {
        samples.numbers::<TimestampNanosecondType>(
            |series| samples.starts_differ(series),
            |b, i| Some(b.start_time[i]).filter(|t| *t != 0),
        )
    })?;
    set("counts", &|| samples.numbers::<Int64Type>(always, |b, i| is_distribution(b, i).then_some(b.count[i] as i64)))?;
    set("sums", &|| {
        samples.numbers::<Float64Type>(always, |b, i| (kind(b, i) == PointKind::Distribution).then_some(b.sum[i]))
    })?;
    set("flags", &|| samples.numbers::<Int32Type>(always, |b, i| Some(b.flags[i] as i32).filter(|f| *f != 0)))?;
    set("buckets", &|| samples.texts(|b, i| b.buckets[i]))?;
    set("exemplars", &|| samples.texts(|b, i| b.exemplars[i]))
}
