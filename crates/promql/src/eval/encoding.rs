//! The answer of a range query as bytes, for another node: what one evaluates of the steps, another puts together.
//!
//! Chunks of series, and one that ends them. Times are counted in steps, in runs without a gap; floats keep their bits.
//! A reader refuses what is not in order, and more than it may hold.
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

use std::sync::Arc;

use super::annotations::{Annotations, Counted, Raised};
use super::answer::{Answer, SeriesPoints, Stats, Value};
use super::bytes::{Input, Output};
use super::chunks::{CHUNK_BYTES, DecodeError, POINT_BYTES, Reader, Writer, write_histogram};

const SERIES: u8 = 0;
const END: u8 = 1;

/// Writes an answer, chunk by chunk.
#[derive(Debug)]
pub struct Encoder {
    from_ms: i64,
    step_ms: i64,
    series: std::vec::IntoIter<SeriesPoints>,
    /// The series that is being written.
    open: Option<Open>,
    writer: Writer,
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
        (step_ms > 0).then(|| Self { from_ms, step_ms, series, open: None, writer: Writer::default(), end })
    }

    fn open(&mut self) -> bool {
        if self.open.is_none() {
            let opened = |series| Open { series, begun: false, written: (0, 0), next: (0, 0) };
            self.open = self.series.next().map(opened);
        }
        self.open.is_some()
    }

    fn chunk(&mut self) -> Vec<u8> {
        while !self.writer.is_full() && self.open() {
            let Some(mut open) = self.open.take() else { break };
            if open.begun {
                self.writer.body.number(0);
            } else {
                open.begun = true;
                self.writer.labels(&open.series.labels);
            }
            let number = |time: i64| ((time - self.from_ms) / self.step_ms) as u64;
            if open.write(&mut self.writer.body, number) {
                self.open = Some(open);
            }
        }
        self.writer.chunk(SERIES)
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
        raised.write(&mut out);
    }
    out
}

/// Reads what an [`Encoder`] wrote.
#[derive(Debug)]
pub struct Decoder {
    from_ms: i64,
    step_ms: i64,
    /// Steps that there may be.
    steps: u64,
    reader: Reader,
    series: Vec<SeriesPoints>,
    /// As of [`Open`].
    next: (u64, u64),
    end: Option<(Annotations, Stats)>,
}

impl Decoder {
    /// Of the steps from one to another, both inclusive, in milliseconds; holds at most so many bytes.
    pub fn new((from_ms, to_ms): (i64, i64), step_ms: i64, most_bytes: u64) -> Self {
        let steps = (to_ms.saturating_sub(from_ms) / step_ms.max(1)) as u64 + 1;
        Self { from_ms, step_ms, steps, reader: Reader::new(most_bytes), series: Vec::new(), next: (0, 0), end: None }
    }

    /// Bytes that it holds, about.
    pub fn bytes(&self) -> u64 {
        self.reader.bytes()
    }

    /// Takes in the next chunk.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        if self.end.is_some() {
            return Err(DecodeError::Broken("they go on after their end"));
        }
        let mut input = Input::new(chunk);
        match input.byte()? {
            SERIES => {
                self.reader.texts(&mut input)?;
                while !input.is_empty() {
                    self.piece(&mut input)?;
                }
                Ok(())
            }
            END => {
                self.reader.spend(4 * chunk.len() as u64)?;
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
        self.reader.spend(count.min(self.steps).saturating_mul(POINT_BYTES))?;
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

    fn piece(&mut self, input: &mut Input<'_>) -> Result<(), DecodeError> {
        if let Some(labels) = self.reader.labels(input)? {
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
            self.reader.spend(length * POINT_BYTES)?;
            let (from_ms, step_ms) = (self.from_ms, self.step_ms);
            let times = (first..).map(|step| from_ms + step as i64 * step_ms);
            self.last()?.floats.extend(times.zip(values));
        }
        for _ in 0..input.number()? {
            let gap = input.number()?;
            let step = self.steps(self.next.1, gap, 1)?;
            self.next.1 = step + 1;
            let histogram = self.reader.histogram(input)?;
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
        let raised = Raised::read(input)?;
        counted.push(Counted { detail, position, raised });
    }
    Ok((Annotations { warnings, infos, counted }, stats))
}
