//! The answer of a range query as bytes, for another node: what one evaluates of the steps, another puts together.
//!
//! Chunks of series, and one that ends them. Texts of labels are numbered over all chunks, and each is written once;
//! times are counted in steps, in runs without a gap; floats keep their bits. A reader takes nothing on trust: it
//! refuses what is not in order, and more than it may hold.
//!
//! ```text
//! chunk     0 texts* series*                      or 1 end
//! series    labels + 1, (name, value)* | 0        0: the series before goes on
//!           runs (gap, length, float*)*
//!           histograms (gap, histogram)*
//! end       samples series peak, warnings, infos, infos that count steps, (gap, samples of a step)*
//! ```
//!
//! Numbers are varints, floats 8 bytes, little endian; a count stands before whatever repeats.

use std::collections::HashMap;
use std::sync::Arc;

use super::annotations::{Annotations, Counted, Raised};
use super::answer::{Answer, SeriesPoints, Stats, Value};
use super::bytes::{Input, Output, Unreadable};
use crate::histogram::{Histogram, ResetHint};
use crate::labels::Labels;

const SERIES: u8 = 0;
const END: u8 = 1;
/// Bytes of a chunk, about: a series' labels, or a histogram, are not divided.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a point in memory, and of a series and a text beside what they hold.
const POINT_BYTES: u64 = 16;
const SERIES_BYTES: u64 = 128;
const TEXT_BYTES: u64 = 32;

/// Why bytes are no part of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They are not what [`Encoder`] writes.
    #[error("they are no part of an answer: {0}")]
    Broken(&'static str),
    /// They hold more than the reader may.
    #[error("they hold more than {limit} bytes")]
    TooLarge {
        /// What it may hold.
        limit: u64,
    },
}

impl From<Unreadable> for DecodeError {
    fn from(_: Unreadable) -> Self {
        Self::Broken("they end too soon, or a number is too large")
    }
}

/// Writes an answer, chunk by chunk.
#[derive(Debug)]
pub struct Encoder {
    from_ms: i64,
    step_ms: i64,
    series: std::vec::IntoIter<SeriesPoints>,
    /// The series that is being written.
    open: Option<Open>,
    texts: HashMap<Box<str>, u64>,
    end: Option<(Annotations, Stats)>,
}

/// A series of which some points are written.
#[derive(Debug)]
struct Open {
    series: SeriesPoints,
    begun: bool,
    /// How many floats and histograms are written.
    written: (usize, usize),
    /// The first steps that the next ones may have.
    next: (u64, u64),
}

impl Encoder {
    /// Of an answer to a range query that was evaluated from this step on. None of another value.
    pub fn new(answer: Answer, from_ms: i64, step_ms: i64) -> Option<Self> {
        let Value::Matrix(series) = answer.value else { return None };
        let (series, end) = (series.into_iter(), Some((answer.annotations, answer.stats)));
        (step_ms > 0).then(|| Self { from_ms, step_ms, series, open: None, texts: HashMap::new(), end })
    }

    fn open(&mut self) -> bool {
        if self.open.is_none() {
            let opened = |series| Open { series, begun: false, written: (0, 0), next: (0, 0) };
            self.open = self.series.next().map(opened);
        }
        self.open.is_some()
    }

    fn chunk(&mut self) -> Vec<u8> {
        let (mut texts, mut count, mut body) = (Output::default(), 0, Output::default());
        while body.len() + texts.len() < CHUNK_BYTES && self.open() {
            let Some(mut open) = self.open.take() else { break };
            if open.begun {
                body.number(0);
            } else {
                open.begun = true;
                body.number(open.series.labels.len() as u64 + 1);
                for (name, value) in open.series.labels.iter() {
                    for text in [name, value] {
                        let number = self.texts.get(text).copied().unwrap_or_else(|| {
                            let next = self.texts.len() as u64;
                            self.texts.insert(text.into(), next);
                            texts.text(text);
                            count += 1;
                            next
                        });
                        body.number(number);
                    }
                }
            }
            let number = |time: i64| ((time - self.from_ms) / self.step_ms) as u64;
            if open.write(&mut body, number) {
                self.open = Some(open);
            }
        }
        let mut chunk = Output::default();
        chunk.byte(SERIES);
        chunk.number(count);
        chunk.append(&texts);
        chunk.append(&body);
        chunk.finish()
    }
}

