//! Native histograms: spans of buckets become the lists of buckets that the model has.

use bonghwa_model::json;
use bonghwa_model::metrics::{MetricRow, MetricType, PointKind};
use bonghwa_model::prometheus::{COARSEST_SCHEMA, RESET_HINTS};
use bonghwa_model::refs::{Arena, Ref};

use super::schema::{histogram, span};
use crate::cursor::Cursor;
use crate::decoded::Reason;
use crate::distributions::{check_threshold, eights, too_many, write_list};
use crate::fault::{Fault, Result};
use crate::schema::packed;

/// The schema that says: the bounds are listed.
const CUSTOM_BOUNDS: i32 = -53;
/// The schemas that are exponential and that queries read; the finest of them are reserved by Prometheus.
const EXPONENTIAL: std::ops::RangeInclusive<i32> = COARSEST_SCHEMA..=52;

const NEGATIVE_DELTAS: u32 = packed(histogram::negative_deltas);
const NEGATIVE_COUNTS: u32 = packed(histogram::negative_counts);
const POSITIVE_DELTAS: u32 = packed(histogram::positive_deltas);
const POSITIVE_COUNTS: u32 = packed(histogram::positive_counts);
const CUSTOM_VALUES: u32 = packed(histogram::custom_values);

/// A histogram as it was sent. Kept between histograms for its lists' memory.
#[derive(Default)]
pub(crate) struct Histogram {
    /// Milliseconds.
    pub timestamp: i64,
    /// Milliseconds; 0 for none.
    pub start: i64,
    count: Count,
    zero_count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    negative: Side,
    positive: Side,
    reset_hint: u64,
    custom_values: Vec<f64>,
}

#[derive(Clone, Copy)]
enum Count {
    Int(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Count::Int(0)
    }
}

/// Buckets on one side of zero.
#[derive(Default)]
struct Side {
    /// Gap to the span before (of the first one its index), and length.
    spans: Vec<(i32, u64)>,
    /// Of a histogram of integers: each count less the one before.
    deltas: Vec<i64>,
    /// Of a histogram of floats.
    counts: Vec<f64>,
}

/// Consecutive buckets.
struct Buckets<T> {
    /// Index of the first.
    first: i64,
    counts: Vec<T>,
}

impl Side {
    fn clear(&mut self) {
        self.spans.clear();
        self.deltas.clear();
        self.counts.clear();
    }

    fn span(&mut self, bytes: &[u8]) -> Result<()> {
        let mut read = (0, 0);
        let mut c = Cursor::new(bytes, &span::MESSAGE);
        while c.more() {
            match c.tag()? {
                span::offset => read.0 = c.sint32()?,
                span::length => read.1 = c.varint()?,
                _ => c.skip()?,
            }
        }
        self.spans.push(read);
        Ok(())
    }

    fn longest(&self) -> usize {
        self.spans.len().max(self.deltas.len()).max(self.counts.len())
    }

    fn integers(&self) -> Result<Vec<u64>> {
        let mut count = 0i64;
        let add = |(at, delta): (usize, &i64)| {
            count = count.wrapping_add(*delta);
            u64::try_from(count).map_err(|_| negative(format!("deltas[{at}]"), count))
        };
        self.deltas.iter().enumerate().map(add).collect()
    }

    fn floats(&self) -> Result<&[f64]> {
        match self.counts.iter().position(|count| !is_count(*count)) {
            Some(at) => Err(no_count(format!("counts[{at}]"), self.counts[at])),
            None => Ok(&self.counts),
        }
    }

