//! Folds as bytes: in chunks of a bounded size, refused where nobody wrote them for this query, and counted with the
//! asker's own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use bonghwa_promql::{
    Answer, DecodeError, Error, Evaluation, Histogram, Labels, Limits, Params, Query, Series, Stats, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;

const STEP: i64 = 15_000;
const STEPS: i64 = 40;

fn evaluation(query: &str, limits: Limits) -> Evaluation {
    let params = Params { limits, ..Params::range(0, (STEPS - 1) * STEP, STEP) };
    Evaluation::new(&Query::parse(query).unwrap(), params).unwrap()
}

/// Folds of so many series with a sample a step, every third of histograms, as they are sent.
fn sent(query: &str, series: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    let evaluation = evaluation(query, Limits::default());
    let times: Vec<i64> = (0..STEPS).map(|step| step * STEP).collect();
    let buckets = (0..30).map(|bucket| (bucket, 1.0)).collect();
    let histogram = Arc::new(Histogram { count: 30.0, sum: 9.0, positive: buckets, ..Histogram::default() });
    let histograms = vec![histogram; times.len()];
    let mut folds = Vec::new();
    for selection in 0..evaluation.selections().len() {
        let mut fold = evaluation.fold(selection).unwrap();
        for number in series.clone() {
            let pod = format!("pod-{number:06}");
            let labels = Labels::new([("__name__", "x"), ("pod", &pod)]);
            let values: Vec<f64> = times.iter().map(|time| (*time + number as i64) as f64).collect();
            let mut one = Series::floats(&labels, &times, &values);
            if number % 3 == 2 {
                (one.timestamps, one.values) = (&[], &[]);
                (one.histogram_timestamps, one.histograms) = (&times, &histograms);
            }
            fold.push(&one).unwrap();
        }
        folds.push(fold);
    }
    evaluation.encode(folds).unwrap().collect()
}

/// The answer of who has no series of its own.
fn answer(asker: Evaluation, chunks: &[Vec<u8>], most_bytes: u64) -> Result<Answer, DecodeError> {
    let mut decoder = asker.decoder(most_bytes);
    chunks.iter().try_for_each(|chunk| decoder.push(chunk))?;
    let folds = decoder.finish()?;
    Ok(asker.finish(folds)?)
}

fn count(answer: &Answer) -> usize {
    let Value::Matrix(series) = &answer.value else { panic!("{:?}", answer.value) };
    series.len()
}

/// Of rows, of each kind of cells, of samples that are kept as they are.
const QUERIES: [&str; 6] = [
    "x",
    "sum by (pod) (x)",
    "avg by (pod) (x)",
    "max by (pod) (x)",
    "stddev by (pod) (x)",
    "quantile_over_time(scalar(y), x[1m])",
];

#[test]
fn chunks_have_a_bounded_size() {
    for query in QUERIES {
        let chunks = sent(query, 0..3_000);
        assert!(chunks.len() > 3, "{query}: {}", chunks.len());
        let largest = chunks.iter().map(Vec::len).max().unwrap();
        assert!(largest < 600 << 10, "{query}: {largest}");
        answer(evaluation(query, Limits::default()), &chunks, u64::MAX).unwrap();
    }
    let Stats { samples, series, .. } =
        answer(evaluation("sum(x)", Limits::default()), &sent("sum(x)", 0..30), u64::MAX).unwrap().stats;
    assert_eq!((samples, series), (20 * 40 + 10 * 40 * 42, 30), "what was read elsewhere is read");
}

