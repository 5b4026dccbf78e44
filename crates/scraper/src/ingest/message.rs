//! Writes remote write 2.0: `io.prometheus.write.v2.Request`. All texts of a message stand once in its list of
//! symbols. A message that grows large is ended, and another begun.

use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::parse::{Buckets, Count, Exemplar, Kind, NativeHistogram, Value};

/// A message that has so many bytes is ended.
const FULL: usize = 1 << 20;

/// What a series says of its metric.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    /// Its type.
    pub kind: Kind,
    /// What it means.
    pub help: &'a str,
    /// Its unit.
    pub unit: &'a str,
}

/// What is written of a series.
pub struct Point<'a, 'b> {
    /// Its value.
    pub value: Value<'a>,
    /// When, Unix milliseconds.
    pub time: i64,
    /// Since when it counts, Unix milliseconds.
    pub start: Option<i64>,
    /// Examples of what was counted.
    pub exemplars: &'a [Exemplar<'b>],
    /// What is said of the metric.
    pub metadata: Option<Metadata<'a>>,
}

#[derive(Clone, Copy, Default)]
struct Symbol {
    /// Where its text begins in `texts`.
    start: u32,
    length: u32,
    number: u32,
}

/// Messages that are being written.
#[derive(Default)]
pub struct MessageWriter {
    /// The field `symbols` of the message, and the texts in it.
    symbols: Vec<u8>,
    texts: Vec<u8>,
    known: HashTable<Symbol>,
    hasher: FixedState,
    /// The symbols of the last series, by place: those of the next are mostly the same.
    places: Vec<Symbol>,
    series: Vec<u8>,
    /// The current series.
    scratch: Vec<u8>,
    part: Vec<u8>,
    refs: Vec<u32>,
    done: Vec<Bytes>,
}

impl MessageWriter {
    /// Writes a series. Its labels are in the order of their names.
    pub fn series(&mut self, labels: &[(&str, &str)], point: &Point<'_, '_>) {
        if self.symbols.is_empty() {
            // The first symbol is the empty text.
            self.intern("");
        }
        let mut refs = std::mem::take(&mut self.refs);
        refs.clear();
        for (at, (name, value)) in labels.iter().enumerate() {
            refs.push(self.intern_at(2 * at, name));
            refs.push(self.intern_at(2 * at + 1, value));
        }
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        self.packed(&mut out, 1, &refs);
        self.refs = refs;
        let mut part = std::mem::take(&mut self.part);
        part.clear();
        match point.value {
            Value::Float(value) => {
                fixed(&mut part, 1, value);
                int(&mut part, 2, point.time);
                int(&mut part, 3, point.start.unwrap_or(0));
                message(&mut out, 2, &part);
            }
            Value::Histogram(histogram) => {
                write_histogram(&mut part, histogram, point);
                message(&mut out, 3, &part);
            }
        }
        for exemplar in point.exemplars {
            let refs: Vec<u32> =
                exemplar.labels.iter().flat_map(|(name, value)| [self.intern(name), self.intern(value)]).collect();
            part.clear();
            self.packed(&mut part, 1, &refs);
            fixed(&mut part, 2, exemplar.value);
            int(&mut part, 3, exemplar.timestamp.unwrap_or(point.time));
            message(&mut out, 4, &part);
        }
        if let Some(metadata) = point.metadata {
            part.clear();
            int(&mut part, 1, metadata.kind as i64);
            int(&mut part, 3, i64::from(self.intern(metadata.help)));
            int(&mut part, 4, i64::from(self.intern(metadata.unit)));
            message(&mut out, 5, &part);
        }
        message(&mut self.series, 5, &out);
        (self.scratch, self.part) = (out, part);
        if self.symbols.len() + self.series.len() >= FULL {
            self.end();
        }
    }

