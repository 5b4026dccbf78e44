//! Which series pieces in memory have, and where the points of each are: whoever asks for few of them does not look
//! at the others.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::LazyLock;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_select::interleave::interleave;
use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;
use bonghwa_model::metrics::{MetricBatch, PointKind};
use bonghwa_model::thin::Piece;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::BlockError;
use crate::column::{Column, field, schema};
use crate::memory::show_series;
use crate::rows::{Point, Row, Samples, Series};

/// What a series says of itself: the columns that a request may ask for beside lists of samples.
const TOLD: [&str; 13] = [
    "series_id",
    "name",
    "type",
    "unit",
    "description",
    "monotonic",
    "temporality",
    "metadata",
    "service_name",
    "scope_name",
    "scope_version",
    "resource",
    "attributes",
];
/// Samples in one batch of an answer, about.
const BATCH_SAMPLES: usize = 64 * 1024;
/// What a series takes beside its points and what it says of itself, in bytes.
const SERIES_BYTES: usize = 160;

/// Series of one tenant's pieces, which came at positions of a log.
pub struct SeriesIndex {
    /// Pieces up to this position are not in it.
    after: u64,
    pieces: VecDeque<Kept>,
    /// The number of the first piece.
    first: u32,
    /// What pieces up to this position had was taken in.
    through: u64,
    series: Vec<Indexed>,
    by_id: HashMap<[u64; 2], u32, FixedState>,
    /// The series of each metric, by its name.
    by_name: HashMap<String, Vec<u32>, FixedState>,
    told: Vec<RecordBatch>,
    told_bytes: usize,
    points: usize,
}

/// A piece, and the position at which it came.
struct Kept {
    position: u64,
    piece: Piece,
    /// Unix nanoseconds of its first and last sample.
    time: (i64, i64),
}

struct Indexed {
    /// Where it is in what is told: the batch and its row.
    told: (usize, usize),
    /// By number of the piece, and row there.
    points: Vec<(u32, u32)>,
    /// The kind of all of them; none where they differ.
    kind: Option<PointKind>,
}

/// Which series, and what of them.
pub struct SeriesRequest<'a> {
    /// Of pieces after the first position, up to the second one.
    pub positions: (u64, u64),
    /// Unix nanoseconds, both inclusive; series that have nothing of this time are left out, and other samples.
    pub time: (i64, i64),
    /// Lists, and columns that all samples of a series have in common.
    pub columns: &'a [Column],
    /// Of metrics with such names.
    pub names: &'a dyn Fn(&str) -> bool,
    /// Of these services; none for all.
    pub services: &'a [String],
    /// These; none for all.
    pub ids: &'a [[u64; 2]],
}

impl SeriesIndex {
    /// An index of pieces after a position.
    pub fn new(after: u64) -> Self {
        SeriesIndex {
            after,
            pieces: VecDeque::new(),
            first: 0,
            through: after,
            series: Vec::new(),
            by_id: HashMap::default(),
            by_name: HashMap::default(),
            told: Vec::new(),
            told_bytes: 0,
            points: 0,
        }
    }

    /// The position up to which pieces are not in it, or not any more.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// Nothing else comes up to this position.
    pub fn passed(&mut self, position: u64) {
        self.through = self.through.max(position);
    }

    /// The position up to which pieces were taken in.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Takes in a piece that came after all others. One that cannot be read changes nothing.
    pub fn push(&mut self, position: u64, piece: impl Into<Piece>) -> Result<(), BlockError> {
        let piece = piece.into();
        self.passed(position);
        let batches: Vec<&MetricBatch> = piece.batches().iter().map(|b| metrics(b)).collect::<Result<_, _>>()?;
        // The batch and the row that tell of each row's series.
        let told: Vec<(usize, usize)> = match &piece {
            Piece::Whole(_) => (0..piece.rows()).map(|row| (0, row)).collect(),
            Piece::Thin(thin) => (0..thin.rows()).map(|sample| thin.told(sample)).collect(),
        };
        let mut new: Vec<(usize, usize)> = {
            let mut seen = HashMap::with_hasher(FixedState::default());
            let is_new = |(batch, row): &(usize, usize)| {
                let id = batches[*batch].series[*row];
                !self.by_id.contains_key(&id) && seen.insert(id, ()).is_none()
            };
            told.iter().copied().filter(is_new).collect()
        };
        new.sort_unstable();
        for of_batch in new.chunk_by(|one, other| one.0 == other.0) {
            let rows: Vec<u32> = of_batch.iter().map(|(_, row)| *row as u32).collect();
            self.tell(&piece.batches()[of_batch[0].0], &rows)?;
        }
        let number = self.first + self.pieces.len() as u32;
        for (at, (batch, row)) in (0..).zip(&told) {
            let id = &batches[*batch].series[*row];
            if let Some(series) = self.by_id.get(id).and_then(|series| self.series.get_mut(*series as usize)) {
                series.points.push((number, at));
                series.kind = series.kind.filter(|kind| *kind as u8 == batches[*batch].point_kind[*row]);
            }
        }
        self.points += told.len();
        let time = piece.times().fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
        self.pieces.push_back(Kept { position, piece, time });
        Ok(())
    }

