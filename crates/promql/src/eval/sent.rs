//! Folds as bytes, for another node: what one made of some of a query's series, another merges with what it made of the
//! others, and evaluates what stands above.
//!
//! Chunks of items, and one that ends them. A fold begins with an item of its own; those that follow are of that fold. A
//! reader plans the query by itself, and refuses what does not fit its plan.
//!
//! ```text
//! chunk     0 texts* item*                        or 1 end
//! item      0 leaf, shape, steps                  a fold begins: each leaf has one, in order
//!           1 labels, loses its name, run*, 0     a series, or a group of some, by step
//!             0, step, run*, 0                    it goes on from a step
//!           2 labels, samples                     samples that wait for numbers to be known
//!             0, samples                          more of that series
//!           3 note, place, detail, what was raised
//!           4 samples of a step*                  in the order of steps
//! run       flags, gap, length, cell*
//! samples   (time since the last, float)*, (time since the last, histogram)*
//! end       leaves, samples series peak
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Evaluation;
use super::annotations::{Note, Raised};
use super::bytes::{Input, Output};
use super::cells::{Cells, FLOAT, HISTOGRAM};
use super::chunks::{CHUNK_BYTES, DecodeError, POINT_BYTES, Reader, Writer, write_histogram};
use super::fold::{Fold, RawSeries, Usage};
use super::plan::{Leaf, Plan, Read};
use super::rows::{Row, is_absent};
use super::run::merged;
use crate::error::Error;
use crate::syntax::Span;

const ITEMS: u8 = 0;
const END: u8 = 1;

const BEGIN: u8 = 0;
const STEPS: u8 = 1;
const SAMPLES: u8 = 2;
const NOTE: u8 = 3;
const LOADED: u8 = 4;

/// Steps and samples of an item, at most.
const MANY: usize = 4096;
/// Bytes of a fold beside what it holds.
const FOLD_BYTES: u64 = 1024;
/// The same of a note.
const NOTE_BYTES: u64 = 128;

/// What there is by step of a leaf's series, a number that both nodes must agree on; and bytes of a step.
fn shape(leaf: &Leaf) -> (u8, usize) {
    match (&leaf.read, &leaf.group) {
        (Read::Raw, _) => (0, 0),
        (_, None) => (1, size_of::<f64>()),
        (_, Some(group)) => {
            let (kind, bytes) = Cells::new(group.op).kind();
            (2 + kind, 1 + bytes)
        }
    }
}

impl Evaluation {
    /// Folds as bytes, and what they used: for the evaluation of the same query that has the other series.
    pub fn encode(self, folds: Vec<Fold>) -> Result<FoldEncoder, Error> {
        let folds: Vec<Fold> = merged(&self.plan, folds)?.into_iter().flatten().collect();
        let usage = &self.usage;
        let used = [&usage.samples, &usage.series, &usage.peak].map(|counter| counter.load(Relaxed));
        let (folds, open, writer) = (folds.into_iter(), None, Writer::default());
        Ok(FoldEncoder { plan: self.plan, folds, open, writer, used: Some(used) })
    }

    /// Reads folds of this query that another node encoded; holds at most so many bytes.
    pub fn decoder(&self, most_bytes: u64) -> FoldDecoder {
        let (plan, usage, reader) = (self.plan.clone(), self.usage.clone(), Reader::new(most_bytes));
        FoldDecoder { plan, usage, reader, folds: Vec::new(), next: None, loaded: 0, used: None }
    }
}

/// Writes folds, chunk by chunk.
#[derive(Debug)]
pub struct FoldEncoder {
    plan: Arc<Plan>,
    folds: std::vec::IntoIter<Fold>,
    open: Option<Open>,
    writer: Writer,
    used: Option<[u64; 3]>,
}

impl FoldEncoder {
    fn open(&mut self) -> bool {
        if self.open.is_none() {
            self.open = self.folds.next().map(Open::new);
        }
        self.open.is_some()
    }
}

impl Iterator for FoldEncoder {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if !self.open() {
            let mut end = Output::default();
            end.byte(END);
            end.number(self.plan.leaves.len() as u64);
            self.used.take()?.into_iter().for_each(|number| end.number(number));
            return Some(end.finish());
        }
        while !self.writer.is_full() && self.open() {
            let Some(mut open) = self.open.take() else { break };
            if open.write(&self.plan, &mut self.writer) {
                self.open = Some(open);
            }
        }
        Some(self.writer.chunk(ITEMS))
    }
}

/// A fold of which some items are written.
#[derive(Debug)]
struct Open {
    fold: Fold,
    notes: Vec<(Note, Span, String, Option<Raised>)>,
    begun: bool,
    /// The series or group that comes next, and how much of it is written: its steps, or floats and histograms.
    at: usize,
    written: (usize, usize),
    /// Steps whose samples are written.
    loaded: usize,
}

