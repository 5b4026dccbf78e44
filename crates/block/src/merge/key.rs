//! Ranges of keys, and a sample of keys to choose them from.

use bonghwa_model::batch::Batch;

use crate::decode::KeyRef;

/// A [`KeyRef`] of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub first: String,
    pub second: String,
    pub id: [u8; 16],
    pub time: i64,
}

impl Key {
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { first: &self.first, second: &self.second, id: self.id, time: self.time }
    }
}

impl From<KeyRef<'_>> for Key {
    fn from(key: KeyRef<'_>) -> Self {
        Key { first: key.first.to_owned(), second: key.second.to_owned(), id: key.id, time: key.time }
    }
}

/// Keys from one on, and below another.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyRange {
    /// Inclusive.
    pub from: Option<Key>,
    /// Exclusive.
    pub to: Option<Key>,
}

impl KeyRange {
    pub fn contains(&self, key: KeyRef<'_>) -> bool {
        self.from.as_ref().is_none_or(|from| key >= from.as_ref())
            && self.to.as_ref().is_none_or(|to| key < to.as_ref())
    }
}

/// Keys kept at most.
const MOST: usize = 4096;

/// Every so many-th key of a window.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    keys: Vec<Key>,
    /// Items that each stands for.
    stride: u64,
    seen: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Sample { keys: Vec::new(), stride: 1, seen: 0 }
    }
}

impl Sample {
    pub fn add(&mut self, key: KeyRef<'_>) {
        if self.seen.is_multiple_of(self.stride) {
            self.keys.push(key.into());
            if self.keys.len() > MOST {
                let mut at = 0;
                self.keys.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.stride *= 2;
            }
        }
        self.seen += 1;
    }

    /// To be called once all keys are there.
    pub fn sort(&mut self) {
        self.keys.sort_unstable();
    }

    /// A key that has about this many items between `from` and itself; none if there are
    /// no more than that.
    pub fn after(&self, from: Option<&Key>, items: u64) -> Option<Key> {
        let start = from.map_or(0, |from| self.keys.partition_point(|key| key < from));
        let steps = usize::try_from(items / self.stride).unwrap_or(usize::MAX).max(1);
        let at = start.checked_add(steps)?;
        let key = self.keys.get(at)?;
        // A range must not be empty.
        if from.is_some_and(|from| key <= from) {
            self.keys[at..].iter().find(|k| Some(*k) > from).cloned()
        } else {
            Some(key.clone())
        }
    }
}

/// The key of each row of a batch, in its order.
pub(super) fn each_key<'a>(batch: &'a Batch, mut found: impl FnMut(u32, KeyRef<'a>)) {
    let common = batch.common();
    for (group, range) in common.group_ranges() {
        let service = common.resources[group.resource as usize].service_name.as_str();
        for row in range {
            let key = match batch {
                Batch::Logs(b) => KeyRef { first: service, second: "", id: [0; 16], time: b.time[row] },
                Batch::Traces(b) => KeyRef { first: "", second: "", id: b.trace_id[row], time: b.start_time[row] },
                Batch::Metrics(b) => {
                    let [high, low] = b.series[row];
                    KeyRef {
                        first: &b.metrics[b.metric[row] as usize].name,
                        second: service,
                        id: (u128::from(high) << 64 | u128::from(low)).to_be_bytes(),
                        time: b.time[row],
                    }
                }
            };
            found(row as u32, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(time: i64) -> Key {
        Key { time, ..Default::default() }
    }

    #[test]
    fn a_sample_cuts_where_it_is_asked_to() {
        let mut sample = Sample::default();
        for time in 0..100_000 {
            sample.add(key(time * 7919 % 100_000).as_ref());
        }
        sample.sort();
        let (mut from, mut cuts) = (None, 0);
        while let Some(next) = sample.after(from.as_ref(), 10_000) {
            let items = next.time - from.as_ref().map_or(0, |key: &Key| key.time);
            assert!((9_000..=11_000).contains(&items), "{items}");
            from = Some(next);
            cuts += 1;
        }
        assert!((9..=10).contains(&cuts), "{cuts}");
    }

    #[test]
    fn equal_keys_stay_together() {
        let mut sample = Sample::default();
        [3, 3, 3, 3, 5].iter().for_each(|time| sample.add(key(*time).as_ref()));
        sample.sort();
        assert_eq!(sample.after(None, 2), Some(key(3)));
        assert_eq!(sample.after(Some(&key(3)), 2), Some(key(5)));
        assert_eq!(sample.after(Some(&key(5)), 2), None);
    }
}
