//! What a caller relies on beside the values: what is to be read, limits, cancelling, folds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bonghwa_promql::{Answer, Error, Evaluation, Histogram, Labels, Limits, Params, Query, Series, Value};

const MINUTE: i64 = 60_000;

fn plan(text: &str, params: Params) -> Evaluation {
    Evaluation::new(&Query::parse(text).unwrap(), params).unwrap()
}

/// Ten counters over ten minutes.
fn run(evaluation: Evaluation, threads: usize) -> Result<Answer, Error> {
    let times: Vec<i64> = (0..=10).map(|t| t * MINUTE).collect();
    let mut folds = vec![];
    for i in 0..evaluation.selections().len() {
        let mut own: Vec<_> = (0..threads).map(|_| evaluation.fold(i).unwrap()).collect();
        for n in 0..10 {
            let (name, odd) = (n.to_string(), (n % 2).to_string());
            let labels = Labels::new([("__name__", "x_total"), ("n", name.as_str()), ("odd", odd.as_str())]);
            let values: Vec<f64> = (0..=10).map(|t| f64::from(t * n)).collect();
            own[n as usize % threads].push(&Series::floats(&labels, &times, &values))?;
        }
        folds.extend(own);
    }
    evaluation.finish(folds)
}

#[test]
fn selections_say_what_to_read() {
    let range = Params::range(60 * MINUTE, 70 * MINUTE, MINUTE);
    let cases = [
        ("x", 55 * MINUTE + 1, 70 * MINUTE),
        ("x offset 5m", 50 * MINUTE + 1, 65 * MINUTE),
        ("rate(x[10m])", 50 * MINUTE + 1, 70 * MINUTE),
        ("rate(x[10m] @ 0)", -10 * MINUTE + 1, 0),
        ("x @ end()", 65 * MINUTE + 1, 70 * MINUTE),
        ("max_over_time(x[10m:5m])", 50 * MINUTE + 1, 70 * MINUTE),
        ("increase(x[1m] smoothed)", 54 * MINUTE + 1, 75 * MINUTE),
    ];
    for (text, min, max) in cases {
        let evaluation = plan(text, range.clone());
        let [selection] = evaluation.selections() else { panic!("{text}") };
        assert_eq!((selection.min_ms, selection.max_ms), (min, max), "{text}");
    }
    assert!(plan("1 + time()", range.clone()).selections().is_empty());
    let two = plan("a / on (x) b{y=~\".+\"}", range);
    assert_eq!(two.selections()[1].matchers[0].to_string(), "y=~\".+\"");
}

#[test]
fn work_is_known_where_it_is_what_was_kept() {
    let range = || Params::range(0, 10 * MINUTE, MINUTE);
    for text in ["max_over_time(x[1h:1s])", "x @ 0 + x", "sum(rate(x[5m] @ end()))"] {
        assert_eq!(plan(text, range()).work(), None, "{text}");
    }
    // Eleven steps of each of three parts, and of the vector that is added.
    assert_eq!(plan("x + time()", range()).work(), Some(4 * 11));
}

#[test]
fn threads_do_not_change_the_answer() {
    let queries = [
        "sum by (odd) (rate(x_total[5m]))",
        "avg(x_total)",
        "stddev by (odd) (x_total)",
        "max(x_total) - min(x_total)",
        "topk(2, x_total)",
        "x_total > 20",
        "count by (odd) (x_total)",
        "quantile_over_time(scalar(max(x_total)) / 100, x_total[3m])",
    ];
    for text in queries {
        let params = || Params::range(0, 10 * MINUTE, MINUTE);
        let one = run(plan(text, params()), 1).unwrap();
        let four = run(plan(text, params()), 4).unwrap();
        assert_eq!(one.value, four.value, "{text}");
        assert_eq!(one.stats.samples, four.stats.samples);
    }
}

