//! Prometheus' protobuf format: `io.prometheus.client.MetricFamily`, each after its length (the numbers of its fields
//! are those of client_model's metrics.proto).

use std::borrow::Cow;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::histogram::{Buckets, Count, NativeHistogram};
use super::message::{Field, Fields, text, timestamp, zigzag};
use super::{Exemplar, Family, Kind, Pairs, ParseError, Receiver, Sample, Value, Wanted, go_float};

/// Parses a body.
pub(super) fn parse<'b>(body: &'b [u8], wanted: Wanted, receiver: &mut impl Receiver<'b>) -> Result<(), ParseError> {
    let mut families = Fields::new(body);
    let mut walk = Walk { wanted, family: Family::default(), metric: Metric::default(), series: String::new() };
    let mut number = 0;
    while !families.is_empty() {
        number += 1;
        walk.family = Family::default();
        let done = families.bytes().and_then(|bytes| walk.family(bytes, receiver));
        done.map_err(|message| ParseError {
            place: match walk.family.name.as_ref() {
                "" => format!("metric family {number}"),
                name => format!("metric {name:?}"),
            },
            message,
        })?;
    }
    Ok(())
}

struct Walk<'b> {
    wanted: Wanted,
    family: Family<'b>,
    metric: Metric<'b>,
    /// The current series' name.
    series: String,
}

/// One metric, whatever its type; used again for the next.
#[derive(Default)]
struct Metric<'b> {
    labels: Pairs<'b>,
    /// A hash of the labels.
    key: u64,
    timestamp: Option<i64>,
    start: Option<i64>,
    value: Option<f64>,
    exemplars: Vec<Exemplar<'b>>,
    /// Count and sum of a summary or histogram.
    count: Option<Count>,
    sum: f64,
    quantiles: Vec<(f64, f64)>,
    buckets: Vec<Bucket<'b>>,
    native: NativeHistogram,
    is_native: bool,
}

struct Bucket<'b> {
    bound: f64,
    count: f64,
    exemplar: Option<Exemplar<'b>>,
}

/// The types of metrics.proto.
const KINDS: [Kind; 6] =
    [Kind::Counter, Kind::Gauge, Kind::Summary, Kind::Unknown, Kind::Histogram, Kind::GaugeHistogram];