impl Iterator for Encoder {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.open() {
            return Some(self.chunk());
        }
        let (annotations, stats) = self.end.take()?;
        let mut end = end(&annotations, &stats);
        let mut next = 0;
        // Nothing where steps are not counted: older readers know of none.
        if !stats.steps.is_empty() {
            end.number(stats.steps.len() as u64);
        }
        for (time, samples) in &stats.steps {
            let step = ((time - self.from_ms) / self.step_ms) as u64;
            end.number(step - next);
            end.number(*samples);
            next = step + 1;
        }
        Some(end.finish())
    }
}

impl Open {
    /// Writes as much as fits into a chunk; whether something is left.
    fn write(&mut self, body: &mut Output, number: impl Fn(i64) -> u64) -> bool {
        let room = (CHUNK_BYTES.saturating_sub(body.len()) / 8).max(1);
        let floats = &self.series.floats[self.written.0..];
        let floats = &floats[..floats.len().min(room)];
        let follows = |(a, b): (&(i64, f64), &(i64, f64))| number(a.0) + 1 == number(b.0);
        let runs = || floats.chunk_by(|a, b| follows((a, b)));
        body.number(runs().count() as u64);
        for run in runs() {
            let first = run.first().map_or(0, |point| number(point.0));
            body.number(first - self.next.0);
            body.number(run.len() as u64);
            run.iter().for_each(|point| body.float(point.1));
            self.next.0 = first + run.len() as u64;
        }
        self.written.0 += floats.len();
        let mut histograms = Output::default();
        let mut count = 0;
        for (time, histogram) in &self.series.histograms[self.written.1..] {
            if body.len() + histograms.len() >= CHUNK_BYTES && (count > 0 || !floats.is_empty()) {
                break;
            }
            let step = number(*time);
            histograms.number(step - self.next.1);
            write_histogram(&mut histograms, histogram);
            self.next.1 = step + 1;
            count += 1;
        }
        body.number(count as u64);
        body.append(&histograms);
        self.written.1 += count;
        self.written != (self.series.floats.len(), self.series.histograms.len())
    }
}

fn end(annotations: &Annotations, stats: &Stats) -> Output {
    let mut out = Output::default();
    out.byte(END);
    for number in [stats.samples, stats.series, stats.peak_points] {
        out.number(number);
    }
    for texts in [&annotations.warnings, &annotations.infos] {
        out.number(texts.len() as u64);
        texts.iter().for_each(|text| out.text(text));
    }
    out.number(annotations.counted.len() as u64);
    for Counted { detail, position, raised } in &annotations.counted {
        out.text(detail);
        out.number(position.0.into());
        out.number(position.1.into());
        out.signed(raised.from_ms);
        out.signed(raised.to_ms);
        for float in [raised.min_bucket, raised.max_bucket, raised.max_diff] {
            out.float(float);
        }
        out.number(raised.samples);
    }
    out
}

fn write_histogram(out: &mut Output, histogram: &Histogram) {
    out.signed(histogram.schema.into());
    out.byte(match histogram.hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    });
    let Histogram { count, sum, zero_threshold, zero_count, .. } = histogram;
    for float in [count, sum, zero_threshold, zero_count] {
        out.float(*float);
    }
    for buckets in [&histogram.positive, &histogram.negative] {
        out.number(buckets.len() as u64);
        for (index, count) in buckets {
            out.signed((*index).into());
            out.float(*count);
        }
    }
    out.number(histogram.custom_values.len() as u64);
    histogram.custom_values.iter().for_each(|bound| out.float(*bound));
}