    /// Takes in what rows of a batch, whose numbers are sorted, tell of new series.
    fn tell(&mut self, batch: &Batch, rows: &[u32]) -> Result<(), BlockError> {
        let (told, order) = show_series(batch, rows, &TOLD.map(Column::Base))?;
        for (at, row) in order.into_iter().enumerate() {
            self.add(metrics(batch)?, row as usize, (self.told.len(), at))?;
        }
        self.told_bytes += told.get_array_memory_size();
        self.told.push(told);
        Ok(())
    }

    fn add(&mut self, metrics: &MetricBatch, row: usize, told: (usize, usize)) -> Result<(), BlockError> {
        let metric = metrics.metric.get(row).and_then(|metric| metrics.metrics.get(*metric as usize));
        let metric =
            metric.ok_or_else(|| BlockError::Request("a batch has a point of a metric that it lacks".into()))?;
        let number = self.series.len() as u32;
        self.by_id.insert(metrics.series[row], number);
        self.by_name.entry_ref(metric.name.as_str()).or_default().push(number);
        self.series.push(Indexed { told, points: Vec::new(), kind: PointKind::from_u8(metrics.point_kind[row]) });
        Ok(())
    }

    /// Forgets pieces up to a position.
    pub fn forget(&mut self, through: u64) -> Result<(), BlockError> {
        self.after = self.after.max(through);
        self.passed(through);
        let count = self.pieces.partition_point(|kept| kept.position <= through);
        if count == 0 {
            return Ok(());
        }
        self.pieces.drain(..count);
        self.first += count as u32;
        let mut ended = 0;
        self.points = 0;
        for series in &mut self.series {
            let gone = series.points.partition_point(|(piece, _)| *piece < self.first);
            series.points.drain(..gone);
            self.points += series.points.len();
            ended += usize::from(series.points.is_empty());
        }
        // Series that have ended go when they are many: what is left is indexed anew.
        if ended * 2 > self.series.len() {
            let left = std::mem::replace(self, SeriesIndex::new(self.after));
            self.passed(left.through);
            left.pieces.into_iter().try_for_each(|kept| self.push(kept.position, kept.piece))?;
        }
        Ok(())
    }

    /// Bytes in memory, roughly, without the pieces.
    pub fn bytes(&self) -> usize {
        self.points * size_of::<(u32, u32)>() + self.series.len() * SERIES_BYTES + self.told_bytes
    }

    /// The series that are asked for, a row each.
    pub fn read(&self, request: &SeriesRequest<'_>) -> Result<Vec<RecordBatch>, BlockError> {
        let asked = Asked::new(self, request)?;
        let lists = request.columns.iter().any(|column| matches!(column, Column::List(_)));
        let (mut part, mut shown) = (Part::default(), Vec::new());
        for series in self.wanted(request)? {
            let series = &self.series[series as usize];
            let mut points = asked.points(series);
            if lists {
                let before = part.points.len();
                part.points.extend(points);
                if part.points.len() == before {
                    continue;
                }
                part.ends.push(part.points.len());
            } else if points.next().is_none() {
                continue;
            }
            part.told.push(series.told);
            if part.points.len().max(part.told.len()) >= BATCH_SAMPLES {
                shown.push(self.show(request.columns, std::mem::take(&mut part), &asked.batches)?);
            }
        }
        if !part.told.is_empty() {
            shown.push(self.show(request.columns, part, &asked.batches)?);
        }
        Ok(shown)
    }

    /// The series that are asked for by their ids, or by metrics and services; these are sorted by metric.
    fn wanted(&self, request: &SeriesRequest<'_>) -> Result<Vec<u32>, BlockError> {
        if !request.ids.is_empty() {
            return Ok(request.ids.iter().filter_map(|id| self.by_id.get(id).copied()).collect());
        }
        let mut names: Vec<&String> = self.by_name.keys().filter(|name| (request.names)(name)).collect();
        names.sort_unstable();
        let mut wanted: Vec<u32> = names.into_iter().flat_map(|name| &self.by_name[name]).copied().collect();
        if !request.services.is_empty() {
            let place = place("service_name")?;
            let services = self.told.iter().map(|told| told.column(place).as_string_opt::<i32>());
            let services: Vec<_> = services.collect();
            wanted.retain(|series| {
                let (batch, row) = self.series[*series as usize].told;
                services[batch].is_none_or(|names| request.services.iter().any(|service| service == names.value(row)))
            });
        }
        Ok(wanted)
    }

