use super::*;
use crate::labels::Labels;

/// Rules as they are written, what they are run on, and what is left; none where it is dropped.
fn check(rules: &str, given: &[(&str, &str)], expected: Option<&[(&str, &str)]>) {
    let list: Vec<serde_yaml_ng::Value> = serde_yaml_ng::from_str(rules).unwrap();
    let rules_read = crate::config::read_rules(list).unwrap();
    let mut labels: Labels<'_> = given.iter().copied().collect();
    let kept = apply(&rules_read, &mut labels);
    labels.sort();
    let mut expected_labels: Option<Labels<'_>> = expected.map(|pairs| pairs.iter().copied().collect());
    expected_labels.iter_mut().for_each(Labels::sort);
    assert_eq!(kept.then_some(labels), expected_labels, "{rules}");
}

#[test]
fn every_action() {
    let abc = &[("a", "foo"), ("b", "bar"), ("c", "baz")][..];
    // (rules, the labels, what is left)
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> { [abc, more].concat() };
    check(
        "[{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch${1}'}]",
        abc,
        Some(&with(&[("d", "choo-choo")])),
    );
    check(
        "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'}]",
        abc,
        Some(&[("a", "boobam"), ("b", "bar"), ("c", "baz")]),
    );
    check("[{source_labels: [a], regex: '.*o.*', action: drop}, {source_labels: [a], target_label: d}]", abc, None);
    check("[{source_labels: [b], regex: '.*b.*', action: drop}]", &[("a", "foo")], Some(&[("a", "foo")]));
    check("[{source_labels: [a], regex: 'no-match', action: keep}]", abc, None);
    check("[{source_labels: [a], regex: 'fo', action: keep}]", abc, None);
    check("[{source_labels: [a], regex: 'f.*', action: keep}]", abc, Some(abc));
    check(
        "[{source_labels: [a], regex: 'f.x', target_label: b, replacement: '$0'}]",
        &[("a", "f\nx")],
        Some(&[("a", "f\nx"), ("b", "f\nx")]),
    );
    // A replacement that is empty takes the label away, and so does one that captures nothing.
    check(
        "[{source_labels: [a], regex: 'f.*', target_label: b, replacement: ''}]",
        abc,
        Some(&[("a", "foo"), ("c", "baz")]),
    );
    check("[{source_labels: [x], target_label: b}]", abc, Some(&[("a", "foo"), ("c", "baz")]));
    // What does not match changes nothing.
    check("[{source_labels: [a], regex: 'x', target_label: b, replacement: y}]", abc, Some(abc));
    check("[{target_label: d, replacement: static}]", abc, Some(&with(&[("d", "static")])));
    check(
        "[{source_labels: [a, b], separator: '', target_label: d, replacement: '$1'}]",
        abc,
        Some(&with(&[("d", "foobar")])),
    );
    // $1x is a name that nothing captured.
    check(
        "[{source_labels: [a], regex: '(f).*', target_label: d, replacement: '$1x|$$'}]",
        abc,
        Some(&with(&[("d", "|$")])),
    );
    check(
        "[{source_labels: [a], regex: '(?P<first>f).*', target_label: '${first}_d', replacement: '${first}'}]",
        abc,
        Some(&with(&[("f_d", "f")])),
    );
    // Prometheus' own test has the same number.
    check("[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]", abc, Some(&with(&[("d", "976")])));
    check(
        "[{source_labels: [a], target_label: d, action: hashmod, modulus: 1000}]",
        &[("a", "foo\nbar"), ("b", "bar")],
        Some(&[("a", "foo\nbar"), ("b", "bar"), ("d", "734")]),
    );
    check(
        "[{regex: '(b.*)', action: labelmap, replacement: 'bar_${1}'}]",
        &[("a", "foo"), ("b1", "bar"), ("b2", "baz")],
        Some(&[("a", "foo"), ("b1", "bar"), ("b2", "baz"), ("bar_b1", "bar"), ("bar_b2", "baz")]),
    );
    check(
        "[{regex: '__meta_(my.*)', action: labelmap}]",
        &[("a", "foo"), ("__meta_my_bar", "aaa"), ("__meta_other", "x")],
        Some(&[("a", "foo"), ("__meta_my_bar", "aaa"), ("__meta_other", "x"), ("my_bar", "aaa")]),
    );
    check("[{regex: '(b.*)', action: labeldrop}]", &[("a", "foo"), ("b1", "bar")], Some(&[("a", "foo")]));
    check("[{regex: '(b.*)', action: labelkeep}]", &[("a", "foo"), ("b1", "bar")], Some(&[("b1", "bar")]));
    check(
        "[{source_labels: [foo], target_label: l, action: lowercase}, {source_labels: [foo], target_label: u, action: Uppercase}]",
        &[("foo", "bAr123Foo")],
        Some(&[("foo", "bAr123Foo"), ("l", "bar123foo"), ("u", "BAR123FOO")]),
    );
    check(
        "[{source_labels: [p], target_label: q, action: keepequal}]",
        &[("p", "1"), ("q", "1")],
        Some(&[("p", "1"), ("q", "1")]),
    );
    check("[{source_labels: [p], target_label: q, action: keepequal}]", &[("p", "1"), ("q", "2")], None);
    check("[{source_labels: [p], target_label: q, action: dropequal}]", &[("p", "1"), ("q", "1")], None);
    check(
        "[{source_labels: [p], target_label: q, action: dropequal}]",
        &[("p", "1"), ("q", "2")],
        Some(&[("p", "1"), ("q", "2")]),
    );
    // Of Kubernetes' documentation: another port of the same address.
    check(
        "[{source_labels: [__address__, __meta_port], regex: '([^:]+)(?::\\d+)?;(\\d+)', target_label: __address__, replacement: '$1:$2'}]",
        &[("__address__", "10.0.0.1:80"), ("__meta_port", "9100")],
        Some(&[("__address__", "10.0.0.1:9100"), ("__meta_port", "9100")]),
    );
}

#[test]
fn regexes_are_those_of_prometheus() {
    // (regex, value, whether it matches)
    for (regex, value, matches) in [
        ("/users/{id}/.*", "/users/{id}/x", true),
        ("/users/{id}/.*", "/users/7/x", false),
        ("a{b", "a{b", true),
        ("a{,3}", "a{,3}", true),
        ("[[]a", "[a", true),
        ("[a&&b]+", "a&b", true),
        (r"\d+", "42", true),
        (r"\d+", "٤٢", false),
        (r"\w+", "é", false),
    ] {
        let rule = format!("[{{source_labels: [x], regex: '{regex}', target_label: y, replacement: good}}]");
        let (found, left) = ([("x", value), ("y", "good")], [("x", value)]);
        check(&rule, &[("x", value)], Some(if matches { &found[..] } else { &left[..] }));
    }
}
