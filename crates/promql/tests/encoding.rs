//! Answers as bytes: what is written is read to the bit, in chunks of a bounded size, and what nobody wrote is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use bonghwa_promql::{
    Answer, DecodeError, Decoder, Encoder, Histogram, Labels, ResetHint, STALE_BITS, SeriesPoints, Stats, Value,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

const FROM: i64 = -60_000;
const STEP: i64 = 15_000;
const STEPS: i64 = 40;

fn float() -> impl Strategy<Value = f64> {
    let odd =
        [0.0, -0.0, f64::NAN, f64::from_bits(STALE_BITS), f64::from_bits(u64::MAX), f64::INFINITY, -1e300, 5e-324];
    prop_oneof![proptest::sample::select(odd.to_vec()), any::<u64>().prop_map(f64::from_bits)]
}

fn histogram() -> impl Strategy<Value = Arc<Histogram>> {
    let hints = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];
    let buckets = || vec((any::<i32>(), float()), 0..6);
    let numbers = (any::<i32>(), float(), float(), float(), float());
    let rest = (buckets(), buckets(), vec(float(), 0..4), proptest::sample::select(hints.to_vec()));
    (numbers, rest).prop_map(|((schema, count, sum, zero_threshold, zero_count), rest)| {
        let (positive, negative, custom_values, hint) = rest;
        Arc::new(Histogram { schema, count, sum, zero_threshold, zero_count, positive, negative, custom_values, hint })
    })
}

/// Floats and histograms by time.
type Points = (Vec<(i64, f64)>, Vec<(i64, Arc<Histogram>)>);