    fn show(&self, columns: &[Column], part: Part, batches: &[&MetricBatch]) -> Result<RecordBatch, BlockError> {
        let Part { points, ends, told } = part;
        let series = Series::new(points, std::iter::once(0).chain(ends).collect());
        let samples = Samples { batches: batches.to_vec(), series: series.all() };
        let build = |column: &Column| -> Result<ArrayRef, BlockError> {
            match column {
                Column::List(name) => samples.part(name)?.into_array(field(Signal::Metrics, column).data_type()),
                Column::Base(name) => {
                    let place = place(name)?;
                    let told_in: Vec<&dyn Array> = self.told.iter().map(|told| &**told.column(place)).collect();
                    interleave(&told_in, &told).map_err(BlockError::write)
                }
                Column::Attribute { key, .. } => {
                    Err(BlockError::Request(format!("series in memory have no column for {key:?}")))
                }
            }
        };
        let shown: Vec<ArrayRef> = columns.iter().map(build).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(told.len()));
        RecordBatch::try_new_with_options(schema(Signal::Metrics, columns), shown, &options).map_err(BlockError::write)
    }
}

/// Some series of an answer.
#[derive(Default)]
struct Part {
    points: Vec<Point>,
    /// Where those of each series end.
    ends: Vec<usize>,
    /// Where each series is in what is told.
    told: Vec<(usize, usize)>,
}

/// What is asked of an index.
struct Asked<'a> {
    index: &'a SeriesIndex,
    time: (i64, i64),
    /// Whether to tell when what samples count began.
    starts: bool,
    /// By piece: whether it has something of the positions and the time that are asked for.
    may_have: Vec<bool>,
    /// The numbers of those pieces lie between.
    numbers: Range<u32>,
    /// By piece: its batch, or an empty one, as points of the others have all there is.
    batches: Vec<&'a MetricBatch>,
}

impl<'a> Asked<'a> {
    fn new(index: &'a SeriesIndex, request: &SeriesRequest<'_>) -> Result<Self, BlockError> {
        static NOTHING: LazyLock<MetricBatch> = LazyLock::new(MetricBatch::default);
        let ((after, through), time) = (request.positions, request.time);
        let has = |kept: &Kept| {
            (after < kept.position && kept.position <= through) && kept.time.0 <= time.1 && kept.time.1 >= time.0
        };
        let may_have: Vec<bool> = index.pieces.iter().map(has).collect();
        let place = |at: Option<usize>| index.first + at.unwrap_or(0) as u32;
        let end = may_have.iter().rposition(|may| *may).map(|last| last + 1);
        let numbers = place(may_have.iter().position(|may| *may))..place(end);
        let batches = index.pieces.iter().map(|kept| match &kept.piece {
            Piece::Whole(batch) => metrics(batch),
            Piece::Thin(_) => Ok(&*NOTHING),
        });
        let starts = request.columns.iter().any(|column| matches!(column, Column::List("start_times")));
        Ok(Asked { index, time, starts, may_have, numbers, batches: batches.collect::<Result<_, _>>()? })
    }

    /// The points of a series that are asked for, as they came.
    fn points(&self, series: &'a Indexed) -> impl Iterator<Item = Point> {
        let first = series.points.partition_point(|(number, _)| *number < self.numbers.start);
        let left = series.points[first..].iter().take_while(|(number, _)| *number < self.numbers.end);
        left.filter_map(|(number, at)| {
            let piece = number - self.index.first;
            let row = Row { batch: piece, row: *at, resource: 0, scope: 0 };
            let (piece, at) = (piece as usize, *at as usize);
            if !self.may_have[piece] {
                return None;
            }
            let is_in_time = |time: i64| (self.time.0..=self.time.1).contains(&time);
            match &self.index.pieces[piece].piece {
                Piece::Whole(_) => {
                    let metrics = self.batches[piece];
                    is_in_time(metrics.time[at]).then(|| Point::new(metrics, row))
                }
                Piece::Thin(thin) => is_in_time(thin.time(at)).then(|| match series.kind.filter(|_| !self.starts) {
                    Some(kind) => Point::of_kind(thin, at, row, kind),
                    None => Point::thin(thin, at, row),
                }),
            }
        })
    }
}

fn metrics(batch: &Batch) -> Result<&MetricBatch, BlockError> {
    match batch {
        Batch::Metrics(metrics) => Ok(metrics),
        other => Err(BlockError::Request(format!("a batch of {} has no series", other.signal()))),
    }
}

/// Where a column is in what is told.
fn place(name: &str) -> Result<usize, BlockError> {
    let place = TOLD.iter().position(|told| *told == name);
    place.ok_or_else(|| BlockError::Request(format!("series in memory do not tell their {name:?}")))
}
