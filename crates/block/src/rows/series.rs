//! Metric points by series: by metric name, service, series and time.

use std::hash::BuildHasher;
use std::ops::Range;

use bonghwa_model::batch::Batch;
use bonghwa_model::metrics::{MetricBatch, PointKind};
use bonghwa_model::thin::ThinBatch;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

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
    /// Of a thin one, the row that tells of its series.
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

    /// A sample, and the row that tells of its series.
    pub fn thin(thin: &ThinBatch, sample: usize, row: Row) -> Self {
        let (teller, told) = thin.told(sample);
        let kind = PointKind::from_u8(thin.teller(teller).point_kind[told]).unwrap_or(PointKind::None);
        Point { start_time: thin.start_time(sample), ..Point::of_kind(thin, sample, row, kind) }
    }

    /// A sample whose kind is known, without its start: the row that tells of its series is not looked at.
    pub fn of_kind(thin: &ThinBatch, sample: usize, row: Row, kind: PointKind) -> Self {
        Point { time: thin.time(sample), start_time: 0, value: thin.value(sample), row, flags: 0, kind, texts: false }
    }

    /// Whether it holds a count.
    pub fn is_distribution(&self) -> bool {
        matches!(self.kind, PointKind::Distribution | PointKind::DistributionWithoutSum)
    }
}

/// Where the points of each series lie. Points themselves are six times as large: they are made of a part of the
/// series at a time.
pub(crate) struct Ordered<'a> {
    input: &'a Input<'a>,
    batches: Vec<&'a MetricBatch>,
    /// Batch and row, series by series, as they came.
    places: Vec<(u32, u32)>,
    /// Where each series starts in `places`, and the end of the last one.
    starts: Vec<u32>,
    /// Resource and scope of each series.
    owners: Vec<(u32, u32)>,
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

impl<'a> Ordered<'a> {
    /// Orders points, which come as they arrived.
    pub fn new(input: &'a Input<'a>, rows: impl Iterator<Item = Row> + Clone) -> Result<Self, BlockError> {
        let batches: Vec<&MetricBatch> =
            input.batches.iter().map(|b| of_signal!(b, Metrics)).collect::<Result<_, BlockError>>()?;
        let mut seen = Seen::default();
        let mut series_of: Vec<u32> = Vec::new();
        // `for_each` walks nested iterators as nested loops, which `next` does not.
        rows.clone().for_each(|row| series_of.push(seen.count(key(input, &batches, &row))));
        let Seen { keys, counts, .. } = seen;
        let order = order(input, &keys);
        let mut starts = Vec::with_capacity(order.len() + 1);
        let mut owners = Vec::with_capacity(order.len());
        let mut next = vec![0; keys.len()];
        let mut end = 0;
        for id in order {
            starts.push(end);
            next[id as usize] = end;
            end += counts[id as usize];
            let (_, _, resource, scope) = keys[id as usize];
            owners.push((resource, scope));
        }
        starts.push(end);
        let mut places = vec![(0, 0); series_of.len()];
        let mut ids = series_of.iter();
        rows.for_each(|row| {
            if let Some(id) = ids.next() {
                let place = &mut next[*id as usize];
                places[*place as usize] = (row.batch, row.row);
                *place += 1;
            }
        });
        Ok(Ordered { input, batches, places, starts, owners })
    }

    /// All series in parts of about so many points and at most so many series; a series is never cut.
    pub fn parts(&self, points: usize, series: usize) -> impl Iterator<Item = Series> {
        let mut first = 0;
        std::iter::from_fn(move || {
            let start = *self.starts.get(first)? as usize;
            let most = self.owners.len().min(first.saturating_add(series.max(1)));
            let fitting = self.starts[first..=most].partition_point(|end| *end as usize - start <= points);
            // One at least: the first of these starts is its own.
            let end = (first + fitting.max(2) - 1).min(most);
            let part = (first < end).then(|| self.part(first..end));
            first = end;
            part
        })
    }

