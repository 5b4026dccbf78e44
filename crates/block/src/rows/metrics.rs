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

use super::attributes::attributes;
use super::records::Records;
use super::series::{Point, SeriesSlice};
use super::tables::{Used, resource_and_scope, text_table};
use super::{Builder, Built, Input, Row, of_signal};
use crate::BlockError;
use crate::column::{LISTS, time_type};
use crate::intern::TextBuilder;
use crate::physical::{PhysicalColumn, finish_nulls};

/// The points of some series, and the batches that hold what else there is of them, by the numbers that points' rows have.
pub(crate) struct Samples<'a> {
    pub batches: Vec<&'a MetricBatch>,
    pub series: SeriesSlice<'a>,
}

impl<'a> Samples<'a> {
    /// A part of the samples, one of [`crate::column::LISTS`]: a list per series.
    pub fn part(&self, name: &str) -> Result<PhysicalColumn, BlockError> {
        let always = |_: &[Point]| true;
        let distributions = |series: &[Point]| series.iter().any(Point::is_distribution);
        match name {
            "times" => self.numbers::<TimestampNanosecondType>(always, |p| Some(p.time)),
            "values" => {
                let float = |p: &Point| (p.kind == PointKind::Double).then(|| f64::from_bits(p.value));
                self.numbers::<Float64Type>(always, float)
            }
            "ints" => self.numbers::<Int64Type>(always, |p| (p.kind == PointKind::Int).then_some(p.value as i64)),
            "start_times" => {
                self.numbers::<TimestampNanosecondType>(starts_differ, |p| Some(p.start_time).filter(|t| *t != 0))
            }
            "counts" => self.numbers::<Int64Type>(distributions, |p| {
                let (b, i) = self.batch(p);
                p.is_distribution().then(|| b.count[i] as i64)
            }),
            "sums" => self.numbers::<Float64Type>(distributions, |p| {
                let (b, i) = self.batch(p);
                (p.kind == PointKind::Distribution).then(|| b.sum[i])
            }),
            "flags" => self.numbers::<Int32Type>(always, |p| Some(p.flags as i32).filter(|f| *f != 0)),
            "buckets" => self.texts(|b, i| b.buckets[i]),
            "exemplars" => self.texts(|b, i| b.exemplars[i]),
            other => Err(BlockError::Request(format!("samples have no part {other:?}"))),
        }
    }

    fn batch(&self, point: &Point) -> (&'a MetricBatch, usize) {
        (self.batches[point.row.batch as usize], point.row.row as usize)
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
        keep: impl Fn(&[Point]) -> bool,
        get: impl Fn(&Point) -> Option<T::Native>,
    ) -> Result<PhysicalColumn, BlockError> {
        let mut values: Vec<T::Native> = Vec::new();
        let mut present = BooleanBufferBuilder::new(0);
        let mut ends = vec![0i32];
        let mut valid = BooleanBufferBuilder::new(self.series.len());
        for series in self.series.iter() {
            let start = values.len();
            let mut any = false;
            if keep(series) {
                for point in series {
                    let value = get(point);
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
        let mut valid = BooleanBufferBuilder::new(self.series.len());
        let text = |point: &Point| {
            let (b, i) = self.batch(point);
            if point.texts { b.common.arena.bytes(get(b, i)) } else { b"" }
        };
        for series in self.series.iter() {
            let any = series.iter().any(|point| !text(point).is_empty());
            if any {
                for point in series {
                    match text(point) {
                        b"" => builder.push_null(),
                        text => builder.push(text),
                    }
                }
            }
            valid.append(any);
            ends.push(builder.len() as i32);
        }
        let items = builder.finish()?.into_array(&DataType::Utf8)?;
        self.list(items, ends, valid)
    }
}

/// Whether the samples of a series started at different times.
fn starts_differ(series: &[Point]) -> bool {
    series.iter().any(|point| point.start_time != series[0].start_time)
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

pub(super) fn build(builder: &Builder<'_>, series: SeriesSlice<'_>, tenant: &str) -> Result<Built, BlockError> {
    let head_rows: Vec<Row> = series.iter().map(|points| points[0].row).collect();
    let heads = Records::new(builder.input, &head_rows, |b| of_signal!(b, Metrics))?;
    let samples = Samples { batches: heads.batches.clone(), series };
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
    let times = |pick: fn(&[Point]) -> i64| {
        let values: PrimitiveArray<TimestampNanosecondType> =
            samples.series.iter().map(pick).collect::<Vec<i64>>().into();
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
    set("min_time", &|| Ok(times(|series| series[0].time)))?;
    set("max_time", &|| Ok(times(|series| series[series.len() - 1].time)))?;
    set("samples", &|| {
        let counts: Vec<i32> = samples.series.iter().map(|s| s.len() as i32).collect();
        Ok(PhysicalColumn::Plain(Arc::new(PrimitiveArray::<Int32Type>::from(counts))))
    })?;
    set("start_time", &|| {
        let get = |series: &[Point]| Some(series[0].start_time).filter(|t| *t != 0 && !starts_differ(series));
        let values: PrimitiveArray<TimestampNanosecondType> = samples.series.iter().map(get).collect();
        Ok(PhysicalColumn::Plain(Arc::new(values.with_timezone("UTC"))))
    })
}

fn sample_columns(builder: &Builder<'_>, built: &mut Built, samples: &Samples<'_>) -> Result<(), BlockError> {
    LISTS.iter().try_for_each(|name| builder.set(built, name, || samples.part(name)))
}