/// Reads what an [`Encoder`] wrote.
#[derive(Debug)]
pub struct Decoder {
    from_ms: i64,
    step_ms: i64,
    /// Steps that there may be.
    steps: u64,
    most_bytes: u64,
    bytes: u64,
    texts: Vec<Box<str>>,
    series: Vec<SeriesPoints>,
    /// As of [`Open`].
    next: (u64, u64),
    end: Option<(Annotations, Stats)>,
}

impl Decoder {
    /// Of the steps from one to another, both inclusive, in milliseconds; holds at most so many bytes.
    pub fn new((from_ms, to_ms): (i64, i64), step_ms: i64, most_bytes: u64) -> Self {
        let steps = (to_ms.saturating_sub(from_ms) / step_ms.max(1)) as u64 + 1;
        let (texts, series) = (Vec::new(), Vec::new());
        Self { from_ms, step_ms, steps, most_bytes, bytes: 0, texts, series, next: (0, 0), end: None }
    }

    /// Bytes that it holds, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes in the next chunk.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        if self.end.is_some() {
            return Err(DecodeError::Broken("they go on after their end"));
        }
        let mut input = Input::new(chunk);
        match input.byte()? {
            SERIES => {
                for _ in 0..input.number()? {
                    let text = input.text()?;
                    self.spend(TEXT_BYTES + text.len() as u64)?;
                    self.texts.push(text.into());
                }
                while !input.is_empty() {
                    self.piece(&mut input)?;
                }
                Ok(())
            }
            END => {
                self.spend(4 * chunk.len() as u64)?;
                let (annotations, mut stats) = read_end(&mut input)?;
                if !input.is_empty() {
                    stats.steps = self.counted(&mut input)?;
                }
                self.end = Some((annotations, stats));
                if input.is_empty() { Ok(()) } else { Err(DecodeError::Broken("they go on after their end")) }
            }
            _ => Err(DecodeError::Broken("a chunk is of an unknown kind")),
        }
    }

    /// The answer, once its end has come.
    pub fn finish(self) -> Result<Answer, DecodeError> {
        let (annotations, stats) = self.end.ok_or(DecodeError::Broken("their end is missing"))?;
        Ok(Answer { value: Value::Matrix(self.series), annotations, stats })
    }

    /// The samples of steps.
    fn counted(&mut self, input: &mut Input<'_>) -> Result<Vec<(i64, u64)>, DecodeError> {
        let count = input.number()?;
        self.spend(count.min(self.steps).saturating_mul(POINT_BYTES))?;
        let (mut counted, mut next) = (Vec::new(), 0u64);
        for _ in 0..count {
            let step = next.saturating_add(input.number()?);
            if step >= self.steps {
                return Err(DecodeError::Broken("a step is out of range"));
            }
            counted.push((self.from_ms + self.step_ms * step as i64, input.number()?));
            next = step + 1;
        }
        Ok(counted)
    }

    /// Counts what is about to be held.
    fn spend(&mut self, bytes: u64) -> Result<(), DecodeError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.most_bytes { Err(DecodeError::TooLarge { limit: self.most_bytes }) } else { Ok(()) }
    }

    fn piece(&mut self, input: &mut Input<'_>) -> Result<(), DecodeError> {
        if let Some(count) = input.number()?.checked_sub(1) {
            let labels = self.labels(count, input)?;
            if self.series.last().is_some_and(|last| last.labels >= labels) {
                return Err(DecodeError::Broken("series are not in order"));
            }
            self.next = (0, 0);
            self.series.push(SeriesPoints { labels, floats: Vec::new(), histograms: Vec::new() });
        }
        for _ in 0..input.number()? {
            let (gap, length) = (input.number()?, input.number()?);
            let values = input.floats(length)?;
            let first = self.steps(self.next.0, gap, length)?;
            self.next.0 = first + length;
            self.spend(length * POINT_BYTES)?;
            let (from_ms, step_ms) = (self.from_ms, self.step_ms);
            let times = (first..).map(|step| from_ms + step as i64 * step_ms);
            self.last()?.floats.extend(times.zip(values));
        }
        for _ in 0..input.number()? {
            let gap = input.number()?;
            let step = self.steps(self.next.1, gap, 1)?;
            self.next.1 = step + 1;
            let histogram = read_histogram(input)?;
            self.spend(POINT_BYTES + POINT_BYTES * histogram.weight())?;
            let time = self.from_ms + step as i64 * self.step_ms;
            self.last()?.histograms.push((time, Arc::new(histogram)));
        }
        Ok(())
    }

    fn last(&mut self) -> Result<&mut SeriesPoints, DecodeError> {
        self.series.last_mut().ok_or(DecodeError::Broken("points come before their series"))
    }

    /// The first of so many steps after a gap.
    fn steps(&self, next: u64, gap: u64, length: u64) -> Result<u64, DecodeError> {
        let first = next.checked_add(gap).filter(|_| length > 0);
        let end = first.and_then(|first| first.checked_add(length)).filter(|end| *end <= self.steps);
        first.filter(|_| end.is_some()).ok_or(DecodeError::Broken("there are other steps than were asked for"))
    }

    fn labels(&mut self, count: u64, input: &mut Input<'_>) -> Result<Labels, DecodeError> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push((input.number()?, input.number()?));
        }
        let text = |number: u64| usize::try_from(number).ok().and_then(|number| self.texts.get(number));
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(numbers.len());
        let mut bytes = SERIES_BYTES;
        for (name, value) in numbers {
            let (Some(name), Some(value)) = (text(name), text(value)) else {
                return Err(DecodeError::Broken("a label has an unknown text"));
            };
            if value.is_empty() || pairs.last().is_some_and(|last| *last.0 >= **name) {
                return Err(DecodeError::Broken("labels are not in order"));
            }
            bytes += 8 + (name.len() + value.len()) as u64;
            pairs.push((name, value));
        }
        if self.bytes.saturating_add(bytes) > self.most_bytes {
            return Err(DecodeError::TooLarge { limit: self.most_bytes });
        }
        let labels = Labels::from_sorted(pairs.into_iter());
        self.spend(bytes)?;
        Ok(labels)
    }
}

