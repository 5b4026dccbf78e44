//! Which steps of a range query each querier gets.
//!
//! Time is cut into slots of some whole buckets of the values that are kept (`past`), wherever the query begins, and
//! queriers take slots in turn: a window that moves on leaves each slot with its querier, whose caches know it.

use crate::past::{Segment, bucket_ms};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// A slot is at least so many times as long as what is read beside its steps: neighbours read that twice.
const OVERLAPS: i64 = 4;

/// The slots of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    /// Milliseconds.
    length: i64,
    /// Where the first of all begins.
    phase: i64,
    queriers: usize,
}

impl Slots {
    /// Of a query's first and last step, the distance of its steps, and how much more than them is read, in
    /// milliseconds; for so many queriers.
    pub(super) fn new((start, last): (i64, i64), step: i64, overlap: i64, queriers: usize) -> Self {
        let bucket = bucket_ms(step);
        let phase = start.rem_euclid(step);
        let at = |time: i64| (time - phase).div_euclid(bucket);
        // Windows begin and end within a bucket: both ends together are one.
        let buckets = (at(last) - at(start)).max(1);
        let share = buckets.saturating_add(queriers as i64 - 1) / (queriers as i64).max(1);
        let mut length = share.max(1).saturating_mul(bucket);
        // Blocks of past days are a day long, or more: each is read by one querier, where that is not too coarse.
        if length > DAY_MS && DAY_MS % bucket == 0 {
            length -= length % DAY_MS;
        }
        let least = overlap.saturating_mul(OVERLAPS);
        if length < least {
            length = ((least - 1) / bucket + 1).saturating_mul(bucket);
        }
        Slots { length, phase, queriers: queriers.max(1) }
    }

    /// The segments, those that are not kept cut at the ends of slots, each with the number of its querier.
    pub(super) fn cut(&self, segments: &[Segment], step: i64) -> Vec<(Segment, usize)> {
        let mut cut = Vec::new();
        for segment in segments {
            let (mut from, to) = match segment {
                Segment::Kept(entry, from, to) => {
                    cut.push((Segment::Kept(entry.clone(), *from, *to), 0));
                    continue;
                }
                Segment::Rest(from, to) => (*from, *to),
            };
            while from <= to {
                let slot = (from - self.phase).div_euclid(self.length);
                let end = slot.saturating_add(1).saturating_mul(self.length).saturating_add(self.phase);
                let last = to.min(end - step);
                cut.push((Segment::Rest(from, last), slot.rem_euclid(self.queriers as i64) as usize));
                from = last + step;
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    /// How many steps each querier gets of a query, and in how many shares.
    fn shares(start: i64, length: i64, step: i64, overlap: i64, queriers: usize) -> (Vec<i64>, usize) {
        let last = start + length / step * step;
        let slots = Slots::new((start, last), step, overlap, queriers);
        let cut = slots.cut(&[Segment::Rest(start, last)], step);
        let (mut steps, mut next) = (vec![0; queriers], start);
        for (segment, querier) in &cut {
            let Segment::Rest(from, to) = segment else { panic!("{segment:?}") };
            assert_eq!(*from, next, "steps are missing or doubled");
            assert!(to >= from && (to - start) % step == 0);
            steps[*querier] += (to - from) / step + 1;
            next = to + step;
        }
        assert_eq!(next, last + step);
        (steps, cut.len())
    }

    #[test]
    fn queriers_get_about_as_many_steps() {
        for (hours, step, queriers) in
            [(24, 60, 2), (24, 60, 3), (24, 15, 3), (12, 30, 5), (168, 300, 3), (720, 3600, 4)]
        {
            for start in [0, 17 * MINUTE, 5 * HOUR + 1, 13 * HOUR] {
                let (steps, shares) = shares(start, hours * HOUR, step * 1000, 5 * MINUTE, queriers);
                let (all, most) = (steps.iter().sum::<i64>(), steps.iter().max().unwrap());
                let ideal = all / queriers as i64;
                assert!(*most <= 2 * ideal, "{hours} h by {step} s over {queriers} from {start}: {steps:?}");
                assert!(shares <= 3 * queriers + 1, "{hours} h by {step} s over {queriers}: {shares} shares");
            }
        }
    }

    #[test]
    fn what_is_short_or_reads_far_back_is_one_share() {
        assert_eq!(shares(0, HOUR, MINUTE, 5 * MINUTE, 3).1, 1);
        assert_eq!(shares(0, 23 * HOUR, MINUTE, 24 * HOUR, 3).1, 1);
        assert!(shares(0, 23 * HOUR, MINUTE, HOUR, 3).1 > 2);
    }

    #[test]
    fn a_window_that_moves_on_leaves_steps_with_their_queriers() {
        let step = MINUTE;
        let owners = |start: i64| {
            let last = start + 24 * HOUR;
            let cut = Slots::new((start, last), step, 0, 3).cut(&[Segment::Rest(start, last)], step);
            move |time: i64| {
                cut.iter().find_map(|(segment, querier)| match segment {
                    Segment::Rest(from, to) => (*from..=*to).contains(&time).then_some(*querier),
                    Segment::Kept(..) => None,
                })
            }
        };
        let before = owners(3 * HOUR);
        for moved in [MINUTE, HOUR, 5 * HOUR] {
            let after = owners(3 * HOUR + moved);
            let kept = (8..27).filter(|hour| before(hour * HOUR) == after(hour * HOUR)).count();
            assert_eq!(kept, 19, "moved by {moved}");
        }
    }
}