impl Open {
    fn new(mut fold: Fold) -> Self {
        let notes = std::mem::take(&mut fold.notes).into_entries().collect();
        Self { fold, notes, begun: false, at: 0, written: (0, 0), loaded: 0 }
    }

    /// Writes the next item; whether there was one.
    fn write(&mut self, plan: &Plan, writer: &mut Writer) -> bool {
        let leaf = &plan.leaves[self.fold.leaf];
        let len = leaf.window.grid.len;
        if !self.begun {
            self.begun = true;
            writer.body.byte(BEGIN);
            writer.body.number(self.fold.leaf as u64);
            writer.body.byte(shape(leaf).0);
            writer.body.number(len as u64);
            return true;
        }
        if let Some(groups) = &self.fold.groups
            && let Some(group) = groups.group(self.at)
        {
            let (at, written) = (self.at, self.written.0);
            let cell = |step, out: &mut Output| groups.write(at, step, out);
            let written = steps(writer, group, written..len, |step| groups.flags(at, step), cell);
            self.go_on(written, len);
            return true;
        }
        if let Some(row) = self.fold.rows.get(self.at) {
            let series = (&row.labels, row.drop_name);
            let cell = |step, out: &mut Output| match row.histogram(step) {
                Some(histogram) => write_histogram(out, histogram),
                None => out.float(row.floats[step]),
            };
            let written = steps(writer, series, self.written.0..len, |step| flags(row, step), cell);
            self.go_on(written, len);
            return true;
        }
        if let Some(raw) = self.fold.raw.get(self.at) {
            let end = samples(writer, raw, self.written);
            let all = (raw.values.len(), raw.histograms.len());
            (self.at, self.written) = if end == all { (self.at + 1, (0, 0)) } else { (self.at, end) };
            return true;
        }
        if let Some((note, span, detail, raised)) = self.notes.pop() {
            let out = &mut writer.body;
            out.byte(NOTE);
            out.byte(note as u8);
            out.number(span.start as u64);
            out.number(span.end as u64);
            out.text(&detail);
            out.byte(raised.is_some().into());
            if let Some(raised) = raised {
                raised.write(out);
            }
            return true;
        }
        let loaded = self.fold.loaded.as_ref().map_or(&[][..], |loaded| &loaded.steps()[self.loaded..]);
        let loaded = &loaded[..loaded.len().min(MANY)];
        if !loaded.is_empty() {
            writer.body.byte(LOADED);
            writer.body.number(loaded.len() as u64);
            loaded.iter().for_each(|samples| writer.body.number(*samples));
            self.loaded += loaded.len();
        }
        !loaded.is_empty()
    }

    fn go_on(&mut self, written: usize, len: usize) {
        (self.at, self.written.0) = if written == len { (self.at + 1, 0) } else { (self.at, written) };
    }
}

fn flags(row: &Row, step: usize) -> u8 {
    match (row.histogram(step), is_absent(row.floats[step])) {
        (Some(_), _) => HISTOGRAM,
        (None, false) => FLOAT,
        (None, true) => 0,
    }
}

/// Writes steps of a series as far as they fit; up to which one.
fn steps(
    writer: &mut Writer,
    (labels, drop_name): (&crate::Labels, bool),
    steps: std::ops::Range<usize>,
    flags: impl Fn(usize) -> u8,
    cell: impl Fn(usize, &mut Output),
) -> usize {
    writer.body.byte(STEPS);
    if steps.start == 0 {
        writer.labels(labels);
        writer.body.byte(drop_name.into());
    } else {
        writer.body.number(0);
        writer.body.number(steps.start as u64);
    }
    let out = &mut writer.body;
    let (mut step, mut written) = (steps.start, steps.start);
    let end = steps.end.min(steps.start + MANY);
    while step < end {
        let kind = flags(step);
        if kind == 0 {
            step += 1;
            continue;
        }
        // Histograms may be large: one at a time, so that they fit.
        let most = if kind & HISTOGRAM == 0 { end } else { step + 1 };
        let length = (step..most).take_while(|step| flags(*step) == kind).count();
        out.byte(kind);
        out.number((step - written) as u64);
        out.number(length as u64);
        (step..step + length).for_each(|step| cell(step, out));
        step += length;
        written = step;
        // Some of it is written by now, even if its labels alone filled the chunk.
        if out.len() >= CHUNK_BYTES {
            break;
        }
    }
    out.byte(0);
    step
}