    /// The buckets from the first to the last, gaps filled.
    fn spread<T: Copy + Default>(&self, counts: &[T], limit: usize) -> Result<Buckets<T>> {
        let announced = self.spans.iter().fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
        if announced != counts.len() as u64 {
            let text = format!("have {announced} buckets where {} counts are sent: send as many", counts.len());
            return Err(invalid("spans", text));
        }
        let mut buckets = Buckets { first: 0, counts: Vec::new() };
        let (mut index, mut left) = (0i64, counts);
        for (at, (offset, length)) in self.spans.iter().enumerate() {
            if at > 0 && *offset < 0 {
                let text = format!("is {offset}: only the first span may begin below zero; sort the spans");
                return Err(invalid(format!("spans[{at}].offset"), text));
            }
            index += i64::from(*offset);
            if *length == 0 {
                continue;
            }
            if buckets.counts.is_empty() {
                buckets.first = index;
            }
            let gap = index - buckets.first - buckets.counts.len() as i64;
            // Not over the count of buckets, as was checked.
            let length = *length as usize;
            if gap as u64 + (buckets.counts.len() + length) as u64 > limit as u64 {
                return Err(too_many("spans", "buckets, gaps between them included", limit));
            }
            buckets.counts.resize(buckets.counts.len() + gap as usize, T::default());
            let (taken, rest) = left.split_at(length);
            buckets.counts.extend_from_slice(taken);
            left = rest;
            index += length as i64;
        }
        Ok(buckets)
    }
}

impl Histogram {
    fn clear(&mut self) {
        self.negative.clear();
        self.positive.clear();
        self.custom_values.clear();
        *self = Histogram {
            negative: std::mem::take(&mut self.negative),
            positive: std::mem::take(&mut self.positive),
            custom_values: std::mem::take(&mut self.custom_values),
            ..Default::default()
        };
    }

    /// Reads another histogram; no list of it may be longer than `limit`.
    pub fn read(&mut self, bytes: &[u8], limit: usize) -> Result<()> {
        self.clear();
        let mut c = Cursor::new(bytes, &histogram::MESSAGE);
        while c.more() {
            match c.tag()? {
                histogram::count_int => self.count = Count::Int(c.varint()?),
                histogram::count_float => self.count = Count::Float(c.double()?),
                histogram::sum => self.sum = c.double()?,
                histogram::schema => self.schema = c.sint32()?,
                histogram::zero_threshold => self.zero_threshold = c.double()?,
                histogram::zero_count_int => self.zero_count = Count::Int(c.varint()?),
                histogram::zero_count_float => self.zero_count = Count::Float(c.double()?),
                histogram::negative_spans => self.negative.span(c.bytes()?).map_err(|f| f.under("negative_spans"))?,
                histogram::positive_spans => self.positive.span(c.bytes()?).map_err(|f| f.under("positive_spans"))?,
                histogram::negative_deltas => self.negative.deltas.push(zigzag(c.varint()?)),
                histogram::positive_deltas => self.positive.deltas.push(zigzag(c.varint()?)),
                histogram::negative_counts => self.negative.counts.push(c.double()?),
                histogram::positive_counts => self.positive.counts.push(c.double()?),
                histogram::custom_values => self.custom_values.push(c.double()?),
                NEGATIVE_DELTAS => deltas(&mut self.negative.deltas, c.bytes()?, limit)?,
                POSITIVE_DELTAS => deltas(&mut self.positive.deltas, c.bytes()?, limit)?,
                NEGATIVE_COUNTS => self.negative.counts.extend(eights(&mut c)?.map(f64::from_le_bytes)),
                POSITIVE_COUNTS => self.positive.counts.extend(eights(&mut c)?.map(f64::from_le_bytes)),
                CUSTOM_VALUES => self.custom_values.extend(eights(&mut c)?.map(f64::from_le_bytes)),
                histogram::reset_hint => self.reset_hint = c.varint()?,
                histogram::timestamp => self.timestamp = c.varint()? as i64,
                histogram::start_timestamp => self.start = c.varint()? as i64,
                _ => c.skip()?,
            }
            if self.negative.longest().max(self.positive.longest()).max(self.custom_values.len()) > limit {
                return Err(too_many("buckets", "entries in a list", limit));
            }
        }
        Ok(())
    }

