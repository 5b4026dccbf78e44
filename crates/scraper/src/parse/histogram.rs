//! Native histograms.

/// A count of observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    /// Of a histogram that counts whole observations.
    Int(u64),
    /// Of one that was computed.
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Count::Int(0)
    }
}

/// A native histogram, as Prometheus' protobuf has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeHistogram {
    /// All observations.
    pub count: Count,
    /// Their sum.
    pub sum: f64,
    /// The resolution, -4 to 8.
    pub schema: i32,
    /// Up to where observations are in the zero bucket.
    pub zero_threshold: f64,
    /// How many are.
    pub zero_count: Count,
    /// Buckets of negative observations.
    pub negative: Buckets,
    /// Buckets of positive observations.
    pub positive: Buckets,
    /// Whether it is a gauge, that may go down.
    pub gauge: bool,
}

/// One side of a native histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Gap before it, and length, of each run of buckets.
    pub spans: Vec<(i32, u32)>,
    /// Of whole observations: each bucket's count less that of the one before.
    pub deltas: Vec<i64>,
    /// Of floats: each bucket's count.
    pub counts: Vec<f64>,
}

impl NativeHistogram {
    /// How many buckets it has.
    pub fn buckets(&self) -> usize {
        let side = |side: &Buckets| side.deltas.len().max(side.counts.len());
        side(&self.negative) + side(&self.positive)
    }

    /// Forgets everything, and keeps the memory.
    pub(super) fn clear(&mut self) {
        for side in [&mut self.negative, &mut self.positive] {
            side.spans.clear();
            side.deltas.clear();
            side.counts.clear();
        }
        let (negative, positive) = (std::mem::take(&mut self.negative), std::mem::take(&mut self.positive));
        *self = NativeHistogram { negative, positive, ..Default::default() };
    }
}
