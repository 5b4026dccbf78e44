//! The parser: what it takes, what it refuses and how it says so, and that text and tree agree.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bonghwa_promql::Query;
use bonghwa_promql::syntax::{MAX_DEPTH, Type, parse_matchers};

/// Query, and the error as it is told.
const ERRORS: &[(&str, &str)] = &[
    ("", "1:1: parse error: no expression found in input"),
    ("# a comment", "1:1: parse error: no expression found in input"),
    ("1 +", "1:4: parse error: unexpected end of input"),
    ("sum(", "1:5: parse error: unclosed left parenthesis"),
    ("sum)", "1:4: parse error: unexpected right parenthesis ')'"),
    ("foo[5m", "1:7: parse error: unclosed left bracket"),
    ("foo{a=\"b\"", "1:10: parse error: unexpected end of input inside braces"),
    ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
    ("foo{a}", "1:6: parse error: unexpected right brace \"}\" in label matching, expected label matching operator"),
    ("foo{a=b}", "1:7: parse error: unexpected identifier \"b\" in label matching, expected string"),
    ("foo{=\"b\"}", "1:5: parse error: unexpected \"=\" in label matching, expected identifier or \"}\""),
    (
        "foo{a=\"b\" c=\"d\"}",
        "1:11: parse error: unexpected identifier \"c\" in label matching, expected \",\" or \"}\"",
    ),
    ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ("foo{__name__=\"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
    ("{\"foo\", \"bar\"}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
    (
        "foo[5m] offset",
        "1:15: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
    ),
    ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
    ("foo[1]m", "1:7: parse error: unexpected identifier \"m\""),
    ("foo[5x]", "1:5: parse error: bad number or duration syntax: \"5x\""),
    ("foo offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times"),
    (
        "1 offset 5m",
        "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    ("foo @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
    ("foo @ bar", "1:7: parse error: unexpected identifier \"bar\" in @, expected timestamp"),
    ("foo[5m][5m]", "1:8: parse error: ranges only allowed for vector selectors"),
    ("(foo offset 1m)[5m]", "1:16: parse error: ranges only allowed for vector selectors"),
    ("foo offset 1m[5m]", "1:14: parse error: no offset modifiers allowed before range"),
    ("foo @ 5[5m]", "1:8: parse error: no @ modifiers allowed before range"),
    ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
    ("abs(foo[5m])", "1:5: parse error: expected type instant vector in call to function \"abs\", got range vector"),
    ("abs()", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 0"),
    ("round(foo, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
    ("label_join(foo, \"a\")", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2"),
    ("nothing(foo)", "1:1: parse error: unknown function with name \"nothing\""),
    ("sum(foo,)", "1:8: parse error: trailing commas not allowed in function call args"),
    ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
    ("topk(foo)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
    ("sum(foo[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got range vector"),
    ("topk(foo, foo)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
    ("sum by (foo", "1:12: parse error: unclosed left parenthesis"),
    ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
    ("foo + bool bar", "1:5: parse error: bool modifier can only be used on comparison operators"),
    ("foo and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
    ("foo and on (a) group_left bar", "1:1: parse error: no grouping allowed for \"and\" operation"),
    ("foo + on (a) group_left (a) bar", "1:5: parse error: label \"a\" must not occur in ON and GROUP clause at once"),
    ("1 + on (a) foo", "1:1: parse error: vector matching only allowed between instant vectors"),
    ("foo + foo[5m]", "1:7: parse error: binary expression must contain only scalar and instant vector types"),
    (
        "-\"text\"",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
    ),
    ("1[5m:1m]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
    ("foo{a=~\"(\"}", "1:5: parse error: regex parse error:\n    (\n    ^\nerror: unclosed group"),
    ("\"\\q\"", "1:1: parse error: error unquoting string \"\\\"\\\\q\\\"\": unknown escape sequence U+0071 'q'"),
    ("\"open", "1:1: parse error: unterminated quoted string"),
    ("foo\n  + $", "2:5: parse error: unexpected character: '$'"),
    ("foo !a", "1:5: parse error: unexpected character after '!': 'a'"),
    ("foo smoothed anchored", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
    ("foo[1h / 0]", "1:8: parse error: division by zero"),
    (
        "foo keep_metric_names",
        "1:1: parse error: keep_metric_names must follow a function call or an operation in parentheses",
    ),
    ("m.n", "1:2: parse error: unexpected character: '.'"),
];

#[test]
fn errors_say_where_and_what() {
    let mut wrong = vec![];
    for (query, expected) in ERRORS {
        let message = Query::parse(query).map_or_else(|e| e.to_string(), |q| format!("parsed as {}", q.expr()));
        if message != *expected {
            wrong.push(format!("{query:?}\n  is       {message:?}\n  expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Query, and how it is written; nothing where it is the same.
const PRINTED: &[(&str, &str)] = &[
    ("1+2*3^4^5", "1 + 2 * 3 ^ 4 ^ 5"),
    ("-1^2", "-1 ^ 2"),
    ("-foo^2", "-foo ^ 2"),
    ("0x1F", "31"),
    ("1_000", "1000"),
    ("017", "15"),
    (".5e1", "5"),
    ("inf", "Inf"),
    ("NAN", "NaN"),
    ("1h30m", ""),
    ("'a\\'b'", "\"a'b\""),
    ("`a\\n`", "\"a\\\\n\""),
    ("SUM(foo)", "sum(foo)"),
    ("sum(foo) by (a,b)", "sum by (a, b) (foo)"),
    ("sum without(foo) (bar)", "sum without (foo) (bar)"),
    ("sum by () (foo)", "sum(foo)"),
    ("count_values by (job) (\"v\", foo)", ""),
    ("foo{a=\"b\",c!=\"d\",e=~\"f\",g!~\"h\",}", "foo{a=\"b\",c!=\"d\",e=~\"f\",g!~\"h\"}"),
    ("{\"my.metric\", \"a.b\"=\"c\"}", "{\"my.metric\",\"a.b\"=\"c\"}"),
    ("{__name__=\"foo\"}", "{\"foo\"}"),
    ("{__name__=~\"foo|bar\"}", ""),
    ("sum{a=\"b\"}", ""),
    ("and", ""),
    ("offset offset 5m", ""),
    ("foo{by=\"c\",on=\"d\"}", ""),
    ("foo offset -5m", ""),
    ("foo offset 300", "foo offset 5m"),
    ("foo @ 1.5", "foo @ 1.500"),
    ("foo @ -0.5", "foo @ -0.500"),
    ("foo @ start() offset 5m", ""),
    ("foo offset 5m @ end()", "foo @ end() offset 5m"),
    ("foo[300]", "foo[5m]"),
    ("foo[5m] @ 1", "foo[5m] @ 1.000"),
    ("foo[5m] anchored", ""),
    ("foo smoothed offset 5m", ""),
    ("foo[1h:]", ""),
    ("foo[1h:5m] offset 1m", ""),
    ("rate(foo[5m])[1h:1m]", ""),
    ("foo[5m + 1m * 2]", ""),
    ("foo[(5m + 1m) * 2]", ""),
    ("foo[step()]", ""),
    ("foo[max_of(step(), 5s) : range()]", "foo[max_of(step(), 5s):range()]"),
    ("foo offset (1h + 5m)", ""),
    ("foo offset -(1h + 5m)", ""),
    ("foo offset 5m ^ 2", ""),
    ("a + bool b", "!"),
    ("a == bool b", ""),
    ("a + on(x) group_left(y) b", "a + on (x) group_left (y) b"),
    ("a * ignoring(x) group_right b", "a * ignoring (x) group_right () b"),
    ("a + on () b", ""),
    ("a - fill(0) b", "a - fill (0) b"),
    ("a - on(x) fill_left(1) fill_right(-2) b", "a - on (x) fill_left (1) fill_right (-2) b"),
    ("a default 0", ""),
    ("rate(a[5m]) keep_metric_names", ""),
    ("(a + b) keep_metric_names", ""),
    ("a </ 5", ""),
    ("a >/ 5", ""),
    ("a atan2 b", ""),
    ("a and b or c unless d", ""),
    ("limitk(2, a)", ""),
    ("limit_ratio(0.5, a)", ""),
    ("info(a, {b=~\".+\"})", ""),
    ("min_of(1, 2) + start() - end() + step() * range()", ""),
    ("sum(a) # comment\n+ b", "sum(a) + b"),
    ("# first\na", "a"),
];

#[test]
fn queries_are_printed_as_prometheus_does() {
    let mut wrong = vec![];
    for (query, expected) in PRINTED {
        let expected = if expected.is_empty() { query } else { expected };
        match Query::parse(query) {
            Ok(_) | Err(_) if *expected == "!" => assert!(Query::parse(query).is_err(), "{query}"),
            Ok(parsed) => {
                let printed = parsed.expr().to_string();
                let again = Query::parse(&printed).map(|q| q.to_json());
                if printed != *expected || again.as_ref() != Ok(&parsed.to_json()) {
                    wrong.push(format!("{query:?}: {printed:?}, expected {expected:?}"));
                }
            }
            Err(error) => wrong.push(format!("{query:?}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn long_queries_are_laid_out() {
    let query = "sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{namespace=\"production\",container!=\"\"}[5m])) \
                 / on (namespace, pod) group_left (node) (kube_pod_info{namespace=\"production\"} and kube_pod_owner)";
    insta::assert_snapshot!(Query::parse(query).unwrap().format(), @r#"
      sum by (namespace, pod) (
        rate(container_cpu_usage_seconds_total{namespace="production",container!=""}[5m])
      )
    / on (namespace, pod) group_left (node)
      (kube_pod_info{namespace="production"} and kube_pod_owner)
    "#);
}

#[test]
fn trees_have_prometheus_json() {
    let query = Query::parse("rate(up{job=\"a\"}[5m] offset 1m)").unwrap();
    assert_eq!(query.value_type(), Type::Vector);
    insta::assert_snapshot!(query.to_json(), @r#"{"args":[{"matchers":[{"name":"job","type":"=","value":"a"},{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":60000,"range":300000,"startOrEnd":null,"timestamp":null,"type":"matrixSelector"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"}"#);
}

#[test]
fn selectors_parse_alone() {
    assert_eq!(parse_matchers("up{job=\"a\"}").unwrap().len(), 2);
    for wrong in ["up[5m]", "up offset 5m", "1", "sum(up)"] {
        assert!(parse_matchers(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    let shapes: [&dyn Fn(usize) -> String; 8] = [
        &nested,
        &|n| vec!["a"; n].join(" + "),
        &|n| vec!["a"; n].join(" ^ "),
        &|n| format!("{}a", "-".repeat(n)),
        &|n| format!("{}a{}", "abs(".repeat(n), ")".repeat(n)),
        &|n| format!("a[{}]", vec!["1"; n].join("+")),
        &|n| format!("a[{}]", vec!["1"; n].join("^")),
        &|n| format!("a offset ({})", vec!["1"; n].join("+")),
    ];
    // A thread's usual stack is enough for what is let through, and for everything that is done with it.
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            for shape in [
                "(".repeat(MAX_DEPTH - 2) + "a" + &")".repeat(MAX_DEPTH - 2),
                vec!["a"; MAX_DEPTH - 2].join(" or "),
                "abs(".repeat(MAX_DEPTH - 2) + "a" + &")".repeat(MAX_DEPTH - 2),
                format!("sum_over_time(a[{}])", vec!["1"; MAX_DEPTH - 4].join("+")),
                format!("a offset ({})", vec!["1"; MAX_DEPTH - 4].join("+")),
            ] {
                let query = Query::parse(&shape).unwrap();
                assert!(!query.format().is_empty() && query.to_json().is_object());
                let evaluation =
                    bonghwa_promql::Evaluation::new(&query, bonghwa_promql::Params::range(0, 10, 1)).unwrap();
                evaluation.finish(vec![]).unwrap();
            }
        })
        .unwrap()
        .join()
        .unwrap();
    for shape in shapes {
        let error = Query::parse(&shape(100_000)).unwrap_err();
        assert!(error.message.contains("nests deeper"), "{error}");
    }
    let subqueries = format!("a{}", "[1h:]".repeat(10_000));
    assert!(Query::parse(&subqueries).is_err());
}
