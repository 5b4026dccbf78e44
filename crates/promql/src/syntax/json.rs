//! A tree as the JSON of Prometheus' `/api/v1/parse_query`.

use serde_json::{Map, Value, json};

use super::ast::{At, Card, Duration, Expr, Kind, Matching, Modifiers, Selector};
use super::print::{literal_ms, number};

/// The tree as JSON.
pub(super) fn to_json(expr: &Expr) -> Value {
    match &expr.kind {
        Kind::Number { value, duration } => json!({"type": "numberLiteral", "val": number(*value, *duration)}),
        Kind::String(text) => json!({"type": "stringLiteral", "val": text}),
        Kind::Selector(selector) => Value::Object(selector_json("vectorSelector", selector)),
        Kind::Range { selector, range } => {
            let mut node = selector_json("matrixSelector", selector);
            duration(&mut node, "range", Some(range));
            Value::Object(node)
        }
        Kind::Subquery { expr, range, step, modifiers } => {
            let mut node = Map::new();
            node.insert("type".into(), "subquery".into());
            node.insert("expr".into(), to_json(expr));
            duration(&mut node, "range", Some(range));
            duration(&mut node, "step", step.as_ref());
            shifts(&mut node, modifiers);
            Value::Object(node)
        }
        Kind::Call { function, args, keep_names } => {
            let signature = function.signature();
            let types: Vec<&str> = signature.args.iter().map(|t| t.json_name()).collect();
            let mut node = json!({
                "type": "call",
                "func": {
                    "name": signature.name, "argTypes": types, "variadic": signature.variadic,
                    "returnType": signature.returns.json_name(),
                },
                "args": args.iter().map(to_json).collect::<Vec<_>>(),
            });
            if *keep_names {
                node["keepMetricNames"] = true.into();
            }
            node
        }
        Kind::Aggregate { op, param, expr, grouping } => json!({
            "type": "aggregation",
            "op": op.as_str(),
            "expr": to_json(expr),
            "param": param.as_ref().map(|p| to_json(p)),
            "grouping": grouping.labels,
            "without": grouping.without,
        }),
        Kind::Binary { op, left, right, return_bool, matching, keep_names } => {
            let vectors = [left, right].iter().all(|e| e.value_type() == super::Type::Vector);
            let mut node = json!({
                "type": "binaryExpr",
                "op": op.as_str(),
                "lhs": to_json(left),
                "rhs": to_json(right),
                "matching": vectors.then(|| matching_json(matching)),
                "bool": return_bool,
            });
            if *keep_names {
                node["keepMetricNames"] = true.into();
            }
            node
        }
        Kind::Unary { negative, expr } => {
            json!({"type": "unaryExpr", "op": if *negative { "-" } else { "+" }, "expr": to_json(expr)})
        }
        Kind::Paren(inner) => json!({"type": "parenExpr", "expr": to_json(inner)}),
    }
}

fn selector_json(kind: &str, selector: &Selector) -> Map<String, Value> {
    let mut node = Map::new();
    node.insert("type".into(), kind.into());
    node.insert("name".into(), selector.name.clone().unwrap_or_default().into());
    let matchers = selector.matchers.iter().map(|m| json!({"name": m.name, "value": m.value, "type": m.op.as_str()}));
    node.insert("matchers".into(), matchers.collect());
    shifts(&mut node, &selector.modifiers);
    if let Some(widening) = selector.modifiers.widening {
        node.insert(widening.as_str().into(), true.into());
    }
    node
}

fn shifts(node: &mut Map<String, Value>, modifiers: &Modifiers) {
    duration(node, "offset", modifiers.offset.as_ref());
    let (time, edge) = match modifiers.at {
        Some(At::Time(ms)) => (Some(ms), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
        None => (None, None),
    };
    node.insert("timestamp".into(), time.into());
    node.insert("startOrEnd".into(), edge.into());
}

/// Milliseconds; arithmetic beside them as text, as it has no value before the query runs.
fn duration(node: &mut Map<String, Value>, name: &str, duration: Option<&Duration>) {
    let ms = match duration {
        Some(Duration::Literal(seconds)) => literal_ms(*seconds),
        _ => 0,
    };
    node.insert(name.into(), ms.into());
    if let Some(expr) = duration.filter(|d| !matches!(d, Duration::Literal(_))) {
        node.insert(format!("{name}Expr"), expr.to_string().into());
    }
}

fn matching_json(matching: &Matching) -> Value {
    let card = match matching.card {
        Card::OneToOne => "one-to-one",
        Card::ManyToOne => "many-to-one",
        Card::OneToMany => "one-to-many",
        Card::ManyToMany => "many-to-many",
    };
    json!({
        "card": card, "labels": matching.labels, "on": matching.on, "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    })
}
