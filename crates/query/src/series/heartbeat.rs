//! Instances that push and fell silent: zeros after the last of their heartbeats, which nobody sent. A heartbeat is
//! what [`bonghwa_model::heartbeat`] says.
//!
//! Whether an instance is down at a time depends only on what was received until then, so that a graph shows later
//! what an alert saw: the usual distance of heartbeats is that of those before the silence.

use std::time::Duration;

use bonghwa_model::heartbeat::{METRIC, SOURCE, SOURCE_LABEL};
use bonghwa_promql::{Labels, METRIC_NAME, MatchOp, Matcher};

use super::found::{Found, STALE};

/// Heartbeats that are less than this apart are one, in milliseconds: a request may come in parts.
const ONE: i64 = 1_000;
/// So many distances tell what is usual.
const DISTANCES: usize = 8;
/// What is usual where there is one heartbeat: how often SDKs export, in milliseconds.
const USUAL: i64 = 60_000;
/// After this silence an instance is down, however far apart its heartbeats are, unless even that is usual, in
/// milliseconds: beyond, queries see nothing of it any more.
const MOST_SILENCE: i64 = 300_000;
/// Zeros are at most this far apart, in milliseconds.
const MOST_APART: i64 = 60_000;

/// When an instance that pushes is down.
#[derive(Clone, Debug)]
pub struct PushUp {
    /// Whether silence is shown.
    pub enabled: bool,
    /// The shortest silence that is; a second at least.
    pub min_silence: Duration,
    /// After this silence the instance is gone, and its series ends.
    pub forget_after: Duration,
}

impl Default for PushUp {
    fn default() -> Self {
        PushUp { enabled: true, min_silence: Duration::from_secs(60), forget_after: Duration::from_secs(3600) }
    }
}

/// Heartbeats of one read.
#[derive(Clone, Copy)]
pub(super) struct Heartbeats {
    /// Of which samples are asked for, Unix milliseconds, both inclusive.
    asked: (i64, i64),
    /// From when on heartbeats are read: silence in the range may have begun before it.
    since: i64,
    /// Milliseconds.
    min_silence: i64,
    /// Milliseconds.
    forget_after: i64,
}

impl Heartbeats {
    /// None where matchers select none, or their silence is not shown. Those who ask for them by name, among a few
    /// others or alone, see who fell silent before the range; to others that would be too much to read.
    pub fn of(matchers: &[Matcher], asked: (i64, i64), options: &PushUp) -> Option<Self> {
        let told = |m: &Matcher| match m.name.as_str() {
            METRIC_NAME => m.matches(METRIC),
            SOURCE_LABEL => m.matches(SOURCE),
            _ => true,
        };
        if !options.enabled || !matchers.iter().all(told) {
            return None;
        }
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let forget_after = millis(options.forget_after);
        let since = if matchers.iter().any(by_name) { asked.0.saturating_sub(forget_after) } else { asked.0 };
        Some(Heartbeats { asked, since, min_silence: millis(options.min_silence).max(ONE), forget_after })
    }

    /// Of which time they are read, Unix milliseconds, both inclusive.
    pub fn range(&self) -> (i64, i64) {
        (self.since, self.asked.1)
    }

    /// Whether a series that matchers select is one of heartbeats.
    pub fn is_one(labels: &Labels) -> bool {
        labels.metric_name() == METRIC && labels.get(SOURCE_LABEL) == SOURCE
    }

    /// Puts in what silence means until `now` (Unix milliseconds), and takes out what lies before the range. Where
    /// some of what was received is not in view, silence means nothing: without `now`.
    pub fn complete(&self, found: &mut Found, now: Option<i64>) {
        found.finish();
        let end = now.map_or(i64::MIN, |now| now.min(self.asked.1));
        let read = std::mem::take(&mut found.times).into_iter().zip(std::mem::take(&mut found.values));
        let mut read = read.peekable();
        let mut rhythm = Rhythm::default();
        while let Some((time, value)) = read.next() {
            rhythm.beat(time);
            self.put(found, time, value);
            // Silence ends before the next heartbeat, or lasts.
            let until = read.peek().map_or(end, |(next, _)| end.min(next - 1));
            if until.saturating_sub(time) >= self.min_silence {
                self.silence(found, time, until, rhythm.usual());
            }
        }
    }

    /// Zeros from when an instance is down, as far apart as heartbeats are, until it is gone.
    fn silence(&self, found: &mut Found, last: i64, until: i64, usual: i64) {
        let gone = last.saturating_add(self.forget_after);
        let apart = usual.clamp(ONE, MOST_APART);
        let down = last.saturating_add(self.down_after(usual));
        // Those before the range are passed over at once.
        let passed = self.asked.0.saturating_sub(down).max(0) / apart;
        let mut time = down.saturating_add(passed.saturating_mul(apart));
        while time <= until && time < gone {
            self.put(found, time, 0.0);
            time = time.saturating_add(apart);
        }
        if gone <= until {
            self.put(found, gone, STALE);
        }
    }

