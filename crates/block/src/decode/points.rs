//! Metric points: the samples of series.

use arrow_array::Array;
use bonghwa_model::metrics::{MetricBatch, MetricRow, PointKind};
use bonghwa_model::refs::Ref;

use super::attributes::AttributeCells;
use super::cells::{Cells, List};
use super::items::Items;
use super::sources::{MetricCells, SourceCells, Sources};
use crate::BlockError;
use crate::layout::{Layout, Owner};
use crate::logical::Arrays;

pub(super) fn points(
    batch: &mut MetricBatch,
    sources: &mut Sources,
    layout: &Layout,
    arrays: &Arrays,
    items: &Items<'_>,
    kept: &[bool],
) -> Result<(), BlockError> {
    let cells = Cells { layout, arrays };
    let metrics = MetricCells::new(cells)?;
    let series_id = cells.ids("series_id")?;
    let of_source = SourceCells::new(cells)?;
    let mut attributes = AttributeCells::new(cells, Owner::Record)?;
    let samples = Samples::new(cells)?;
    for row in 0..items.rows() {
        let range = items.of_row(row);
        let first = range.start;
        let mut head = true;
        for item in range.filter(|item| kept[*item]) {
            if head {
                attributes.push(row, &mut batch.common, &mut batch.attributes);
                let (resource, scope) = of_source.ids(row, sources, &mut batch.common);
                let metric = metrics.id(row, sources, &mut batch.metrics);
                let id = u128::from_be_bytes(series_id.get(row));
                push(batch, &samples, row, item - first, items.time(item), metric, id);
                let rows = batch.rows() as u32;
                batch.common.close_group(resource, scope, rows);
                head = false;
                continue;
            }
            // The same series: its metric, resource and scope are those of the row before.
            let last = batch.rows() - 1;
            let (metric, [high, low]) = (batch.metric[last], batch.series[last]);
            let id = u128::from(high) << 64 | u128::from(low);
            push(batch, &samples, row, item - first, items.time(item), metric, id);
            if let Some(group) = batch.common.groups.last_mut() {
                group.end += 1;
            }
        }
    }
    Ok(())
}

fn push(
    batch: &mut MetricBatch,
    samples: &Samples<'_>,
    row: usize,
    number: usize,
    time: i64,
    metric: u32,
    series: u128,
) {
    let sample = samples.get(row, number);
    let arena = &mut batch.common.arena;
    let text = |arena: &mut bonghwa_model::refs::Arena, text: Option<&str>| {
        text.map_or(Ref::EMPTY, |text| arena.push(text.as_bytes()))
    };
    let point = MetricRow {
        metric,
        series: [(series >> 64) as u64, series as u64],
        time,
        start_time: sample.start_time,
        point_kind: sample.kind,
        value: sample.value,
        count: sample.count,
        sum: sample.sum,
        flags: sample.flags,
        buckets: text(arena, sample.buckets),
        exemplars: text(arena, sample.exemplars),
    };
    batch.push_row(point);
}

struct Sample<'a> {
    start_time: i64,
    kind: PointKind,
    value: u64,
    count: u64,
    sum: f64,
    flags: u32,
    buckets: Option<&'a str>,
    exemplars: Option<&'a str>,
}

/// The lists of samples.
struct Samples<'a> {
    start_time: super::cells::Times<'a>,
    start_times: List<'a>,
    values: List<'a>,
    ints: List<'a>,
    counts: List<'a>,
    sums: List<'a>,
    flags: List<'a>,
    buckets: List<'a>,
    exemplars: List<'a>,
    of_start_times: Option<&'a arrow_array::TimestampNanosecondArray>,
    of_values: Option<&'a arrow_array::Float64Array>,
    of_ints: Option<&'a arrow_array::Int64Array>,
    of_counts: Option<&'a arrow_array::Int64Array>,
    of_sums: Option<&'a arrow_array::Float64Array>,
    of_flags: Option<&'a arrow_array::Int32Array>,
    of_buckets: Option<&'a arrow_array::StringArray>,
    of_exemplars: Option<&'a arrow_array::StringArray>,
}

/// Where a sample's part lies, if the series has such parts and this sample one.
fn find<'a, A: Array>(list: &List<'_>, items: Option<&'a A>, row: usize, number: usize) -> Option<(&'a A, usize)> {
    let range = list.range(row);
    let items = items?;
    let at = range.start + number;
    (at < range.end && items.is_valid(at)).then_some((items, at))
}

impl<'a> Samples<'a> {
    fn new(cells: Cells<'a>) -> Result<Self, BlockError> {
        let list = |name: &str| cells.list(name);
        let (start_times, values, ints) = (list("start_times")?, list("values")?, list("ints")?);
        let (counts, sums, flags) = (list("counts")?, list("sums")?, list("flags")?);
        let (buckets, exemplars) = (list("buckets")?, list("exemplars")?);
        Ok(Samples {
            start_time: cells.times("start_time")?,
            of_start_times: start_times.times()?,
            of_values: values.doubles()?,
            of_ints: ints.longs()?,
            of_counts: counts.longs()?,
            of_sums: sums.doubles()?,
            of_flags: flags.ints()?,
            of_buckets: buckets.texts()?,
            of_exemplars: exemplars.texts()?,
            start_times,
            values,
            ints,
            counts,
            sums,
            flags,
            buckets,
            exemplars,
        })
    }

    fn get(&self, row: usize, number: usize) -> Sample<'a> {
        let int = find(&self.ints, self.of_ints, row, number).map(|(a, at)| a.value(at));
        let double = find(&self.values, self.of_values, row, number).map(|(a, at)| a.value(at));
        let count = find(&self.counts, self.of_counts, row, number).map(|(a, at)| a.value(at));
        let sum = find(&self.sums, self.of_sums, row, number).map(|(a, at)| a.value(at));
        let start = find(&self.start_times, self.of_start_times, row, number).map(|(a, at)| a.value(at));
        let (kind, value) = match (int, double, count, sum) {
            (Some(int), ..) => (PointKind::Int, int as u64),
            (None, Some(double), ..) => (PointKind::Double, double.to_bits()),
            (None, None, Some(_), Some(_)) => (PointKind::Distribution, 0),
            (None, None, Some(_), None) => (PointKind::DistributionWithoutSum, 0),
            (None, None, None, _) => (PointKind::None, 0),
        };
        Sample {
            // Either all samples of a series started together, or each says when.
            start_time: start.unwrap_or_else(|| self.start_time.get(row)),
            kind,
            value,
            count: count.unwrap_or(0) as u64,
            sum: sum.unwrap_or(0.0),
            flags: find(&self.flags, self.of_flags, row, number).map_or(0, |(a, at)| a.value(at) as u32),
            buckets: find(&self.buckets, self.of_buckets, row, number).map(|(a, at)| a.value(at)),
            exemplars: find(&self.exemplars, self.of_exemplars, row, number).map(|(a, at)| a.value(at)),
        }
    }
}
