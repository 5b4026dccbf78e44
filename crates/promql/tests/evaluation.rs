//! What a caller relies on beside the values: what is to be read, limits, cancelling, folds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bonghwa_promql::{Answer, Error, Evaluation, Labels, Limits, Params, Query, SelectionKind, Series, Value, Wanted};

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
        ("x", 55 * MINUTE + 1, 70 * MINUTE, SelectionKind::Latest, None),
        ("x offset 5m", 50 * MINUTE + 1, 65 * MINUTE, SelectionKind::Latest, None),
        ("rate(x[10m])", 50 * MINUTE + 1, 70 * MINUTE, SelectionKind::All, Some("rate")),
        ("rate(x[10m] @ 0)", -10 * MINUTE + 1, 0, SelectionKind::All, Some("rate")),
        ("x @ end()", 65 * MINUTE + 1, 70 * MINUTE, SelectionKind::Latest, None),
        ("max_over_time(x[10m:5m])", 50 * MINUTE + 1, 70 * MINUTE, SelectionKind::Latest, None),
        ("increase(x[1m] smoothed)", 54 * MINUTE + 1, 75 * MINUTE, SelectionKind::All, Some("increase")),
    ];
    for (text, min, max, kind, function) in cases {
        let evaluation = plan(text, range.clone());
        let [selection] = evaluation.selections() else { panic!("{text}") };
        assert_eq!((selection.min_ms, selection.max_ms, selection.kind), (min, max, kind), "{text}");
        assert_eq!(selection.function, function, "{text}");
    }
    assert!(plan("1 + time()", range.clone()).selections().is_empty());
    let two = plan("a / on (x) b{y=~\".+\"}", range);
    assert_eq!(two.selections()[1].matchers[0].to_string(), "y=~\".+\"");
}

#[test]
fn aggregations_tell_which_labels_they_need() {
    let wanted = |text: &str| plan(text, Params::instant(0)).selections()[0].wanted.clone();
    let only = |names: &[&str]| Wanted::Only(names.iter().map(|n| (*n).to_owned()).collect());
    assert_eq!(wanted("sum by (a, b) (rate(x[5m]) * 60)"), only(&["__name__", "a", "b"]));
    assert_eq!(wanted("count(x)"), only(&["__name__"]));
    assert_eq!(wanted("absent(x)"), only(&["__name__"]));
    for text in ["x", "sum without (a) (x)", "topk by (a) (1, x)", "histogram_quantile(0.5, x)", "x + x"] {
        assert_eq!(wanted(text), Wanted::All, "{text}");
    }
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