fn read_histogram(input: &mut Input<'_>) -> Result<Histogram, DecodeError> {
    let index = |number: i64| i32::try_from(number).map_err(|_| DecodeError::Broken("a bucket has no place"));
    let schema = index(input.signed()?)?;
    let hint = match input.byte()? {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => return Err(DecodeError::Broken("a histogram has an unknown hint")),
    };
    let [count, sum, zero_threshold, zero_count] = [input.float()?, input.float()?, input.float()?, input.float()?];
    let mut buckets = || {
        let mut buckets = Vec::new();
        for _ in 0..input.number()? {
            buckets.push((index(input.signed()?)?, input.float()?));
        }
        Ok::<_, DecodeError>(buckets)
    };
    let (positive, negative) = (buckets()?, buckets()?);
    let bounds = input.number()?;
    let custom_values = input.floats(bounds)?.collect();
    Ok(Histogram { schema, count, sum, zero_threshold, zero_count, positive, negative, custom_values, hint })
}

fn read_end(input: &mut Input<'_>) -> Result<(Annotations, Stats), DecodeError> {
    let (samples, series, peak_points) = (input.number()?, input.number()?, input.number()?);
    let stats = Stats { samples, series, peak_points, steps: Vec::new() };
    let mut texts = || {
        let mut texts = Vec::new();
        for _ in 0..input.number()? {
            texts.push(input.text()?.to_owned());
        }
        Ok::<_, DecodeError>(texts)
    };
    let (warnings, infos) = (texts()?, texts()?);
    let mut counted = Vec::new();
    for _ in 0..input.number()? {
        let detail = input.text()?.to_owned();
        let mut place = || u32::try_from(input.number()?).map_err(|_| DecodeError::Broken("an info has no place"));
        let position = (place()?, place()?);
        let raised = Raised {
            from_ms: input.signed()?,
            to_ms: input.signed()?,
            min_bucket: input.float()?,
            max_bucket: input.float()?,
            max_diff: input.float()?,
            samples: input.number()?,
        };
        counted.push(Counted { detail, position, raised });
    }
    Ok((Annotations { warnings, infos, counted }, stats))
}
