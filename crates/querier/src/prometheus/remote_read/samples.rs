//! The answer that holds all samples, as one message: a series is encoded when it is its turn, and let go.

use bonghwa_promql::{Histogram, ResetHint};
use bonghwa_query::SeriesSamples;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::message::{self, Sample, Span, TimeSeries};

/// `ReadResponse.results` and `QueryResult.timeseries`.
const FIELD: u32 = 1;
/// The largest whole number below which floats are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A `ReadResponse`, compressed.
pub(super) fn encode(answers: Vec<Vec<SeriesSamples>>) -> Result<Vec<u8>, snap::Error> {
    let mut response = Vec::new();
    for answer in answers {
        let mut result = Vec::new();
        for series in answer {
            field(&mut result, &time_series(series).encode_to_vec());
        }
        field(&mut response, &result);
    }
    snap::raw::Encoder::new().compress_vec(&response)
}

fn field(out: &mut Vec<u8>, message: &[u8]) {
    encode_key(FIELD, WireType::LengthDelimited, out);
    encode_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}

fn time_series(series: SeriesSamples) -> TimeSeries {
    let SeriesSamples { labels, times, values, histograms } = series;
    // One form for all of a series: readers take a change of it for another series' sample.
    let whole = histograms.iter().all(|(_, histogram)| is_whole(histogram));
    let samples = times.into_iter().zip(values).map(|(timestamp, value)| Sample { value, timestamp });
    TimeSeries {
        labels: message::labels(&labels),
        samples: samples.collect(),
        histograms: histograms.iter().map(|(time, histogram)| native(*time, histogram, whole)).collect(),
    }
}

/// Whether all counts are whole numbers.
fn is_whole(histogram: &Histogram) -> bool {
    let buckets = histogram.positive.iter().chain(&histogram.negative).map(|bucket| bucket.1);
    let mut counts = buckets.chain([histogram.count, histogram.zero_count]);
    counts.all(|count| count.fract() == 0.0 && (0.0..EXACT).contains(&count))
}

fn native(timestamp: i64, histogram: &Histogram, whole: bool) -> message::Histogram {
    let counts = |buckets: &[(i32, f64)]| buckets.iter().map(|bucket| bucket.1).collect::<Vec<f64>>();
    let (positive, negative) = (counts(&histogram.positive), counts(&histogram.negative));
    let mut native = message::Histogram {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: spans(&histogram.negative),
        positive_spans: spans(&histogram.positive),
        reset_hint: match histogram.hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
        timestamp,
        custom_values: histogram.custom_values.clone(),
        ..Default::default()
    };
    if whole {
        native.count_int = Some(histogram.count as u64);
        native.zero_count_int = Some(histogram.zero_count as u64);
        native.positive_deltas = deltas(&positive);
        native.negative_deltas = deltas(&negative);
    } else {
        native.count_float = Some(histogram.count);
        native.zero_count_float = Some(histogram.zero_count);
        native.positive_counts = positive;
        native.negative_counts = negative;
    }
    native
}

/// Runs of buckets whose indexes follow one another.
fn spans(buckets: &[(i32, f64)]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i32;
    for (index, _) in buckets {
        match spans.last_mut() {
            Some(last) if *index == next => last.length += 1,
            _ => spans.push(Span { offset: index.saturating_sub(next), length: 1 }),
        }
        next = index.saturating_add(1);
    }
    spans
}

/// Each whole count as its difference from the one before.
fn deltas(counts: &[f64]) -> Vec<i64> {
    let before = std::iter::once(0.0).chain(counts.iter().copied());
    counts.iter().zip(before).map(|(count, before)| *count as i64 - before as i64).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn histograms_are_whole_where_all_of_a_series_are() {
        let histogram = |positive: &[(i32, f64)], count| Histogram {
            schema: 2,
            count,
            sum: 3.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive: positive.to_vec(),
            negative: vec![(-1, 1.0)],
            ..Default::default()
        };
        let series = |histograms: Vec<Histogram>| SeriesSamples {
            labels: bonghwa_promql::Labels::new([("a", "b")]),
            times: vec![],
            values: vec![],
            histograms: histograms.into_iter().zip(1..).map(|(histogram, time)| (time, Arc::new(histogram))).collect(),
        };
        let buckets = [(-2, 2.0), (-1, 5.0), (3, 1.0)];
        let whole = time_series(series(vec![histogram(&buckets, 10.0)]));
        let one = &whole.histograms[0];
        assert_eq!((one.count_int, one.zero_count_int, one.timestamp), (Some(10), Some(1), 1));
        let span = |offset, length| Span { offset, length };
        assert_eq!(one.positive_spans, [span(-2, 2), span(3, 1)]);
        assert_eq!(one.positive_deltas, [2, 3, -4]);
        assert_eq!((&one.negative_spans[..], &one.negative_deltas[..]), (&[span(-1, 1)][..], &[1][..]));
        let mixed = time_series(series(vec![histogram(&buckets, 10.0), histogram(&[(0, 0.5)], 2.5)]));
        assert!(mixed.histograms.iter().all(|one| one.count_int.is_none() && one.positive_deltas.is_empty()));
        assert_eq!(mixed.histograms[0].positive_counts, [2.0, 5.0, 1.0]);
    }
}
