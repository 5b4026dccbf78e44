//! Metric points by series: by metric name, service, series and time.

use std::ops::Range;

use bonghwa_model::batch::Batch;
use bonghwa_model::metrics::{MetricBatch, PointKind};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::order::service_ranks;
use super::{Input, Row, of_signal};
use crate::BlockError;

/// A row that has so many samples ends with its day, nanoseconds: whoever wants a day of a block of weeks decodes
/// little else, and series with few samples stay whole.
const ROW_SAMPLES: usize = 1024;
const DAY: i64 = 86_400_000_000_000;

/// What tells series apart: their identity, and what they would show as columns
/// (metric, resource and scope).
type SeriesKey = ([u64; 2], u32, u32, u32);

/// A point, with what most columns need of it: the points of one series come from as
/// many batches, and going back to them for every column would cost most of the time.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub time: i64,
    pub start_time: i64,
    pub value: u64,
    pub row: Row,
    pub flags: u32,
    pub kind: PointKind,
    /// Whether it has buckets or exemplars.
    pub texts: bool,
}

impl Point {
    pub fn new(b: &MetricBatch, row: Row) -> Self {
        let i = row.row as usize;
        Point {
            time: b.time[i],
            start_time: b.start_time[i],
            value: b.value[i],
            row,
            flags: b.flags[i],
            kind: PointKind::from_u8(b.point_kind[i]).unwrap_or(PointKind::None),
            texts: !b.buckets[i].is_empty() || !b.exemplars[i].is_empty(),
        }
    }

    /// Whether it holds a count.
    pub fn is_distribution(&self) -> bool {
        matches!(self.kind, PointKind::Distribution | PointKind::DistributionWithoutSum)
    }
}

/// Points ordered by series.
pub(crate) struct Series {
    points: Vec<Point>,
    /// Where each row starts, and the end of the last one. A series is one row, or one after another.
    starts: Vec<usize>,
}

/// Some series in a row.
#[derive(Clone, Copy)]
pub(crate) struct SeriesSlice<'a> {
    points: &'a [Point],
    starts: &'a [usize],
}

impl Series {
    /// Orders points, which come as they arrived.
    pub fn order(input: &Input<'_>, rows: Vec<Row>) -> Result<Series, BlockError> {
        let mut ids: HashMap<SeriesKey, u32, FixedState> = HashMap::default();
        let mut keys: Vec<SeriesKey> = Vec::new();
        let mut counts: Vec<usize> = Vec::new();
        let mut series_of: Vec<u32> = Vec::with_capacity(rows.len());
        for row in &rows {
            let b = of_signal!(input.batches[row.batch as usize], Metrics)?;
            let metric = input.metric_ids[row.batch as usize][b.metric[row.row as usize] as usize];
            let key = (b.series[row.row as usize], metric, row.resource, row.scope);
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
        let mut starts = Vec::with_capacity(order.len() + 1);
        let mut next = vec![0; keys.len()];
        let mut end = 0;
        for id in order {
            starts.push(end);
            next[id as usize] = end;
            end += counts[id as usize];
        }
        starts.push(end);
        let nowhere = Row { batch: 0, row: 0, resource: 0, scope: 0 };
        let empty =
            Point { time: 0, start_time: 0, value: 0, row: nowhere, flags: 0, kind: PointKind::None, texts: false };
        let mut points = vec![empty; rows.len()];
        for (row, id) in rows.into_iter().zip(series_of) {
            let b = of_signal!(input.batches[row.batch as usize], Metrics)?;
            points[next[id as usize]] = Point::new(b, row);
            next[id as usize] += 1;
        }
        Ok(Series::new(points, starts))
    }

    /// Points that come series by series. `starts` is where each series starts, and the end of the last one.
    pub fn new(mut points: Vec<Point>, starts: Vec<usize>) -> Series {
        for bounds in starts.windows(2) {
            let samples = &mut points[bounds[0]..bounds[1]];
            if !samples.is_sorted_by_key(|point| point.time) {
                samples.sort_by_key(|point| point.time);
            }
        }
        Series { points, starts }
    }

    /// The same with series of many samples in several rows.
    pub fn in_rows(self) -> Series {
        let mut rows = Vec::with_capacity(self.starts.len());
        for bounds in self.starts.windows(2) {
            add_rows(&self.points[bounds[0]..bounds[1]], bounds[0], &mut rows);
        }
        rows.extend(self.starts.last());
        Series { points: self.points, starts: rows }
    }

    /// All series, cut where a slice would pass this many points; a row is never cut.
    pub fn slices(&self, most: usize) -> Vec<SeriesSlice<'_>> {
        let mut slices = Vec::new();
        let mut first = 0;
        for end in 1..self.starts.len() {
            let next = self.starts.get(end + 1);
            if next.is_none_or(|next| next - self.starts[first] > most) {
                slices.push(SeriesSlice { points: &self.points, starts: &self.starts[first..=end] });
                first = end;
            }
        }
        slices
    }
}

/// Adds where each row of a series starts, the first one at `first`.
fn add_rows(samples: &[Point], first: usize, rows: &mut Vec<usize>) {
    rows.push(first);
    let mut start = 0;
    while let Some((row, left)) = samples[start..].split_at_checked(ROW_SAMPLES)
        && let Some(last) = row.last()
    {
        let day = last.time.div_euclid(DAY);
        let same_day = left.partition_point(|point| point.time.div_euclid(DAY) <= day);
        if same_day == left.len() {
            break;
        }
        start += row.len() + same_day;
        rows.push(first + start);
    }
}

impl<'a> SeriesSlice<'a> {
    /// How many series.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The points of each series; a series has at least one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [Point]> + use<'a> {
        let points = self.points;
        self.starts.windows(2).map(move |bounds: &[usize]| &points[Range { start: bounds[0], end: bounds[1] }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where rows end whose samples come this often, for so many days.
    fn ends(series: &[(i64, i64)]) -> Vec<usize> {
        let row = Row { batch: 0, row: 0, resource: 0, scope: 0 };
        let (mut points, mut starts) = (Vec::new(), vec![0]);
        for (apart, days) in series {
            points.extend((0..days * DAY / apart).map(|nth| Point {
                time: nth * apart,
                start_time: 0,
                value: 0,
                row,
                flags: 0,
                kind: PointKind::Int,
                texts: false,
            }));
            starts.push(points.len());
        }
        let series = Series::new(points, starts).in_rows();
        series.starts[1..].to_vec()
    }

    #[test]
    fn rows_of_many_samples_end_with_their_day() {
        let (minute, hour) = (DAY / 1440, DAY / 24);
        assert_eq!(ends(&[(minute, 3)]), [1440, 2880, 4320]);
        // 288 a day: four days make a row.
        assert_eq!(ends(&[(5 * minute, 30)]), [1152, 2304, 3456, 4608, 5760, 6912, 8064, 8640]);
        assert_eq!(ends(&[(hour, 30), (hour, 1), (minute, 1), (minute, 2)]), [720, 744, 2184, 3624, 5064]);
    }
}