/// Writes samples of a series as far as they fit, from these on; up to which ones.
fn samples(writer: &mut Writer, raw: &RawSeries, from: (usize, usize)) -> (usize, usize) {
    writer.body.byte(SAMPLES);
    if from == (0, 0) {
        writer.labels(&raw.labels);
    } else {
        writer.body.number(0);
    }
    let floats = from.0..raw.values.len().min(from.0 + MANY);
    writer.body.number(floats.len() as u64);
    let mut last = floats.start.checked_sub(1).map_or(0, |before| raw.times[before]);
    for (time, value) in raw.times[floats.clone()].iter().zip(&raw.values[floats.clone()]) {
        writer.body.signed(time.wrapping_sub(last));
        writer.body.float(*value);
        last = *time;
    }
    let (mut histograms, mut end) = (Output::default(), from.1);
    let mut last = end.checked_sub(1).map_or(0, |before| raw.histogram_times[before]);
    for (time, histogram) in raw.histogram_times.iter().zip(&raw.histograms).skip(end) {
        if writer.body.len() + histograms.len() >= CHUNK_BYTES && (end > from.1 || !floats.is_empty()) {
            break;
        }
        histograms.signed(time.wrapping_sub(last));
        write_histogram(&mut histograms, histogram);
        last = *time;
        end += 1;
    }
    writer.body.number((end - from.1) as u64);
    writer.body.append(&histograms);
    (floats.end, end)
}

/// Reads what a [`FoldEncoder`] wrote.
#[derive(Debug)]
pub struct FoldDecoder {
    plan: Arc<Plan>,
    usage: Arc<Usage>,
    reader: Reader,
    folds: Vec<Fold>,
    /// Of the fold that was begun last: the series that may go on, and its next step.
    next: Option<(usize, usize)>,
    /// Steps of it whose samples are known.
    loaded: usize,
    used: Option<[u64; 3]>,
}

impl FoldDecoder {
    /// Bytes that it holds, about.
    pub fn bytes(&self) -> u64 {
        self.reader.bytes()
    }

    /// Takes in the next chunk.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        if self.used.is_some() {
            return Err(DecodeError::Broken("they go on after their end"));
        }
        let mut input = Input::new(chunk);
        match input.byte()? {
            ITEMS => {
                self.reader.texts(&mut input)?;
                while !input.is_empty() {
                    self.item(&mut input)?;
                }
                Ok(())
            }
            END => {
                if input.number()? != self.plan.leaves.len() as u64 {
                    return Err(DecodeError::Broken("they are of another query"));
                }
                self.used = Some([input.number()?, input.number()?, input.number()?]);
                if input.is_empty() { Ok(()) } else { Err(DecodeError::Broken("they go on after their end")) }
            }
            _ => Err(DecodeError::Broken("a chunk is of an unknown kind")),
        }
    }

    /// The folds, once their end has come. From now on what they used counts for the evaluation that they are of.
    pub fn finish(self) -> Result<Vec<Fold>, DecodeError> {
        let [samples, series, peak] = self.used.ok_or(DecodeError::Broken("their end is missing"))?;
        self.usage.push(samples, series)?;
        self.usage.keep(self.folds.iter().map(Fold::points).sum())?;
        self.usage.peak.fetch_max(peak, Relaxed);
        Ok(self.folds)
    }

    fn item(&mut self, input: &mut Input<'_>) -> Result<(), DecodeError> {
        let kind = input.byte()?;
        if kind == BEGIN {
            return self.begin(input);
        }
        let fold = self.folds.last_mut().ok_or(DecodeError::Broken("something comes before its fold"))?;
        let leaf = &self.plan.leaves[fold.leaf];
        let is_raw = matches!(leaf.read, Read::Raw);
        match kind {
            STEPS if !is_raw => {
                self.next = read_steps(fold, leaf, self.next, &mut self.reader, input)?;
                Ok(())
            }
            SAMPLES if is_raw => read_samples(fold, &mut self.reader, input),
            NOTE => {
                let note = Note::ALL.get(usize::from(input.byte()?));
                let note = *note.ok_or(DecodeError::Broken("a note is unknown"))?;
                let mut place =
                    || usize::try_from(input.number()?).map_err(|_| DecodeError::Broken("a note has no place"));
                let span = Span { start: place()?, end: place()? };
                let detail = input.text()?;
                let raised = if input.byte()? == 0 { None } else { Some(Raised::read(input)?) };
                self.reader.spend(NOTE_BYTES + detail.len() as u64)?;
                fold.notes.insert(note, span, detail, raised);
                Ok(())
            }
            LOADED => {
                let loaded = fold.loaded.as_mut().ok_or(DecodeError::Broken("nobody counts samples"))?;
                for _ in 0..input.number()? {
                    if self.loaded >= loaded.steps().len() {
                        return Err(DecodeError::Broken("there are other steps than were asked for"));
                    }
                    loaded.add(self.loaded, input.number()?);
                    self.loaded += 1;
                }
                Ok(())
            }
            _ => Err(DecodeError::Broken("an item does not fit the query")),
        }
    }

    fn begin(&mut self, input: &mut Input<'_>) -> Result<(), DecodeError> {
        let (number, shaped, len) = (input.number()?, input.byte()?, input.number()?);
        let number = usize::try_from(number).map_err(|_| DecodeError::Broken("a fold is of another query"))?;
        let fits = |leaf: &&Leaf| shape(leaf).0 == shaped && leaf.window.grid.len as u64 == len;
        let in_order = self.folds.last().is_none_or(|last| last.leaf < number);
        if !in_order || self.plan.leaves.get(number).filter(fits).is_none() {
            return Err(DecodeError::Broken("a fold is of another query"));
        }
        let fold = Fold::new(self.plan.clone(), self.usage.clone(), number);
        let steps = fold.loaded.as_ref().map_or(0, |loaded| loaded.steps().len() as u64);
        self.reader.spend(FOLD_BYTES + 8 * steps)?;
        self.folds.push(fold);
        (self.next, self.loaded) = (None, 0);
        Ok(())
    }
}

