//! Metric points as columns.

use crate::batch::batch;
use crate::column::Uniform;
use crate::refs::Ref;

/// OTLP's five data types. The numbers are stored: never reuse one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MetricType {
    /// A sampled value.
    #[default]
    Gauge = 0,
    /// A sum.
    Sum = 1,
    /// Explicit buckets.
    Histogram = 2,
    /// Exponential buckets.
    ExponentialHistogram = 3,
    /// Quantiles.
    Summary = 4,
}

impl MetricType {
    /// The type with this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        use MetricType::*;
        [Gauge, Sum, Histogram, ExponentialHistogram, Summary].get(n as usize).copied()
    }

    /// The name that SQL shows.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Gauge => "gauge",
            MetricType::Sum => "sum",
            MetricType::Histogram => "histogram",
            MetricType::ExponentialHistogram => "exponential_histogram",
            MetricType::Summary => "summary",
        }
    }
}

/// What all points of a metric share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metric {
    /// Name.
    pub name: String,
    /// UCUM unit.
    pub unit: String,
    /// Help text.
    pub description: String,
    /// Data type.
    pub metric_type: MetricType,
    /// For sums: never falls but by a reset.
    pub monotonic: bool,
    /// OTLP AggregationTemporality: 0 unspecified, 1 delta, 2 cumulative.
    pub temporality: u8,
    /// JSON object of the metric's metadata attributes; empty for none.
    pub metadata: String,
}

/// What a point holds. The numbers are stored: never reuse one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PointKind {
    /// `value` holds an integer.
    Int = 0,
    /// `value` holds the bits of a float.
    #[default]
    Double = 1,
    /// No recorded value: the series ended here (staleness). Without flags it is no sample, see
    /// [`crate::prometheus::is_sample`].
    None = 2,
    /// `count`, `sum` and `buckets` hold a distribution.
    Distribution = 3,
    /// The same without a sum.
    DistributionWithoutSum = 4,
}

impl PointKind {
    /// The kind with this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        use PointKind::*;
        [Int, Double, None, Distribution, DistributionWithoutSum].get(n as usize).copied()
    }
}

batch! {
    /// Metric points. All columns but `metrics` have one value per row.
    MetricBatch {
        plain {
            /// Index into `metrics`.
            metric: Vec<u32>,
            /// The series' identity: a hash of resource, scope, metric and attributes, in any order.
            series: Vec<[u64; 2]>,
            /// Unix nanoseconds.
            time: Vec<i64>,
            /// Unix nanoseconds; 0 when not sent.
            start_time: Uniform<i64>,
            /// A [`PointKind`].
            point_kind: Uniform<u8>,
            /// An integer or the bits of a float.
            value: Vec<u64>,
            /// Of a distribution.
            count: Uniform<u64>,
            /// Of a distribution.
            sum: Uniform<f64>,
            /// OTLP DataPointFlags.
            flags: Uniform<u32>,
        }
        refs {
            /// JSON of a distribution: histogram `{"bounds":[],"counts":[],"min":,"max":}`, exponential
            /// `{"scale":,"zero_count":,"zero_threshold":,"positive":{"offset":,"counts":[]},"negative":{..},"min":,"max":}`,
            /// summary `{"quantiles":[{"quantile":,"value":}]}`; empty for a number. Prometheus' native histograms
            /// add `"reset_hint"` and `"float_count"`, see [`crate::prometheus`].
            buckets: Uniform,
            /// JSON array of `{"time_unix_nano":N,"value":,"trace_id":"hex","span_id":"hex","attributes":{}}`; empty for none.
            exemplars: Uniform,
        }
        tables {
            /// Distinct metrics.
            metrics: Metric,
        }
    }
}

/// One point's columns, for building a batch row by row.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // The fields are those of MetricBatch.
pub struct MetricRow {
    pub metric: u32,
    pub series: [u64; 2],
    pub time: i64,
    pub start_time: i64,
    pub point_kind: PointKind,
    pub value: u64,
    pub count: u64,
    pub sum: f64,
    pub flags: u32,
    pub buckets: Ref,
    pub exemplars: Ref,
}

impl MetricBatch {
    /// Adds a row with the attributes pushed since the last one.
    #[inline]
    pub fn push_row(&mut self, row: MetricRow) {
        self.metric.push(row.metric);
        self.series.push(row.series);
        self.time.push(row.time);
        self.start_time.push(row.start_time);
        self.point_kind.push(row.point_kind as u8);
        self.value.push(row.value);
        self.count.push(row.count);
        self.sum.push(row.sum);
        self.flags.push(row.flags);
        self.buckets.push(row.buckets);
        self.exemplars.push(row.exemplars);
        self.attributes.end_row();
    }
}