    /// After how long a silence an instance is down whose heartbeats are usually so far apart.
    fn down_after(&self, usual: i64) -> i64 {
        let patience = usual.saturating_mul(3).min(MOST_SILENCE).max(self.min_silence);
        // One that is late is not yet silent.
        patience.max(usual.saturating_add(usual / 2))
    }

    fn put(&self, found: &mut Found, time: i64, value: f64) {
        if (self.asked.0..=self.asked.1).contains(&time) {
            found.push(time, value);
        }
    }
}

/// Whether a matcher names metrics, heartbeats among them, and not just describes their names.
fn by_name(matcher: &Matcher) -> bool {
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
    matcher.name == METRIC_NAME
        && match matcher.op {
            MatchOp::Equal => matcher.value == METRIC,
            MatchOp::Regex => {
                let mut words = matcher.value.split('|');
                words.clone().all(is_word) && words.any(|word| word == METRIC)
            }
            MatchOp::NotEqual | MatchOp::NotRegex => false,
        }
}

/// How far apart the last heartbeats were, in milliseconds.
#[derive(Default)]
struct Rhythm {
    last: Option<i64>,
    distances: [i64; DISTANCES],
    count: usize,
}

impl Rhythm {
    fn beat(&mut self, time: i64) {
        match self.last {
            Some(last) if time - last < ONE => return,
            Some(last) => {
                self.distances[self.count % DISTANCES] = time - last;
                self.count += 1;
            }
            None => {}
        }
        self.last = Some(time);
    }

