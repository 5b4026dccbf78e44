//! Exposition formats: from the bytes of a body to samples, in one pass and without copying what is not escaped.

mod created;
mod histogram;
mod message;
mod number;
mod protobuf;
mod series;
mod text;

use std::borrow::Cow;

pub use histogram::{Buckets, Count, NativeHistogram};
pub(crate) use number::go_float;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, 0.0.4 or 1.0.0.
    Text,
    /// OpenMetrics' text format.
    OpenMetrics,
    /// Protobuf messages `io.prometheus.client.MetricFamily`, each after its length.
    Protobuf,
}

/// The type of a metric, by remote write's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    #[default]
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl Kind {
    /// As the formats and Prometheus' API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Unknown => "unknown",
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::GaugeHistogram => "gaugehistogram",
            Kind::Summary => "summary",
            Kind::Info => "info",
            Kind::StateSet => "stateset",
        }
    }

    fn parse(text: &str) -> Option<Kind> {
        Some(match text {
            "unknown" | "untyped" => Kind::Unknown,
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "gaugehistogram" => Kind::GaugeHistogram,
            "summary" => Kind::Summary,
            "info" => Kind::Info,
            "stateset" => Kind::StateSet,
            _ => return None,
        })
    }
}

/// Names and values of labels, as they stand in a body.
pub type Pairs<'b> = Vec<(Cow<'b, str>, Cow<'b, str>)>;

/// What a body says of a metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family<'b> {
    /// The metric's name, without the suffixes of its series.
    pub name: Cow<'b, str>,
    /// Its type.
    pub kind: Kind,
    /// What it means.
    pub help: Cow<'b, str>,
    /// Its unit.
    pub unit: Cow<'b, str>,
}

/// One sample.
#[derive(Debug)]
pub struct Sample<'s, 'b> {
    /// A hash of the series as it is written in the body: the same text has the same one in every scrape.
    pub key: u64,
    /// The metric's name.
    pub name: &'s str,
    /// Labels, in the order of the body, the name not among them.
    pub labels: &'s [(Cow<'b, str>, Cow<'b, str>)],
    /// The value.
    pub value: Value<'s>,
    /// Its own time, Unix milliseconds.
    pub timestamp: Option<i64>,
    /// Since when it counts, Unix milliseconds.
    pub start: Option<i64>,
    /// Examples of what it counted.
    pub exemplars: &'s [Exemplar<'b>],
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub enum Value<'s> {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(&'s NativeHistogram),
}

/// An example of what was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar<'b> {
    /// Its labels, such as `trace_id`.
    pub labels: Pairs<'b>,
    /// What was measured.
    pub value: f64,
    /// When, Unix milliseconds; none: with the sample.
    pub timestamp: Option<i64>,
}

/// Takes what a body holds.
pub trait Receiver<'b> {
    /// Before the samples of a metric: what the body says of it.
    fn family(&mut self, family: &Family<'b>);

    /// A sample. An error ends the parse.
    fn sample(&mut self, sample: &Sample<'_, 'b>) -> Result<(), String>;
}

/// A body that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ParseError {
    /// Line or metric.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

/// Which histograms are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Native ones.
    pub native: bool,
    /// Classic buckets of histograms that have native ones too.
    pub classic: bool,
}

/// Parses a body.
pub fn parse<'b>(
    body: &'b [u8],
    format: Format,
    wanted: Wanted,
    receiver: &mut impl Receiver<'b>,
) -> Result<(), ParseError> {
    match format {
        Format::Protobuf => protobuf::parse(body, wanted, receiver),
        Format::Text | Format::OpenMetrics => {
            let text = simdutf8::basic::from_utf8(body).map_err(|_| {
                let valid = std::str::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len);
                let message = "it is not UTF-8".to_owned();
                ParseError { place: text::line_of(body, valid), message }
            })?;
            text::parse(text, format == Format::OpenMetrics, receiver)
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