    /// The histogram's type and what it adds to its row, its buckets written into `arena`.
    pub fn take(&self, arena: &mut Arena, limit: usize) -> Result<(MetricType, MetricRow)> {
        let row = MetricRow { point_kind: PointKind::Distribution, sum: self.sum, ..Default::default() };
        match self.count {
            Count::Int(count) => {
                let zero = match self.zero_count {
                    Count::Int(zero) => zero,
                    Count::Float(zero) => return Err(mixed("zero_count_float", zero)),
                };
                let sides = self.sides(|side| side.spread(&side.integers()?, limit))?;
                self.adds_up(count, zero, &sides)?;
                let (kind, buckets) = self.write(arena, zero, sides, |out, v| json::write_u64(out, *v))?;
                Ok((kind, MetricRow { count, buckets, ..row }))
            }
            Count::Float(count) => {
                let zero = match self.zero_count {
                    Count::Float(zero) => zero,
                    Count::Int(0) => 0.0,
                    Count::Int(zero) => return Err(mixed("zero_count_int", zero)),
                };
                for (field, value) in [("count_float", count), ("zero_count_float", zero)] {
                    if !is_count(value) {
                        return Err(no_count(field, value));
                    }
                }
                let sides = self.sides(|side| side.spread(side.floats()?, limit))?;
                let (kind, buckets) = self.write(arena, zero, sides, |out, v| json::write_f64(out, *v))?;
                // Saturates: the exact count is in the buckets' JSON.
                Ok((kind, MetricRow { count: count as u64, buckets, ..row }))
            }
        }
    }

    /// Positive and negative buckets.
    fn sides<T>(&self, read: impl Fn(&Side) -> Result<Buckets<T>>) -> Result<[Buckets<T>; 2]> {
        let positive = read(&self.positive).map_err(|f| f.under("positive"))?;
        let negative = read(&self.negative).map_err(|f| f.under("negative"))?;
        Ok([positive, negative])
    }

    /// Prometheus' own rule: buckets are all observations, but those that are not a number.
    fn adds_up(&self, count: u64, zero: u64, sides: &[Buckets<u64>; 2]) -> Result<()> {
        let buckets = sides.iter().flat_map(|side| &side.counts);
        let in_buckets = buckets.fold(zero, |sum, bucket| sum.saturating_add(*bucket));
        if in_buckets == count || (self.sum.is_nan() && in_buckets < count) {
            return Ok(());
        }
        let text = format!("is {count} where the buckets have {in_buckets}: send a count that is their sum");
        Err(invalid("count_int", text))
    }

    fn write<T: Copy + Default + PartialEq>(
        &self,
        arena: &mut Arena,
        zero: T,
        [positive, negative]: [Buckets<T>; 2],
        number: impl Fn(&mut Vec<u8>, &T) + Copy,
    ) -> Result<(MetricType, Ref)> {
        if self.schema == CUSTOM_BOUNDS {
            if zero != T::default() || !negative.counts.is_empty() {
                return Err(invalid("schema", "is -53, whose histograms have no zero bucket and no negative ones"));
            }
            let counts = self.custom(positive)?;
            let buckets = arena.push_with(|out| {
                out.extend_from_slice(b"{\"bounds\":");
                write_list(out, &self.custom_values, |out, v| json::write_f64(out, *v));
                out.extend_from_slice(b",\"counts\":");
                write_list(out, &counts, number);
                self.write_rest(out);
            });
            return Ok((MetricType::Histogram, buckets));
        }
        if !EXPONENTIAL.contains(&self.schema) {
            let (coarsest, finest) = (EXPONENTIAL.start(), EXPONENTIAL.end());
            let text = format!(
                "is {}: send one of {coarsest} to {finest}, or -53 for custom bounds; coarser ones cannot be shown",
                self.schema
            );
            return Err(invalid("schema", text));
        }
        check_threshold(self.zero_threshold)?;
        let side = |out: &mut Vec<u8>, buckets: &Buckets<T>| {
            // OpenTelemetry's bucket begins where Prometheus' of the same index ends.
            let offset = if buckets.counts.is_empty() { 0 } else { buckets.first - 1 };
            out.extend_from_slice(b"{\"offset\":");
            json::write_i64(out, offset);
            out.extend_from_slice(b",\"counts\":");
            write_list(out, &buckets.counts, number);
            out.push(b'}');
        };
        let buckets = arena.push_with(|out| {
            out.extend_from_slice(b"{\"scale\":");
            json::write_i64(out, i64::from(self.schema));
            out.extend_from_slice(b",\"zero_count\":");
            number(out, &zero);
            out.extend_from_slice(b",\"zero_threshold\":");
            json::write_f64(out, self.zero_threshold);
            out.extend_from_slice(b",\"positive\":");
            side(out, &positive);
            out.extend_from_slice(b",\"negative\":");
            side(out, &negative);
            self.write_rest(out);
        });
        Ok((MetricType::ExponentialHistogram, buckets))
    }