    /// The messages, each a whole request.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.end();
        self.done
    }

    fn end(&mut self) {
        if self.series.is_empty() {
            return;
        }
        let mut message = std::mem::take(&mut self.symbols);
        message.append(&mut self.series);
        self.done.push(message.into());
        self.texts.clear();
        self.known.clear();
        self.places.clear();
    }

    /// The number of a text that stands at a place where the last series had one too.
    #[inline]
    fn intern_at(&mut self, place: usize, text: &str) -> u32 {
        if let Some(symbol) = self.places.get(place)
            && self.text(symbol) == text.as_bytes()
        {
            return symbol.number;
        }
        let number = self.intern(text);
        let symbol = self.find(text).unwrap_or_default();
        match self.places.get_mut(place) {
            Some(slot) => *slot = symbol,
            None => self.places.push(symbol),
        }
        number
    }

    fn text(&self, symbol: &Symbol) -> &[u8] {
        &self.texts[symbol.start as usize..(symbol.start + symbol.length) as usize]
    }

    fn find(&self, text: &str) -> Option<Symbol> {
        let hash = self.hasher.hash_one(text.as_bytes());
        self.known.find(hash, |symbol| self.text(symbol) == text.as_bytes()).copied()
    }

    /// The number of a text.
    fn intern(&mut self, text: &str) -> u32 {
        if let Some(symbol) = self.find(text) {
            return symbol.number;
        }
        let symbol =
            Symbol { start: self.texts.len() as u32, length: text.len() as u32, number: self.known.len() as u32 };
        self.texts.extend_from_slice(text.as_bytes());
        message(&mut self.symbols, 4, text.as_bytes());
        let (texts, hasher) = (&self.texts, &self.hasher);
        let hash =
            |symbol: &Symbol| hasher.hash_one(&texts[symbol.start as usize..(symbol.start + symbol.length) as usize]);
        self.known.insert_unique(hash(&symbol), symbol, hash);
        symbol.number
    }

    fn packed(&self, out: &mut Vec<u8>, field: u32, numbers: &[u32]) {
        if numbers.is_empty() {
            return;
        }
        let length: usize = numbers.iter().map(|number| varint_length(u64::from(*number))).sum();
        tag(out, field, 2);
        varint(out, length as u64);
        for number in numbers {
            varint(out, u64::from(*number));
        }
    }
}

fn write_histogram(out: &mut Vec<u8>, histogram: &NativeHistogram, point: &Point<'_, '_>) {
    match histogram.count {
        Count::Int(count) => always(out, 1, count),
        Count::Float(count) => fixed_always(out, 2, count),
    }
    fixed(out, 3, histogram.sum);
    int(out, 4, zigzag(i64::from(histogram.schema)) as i64);
    fixed(out, 5, histogram.zero_threshold);
    match histogram.zero_count {
        Count::Int(count) => always(out, 6, count),
        Count::Float(count) => fixed_always(out, 7, count),
    }
    for (first, side) in [(8, &histogram.negative), (11, &histogram.positive)] {
        write_side(out, first, side);
    }
    // 3 is a gauge, 0 unknown.
    int(out, 14, if histogram.gauge { 3 } else { 0 });
    int(out, 15, point.time);
    int(out, 17, point.start.unwrap_or(0));
}

/// Spans, deltas and counts are three fields in a row.
fn write_side(out: &mut Vec<u8>, first: u32, side: &Buckets) {
    for (offset, length) in &side.spans {
        let mut span = Vec::with_capacity(8);
        int(&mut span, 1, zigzag(i64::from(*offset)) as i64);
        int(&mut span, 2, i64::from(*length));
        message(out, first, &span);
    }
    if !side.deltas.is_empty() {
        let mut deltas = Vec::with_capacity(side.deltas.len() * 2);
        for delta in &side.deltas {
            varint(&mut deltas, zigzag(*delta));
        }
        message(out, first + 1, &deltas);
    }
    if !side.counts.is_empty() {
        let counts: Vec<u8> = side.counts.iter().flat_map(|count| count.to_bits().to_le_bytes()).collect();
        message(out, first + 2, &counts);
    }
}

fn tag(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

#[inline]
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_length(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// An integer; 0 is what stands there without it.
fn int(out: &mut Vec<u8>, field: u32, number: i64) {
    if number != 0 {
        tag(out, field, 0);
        varint(out, number as u64);
    }
}

/// An integer of a choice, which says by being there that it is chosen.
fn always(out: &mut Vec<u8>, field: u32, number: u64) {
    tag(out, field, 0);
    varint(out, number);
}

/// A double; +0 is what stands there without it.
fn fixed(out: &mut Vec<u8>, field: u32, number: f64) {
    if number.to_bits() != 0 {
        fixed_always(out, field, number);
    }
}

fn fixed_always(out: &mut Vec<u8>, field: u32, number: f64) {
    tag(out, field, 1);
    out.extend_from_slice(&number.to_bits().to_le_bytes());
}

/// A message, or a text.
fn message(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    tag(out, field, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