#[test]
fn limits_end_a_query_with_their_number() {
    let with = |limits: Limits| Params { limits, ..Params::range(0, 10 * MINUTE, MINUTE) };
    let most = Limits::default();
    let cases = [
        (Limits { series: 9, ..most }, "more series than the 9"),
        (Limits { samples: 109, ..most }, "more samples than the 109"),
        (Limits { points: 109, ..most }, "more points than the 109"),
    ];
    for (limits, expected) in cases {
        let error = run(plan("x_total", with(limits)), 2).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // A group of ten series keeps what one series does.
    assert!(run(plan("sum(x_total)", with(Limits { points: 11, ..most })), 1).is_ok());
    let steps = Evaluation::new(&Query::parse("x").unwrap(), with(Limits { points: 10, ..most }));
    assert!(matches!(steps, Err(Error::Limit { what: "points", limit: 10, .. })));
    // Of no series, of a range, and of labels that are made of values.
    for text in [
        "vector(time()) + vector(time())",
        "time() + time() + time()",
        "quantile_over_time(scalar(max(x_total)), x_total[3m])",
        "count_values(\"v\", x_total)",
        "x_total * on (n) x_total",
    ] {
        let error = Evaluation::new(&Query::parse(text).unwrap(), with(Limits { points: 210, ..most }));
        let error = error.and_then(|evaluation| run(evaluation, 1));
        let few = Evaluation::new(&Query::parse(text).unwrap(), with(Limits { points: 30, ..most }));
        let few = few.and_then(|evaluation| run(evaluation, 1));
        assert!(matches!(few, Err(Error::Limit { what: "points", .. })), "{text}: {few:?}");
        let small = text.contains("time()");
        assert_eq!(error.is_ok(), small, "{text}: {error:?}");
    }
    let subquery = Query::parse("max_over_time(x[1000h:1s])").unwrap();
    assert!(Evaluation::new(&subquery, with(Limits { points: 1_000_000, ..most })).is_err());
}

#[test]
fn a_raised_flag_cancels() {
    let flag = Arc::new(AtomicBool::new(false));
    let params = Params { cancel: Some(flag.clone()), ..Params::instant(10 * MINUTE) };
    assert!(run(plan("sum(x_total)", params.clone()), 1).is_ok());
    flag.store(true, Ordering::Relaxed);
    assert_eq!(run(plan("sum(x_total)", params), 1), Err(Error::Canceled));
}

#[test]
fn params_are_checked() {
    let query = Query::parse("x").unwrap();
    for params in [Params::range(10, 0, 1), Params::range(0, 10, 0), Params { lookback_ms: 0, ..Params::instant(0) }] {
        assert!(matches!(Evaluation::new(&query, params), Err(Error::Params(_))));
    }
    for text in ["\"text\"", "x[5m]"] {
        let query = Query::parse(text).unwrap();
        assert!(matches!(Evaluation::new(&query, Params::range(0, 10, 1)), Err(Error::Params(_))), "{text}");
        assert!(Evaluation::new(&query, Params::instant(0)).is_ok(), "{text}");
    }
}

#[test]
fn a_range_query_of_one_step_gives_a_matrix() {
    let answer = run(plan("sum(x_total)", Params::range(MINUTE, MINUTE, MINUTE)), 1).unwrap();
    let Value::Matrix(series) = answer.value else { panic!("{:?}", answer.value) };
    assert_eq!(series[0].floats, [(MINUTE, 45.0)]);
    let scalar = run(plan("1 + 1", Params::range(0, 2, 1)), 1).unwrap();
    let Value::Matrix(series) = scalar.value else { panic!("{:?}", scalar.value) };
    assert_eq!(series[0].floats, [(0, 2.0), (1, 2.0), (2, 2.0)]);
}

#[test]
fn folds_go_to_other_threads() {
    fn goes<T: Send + 'static>() {}
    goes::<bonghwa_promql::Fold>();
    goes::<Evaluation>();
    goes::<Answer>();
}

#[test]
fn what_is_let_go_is_kept_no_more() {
    let peak = |text: &str| run(plan(text, Params::range(0, 10 * MINUTE, MINUTE)), 1).unwrap().stats.peak_points;
    // Both sides and the result, of ten series at eleven steps each.
    assert_eq!(peak("x_total * x_total"), 330);
    assert_eq!(peak("x_total * x_total * x_total"), 440);
    // A marker of staleness makes a copy of a series for as long as it is read.
    let evaluation = plan("sum(rate(x[5m]))", Params::instant(10 * MINUTE));
    let (labels, stale) = (Labels::new([("__name__", "x")]), f64::from_bits(bonghwa_promql::STALE_BITS));
    let mut fold = evaluation.fold(0).unwrap();
    let (times, values): (Vec<i64>, Vec<f64>) =
        (0..1000).map(|n| (n * 600, n as f64)).chain([(600_000, stale)]).unzip();
    fold.push(&Series::floats(&labels, &times, &values)).unwrap();
    assert_eq!(evaluation.finish(vec![fold]).unwrap().stats.peak_points, 1);
}

#[test]
fn histograms_count_for_what_they_weigh() {
    let histogram =
        Arc::new(Histogram { count: 160.0, positive: (0..160).map(|n| (n, 1.0)).collect(), ..Default::default() });
    assert_eq!(histogram.weight(), 172);
    let labels = Labels::new([("__name__", "x")]);
    for (text, points) in [("x", 1 + 172), ("sum(x)", 1 + 2 * 172), ("quantile_over_time(scalar(y), x[5m])", 172)] {
        let evaluation = plan(text, Params::instant(MINUTE));
        let pushed = evaluation.selections().iter().position(|s| s.matchers[0].value == "x").unwrap();
        let mut fold = evaluation.fold(pushed).unwrap();
        let (histogram_timestamps, histograms) = (&[MINUTE][..], &[histogram.clone()][..]);
        fold.push(&Series { labels: &labels, timestamps: &[], values: &[], histogram_timestamps, histograms }).unwrap();
        let stats = evaluation.finish(vec![fold]).unwrap().stats;
        assert_eq!(stats.samples, 172, "{text}");
        assert!(stats.peak_points >= points, "{text}: {}", stats.peak_points);
    }
}

#[test]
fn sets_of_many_series_are_matched_once() {
    const SERIES: usize = 20_000;
    let times = [0];
    for (text, expected) in [("x and on () y", SERIES), ("x unless on () y", 0), ("x or on () y", SERIES)] {
        // After five minutes no series has a value, and each would be looked at.
        let evaluation = plan(text, Params::range(0, 20 * MINUTE, 2 * MINUTE));
        let folds = ["x", "y"].iter().enumerate().map(|(selection, name)| {
            let mut fold = evaluation.fold(selection).unwrap();
            for n in 0..SERIES {
                let labels = Labels::new([("__name__", *name), ("n", n.to_string().as_str())]);
                fold.push(&Series::floats(&labels, &times, &[1.0])).unwrap();
            }
            fold
        });
        let folds = folds.collect();
        // Of each pair at each step it would be four thousand million looks.
        let Value::Matrix(series) = evaluation.finish(folds).unwrap().value else { panic!("{text}") };
        assert_eq!(series.len(), expected, "{text}");
    }
}

#[test]
fn notes_of_many_metrics_are_many() {
    let evaluation = plan("sum(rate({n=~\".+\"}[5m]))", Params::instant(10 * MINUTE));
    let mut fold = evaluation.fold(0).unwrap();
    for n in 0..30_000 {
        let name = format!("metric_{n}");
        let labels = Labels::new([("__name__", name.as_str()), ("n", "1")]);
        fold.push(&Series::floats(&labels, &[9 * MINUTE, 10 * MINUTE], &[1.0, 2.0])).unwrap();
    }
    let infos = evaluation.finish(vec![fold]).unwrap().annotations.infos;
    assert_eq!(infos.len(), 10_000);
}

/// What Prometheus counts for the same, by its own tests: three series with a sample every ten seconds, the first of
/// which has a histogram beside.
#[test]
fn samples_that_each_step_takes() {
    const SECOND: i64 = 1_000;
    let times: Vec<i64> = (0..=100).map(|n| 10 * n * SECOND).collect();
    let values = vec![1.0; times.len()];
    let buckets = vec![(0, 1.0), (1, 2.0), (2, 1.0), (3, 1.0)];
    let histogram = Arc::new(Histogram { schema: 1, count: 5.0, sum: 20.0, positive: buckets, ..Default::default() });
    let histograms = vec![histogram; times.len()];
    let count = |text: &str, params: Params| {
        let evaluation = plan(text, Params { count_steps: true, ..params });
        let mut folds = vec![];
        for (number, selection) in evaluation.selections().iter().enumerate() {
            // On two threads.
            let mut own = [evaluation.fold(number).unwrap(), evaluation.fold(number).unwrap()];
            for (name, series) in [("one", 1), ("three", 3), ("histogram", 1)] {
                for n in 0..series {
                    let text = n.to_string();
                    let labels = Labels::new([("__name__", name), ("n", text.as_str())]);
                    if !selection.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name))) {
                        continue;
                    }
                    let series = match name {
                        "histogram" => Series {
                            labels: &labels,
                            timestamps: &[],
                            values: &[],
                            histogram_timestamps: &times,
                            histograms: &histograms,
                        },
                        _ => Series::floats(&labels, &times, &values),
                    };
                    own[n % 2].push(&series).unwrap();
                }
            }
            folds.extend(own);
        }
        evaluation.finish(folds).unwrap().stats.steps
    };
    for (text, at, expected) in [
        ("\"text\"", 21, 0),
        ("1", 21, 0),
        ("one", 21, 1),
        ("timestamp(one)", 21, 1),
        ("one @ 10", 21, 1),
        ("one offset 30s", 21, 0),
        ("histogram", 21, 13),
        ("three", 21, 3),
        ("one + three", 21, 4),
        ("one[60s]", 201, 6),
        ("histogram[60s]", 201, 78),
        ("max_over_time(one[59s])", 201, 6),
        ("sum by (n) (max_over_time(three[60s] @ 30))", 201, 12),
        ("max_over_time(one[60s])[20s:5s]", 201, 24),
        ("max_over_time(one[60s:5s])", 201, 12),
        ("sum(max_over_time(three[60s:5s]))", 201, 36),
        ("quantile_over_time(scalar(one), one[60s])", 201, 7),
    ] {
        assert_eq!(count(text, Params::instant(at * SECOND)), [(at * SECOND, expected)], "{text}");
    }
    for (text, start, expected) in [
        ("one", 201, [1, 1, 1, 1]),
        ("sum(three)", 201, [3, 3, 3, 3]),
        ("one offset 990s", 981, [0, 0, 1, 1]),
        ("max_over_time(one[20s])", 201, [2, 2, 2, 2]),
        ("histogram", 201, [13, 13, 13, 13]),
        ("max_over_time(three[20s]) + three @ 30", 201, [9, 9, 9, 9]),
        ("max_over_time(one[20s:5s])", 201, [4, 4, 4, 4]),
        ("max_over_time(one[60s] @ 30)", 201, [4, 4, 4, 4]),
    ] {
        let range = Params::range(start * SECOND, (start + 19) * SECOND, 5 * SECOND);
        let expected = [0, 1, 2, 3].map(|step| ((start + 5 * step as i64) * SECOND, expected[step]));
        assert_eq!(count(text, range), expected, "{text}");
    }
    // They are not counted without being asked for.
    let evaluation = plan("one", Params::instant(0));
    assert!(evaluation.finish(vec![]).unwrap().stats.steps.is_empty());
}