fn points() -> impl Strategy<Value = Points> {
    let step = || 0..STEPS;
    let time = |step: i64| FROM + step * STEP;
    let floats = btree_map(step(), float(), 1..STEPS as usize);
    let histograms = btree_map(step(), histogram(), 0..5);
    (floats, histograms).prop_map(move |(floats, histograms)| {
        let floats = floats.into_iter().map(|(step, value)| (time(step), value)).collect();
        (floats, histograms.into_iter().map(|(step, value)| (time(step), value)).collect())
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    let text = || prop_oneof![Just("job".to_owned()), Just("a".to_owned()), "[a-zé\u{0}\n]{1,9}"];
    let labels = vec((text(), text()), 0..6).prop_map(Labels::new);
    (btree_set(labels, 0..6), vec(points(), 6), any::<[u32; 3]>(), vec(".{0,9}", 0..3), any::<bool>()).prop_map(
        |(labels, points, stats, texts, count_steps)| {
            let series = labels.into_iter().zip(points);
            let series = series.map(|(labels, (floats, histograms))| SeriesPoints { labels, floats, histograms });
            let [samples, series_read, peak_points] = stats.map(u64::from);
            let mut annotations = bonghwa_promql::Annotations::default();
            annotations.warnings.clone_from(&texts);
            annotations.infos = texts;
            let texts_len = annotations.infos.len();
            let steps = (0..if count_steps { STEPS } else { 0 })
                .step_by(1 + texts_len % 3)
                .map(|step| (FROM + step * STEP, samples))
                .collect();
            let stats = Stats { samples, series: series_read, peak_points, steps };
            Answer { value: Value::Matrix(series.collect()), annotations, stats }
        },
    )
}

/// Every bit of an answer.
fn bits(answer: &Answer) -> String {
    let Value::Matrix(series) = &answer.value else { panic!("no matrix") };
    let of = |value: f64| value.to_bits();
    let buckets = |of_one: &[(i32, f64)]| of_one.iter().map(|(at, count)| (*at, of(*count))).collect::<Vec<_>>();
    let shown = series.iter().map(|one| {
        let floats: Vec<_> = one.floats.iter().map(|(time, value)| (time, of(*value))).collect();
        let histograms = one.histograms.iter().map(|(time, h)| {
            let numbers = [h.count, h.sum, h.zero_threshold, h.zero_count].map(of);
            let bounds: Vec<u64> = h.custom_values.iter().copied().map(of).collect();
            (time, h.schema, h.hint, numbers, buckets(&h.positive), buckets(&h.negative), bounds)
        });
        format!("{} {floats:?} {:?}", one.labels, histograms.collect::<Vec<_>>())
    });
    format!("{:?} {:?} {:?}", shown.collect::<Vec<_>>(), answer.annotations, answer.stats)
}

fn decoder(most_bytes: u64) -> Decoder {
    Decoder::new((FROM, FROM + (STEPS - 1) * STEP), STEP, most_bytes)
}

fn read(chunks: &[Vec<u8>], mut decoder: Decoder) -> Result<Answer, DecodeError> {
    for chunk in chunks {
        decoder.push(chunk)?;
    }
    decoder.finish()
}

fn chunks(answer: Answer) -> Vec<Vec<u8>> {
    Encoder::new(answer, FROM, STEP).unwrap().collect()
}

proptest! {
    #[test]
    fn every_bit_survives(answer in answer()) {
        let read = read(&chunks(answer.clone()), decoder(u64::MAX)).unwrap();
        prop_assert_eq!(bits(&read), bits(&answer));
    }

    #[test]
    fn whatever_comes_is_read_or_refused(answer in answer(), cuts in vec((any::<u16>(), any::<u8>()), 1..9)) {
        let mut broken = chunks(answer);
        for (place, byte) in cuts {
            let chunk = usize::from(place) % broken.len();
            let length = broken[chunk].len();
            if byte % 5 == 0 {
                broken[chunk].truncate(usize::from(place) % (length + 1));
            } else if length > 0 {
                broken[chunk][usize::from(place) % length] ^= byte;
            }
        }
        let mut decoder = decoder(1 << 20);
        let _ = broken.iter().try_for_each(|chunk| decoder.push(chunk));
        let grown = decoder.bytes();
        prop_assert!(grown < 2 << 20, "{}", grown);
    }
}

/// So many series with all steps.
fn large(series: usize) -> Answer {
    let one = |number: usize| SeriesPoints {
        labels: Labels::new([("__name__", "requests_total".to_owned()), ("pod", format!("pod-{number:06}"))]),
        floats: (0..STEPS).map(|step| (FROM + step * STEP, number as f64 + step as f64)).collect(),
        histograms: Vec::new(),
    };
    let value = Value::Matrix((0..series).map(one).collect());
    Answer { value, annotations: Default::default(), stats: Stats::default() }
}

#[test]
fn chunks_have_a_bounded_size() {
    let answer = large(10_000);
    let sent = chunks(answer.clone());
    assert!(sent.len() > 10 && sent.iter().all(|chunk| chunk.len() < 300 << 10), "{}", sent.len());
    let bytes: usize = sent.iter().map(Vec::len).sum();
    assert!(bytes < 10_000 * (8 * STEPS as usize + 24), "{bytes} bytes");
    assert_eq!(bits(&read(&sent, decoder(u64::MAX)).unwrap()), bits(&answer));
    // One series of many histograms goes over several.
    let histogram = Histogram { positive: (0..5_000).map(|i| (i, 1.0)).collect(), ..Histogram::default() };
    let mut one = large(1);
    if let Value::Matrix(series) = &mut one.value {
        let histogram = Arc::new(histogram);
        series[0].histograms = (0..STEPS).map(|step| (FROM + step * STEP, histogram.clone())).collect();
    }
    let sent = chunks(one.clone());
    assert!(sent.len() > 3, "{}", sent.len());
    assert_eq!(bits(&read(&sent, decoder(u64::MAX)).unwrap()), bits(&one));
}

#[test]
fn what_is_too_large_or_incomplete_is_refused() {
    let sent = chunks(large(10_000));
    let refused = read(&sent, decoder(1 << 20)).unwrap_err();
    assert_eq!(refused, DecodeError::TooLarge { limit: 1 << 20 });
    assert!(read(&sent[..sent.len() - 1], decoder(u64::MAX)).is_err(), "its end is missing");
    let twice: Vec<Vec<u8>> = sent.iter().chain(&sent).cloned().collect();
    assert!(read(&twice, decoder(u64::MAX)).is_err(), "it goes on after its end");
    let other = Decoder::new((FROM, FROM), STEP, u64::MAX);
    assert!(read(&sent, other).is_err(), "it has more steps than were asked for");
    // A text of a MiB that is named again and again.
    let mut bomb = vec![0, 1, 0x80, 0x80, 0x40];
    bomb.extend(std::iter::repeat_n(b'x', 1 << 20));
    for _ in 0..1000 {
        bomb.extend([2, 0, 0, 0, 0]);
    }
    assert!(read(&[bomb], decoder(64 << 20)).is_err());
}