/// Reads steps of a series, or of the one that goes on; which one that is, and its next step.
fn read_steps(
    fold: &mut Fold,
    leaf: &Leaf,
    next: Option<(usize, usize)>,
    reader: &mut Reader,
    input: &mut Input<'_>,
) -> Result<Option<(usize, usize)>, DecodeError> {
    let len = leaf.window.grid.len;
    let (at, mut step) = match reader.labels(input)? {
        Some(labels) => {
            let drop_name = input.byte()? != 0;
            reader.spend((len as u64).saturating_mul(shape(leaf).1 as u64))?;
            let at = match &mut fold.groups {
                Some(groups) => groups.new_group(&labels, drop_name),
                None => {
                    fold.rows.push(Row { drop_name, ..Row::new(labels, len) });
                    Some(fold.rows.len() - 1)
                }
            };
            (at.ok_or(DecodeError::Broken("a group comes twice"))?, 0)
        }
        None => {
            let (at, next) = next.ok_or(DecodeError::Broken("something goes on that has not begun"))?;
            let step = usize::try_from(input.number()?).ok().filter(|step| (next..=len).contains(step));
            (at, step.ok_or(DecodeError::Broken("steps are not in order"))?)
        }
    };
    loop {
        let flags = input.byte()?;
        if flags == 0 {
            return Ok(Some((at, step)));
        }
        let (gap, length) = (input.number()?, input.number()?);
        let first = usize::try_from(gap).ok().and_then(|gap| step.checked_add(gap));
        let end = first.zip(usize::try_from(length).ok()).and_then(|(first, length)| first.checked_add(length));
        let steps = first.zip(end.filter(|end| *end <= len));
        let (first, end) = steps.ok_or(DecodeError::Broken("there are other steps than were asked for"))?;
        for step in first..end {
            match (&mut fold.groups, flags) {
                (Some(groups), _) => groups.read((at, step), flags, reader, input)?,
                (None, HISTOGRAM) => {
                    let histogram = reader.sound_histogram(input)?;
                    // Room for one at each step.
                    if fold.rows[at].histograms.is_none() {
                        reader.spend(POINT_BYTES.saturating_mul(len as u64))?;
                    }
                    fold.rows[at].set_histogram(step, Arc::new(histogram));
                }
                (None, _) => fold.rows[at].floats[step] = input.float()?,
            }
        }
        step = end;
    }
}

/// Reads samples of a series, or of the one that goes on.
fn read_samples(fold: &mut Fold, reader: &mut Reader, input: &mut Input<'_>) -> Result<(), DecodeError> {
    if let Some(labels) = reader.labels(input)? {
        let (times, values, histogram_times, histograms) = (vec![], vec![], vec![], vec![]);
        fold.raw.push(RawSeries { labels, times, values, histogram_times, histograms });
    }
    let raw = fold.raw.last_mut().ok_or(DecodeError::Broken("something goes on that has not begun"))?;
    for _ in 0..input.number()? {
        let time = next_time(&raw.times, input)?;
        let value = input.float()?;
        reader.spend(POINT_BYTES)?;
        raw.times.push(time);
        raw.values.push(value);
    }
    for _ in 0..input.number()? {
        let time = next_time(&raw.histogram_times, input)?;
        let histogram = reader.sound_histogram(input)?;
        raw.histogram_times.push(time);
        raw.histograms.push(Arc::new(histogram));
    }
    Ok(())
}

/// Reads the time of the sample that comes after these.
fn next_time(times: &[i64], input: &mut Input<'_>) -> Result<i64, DecodeError> {
    let gap = input.signed()?;
    let time = times.last().map_or(Some(gap), |last| last.checked_add(gap).filter(|time| time > last));
    time.ok_or(DecodeError::Broken("samples are not in order"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_numbered_as_they_are_declared() {
        assert!(Note::ALL.iter().enumerate().all(|(number, note)| *note as usize == number));
    }
}
