//! Pruning never loses a row that the query asks for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bonghwa_block::{Column, Comparison, Op, Predicate, Scalar, time_column, tokens};
use bonghwa_model::{Signal, Value, json};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

fn scalar(array: &ArrayRef, row: usize) -> Option<Scalar> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8 => Scalar::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::Int32 => Scalar::Int64(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Scalar::Int64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Timestamp(..) => Scalar::Int64(array.as_primitive::<TimestampNanosecondType>().value(row)),
        DataType::Float64 => Scalar::Float64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Scalar::Boolean(array.as_boolean().value(row)),
        other => unreachable!("{other}"),
    })
}

/// As Arrow compares: floats in their total order.
fn compare(a: &Scalar, b: &Scalar) -> Ordering {
    match (a, b) {
        (Scalar::String(a), Scalar::String(b)) => a.cmp(b),
        (Scalar::Int64(a), Scalar::Int64(b)) => a.cmp(b),
        (Scalar::Float64(a), Scalar::Float64(b)) => a.total_cmp(b),
        (Scalar::Boolean(a), Scalar::Boolean(b)) => a.cmp(b),
        _ => unreachable!(),
    }
}

fn meets(op: Op, order: Ordering) -> bool {
    match op {
        Op::Eq => order.is_eq(),
        Op::NotEq => order.is_ne(),
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Gt => order.is_gt(),
        Op::Ge => order.is_ge(),
    }
}

fn text<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> Option<&'a str> {
    let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row))
}

/// The tokens that a row has, as the predicate defines them.
fn row_tokens(signal: Signal, batch: &RecordBatch, row: usize) -> Vec<String> {
    let names: &[&str] = match signal {
        Signal::Logs => &["body", "severity_text", "event_name"],
        _ => &["name", "status_message", "events"],
    };
    let mut texts: Vec<String> = names.iter().filter_map(|n| text(batch, n, row)).map(str::to_owned).collect();
    for object in ["attributes", "resource"] {
        for (_, value) in json::parse_object(text(batch, object, row).unwrap()) {
            if let Value::Str(text) = value {
                texts.push(text);
            }
        }
    }
    texts.iter().flat_map(|t| tokens(t)).map(str::to_owned).collect()
}

fn matches(signal: Signal, predicate: &Predicate, columns: &[Column], batch: &RecordBatch, row: usize) -> bool {
    let column = |name: &str| columns.iter().position(|c| *c == Column::Base(time_or(name))).map(|i| batch.column(i));
    let Some(Scalar::Int64(time)) = scalar(column(time_column(signal)).unwrap(), row) else { return false };
    let service = text(batch, "service_name", row).unwrap();
    (predicate.min_time..=predicate.max_time).contains(&time)
        && predicate.services.as_ref().is_none_or(|s| s.iter().any(|s| s == service))
        && predicate.trace_ids.as_ref().is_none_or(|ids| {
            text(batch, "trace_id", row).is_some_and(|hex| {
                ids.iter().any(|id| id.iter().map(|b| format!("{b:02x}")).collect::<String>() == hex)
            })
        })
        && (predicate.tokens.is_empty() || {
            let has = row_tokens(signal, batch, row);
            predicate.tokens.iter().all(|t| has.contains(t))
        })
        && predicate.comparisons.iter().all(|c| {
            let at = columns.iter().position(|other| *other == c.column).unwrap();
            scalar(batch.column(at), row).is_some_and(|v| meets(c.op, compare(&v, &c.value)))
        })
}

/// Leaks nothing: all names are static.
fn time_or(name: &str) -> &'static str {
    if name == "time" { "time" } else { "start_time" }
}

fn random_predicate(signal: Signal, rng: &mut StdRng, columns: &[Column], all: &[RecordBatch]) -> Predicate {
    let mut predicate = Predicate::default();
    let batch = all.choose(rng).unwrap();
    let row = rng.random_range(0..batch.num_rows());
    if rng.random_bool(0.3) {
        let at = columns.iter().position(|c| *c == Column::Base(time_column(signal))).unwrap();
        let Some(Scalar::Int64(time)) = scalar(batch.column(at), row) else { unreachable!() };
        predicate.min_time = time;
        predicate.max_time = time.saturating_add(rng.random_range(0..100_000_000_000));
    }
    if rng.random_bool(0.3) {
        predicate.services = Some(vec![text(batch, "service_name", row).unwrap().to_owned(), "nobody".into()]);
    }
    if signal != Signal::Metrics && rng.random_bool(0.2) {
        let hex = text(batch, "trace_id", row).unwrap_or("00000000000000000000000000000001");
        let id: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        predicate.trace_ids = Some(vec![[9; 16], id.try_into().unwrap()]);
    }
    if signal != Signal::Metrics && rng.random_bool(0.3) {
        predicate.tokens.extend(row_tokens(signal, batch, row).choose(rng).cloned());
    }
    for _ in 0..rng.random_range(0..3) {
        let at = rng.random_range(0..columns.len());
        let Some(value) = scalar(batch.column(at), row) else { continue };
        let op = *[Op::Eq, Op::NotEq, Op::Lt, Op::Le, Op::Gt, Op::Ge].choose(rng).unwrap();
        predicate.comparisons.push(Comparison { column: columns[at].clone(), op, value });
    }
    predicate
}

fn nothing_is_lost(signal: Signal, seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let batches = support::batches(signal, &mut rng);
    let block = support::write(signal, &batches, &support::small_options(&mut rng));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = support::store(&block).await;
        let mut pruned = 0;
        let tenant = &batches[0].0;
        let columns = support::columns(signal, &mut rng);
        let (all, _) = support::scan(&store, &block, tenant, &columns, Predicate::default()).await;
        if all.is_empty() {
            return 0;
        }
        for _ in 0..8 {
            let predicate = random_predicate(signal, &mut rng, &columns, &all);
            let mut wanted = Vec::new();
            for batch in &all {
                for row in 0..batch.num_rows() {
                    if matches(signal, &predicate, &columns, batch, row) {
                        wanted.push(batch.slice(row, 1));
                    }
                }
            }
            let (found, stats) = support::scan(&store, &block, tenant, &columns, predicate.clone()).await;
            let mut found = support::rows(&found);
            for row in support::rows(&wanted) {
                let at = found.iter().position(|f| *f == row);
                let at = at.unwrap_or_else(|| panic!("seed {seed}: {predicate:?} lost {row:?}"));
                found.swap_remove(at);
            }
            let row_groups = stats.row_groups_by_time
                + stats.row_groups_by_service
                + stats.row_groups_by_trace_id
                + stats.row_groups_by_tokens
                + stats.row_groups_by_statistics;
            assert!(row_groups <= stats.row_groups_total && stats.granules_kept <= stats.granules_total);
            pruned += stats.granules_total - stats.granules_kept;
        }
        pruned
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_log_record_is_lost(seed: u64) {
        nothing_is_lost(Signal::Logs, seed);
    }

    #[test]
    fn no_span_is_lost(seed: u64) {
        nothing_is_lost(Signal::Traces, seed);
    }

    #[test]
    fn no_sample_is_lost(seed: u64) {
        nothing_is_lost(Signal::Metrics, seed);
    }
}

#[test]
fn something_is_pruned() {
    for signal in Signal::ALL {
        let pruned: usize = (0..20).map(|seed| nothing_is_lost(signal, seed)).sum();
        assert!(pruned > 20, "{signal}: {pruned} granules");
    }
}
