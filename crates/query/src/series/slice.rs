//! Some of all series: what one of several queriers evaluates of a query.
//!
//! A series belongs to one slice, whatever rows and blocks it lies in. So do rows: all series that a row becomes, as the
//! parts of a histogram, differ in their name and bounds alone, which are left aside.

use std::hash::{BuildHasher, Hash, Hasher};

use bonghwa_promql::{Labels, METRIC_NAME};
use foldhash::fast::FixedState;

/// Labels that may differ among the series of a row.
const OF_PARTS: [&str; 3] = [METRIC_NAME, "le", "quantile"];

/// One of so many slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    number: u32,
    count: u32,
}

impl Slice {
    /// All series.
    pub(crate) const WHOLE: Slice = Slice { number: 0, count: 1 };

    /// None where there are not so many.
    pub(crate) fn new(number: u32, count: u32) -> Option<Self> {
        (number < count).then_some(Slice { number, count })
    }

    /// Which one it is, and of how many.
    pub(crate) fn of(self) -> (u32, u32) {
        (self.number, self.count)
    }

    /// Whether what has this place belongs to it.
    pub(super) fn holds(self, place: u64) -> bool {
        (u128::from(place) * u128::from(self.count)) >> 64 == u128::from(self.number)
    }
}

/// The place of a row, or of a series: the same on all nodes of a release.
pub(super) fn place(labels: &Labels) -> u64 {
    let mut hasher = FixedState::with_seed(2).build_hasher();
    for label in labels.iter().filter(|(name, _)| !OF_PARTS.contains(name)) {
        label.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_series_belongs_to_one_slice() {
        let slices: Vec<Slice> = (0..3).map(|number| Slice::new(number, 3).unwrap()).collect();
        let mut counts = [0; 3];
        for pod in 0..3000 {
            let pod = format!("pod-{pod}");
            let place_of = |pairs: &[(&str, &str)]| place(&Labels::new(pairs.iter().copied().chain([("pod", &*pod)])));
            let row = place_of(&[("__name__", "duration")]);
            for part in [&[("__name__", "duration_bucket"), ("le", "0.5")][..], &[("__name__", "a"), ("quantile", "1")]]
            {
                assert_eq!(place_of(part), row);
            }
            assert!(Slice::WHOLE.holds(row));
            let holds: Vec<usize> = (0..3).filter(|number| slices[*number].holds(row)).collect();
            let [number] = holds[..] else { panic!("{holds:?}") };
            counts[number] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert!(slices.iter().all(|slice| slice.holds(0) == (slice.number == 0)));
        assert!(slices.iter().all(|slice| slice.holds(u64::MAX) == (slice.number == 2)));
        assert_eq!(Slice::new(3, 3), None);
    }
}
