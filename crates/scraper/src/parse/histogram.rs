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

    /// The same in half the resolution, where two buckets each are one. None where there is no coarser one, and where
    /// the spans do not fit the buckets.
    pub(crate) fn coarser(&self) -> Option<NativeHistogram> {
        if !(-3..=8).contains(&self.schema) {
            return None;
        }
        let (negative, positive) = (self.negative.coarser()?, self.positive.coarser()?);
        Some(NativeHistogram { schema: self.schema - 1, negative, positive, ..self.clone() })
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

impl Buckets {
    fn coarser(&self) -> Option<Buckets> {
        let length: u64 = self.spans.iter().map(|(_, length)| u64::from(*length)).sum();
        if length != self.deltas.len().max(self.counts.len()) as u64 {
            return None;
        }
        let mut end = 0;
        let places = self.spans.iter().flat_map(|(gap, length)| {
            let start = end + i64::from(*gap);
            end = start + i64::from(*length);
            start..end
        });
        let mut coarser = Buckets::default();
        // The place after the last bucket; what each has.
        let (mut next, mut wholes) = (0, Vec::<i64>::new());
        let mut whole = 0i64;
        for (at, place) in places.enumerate() {
            // Bucket n ends at the base to the power of n, and the coarser base is the square.
            let place = (place + 1) >> 1;
            if wholes.is_empty() || place + 1 != next {
                let gap = i32::try_from(place - next).ok()?;
                match coarser.spans.last_mut().filter(|_| gap == 0) {
                    Some((_, length)) => *length += 1,
                    None => coarser.spans.push((gap, 1)),
                }
                next = place + 1;
                wholes.push(0);
                coarser.counts.extend((!self.counts.is_empty()).then_some(0.0));
            }
            if let (Some(delta), Some(sum)) = (self.deltas.get(at), wholes.last_mut()) {
                whole = whole.checked_add(*delta)?;
                *sum = sum.checked_add(whole)?;
            }
            if let (Some(count), Some(sum)) = (self.counts.get(at), coarser.counts.last_mut()) {
                *sum += count;
            }
        }
        if !self.deltas.is_empty() {
            let before = std::iter::once(0).chain(wholes.iter().copied());
            coarser.deltas = wholes.iter().zip(before).map(|(whole, before)| whole.wrapping_sub(before)).collect();
        }
        Some(coarser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_buckets_each_become_one() {
        let fine = NativeHistogram {
            schema: 2,
            // Places 1, 2, 3, 6 and 7: the coarser ones are 1, 1, 2, 3 and 4.
            positive: Buckets { spans: vec![(1, 3), (2, 2)], deltas: vec![5, -3, 1, 4, -6], counts: vec![] },
            // Places -3, -2 and 0: -1, -1 (of -3 and -2) and 0.
            negative: Buckets { spans: vec![(-3, 2), (1, 1)], deltas: vec![], counts: vec![1.5, 2.0, 4.0] },
            ..Default::default()
        };
        let coarser = fine.coarser().unwrap();
        assert_eq!(coarser.schema, 1);
        // 5 + 2, 3, 7 and 1.
        let positive = Buckets { spans: vec![(1, 4)], deltas: vec![7, -4, 4, -6], counts: vec![] };
        assert_eq!(coarser.positive, positive);
        let negative = Buckets { spans: vec![(-1, 2)], deltas: vec![], counts: vec![3.5, 4.0] };
        assert_eq!(coarser.negative, negative);
        assert_eq!(NativeHistogram { schema: -4, ..fine.clone() }.coarser(), None, "it is the coarsest");
        let broken = Buckets { spans: vec![(0, 4_000_000_000)], ..fine.positive.clone() };
        assert_eq!(NativeHistogram { positive: broken, ..fine }.coarser(), None);
    }
}
