//! Quantiles and fractions of classic histograms: cumulative counts by upper bound.

/// A difference this small, relative to the counts, comes from floats and not from the data.
const SMALL_DELTA: f64 = 1e-12;

/// What was done to counts that fell from one bucket to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forced {
    pub min_bucket: f64,
    pub max_bucket: f64,
    pub max_diff: f64,
}

/// Sorts buckets by bound and adds up those with the same one. None without a bucket of +Inf at the end.
fn prepare(buckets: &mut Vec<(f64, f64)>) -> Option<()> {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    buckets.last().filter(|bucket| bucket.0 == f64::INFINITY).map(|_| ())
}

/// Whether two numbers differ by no more than `tolerance` of their mean size.
pub(crate) fn almost_equal(a: f64, b: f64, tolerance: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (size, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return difference < tolerance * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < tolerance
}

/// Makes counts rise from bucket to bucket.
fn make_monotonic(buckets: &mut [(f64, f64)]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut previous = buckets.first()?.1;
    for (bound, count) in buckets.iter_mut().skip(1) {
        if almost_equal(previous, *count, SMALL_DELTA) {
            *count = previous;
        } else if *count < previous {
            let diff = previous - *count;
            *count = previous;
            let f = forced.get_or_insert(Forced { min_bucket: *bound, max_bucket: *bound, max_diff: diff });
            f.min_bucket = f.min_bucket.min(*bound);
            f.max_bucket = f.max_bucket.max(*bound);
            f.max_diff = f.max_diff.max(diff);
        } else {
            previous = *count;
        }
    }
    forced
}

/// The first bucket that holds so many; the number of buckets where none does. Halves as Prometheus does, which shows
/// where counts are NaN.
fn first_of_rank(buckets: &[(f64, f64)], rank: f64) -> usize {
    let (mut low, mut high) = (0, buckets.len());
    while low < high {
        let middle = (low + high) / 2;
        if buckets[middle].1 >= rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The `q` quantile of buckets (upper bound, count of observations up to it).
pub(crate) fn quantile(q: f64, buckets: &mut Vec<(f64, f64)>) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if prepare(buckets).is_none() {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    let at = first_of_rank(&buckets[..last], rank);
    let value = if at == last {
        buckets[last - 1].0
    } else if at == 0 && buckets[0].0 <= 0.0 {
        buckets[0].0
    } else {
        let (end, mut count) = buckets[at];
        let mut start = 0.0;
        if at > 0 {
            start = buckets[at - 1].0;
            count -= buckets[at - 1].1;
            rank -= buckets[at - 1].1;
        }
        start + (end - start) * (rank / count)
    };
    (value, forced)
}

/// Which part of the observations lies between `lower` and `upper`.
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<(f64, f64)>) -> f64 {
    if prepare(buckets).is_none() {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |bucket| bucket.1);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |value: f64| {
        let mut below = 0.0;
        let mut start = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        for (end, total) in buckets.iter() {
            if start >= value {
                return below;
            }
            if *end > value {
                let open = start == f64::NEG_INFINITY;
                return if open { *total } else { below + (total - below) * (value - start) / (end - start) };
            }
            (below, start) = (*total, *end);
        }
        count
    };
    let rank = |value: f64| {
        let rank = rank_of(value);
        if rank > count { count } else { rank }
    };
    (rank(upper) - rank(lower)) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let buckets = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)];
        for (q, expected) in [(0.25, 0.5), (0.75, 1.5), (1.0, 2.0), (-1.0, f64::NEG_INFINITY), (2.0, f64::INFINITY)] {
            assert_eq!(quantile(q, &mut buckets.to_vec()), (expected, None), "{q}");
        }
        assert!(quantile(0.5, &mut vec![(1.0, 1.0)]).0.is_nan());
        assert_eq!(fraction(0.0, 1.5, &mut buckets.to_vec()), 0.75);
    }

    #[test]
    fn falling_counts_are_raised() {
        let (_, forced) = quantile(0.5, &mut vec![(1.0, 10.0), (2.0, 5.0), (f64::INFINITY, 20.0)]);
        assert_eq!(forced, Some(Forced { min_bucket: 2.0, max_bucket: 2.0, max_diff: 5.0 }));
    }
}