impl<'b> Walk<'b> {
    fn family(&mut self, bytes: &'b [u8], receiver: &mut impl Receiver<'b>) -> Result<(), String> {
        let mut fields = Fields::new(bytes);
        // The field has no value where the type is the first one.
        self.family.kind = Kind::Counter;
        while let Some(field) = fields.next()? {
            match field {
                Field::Bytes(1, name) => self.family.name = text(name)?,
                Field::Bytes(2, help) => self.family.help = text(help)?,
                Field::Bytes(5, unit) => self.family.unit = text(unit)?,
                Field::Varint(3, kind) => {
                    let known = usize::try_from(kind).ok().and_then(|kind| KINDS.get(kind));
                    self.family.kind = *known.ok_or_else(|| format!("{kind} is no type of metrics"))?;
                }
                _ => {}
            }
        }
        if self.family.name.is_empty() {
            return Err("it has no name".into());
        }
        receiver.family(&self.family);
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            if let Field::Bytes(4, metric) = field {
                self.metric.read(metric)?;
                self.samples(receiver)?;
            }
        }
        Ok(())
    }

    fn samples(&mut self, receiver: &mut impl Receiver<'b>) -> Result<(), String> {
        match self.family.kind {
            Kind::Summary => self.summary(receiver),
            Kind::Histogram | Kind::GaugeHistogram => self.histogram(receiver),
            _ => {
                let value = self.metric.value.ok_or("a metric has no value of its type")?;
                let exemplars = std::mem::take(&mut self.metric.exemplars);
                self.emit("", None, Value::Float(value), &exemplars, receiver)
            }
        }
    }

    fn summary(&mut self, receiver: &mut impl Receiver<'b>) -> Result<(), String> {
        self.totals(receiver)?;
        for (quantile, value) in std::mem::take(&mut self.metric.quantiles) {
            self.emit("", Some(("quantile", quantile)), Value::Float(value), &[], receiver)?;
        }
        Ok(())
    }

    fn totals(&mut self, receiver: &mut impl Receiver<'b>) -> Result<(), String> {
        let count = float(self.metric.count.unwrap_or_default());
        self.emit("_count", None, Value::Float(count), &[], receiver)?;
        self.emit("_sum", None, Value::Float(self.metric.sum), &[], receiver)
    }

    fn histogram(&mut self, receiver: &mut impl Receiver<'b>) -> Result<(), String> {
        let buckets = std::mem::take(&mut self.metric.buckets);
        let native = self.metric.is_native && self.wanted.native;
        if native {
            let mut histogram = std::mem::take(&mut self.metric.native);
            histogram.count = self.metric.count.unwrap_or_default();
            histogram.sum = self.metric.sum;
            histogram.gauge = self.family.kind == Kind::GaugeHistogram;
            let mut exemplars = std::mem::take(&mut self.metric.exemplars);
            if exemplars.is_empty() {
                // Programs that give none to the native histogram give some to its classic buckets.
                exemplars.extend(buckets.iter().filter_map(|bucket| bucket.exemplar.clone()));
            }
            let emitted = self.emit("", None, Value::Histogram(&histogram), &exemplars, receiver);
            self.metric.native = histogram;
            emitted?;
            if !self.wanted.classic || buckets.is_empty() {
                return Ok(());
            }
        }
        self.totals(receiver)?;
        let mut infinite = false;
        for bucket in &buckets {
            infinite |= bucket.bound == f64::INFINITY;
            let exemplar = bucket.exemplar.as_slice();
            self.emit("_bucket", Some(("le", bucket.bound)), Value::Float(bucket.count), exemplar, receiver)?;
        }
        if !infinite {
            let count = Value::Float(float(self.metric.count.unwrap_or_default()));
            self.emit("_bucket", Some(("le", f64::INFINITY)), count, &[], receiver)?;
        }
        Ok(())
    }

    /// Gives a series of the metric to the receiver.
    fn emit(
        &mut self,
        suffix: &str,
        bound: Option<(&'static str, f64)>,
        value: Value<'_>,
        exemplars: &[Exemplar<'b>],
        receiver: &mut impl Receiver<'b>,
    ) -> Result<(), String> {
        self.series.clear();
        self.series.push_str(&self.family.name);
        self.series.push_str(suffix);
        let mut key = xxh3_64_with_seed(self.series.as_bytes(), self.metric.key);
        if matches!(value, Value::Histogram(_)) {
            key = key.wrapping_add(1);
        }
        let count = self.metric.labels.len();
        if let Some((label, bound)) = bound {
            let bound = go_float(bound);
            key = xxh3_64_with_seed(bound.as_bytes(), key);
            self.metric.labels.push((Cow::Borrowed(label), Cow::Owned(bound)));
        }
        let (timestamp, start) = (self.metric.timestamp, self.metric.start);
        let sample =
            Sample { key, name: &self.series, labels: &self.metric.labels, value, timestamp, start, exemplars };
        let done = receiver.sample(&sample);
        self.metric.labels.truncate(count);
        done
    }
}

impl<'b> Metric<'b> {
    fn read(&mut self, bytes: &'b [u8]) -> Result<(), String> {
        self.labels.clear();
        self.exemplars.clear();
        self.quantiles.clear();
        self.buckets.clear();
        self.native.clear();
        (self.key, self.timestamp, self.start, self.value) = (0, None, None, None);
        (self.count, self.sum, self.is_native) = (None, 0.0, false);
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field {
                Field::Bytes(1, pair) => {
                    self.key = self.key.wrapping_add(xxh3_64(pair));
                    self.labels.push(label(pair)?);
                }
                // Gauge, counter, untyped.
                Field::Bytes(2 | 3 | 5, number) => self.number(number)?,
                Field::Bytes(4, summary) => self.summary(summary)?,
                Field::Bytes(7, histogram) => self.histogram(histogram)?,
                Field::Varint(6, millis) => self.timestamp = Some(millis as i64),
                _ => {}
            }
        }
        Ok(())
    }

    fn number(&mut self, bytes: &'b [u8]) -> Result<(), String> {
        self.value = Some(0.0);
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field {
                Field::Fixed64(1, bits) => self.value = Some(f64::from_bits(bits)),
                Field::Bytes(2, bytes) => self.exemplars.push(exemplar(bytes)?),
                Field::Bytes(3, bytes) => self.start = Some(timestamp(bytes)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn summary(&mut self, bytes: &'b [u8]) -> Result<(), String> {
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next()? {
            match field {
                Field::Varint(1, count) => self.count = Some(Count::Int(count)),
                Field::Fixed64(2, bits) => self.sum = f64::from_bits(bits),
                Field::Bytes(3, quantile) => {
                    let (mut at, mut value) = (0.0, 0.0);
                    let mut fields = Fields::new(quantile);
                    while let Some(field) = fields.next()? {
                        match field {
                            Field::Fixed64(1, bits) => at = f64::from_bits(bits),
                            Field::Fixed64(2, bits) => value = f64::from_bits(bits),
                            _ => {}
                        }
                    }
                    self.quantiles.push((at, value));
                }
                Field::Bytes(4, bytes) => self.start = Some(timestamp(bytes)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn histogram(&mut self, bytes: &'b [u8]) -> Result<(), String> {
        let mut fields = Fields::new(bytes);
        let native = &mut self.native;
        while let Some(field) = fields.next()? {
            match field {
                Field::Varint(1, count) => self.count = Some(self.count.unwrap_or(Count::Int(count))),
                Field::Fixed64(2, bits) => self.sum = f64::from_bits(bits),
                Field::Bytes(3, bytes) => self.buckets.push(bucket(bytes)?),
                Field::Fixed64(4, bits) if bits != 0 => self.count = Some(Count::Float(f64::from_bits(bits))),
                Field::Varint(5, schema) => native.schema = zigzag(schema) as i32,
                Field::Fixed64(6, bits) => native.zero_threshold = f64::from_bits(bits),
                Field::Varint(7, count) if count > 0 => native.zero_count = Count::Int(count),
                Field::Fixed64(8, bits) if bits != 0 => native.zero_count = Count::Float(f64::from_bits(bits)),
                Field::Bytes(9, bytes) => native.negative.spans.push(span(bytes)?),
                Field::Bytes(10, bytes) => deltas(bytes, &mut native.negative)?,
                Field::Varint(10, delta) => native.negative.deltas.push(zigzag(delta)),
                Field::Bytes(11, bytes) => counts(bytes, &mut native.negative)?,
                Field::Fixed64(11, bits) => native.negative.counts.push(f64::from_bits(bits)),
                Field::Bytes(12, bytes) => native.positive.spans.push(span(bytes)?),
                Field::Bytes(13, bytes) => deltas(bytes, &mut native.positive)?,
                Field::Varint(13, delta) => native.positive.deltas.push(zigzag(delta)),
                Field::Bytes(14, bytes) => counts(bytes, &mut native.positive)?,
                Field::Fixed64(14, bits) => native.positive.counts.push(f64::from_bits(bits)),
                Field::Bytes(15, bytes) => self.start = Some(timestamp(bytes)?),
                Field::Bytes(16, bytes) => self.exemplars.push(exemplar(bytes)?),
                _ => {}
            }
        }
        // An empty native histogram has an empty span, or a threshold, to be told from a classic one.
        let spans = !native.positive.spans.is_empty() || !native.negative.spans.is_empty();
        self.is_native = spans || native.zero_threshold > 0.0 || float(native.zero_count) > 0.0;
        if matches!(self.count, Some(Count::Float(_))) && native.zero_count == Count::Int(0) {
            native.zero_count = Count::Float(0.0);
        }
        Ok(())
    }
}

fn label(bytes: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), String> {
    let (mut name, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            Field::Bytes(1, bytes) => name = text(bytes)?,
            Field::Bytes(2, bytes) => value = text(bytes)?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err("a label has no name".into());
    }
    Ok((name, value))
}

fn exemplar(bytes: &[u8]) -> Result<Exemplar<'_>, String> {
    let mut exemplar = Exemplar::default();
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            Field::Bytes(1, pair) => exemplar.labels.push(label(pair)?),
            Field::Fixed64(2, bits) => exemplar.value = f64::from_bits(bits),
            Field::Bytes(3, bytes) => exemplar.timestamp = Some(timestamp(bytes)?),
            _ => {}
        }
    }
    Ok(exemplar)
}

fn bucket(bytes: &[u8]) -> Result<Bucket<'_>, String> {
    let mut bucket = Bucket { bound: 0.0, count: 0.0, exemplar: None };
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            Field::Varint(1, count) => bucket.count = count as f64,
            Field::Fixed64(2, bits) => bucket.bound = f64::from_bits(bits),
            Field::Bytes(3, bytes) => bucket.exemplar = Some(exemplar(bytes)?),
            Field::Fixed64(4, bits) if bits != 0 => bucket.count = f64::from_bits(bits),
            _ => {}
        }
    }
    Ok(bucket)
}

fn span(bytes: &[u8]) -> Result<(i32, u32), String> {
    let (mut offset, mut length) = (0, 0);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            Field::Varint(1, number) => offset = zigzag(number) as i32,
            Field::Varint(2, number) => length = number as u32,
            _ => {}
        }
    }
    Ok((offset, length))
}

fn deltas(bytes: &[u8], side: &mut Buckets) -> Result<(), String> {
    let mut fields = Fields::new(bytes);
    while !fields.is_empty() {
        side.deltas.push(zigzag(fields.varint()?));
    }
    Ok(())
}

fn counts(bytes: &[u8], side: &mut Buckets) -> Result<(), String> {
    let mut fields = Fields::new(bytes);
    while !fields.is_empty() {
        side.counts.push(f64::from_bits(fields.fixed64()?));
    }
    Ok(())
}

fn float(count: Count) -> f64 {
    match count {
        Count::Int(count) => count as f64,
        Count::Float(count) => count,
    }
}