    /// The median; of two the shorter one, since a pause is no rhythm.
    fn usual(&self) -> i64 {
        let mut distances = self.distances;
        let known = &mut distances[..self.count.min(DISTANCES)];
        known.sort_unstable();
        if known.is_empty() { USUAL } else { known[(known.len() - 1) / 2] }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bonghwa_promql::STALE_BITS;

    use super::*;

    /// Samples in words, by second: `60` is a heartbeat, `240-` a zero, `3600!` the end.
    fn shown(found: &Found) -> String {
        let one = |(time, value): (&i64, &f64)| {
            let sign = match value.to_bits() {
                STALE_BITS => "!",
                bits if bits == 0f64.to_bits() => "-",
                _ => "",
            };
            format!("{}{sign}", *time as f64 / 1e3)
        };
        found.times.iter().zip(&found.values).map(one).collect::<Vec<_>>().join(" ")
    }

    /// All in milliseconds. An instance is forgotten after ten minutes.
    fn completed(beats: &[i64], asked: (i64, i64), now: Option<i64>) -> String {
        let named = [Matcher::equal(METRIC_NAME, METRIC)];
        let options = PushUp { forget_after: Duration::from_secs(600), ..PushUp::default() };
        let heartbeats = Heartbeats::of(&named, asked, &options).unwrap();
        let (since, end) = heartbeats.range();
        let mut found = Found::default();
        beats.iter().filter(|beat| (since..=end).contains(beat)).for_each(|beat| found.push(*beat, 1.0));
        heartbeats.complete(&mut found, now);
        shown(&found)
    }

    /// Seconds as milliseconds.
    fn at<const N: usize>(seconds: [i64; N]) -> Vec<i64> {
        seconds.map(|second| second * 1000).to_vec()
    }

    #[test]
    fn silence_becomes_zeros() {
        let minutely = at([0, 60, 120, 180]);
        for (what, beats, asked, now, expected) in [
            ("all is well", minutely.clone(), (0, 300), 300, "0 60 120 180"),
            ("nearly late", minutely.clone(), (0, 359), 900, "0 60 120 180"),
            ("three times late", minutely.clone(), (0, 360), 900, "0 60 120 180 360-"),
            ("a minute apart", minutely.clone(), (0, 500), 900, "0 60 120 180 360- 420- 480-"),
            ("never beyond now", minutely.clone(), (0, 500), 430, "0 60 120 180 360- 420-"),
            ("long silent when asked", minutely.clone(), (700, 740), 900, "720-"),
            ("between two zeros", minutely.clone(), (721, 740), 900, ""),
            ("gone after ten minutes", minutely.clone(), (600, 900), 900, "600- 660- 720- 780!"),
            ("gone before the range", minutely.clone(), (781, 900), 900, ""),
            ("forgotten", minutely.clone(), (1000, 1100), 1100, ""),
            ("back again", at([0, 60, 120, 500, 560]), (0, 600), 600, "0 60 120 300- 360- 420- 480- 500 560"),
            ("late by a moment", at([0, 60, 120, 299]), (0, 300), 300, "0 60 120 299"),
            ("back after it was gone", at([0, 60, 1000]), (0, 1000), 1000, &{
                let zeros: Vec<String> = (240..660).step_by(60).map(|zero| format!("{zero}-")).collect();
                format!("0 60 {} 660! 1000", zeros.join(" "))
            }),
            ("one heartbeat", at([0]), (0, 240), 900, "0 180- 240-"),
            ("none", at([]), (0, 900), 900, ""),
            ("several of one second", vec![0, 200, 400, 60_000, 60_900], (0, 300), 300, "0 0.2 0.4 60 60.9 240.9-"),
            ("faster ones: a minute at least", at([0, 5, 10, 15]), (0, 85), 900, "0 5 10 15 75- 80- 85-"),
            ("slower ones", at([0, 90, 180]), (0, 600), 900, "0 90 180 450- 510- 570-"),
            ("five minutes at most", at([0, 150, 300]), (0, 660), 900, "0 150 300 600- 660-"),
            ("unless they are slower than that", at([0, 240, 480]), (0, 900), 900, "0 180- 240 480 840- 900-"),
            ("a pause is no rhythm", at([0, 400, 460]), (400, 700), 900, "400 460 640- 700-"),
            (
                "slow ones that became fast",
                at([0, 100, 200, 210, 220, 230, 240, 250]),
                (200, 320),
                900,
                "200 210 220 230 240 250 310- 320-",
            ),
            ("by what was before the range", at([0, 10, 20, 30, 40]), (60, 120), 900, "100- 110- 120-"),
        ] {
            let asked = (asked.0 * 1000, asked.1 * 1000);
            assert_eq!(completed(&beats, asked, Some(now * 1000)), expected, "{what}");
        }
    }

    #[test]
    fn where_something_is_missing_silence_means_nothing() {
        assert_eq!(completed(&at([0, 60, 500]), (30_000, 900_000), None), "60 500");
    }

    /// What is asked in one range or in two gives the same, where both reach back far enough.
    #[test]
    fn ranges_join() {
        // Ever slower, with pauses.
        let beats: Vec<i64> = (0..200i64).map(|n| n * 10_000 + n % 7 * 900 + n / 20 * n * 1_000).collect();
        let now = beats[199] + 400_000;
        let whole = completed(&beats, (1_200_000, now), Some(now));
        assert!(whole.contains("- "), "{whole}");
        for middle in (1_300_000..now).step_by(97_531) {
            let parts = [(1_200_000, middle), (middle + 1, now)].map(|asked| completed(&beats, asked, Some(now)));
            let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            assert_eq!(parts.join(" "), whole, "{middle}");
        }
    }

    #[test]
    fn who_asks_by_name_sees_farther_back() {
        let select = |pairs: &[(&str, MatchOp, &str)]| {
            let matchers: Vec<Matcher> =
                pairs.iter().map(|(name, op, value)| Matcher::new(*name, *op, *value).unwrap()).collect();
            Heartbeats::of(&matchers, (10_000_000, 11_000_000), &PushUp::default()).map(|found| found.range())
        };
        let (far, near) = (Some((6_400_000, 11_000_000)), Some((10_000_000, 11_000_000)));
        let name = METRIC_NAME;
        for (matchers, expected) in [
            (vec![(name, MatchOp::Equal, "up")], far),
            (vec![(name, MatchOp::Equal, "up"), ("job", MatchOp::Equal, "x")], far),
            (vec![(name, MatchOp::Equal, "up"), (SOURCE_LABEL, MatchOp::Equal, "otlp")], far),
            (vec![(name, MatchOp::Equal, "up"), (SOURCE_LABEL, MatchOp::Equal, "")], None),
            (vec![(name, MatchOp::Equal, "up"), (SOURCE_LABEL, MatchOp::NotRegex, "o.*")], None),
            (vec![(name, MatchOp::Equal, "upper")], None),
            (vec![(name, MatchOp::Regex, "a|up|b:c_d")], far),
            (vec![(name, MatchOp::Regex, "a|b")], None),
            (vec![(name, MatchOp::Regex, "a|up.*")], near),
            (vec![(name, MatchOp::NotEqual, "a")], near),
            (vec![("job", MatchOp::Equal, "x")], near),
        ] {
            assert_eq!(select(&matchers), expected, "{matchers:?}");
        }
        let off = PushUp { enabled: false, ..PushUp::default() };
        assert!(Heartbeats::of(&[Matcher::equal(name, "up")], (0, 1), &off).is_none());
    }
}
