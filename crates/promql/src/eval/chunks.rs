//! Chunks: what whatever has labels or histograms travels in. Texts of labels are numbered over all chunks, and each is
//! written once, in front of the chunk that needs it first. A reader takes nothing on trust, and holds no more than it
//! may.

use std::collections::HashMap;

use super::bytes::{Input, Output, Unreadable};
use crate::histogram::{Histogram, ResetHint};
use crate::labels::Labels;

/// Bytes of a chunk, about: a series' labels, or a histogram, are not divided.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a point in memory, and of a series and a text beside what they hold.
pub(super) const POINT_BYTES: u64 = 16;
pub(super) const SERIES_BYTES: u64 = 128;
const TEXT_BYTES: u64 = 32;
/// Exponential schemas of samples are smaller, with either sign.
const SCHEMAS: i32 = 16;

/// Why bytes are not what another node sends.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// They are not what the encoder writes.
    #[error("they are no part of an answer: {0}")]
    Broken(&'static str),
    /// They hold more than the reader may.
    #[error("they hold more than {limit} bytes")]
    TooLarge {
        /// What it may hold.
        limit: u64,
    },
    /// With what they hold the query needs more than it may.
    #[error(transparent)]
    Query(#[from] crate::Error),
}

impl From<Unreadable> for DecodeError {
    fn from(_: Unreadable) -> Self {
        Self::Broken("they end too soon, or a number is too large")
    }
}

/// Writes chunks.
#[derive(Debug, Default)]
pub(super) struct Writer {
    known: HashMap<Box<str>, u64>,
    /// Those that are new in this chunk.
    texts: Output,
    count: u64,
    pub(super) body: Output,
}

impl Writer {
    pub(super) fn is_full(&self) -> bool {
        self.body.len() + self.texts.len() >= CHUNK_BYTES
    }

    /// Labels behind their number plus one, so that 0 says that there are none.
    pub(super) fn labels(&mut self, labels: &Labels) {
        self.body.number(labels.len() as u64 + 1);
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            let number = self.known.get(text).copied().unwrap_or_else(|| {
                let next = self.known.len() as u64;
                self.known.insert(text.into(), next);
                self.texts.text(text);
                self.count += 1;
                next
            });
            self.body.number(number);
        }
    }

    /// What was written, as a chunk of a kind.
    pub(super) fn chunk(&mut self, kind: u8) -> Vec<u8> {
        let mut chunk = Output::default();
        chunk.byte(kind);
        chunk.number(std::mem::take(&mut self.count));
        chunk.append(&std::mem::take(&mut self.texts));
        chunk.append(&std::mem::take(&mut self.body));
        chunk.finish()
    }
}

/// Reads chunks.
#[derive(Debug)]
pub(super) struct Reader {
    most_bytes: u64,
    bytes: u64,
    texts: Vec<Box<str>>,
}

impl Reader {
    /// Of what takes at most so many bytes in memory.
    pub(super) fn new(most_bytes: u64) -> Self {
        Self { most_bytes, bytes: 0, texts: Vec::new() }
    }

    /// Bytes of what was read, about.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts what is about to be held.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), DecodeError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.most_bytes { Err(DecodeError::TooLarge { limit: self.most_bytes }) } else { Ok(()) }
    }

    /// Reads the texts in front of a chunk.
    pub(super) fn texts(&mut self, input: &mut Input<'_>) -> Result<(), DecodeError> {
        for _ in 0..input.number()? {
            let text = input.text()?;
            self.spend(TEXT_BYTES + text.len() as u64)?;
            self.texts.push(text.into());
        }
        Ok(())
    }

    /// Reads labels; none where there are none.
    pub(super) fn labels(&mut self, input: &mut Input<'_>) -> Result<Option<Labels>, DecodeError> {
        let Some(count) = input.number()?.checked_sub(1) else { return Ok(None) };
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
        Ok(Some(labels))
    }

    /// Reads a histogram, which is a point.
    pub(super) fn histogram(&mut self, input: &mut Input<'_>) -> Result<Histogram, DecodeError> {
        let histogram = read_histogram(input)?;
        self.spend(POINT_BYTES + POINT_BYTES * histogram.weight())?;
        Ok(histogram)
    }

    /// Reads a histogram that others are added to: of layouts that no sample has, sums would find no end.
    pub(super) fn sound_histogram(&mut self, input: &mut Input<'_>) -> Result<Histogram, DecodeError> {
        let histogram = self.histogram(input)?;
        let mut buckets = histogram.positive.iter().chain(&histogram.negative);
        let is_sound = (histogram.is_custom() || histogram.schema.abs() < SCHEMAS)
            && !histogram.zero_threshold.is_nan()
            && buckets.all(|(index, _)| *index != i32::MIN);
        if is_sound { Ok(histogram) } else { Err(DecodeError::Broken("a histogram has a layout that no sample has")) }
    }
}

pub(super) fn write_histogram(out: &mut Output, histogram: &Histogram) {
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