/// Series of any length, with gaps, on a grid that is long.
#[test]
fn pieces_of_series_come_together() {
    let params = Params::range(0, 9_000 * STEP, STEP);
    let histogram =
        Arc::new(Histogram { count: 1.0, positive: (0..200).map(|at| (at, 1.0)).collect(), ..Histogram::default() });
    for query in QUERIES {
        let evaluation = || Evaluation::new(&Query::parse(query).unwrap(), params.clone()).unwrap();
        let folds = |evaluation: &Evaluation| {
            let mut fold = evaluation.fold(evaluation.selections().len() - 1).unwrap();
            for number in 0..40i64 {
                let labels =
                    Labels::new([("__name__", "x".to_owned()), ("pod", "pod".repeat(number as usize * 7 + 1))]);
                // Some every few hours, some at each step, some only at the beginning.
                let gap = [1, 50, 977][number as usize % 3] * STEP;
                let times: Vec<i64> =
                    (0..9_000 / (1 + number % 7)).map(|at| at * gap).filter(|time| *time < params.end_ms).collect();
                let values: Vec<f64> = times.iter().map(|time| (*time + number) as f64).collect();
                let histograms = vec![histogram.clone(); times.len()];
                let mut one = Series::floats(&labels, &times, &values);
                if number % 6 == 1 {
                    (one.timestamps, one.values) = (&[], &[]);
                    (one.histogram_timestamps, one.histograms) = (&times, &histograms);
                }
                fold.push(&one).unwrap();
            }
            vec![fold]
        };
        let whole = evaluation();
        let own = folds(&whole);
        let (there, asker) = (evaluation(), evaluation());
        let sent = folds(&there);
        let mut decoder = asker.decoder(u64::MAX);
        for chunk in there.encode(sent).unwrap() {
            assert!(chunk.len() < 600 << 10, "{query}: {}", chunk.len());
            decoder.push(&chunk).unwrap();
        }
        let sent = decoder.finish().unwrap();
        // Every bit of what there is in them, as both are written once more.
        let bytes = |evaluation: Evaluation, folds| evaluation.encode(folds).unwrap().collect::<Vec<_>>();
        let [mut ours, mut theirs] = [bytes(whole, own), bytes(asker, sent)];
        // The end tells what was used.
        assert!(ours.len() > 3 && ours.pop().is_some() && theirs.pop().is_some());
        assert!(ours == theirs, "{query}: another fold was read");
    }
}

#[test]
fn what_is_too_large_incomplete_or_of_another_query_is_refused() {
    for query in QUERIES {
        let chunks = sent(query, 0..3_000);
        let asker = || evaluation(query, Limits::default());
        let refused = answer(asker(), &chunks, 1 << 19).unwrap_err();
        assert_eq!(refused, DecodeError::TooLarge { limit: 1 << 19 }, "{query}");
        assert!(answer(asker(), &chunks[..chunks.len() - 1], u64::MAX).is_err(), "its end is missing");
        let twice: Vec<Vec<u8>> = chunks.iter().chain(&chunks).cloned().collect();
        assert!(answer(asker(), &twice, u64::MAX).is_err(), "it goes on after its end");
        for other in QUERIES.iter().filter(|other| **other != query) {
            let refused = answer(evaluation(other, Limits::default()), &chunks, u64::MAX);
            assert!(matches!(refused, Err(DecodeError::Broken(_))), "{query} as {other}: {refused:?}");
        }
        let params = Params::range(0, STEPS * STEP, STEP);
        let longer = Evaluation::new(&Query::parse(query).unwrap(), params).unwrap();
        assert!(answer(longer, &chunks, u64::MAX).is_err(), "{query}: other steps");
    }
}

#[test]
fn limits_count_what_others_have() {
    let chunks = sent("sum by (pod) (x)", 0..20);
    let all = Limits::default();
    for (what, limits) in [
        ("samples", Limits { samples: 1000, ..all }),
        ("series", Limits { series: 19, ..all }),
        ("points", Limits { points: 20 * 40 - 1, ..all }),
    ] {
        let refused = answer(evaluation("sum by (pod) (x)", limits), &chunks, u64::MAX).unwrap_err();
        let DecodeError::Query(Error::Limit { what: reached, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(reached, what);
    }
}

#[test]
fn what_is_not_finished_counts_for_nothing() {
    let asker = evaluation("sum by (pod) (x)", Limits { series: 20, ..Limits::default() });
    let chunks = sent("sum by (pod) (x)", 0..20);
    let mut broken = asker.decoder(u64::MAX);
    broken.push(&chunks[0]).unwrap();
    drop(broken);
    assert_eq!(count(&answer(asker, &chunks, u64::MAX).unwrap()), 20);
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(
        query in proptest::sample::select(QUERIES.to_vec()),
        cuts in vec((any::<u16>(), any::<u8>()), 1..9),
    ) {
        let mut broken = sent(query, 0..7);
        for (place, byte) in cuts {
            let chunk = usize::from(place) % broken.len();
            let length = broken[chunk].len();
            if byte % 5 == 0 {
                broken[chunk].truncate(usize::from(place) % (length + 1));
            } else if length > 0 {
                broken[chunk][usize::from(place) % length] ^= byte;
            }
        }
        let asker = evaluation(query, Limits::default());
        let mut decoder = asker.decoder(1 << 20);
        let read = broken.iter().try_for_each(|chunk| decoder.push(chunk));
        let grown = decoder.bytes();
        prop_assert!(grown < 2 << 20, "{}", grown);
        if read.is_ok() && let Ok(folds) = decoder.finish() {
            let _ = asker.finish(folds);
        }
    }
}
