//! What holds for any query: text and tree agree, nothing panics.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod script;

use bonghwa_promql::syntax::Function;
use bonghwa_promql::{Params, Query};
use proptest::prelude::*;
use script::check::{evaluate, in_parts, in_shares};
use script::{Command, Store, parse};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("h".to_owned()), Just("b_bucket".to_owned()), Just("sum".to_owned())]
}

fn number() -> impl Strategy<Value = String> {
    let texts = ["0", "1", "0.5", "-1", "NaN", "Inf", "-Inf", "1e300", "2", "90", "1h", "3600"];
    proptest::sample::select(texts.to_vec()).prop_map(str::to_owned)
}

fn duration() -> impl Strategy<Value = String> {
    let texts = ["5m", "1m", "90s", "1ms", "1h", "(1m + 30s)", "step()", "max_of(step(), 1m)", "2m * 2"];
    proptest::sample::select(texts.to_vec()).prop_map(str::to_owned)
}

fn modifiers() -> impl Strategy<Value = String> {
    let texts = ["", "", "", " offset 1m", " offset -1m", " @ 60", " @ end()", " @ start() offset 30s"];
    proptest::sample::select(texts.to_vec()).prop_map(str::to_owned)
}

fn selector() -> impl Strategy<Value = String> {
    let texts = ["", "{x=\"1\"}", "{x=~\"1|2\", y!=\"\"}", "{\"dotted.label\"!~\"a.*\"}"];
    (name(), proptest::sample::select(texts.to_vec())).prop_map(|(name, braces)| format!("{name}{braces}"))
}

/// An instant vector.
fn vector() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (selector(), modifiers()).prop_map(|(s, m)| s + &m),
        number().prop_map(|n| format!("vector({n})")),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let functions: Vec<&str> = Function::ALL
            .iter()
            .map(|f| f.signature())
            .filter(|s| s.args.len() == 1 && s.args[0] == bonghwa_promql::syntax::Type::Vector)
            .filter(|s| s.returns == bonghwa_promql::syntax::Type::Vector)
            .map(|s| s.name)
            .collect();
        let over_time: Vec<&str> = Function::ALL
            .iter()
            .map(|f| f.signature())
            .filter(|s| s.args == [bonghwa_promql::syntax::Type::Matrix])
            .map(|s| s.name)
            .collect();
        let aggregations = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
        let groups = ["", " by (x)", " without (x)", " by (le)", " by (__name__)"];
        let with_param = ["topk", "bottomk", "limitk", "limit_ratio", "quantile"];
        let operators =
            ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "< bool", ">=", "and", "or", "unless", "default"];
        let matchings =
            ["", " on (x)", " ignoring (x)", " on (x) group_left", " ignoring (y) group_right (y)", " on (x) fill (0)"];
        let select = |texts: Vec<&'static str>| proptest::sample::select(texts);
        prop_oneof![
            (select(functions), inner.clone()).prop_map(|(f, v)| format!("{f}({v})")),
            (select(over_time.clone()), selector(), duration(), modifiers())
                .prop_map(|(f, s, d, m)| format!("{f}({s}[{d}]{m})")),
            (select(over_time), inner.clone(), duration(), modifiers())
                .prop_map(|(f, v, d, m)| format!("{f}(({v})[{d}:30s]{m})")),
            (select(aggregations.to_vec()), select(groups.to_vec()), inner.clone())
                .prop_map(|(a, g, v)| format!("{a}{g} ({v})")),
            (select(with_param.to_vec()), number(), inner.clone()).prop_map(|(a, n, v)| format!("{a}({n}, {v})")),
            inner.clone().prop_map(|v| format!("count_values(\"v\", {v})")),
            (number(), inner.clone()).prop_map(|(n, v)| format!("histogram_quantile({n}, {v})")),
            (number(), number(), inner.clone()).prop_map(|(a, b, v)| format!("histogram_fraction({a}, {b}, {v})")),
            (number(), number(), inner.clone()).prop_map(|(a, b, v)| format!("clamp({v}, {a}, {b})")),
            (number(), selector(), duration()).prop_map(|(n, s, d)| format!("quantile_over_time({n}, {s}[{d}])")),
            (selector(), duration()).prop_map(|(s, d)| format!("quantile_over_time(scalar({s}), {s}[{d}])")),
            (selector(), duration()).prop_map(|(s, d)| format!("rate({s}[{d}] anchored)")),
            (selector(), duration()).prop_map(|(s, d)| format!("delta({s}[{d}] smoothed)")),
            inner.clone().prop_map(|v| format!("label_replace({v}, \"z\", \"$1\", \"x\", \"(.*)\")")),
            inner.clone().prop_map(|v| format!("info({v})")),
            inner.clone().prop_map(|v| format!("-({v})")),
            (inner.clone(), select(operators.to_vec()), select(matchings.to_vec()), inner.clone())
                .prop_map(|(a, o, m, b)| format!("({a}) {o}{m} ({b})")),
            (inner.clone(), select(operators.to_vec()), number()).prop_map(|(a, o, n)| format!("{a} {o} {n}")),
            (number(), select(operators.to_vec()), inner).prop_map(|(n, o, a)| format!("{n} {o} {a}")),
        ]
    })
}