    fn part(&self, series: Range<usize>) -> Series {
        let start = self.starts[series.start];
        let end = self.starts[series.end];
        let mut points = Vec::with_capacity((end - start) as usize);
        for (bounds, (resource, scope)) in
            self.starts[series.start..=series.end].windows(2).zip(&self.owners[series.clone()])
        {
            let places = &self.places[bounds[0] as usize..bounds[1] as usize];
            points.extend(places.iter().map(|(number, at)| {
                let (batch, row) = self.input.told(*number, *at);
                let row = Row { batch, row, resource: *resource, scope: *scope };
                match self.input.thin(*number) {
                    Some(thin) => Point::thin(thin, *at as usize, row),
                    None => Point::new(self.batches[batch as usize], row),
                }
            }));
        }
        let starts = self.starts[series.start..=series.end].iter().map(|at| (at - start) as usize).collect();
        Series::new(points, starts)
    }
}

fn key(input: &Input<'_>, batches: &[&MetricBatch], row: &Row) -> SeriesKey {
    let (number, row_there) = input.told(row.batch, row.row);
    let batch = batches[number as usize];
    let metric = input.metric_ids[number as usize][batch.metric[row_there as usize] as usize];
    (batch.series[row_there as usize], metric, row.resource, row.scope)
}

/// The series that came so far, numbered as they came first.
#[derive(Default)]
struct Seen {
    keys: Vec<SeriesKey>,
    counts: Vec<u32>,
    ids: HashTable<u32>,
    hash: FixedState,
    last: u32,
}

impl Seen {
    /// Counts a point of a series: its number.
    fn count(&mut self, key: SeriesKey) -> u32 {
        // Senders repeat themselves: what came behind the last series comes behind it again.
        let next = self.last.wrapping_add(1);
        let id = if self.keys.get(next as usize) == Some(&key) { next } else { self.find(key) };
        self.counts[id as usize] += 1;
        self.last = id;
        id
    }

    fn find(&mut self, key: SeriesKey) -> u32 {
        let (keys, hash) = (&mut self.keys, &self.hash);
        let entry = self.ids.entry(
            hash.hash_one(key.0),
            |id| keys[*id as usize] == key,
            |id| hash.hash_one(keys[*id as usize].0),
        );
        *entry
            .or_insert_with(|| {
                keys.push(key);
                self.counts.push(0);
                keys.len() as u32 - 1
            })
            .get()
    }
}

/// The numbers of series by metric name, service, resource and identity.
fn order(input: &Input<'_>, keys: &[SeriesKey]) -> Vec<u32> {
    let services = service_ranks(input);
    let metrics = ranks(input.metrics.len(), |metric| (input.metrics[metric].name.as_str(), metric));
    let resources = ranks(services.len(), |resource| (services[resource], resource));
    let sorted = |(id, (series, metric, resource, _)): (u32, &SeriesKey)| {
        let group = u64::from(metrics[*metric as usize]) << 32 | u64::from(resources[*resource as usize]);
        (group, series[0], id)
    };
    let mut order: Vec<(u64, u64, u32)> = (0..).zip(keys).map(sorted).collect();
    let rest = |id: u32| (keys[id as usize].0[1], keys[id as usize].3);
    order.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| rest(a.2).cmp(&rest(b.2))));
    order.into_iter().map(|(_, _, id)| id).collect()
}

/// The place of each of some values among them all, sorted.
fn ranks<K: Ord>(values: usize, by: impl Fn(usize) -> K) -> Vec<u32> {
    let mut sorted: Vec<usize> = (0..values).collect();
    sorted.sort_unstable_by_key(|value| by(*value));
    let mut ranks = vec![0; values];
    for (rank, value) in (0..).zip(sorted) {
        ranks[value] = rank;
    }
    ranks
}

impl Series {
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

    /// All series.
    pub fn all(&self) -> SeriesSlice<'_> {
        SeriesSlice { points: &self.points, starts: &self.starts }
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