    /// One count for each custom bound, and one above them.
    fn custom<T: Copy + Default>(&self, sent: Buckets<T>) -> Result<Vec<T>> {
        let bounds = &self.custom_values;
        if let Some(at) = bounds.iter().position(|bound| !bound.is_finite()) {
            return Err(invalid(format!("custom_values[{at}]"), format!("is {}: a bound is a number", bounds[at])));
        }
        if let Some(at) = bounds.windows(2).position(|w| !matches!(w, [a, b] if a < b)) {
            let text = format!("is {}, not above the bound before it: sort the bounds", bounds[at + 1]);
            return Err(invalid(format!("custom_values[{}]", at + 1), text));
        }
        let mut counts = vec![T::default(); bounds.len() + 1];
        let place = usize::try_from(sent.first).ok().and_then(|first| {
            let end = first.checked_add(sent.counts.len())?;
            counts.get_mut(first..end)
        });
        match place {
            Some(place) => place.copy_from_slice(&sent.counts),
            None => {
                let text = format!("has buckets outside of the {} that custom_values make", bounds.len() + 1);
                return Err(invalid("positive_spans", text));
            }
        }
        Ok(counts)
    }

    /// Writes what OpenTelemetry has no place for, and closes the object.
    fn write_rest(&self, out: &mut Vec<u8>) {
        if let Some(hint) = RESET_HINTS.iter().skip(1).nth((self.reset_hint as usize).wrapping_sub(1)) {
            out.extend_from_slice(b",\"reset_hint\":\"");
            out.extend_from_slice(hint.as_bytes());
            out.push(b'"');
        }
        if let Count::Float(count) = self.count {
            out.extend_from_slice(b",\"float_count\":");
            json::write_f64(out, count);
        }
        out.push(b'}');
    }
}

fn zigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

fn deltas(list: &mut Vec<i64>, bytes: &[u8], limit: usize) -> Result<()> {
    let mut c = Cursor::new(bytes, &histogram::MESSAGE);
    while c.more() {
        if list.len() >= limit {
            return Err(too_many("deltas", "buckets", limit));
        }
        list.push(zigzag(c.varint().map_err(|f| f.under("deltas"))?));
    }
    Ok(())
}

#[cold]
fn invalid(field: impl Into<String>, text: impl Into<String>) -> Box<Fault> {
    Fault::rejected(Reason::InvalidDistribution, field, text)
}

#[cold]
fn negative(field: String, count: impl std::fmt::Display) -> Box<Fault> {
    invalid(field, format!("makes a count of {count}: counts are not negative"))
}

/// Not `<`: what is not a number is no count either.
fn is_count(value: f64) -> bool {
    value >= 0.0 && value.is_finite()
}

#[cold]
fn no_count(field: impl Into<String>, value: f64) -> Box<Fault> {
    invalid(field, format!("is {value}: a count is a number that is not negative, and has an end"))
}

#[cold]
fn mixed(field: &str, value: impl std::fmt::Display) -> Box<Fault> {
    invalid(field, format!("is {value}: a histogram's counts are all integers or all floats"))
}