fn store() -> Store {
    let text = r#"
load 30s
  a{x="1"} 0+1x10 stale 5 _ NaN Inf 3
  a{x="2", y="z"} 5-1x20
  sum{x="1"} 1x20
  b_bucket{x="1", le="1"} 0+1x20
  b_bucket{x="1", le="2"} 0+3x20
  b_bucket{x="1", le="+Inf"} 0+2x20
  h{x="1"} {{schema:0 count:4 sum:5 z_bucket:1 z_bucket_w:0.01 buckets:[1 2] n_buckets:[1]}}+{{schema:0 count:3 sum:1 buckets:[1 2]}}x10 1 2
  h{x="2"} {{schema:-53 count:4 sum:5 custom_values:[1 2] buckets:[1 2 1]}}x5 {{schema:-53 count:4 sum:5 custom_values:[2 3] buckets:[1 2 1]}}x5
  h{x="3"} {{schema:2 count:4 sum:NaN z_bucket_w:1 buckets:[1 2 1]}}x5 {{schema:0 count:1 sum:1 counter_reset_hint:gauge buckets:[1]}}x5
  target_info{x="1", version="1"} 1x20
"#;
    let mut store = Store::default();
    for command in parse(text).unwrap() {
        if let Command::Load(loaded) = command {
            store.load(loaded);
        }
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn printed_queries_parse_to_the_same_tree(text in vector()) {
        let Ok(query) = Query::parse(&text) else { return Ok(()) };
        for printed in [query.expr().to_string(), query.format()] {
            let again = Query::parse(&printed);
            prop_assert!(again.is_ok(), "{} -> {}: {:?}", text, printed, again.err());
            prop_assert_eq!(again.unwrap().to_json(), query.to_json(), "{} -> {}", text, printed);
        }
    }

    #[test]
    fn nothing_panics_on_any_text(text in "\\PC{0,60}") {
        let _ = Query::parse(&text);
    }

    #[test]
    fn nothing_panics_on_any_tokens(
        words in proptest::collection::vec(proptest::sample::select(&[
            "sum", "(", ")", "{", "}", "[", "]", "a", "by", "offset", "@", "5m", "1", "-", "+", "^", "\"x\"", "=", "=~",
            ",", ":", "and", "on", "group_left", "bool", "rate", "start", "step", "smoothed", "default", "fill", "#", "\n",
        ][..]), 0..24)
    ) {
        let _ = Query::parse(&words.join(" "));
    }

    /// A query that is divisible gives in parts what it gives as a whole.
    #[test]
    fn parts_are_the_whole(text in vector(), cuts in proptest::collection::btree_set(1i64..13, 1..4)) {
        if !Query::parse(&text).is_ok_and(|query| query.is_divisible()) {
            return Ok(());
        }
        let cuts: Vec<i64> = cuts.into_iter().collect();
        let same = in_parts(&store(), &text, Params::range(0, 600_000, 47_000), &cuts);
        prop_assert!(same.is_ok(), "{} at {:?}: {:?}", text, cuts, same);
    }

    /// Whatever a query is, each series may be folded elsewhere.
    #[test]
    fn shares_are_the_whole(text in vector(), instant in any::<bool>(), count_steps in any::<bool>()) {
        if Query::parse(&text).is_err() {
            return Ok(());
        }
        let params = if instant { Params::instant(500_000) } else { Params::range(0, 600_000, 47_000) };
        let same = in_shares(&store(), &text, Params { count_steps, ..params });
        prop_assert!(same.is_ok(), "{}: {:?}", text, same);
    }

    /// Steps of a range query are what instant queries at their times give, however series are spread over folds.
    #[test]
    fn evaluation_does_not_panic_and_ignores_the_number_of_folds(text in vector()) {
        let store = store();
        if Query::parse(&text).is_err() {
            return Ok(());
        }
        let one = evaluate(&store, &text, Params::range(0, 600_000, 47_000), 1);
        let three = evaluate(&store, &text, Params::range(0, 600_000, 47_000), 3);
        match (one, three) {
            (Ok(one), Ok(three)) => {
                let keys = |answer: &bonghwa_promql::Answer| match &answer.value {
                    bonghwa_promql::Value::Matrix(series) => {
                        series.iter().map(|s| (s.labels.clone(), s.floats.len(), s.histograms.len())).collect()
                    }
                    _ => vec![],
                };
                // Sums in another order may differ in their last bits, and so in what is compared or counted.
                let exact = !text.contains("count_values") && !["==", "!=", ">", "<", "topk", "bottomk"].iter().any(|o| text.contains(o));
                prop_assert!(!exact || keys(&one) == keys(&three), "{}", text);
            }
            (Err(_), Err(_)) => {}
            (one, three) => prop_assert!(text.contains("=="), "{}: {:?} or {:?}", text, one.err(), three.err()),
        }
    }
}
