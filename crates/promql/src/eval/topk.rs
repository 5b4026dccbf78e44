//! Aggregations that need all series of a group: topk, bottomk, limitk, limit_ratio, quantile, count_values.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::annotations::{Note, Notes};
use super::fold::Usage;
use super::group::{Aggregation, GroupBy};
use super::rows::{Row, Steps, is_absent};
use super::sums::quantile;
use crate::error::Error;
use crate::labels::Labels;
use crate::syntax::{AggregateOp, Span};

/// The group of each row, and the labels of each group.
fn groups(by: &GroupBy, rows: &[Row]) -> (Vec<usize>, Vec<Labels>) {
    let mut places: HashMap<Box<[u8]>, usize> = HashMap::new();
    let (mut of_row, mut labels, mut key) = (Vec::with_capacity(rows.len()), vec![], vec![]);
    for row in rows {
        by.key(&row.labels, &mut key);
        let group = *places.entry(key.as_slice().into()).or_insert_with(|| {
            labels.push(by.labels(&row.labels));
            labels.len() - 1
        });
        of_row.push(group);
    }
    (of_row, labels)
}

/// The rows with what each step keeps of them. Of one step they come in their order of rank.
pub(crate) fn select(
    aggregation: &Aggregation,
    param: &Steps,
    (param_span, whole): (Span, Span),
    mut rows: Vec<Row>,
    len: usize,
    notes: &mut Notes,
) -> Result<Vec<Row>, Error> {
    let values = || (0..len).map(|step| param.at(step));
    let (most, least) = (values().fold(f64::NEG_INFINITY, f64::max), values().fold(f64::INFINITY, f64::min));
    let has_nan = values().any(f64::is_nan);
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    if aggregation.op == AggregateOp::LimitRatio {
        if most == 0.0 && least == 0.0 {
            return Ok(vec![]);
        }
        if has_nan {
            return Err(Error::execution("Ratio value is NaN"));
        }
        let mut warn = |value: f64, to: f64| {
            let detail = format!("{}, capping to {}", crate::number::format_g(value), crate::number::format_g(to));
            notes.add(Note::InvalidRatio, param_span, &detail);
        };
        if most > 1.0 {
            warn(most, 1.0);
        }
        if least < -1.0 {
            warn(least, -1.0);
        }
        return Ok(ratio(param, rows));
    }
    // Where every parameter is NaN, there is no greatest one.
    if most < 1.0 && !(has_nan && most == f64::NEG_INFINITY) {
        return Ok(vec![]);
    }
    if has_nan {
        return Err(Error::execution("Parameter value is NaN"));
    }
    for (value, wrong, what) in [(least, least <= i64::MIN as f64, "under"), (most, most >= i64::MAX as f64, "over")] {
        if wrong {
            let value = crate::number::format_g(value);
            return Err(Error::execution(format!("Scalar value {value} {what}flows int64")));
        }
    }
    let (of_row, labels) = groups(&aggregation.by, &rows);
    let count = rows.len();
    let k = move |step: usize| (param.at(step).max(0.0) as usize).min(count);
    if aggregation.op == AggregateOp::Limitk {
        return Ok(first_k(&k, rows, &of_row, labels.len(), len));
    }
    Ok(best_k(aggregation.op, whole, &k, rows, &of_row, labels.len(), len, notes))
}

/// Keeps of each series the steps at which its place among all hashes is below the ratio.
fn ratio(param: &Steps, mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        let place = row.labels.hash64() as f64 / u64::MAX as f64;
        for step in 0..row.floats.len() {
            let ratio = param.at(step).clamp(-1.0, 1.0);
            let kept = if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio };
            if !kept {
                row.set(step, None);
            }
        }
    }
    rows.retain(|row| !row.is_empty());
    rows
}

fn first_k(k: &dyn Fn(usize) -> usize, mut rows: Vec<Row>, of_row: &[usize], groups: usize, len: usize) -> Vec<Row> {
    let mut taken = vec![0; groups * len];
    for (row, group) in rows.iter_mut().zip(of_row) {
        for step in 0..len {
            if !row.is_present(step) {
                continue;
            }
            let taken = &mut taken[group * len + step];
            if *taken < k(step) {
                *taken += 1;
            } else {
                row.set(step, None);
            }
        }
    }
    rows.retain(|row| !row.is_empty());
    rows
}

/// A value and the row that it comes from.
type Ranked = (f64, u32);

#[allow(clippy::too_many_arguments)]
fn best_k(
    op: AggregateOp,
    span: Span,
    k: &dyn Fn(usize) -> usize,
    mut rows: Vec<Row>,
    of_row: &[usize],
    groups: usize,
    len: usize,
    notes: &mut Notes,
) -> Vec<Row> {
    let greatest = op == AggregateOp::Topk;
    // Worse comes first; NaN is worse than any number.
    let worse =
        |a: f64, b: f64| if a.is_nan() { !b.is_nan() } else { !b.is_nan() && if greatest { a < b } else { a > b } };
    let mut heaps: Vec<Vec<Ranked>> = vec![vec![]; groups * len];
    for (i, row) in rows.iter().enumerate() {
        let cells = &mut heaps[of_row[i] * len..(of_row[i] + 1) * len];
        for (step, (value, heap)) in row.floats.iter().zip(cells).enumerate() {
            if is_absent(*value) {
                continue;
            }
            let k = k(step);
            if heap.len() < k {
                heap.push((*value, i as u32));
                sift_up(heap, &worse);
            } else if k > 0 && worse(heap[0].0, *value) {
                heap[0] = (*value, i as u32);
                sift_down(heap, &worse);
            }
        }
        if row.histograms.as_ref().is_some_and(|h| h.iter().any(Option::is_some)) {
            notes.add(Note::IgnoredInAggregation, span, op.as_str());
        }
    }
    let mut kept: Vec<Option<Row>> = vec![None; rows.len()];
    let mut order = vec![];
    for (cell, mut heap) in heaps.into_iter().enumerate() {
        // From the best; equals in the order of their labels.
        heap.sort_by(|a, b| {
            if worse(a.0, b.0) {
                std::cmp::Ordering::Greater
            } else if worse(b.0, a.0) {
                std::cmp::Ordering::Less
            } else {
                a.1.cmp(&b.1)
            }
        });
        for (value, i) in heap {
            let source = &mut rows[i as usize];
            let row = kept[i as usize].get_or_insert_with(|| {
                order.push(i as usize);
                let mut row = Row::new(source.labels.clone(), len);
                row.drop_name = source.drop_name;
                row
            });
            row.floats[cell % len] = value;
        }
    }
    order.into_iter().filter_map(|i| kept[i].take()).collect()
}

fn sift_up(heap: &mut [Ranked], worse: &impl Fn(f64, f64) -> bool) {
    let mut at = heap.len() - 1;
    while at > 0 {
        let parent = (at - 1) / 2;
        if !worse(heap[at].0, heap[parent].0) {
            return;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

fn sift_down(heap: &mut [Ranked], worse: &impl Fn(f64, f64) -> bool) {
    let mut at = 0;
    loop {
        let mut child = 2 * at + 1;
        if child >= heap.len() {
            return;
        }
        if child + 1 < heap.len() && worse(heap[child + 1].0, heap[child].0) {
            child += 1;
        }
        if !worse(heap[child].0, heap[at].0) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

/// `quantile`: of each group at each step.
pub(crate) fn quantiles(
    aggregation: &Aggregation,
    param: &Steps,
    param_span: Span,
    rows: &[Row],
    len: usize,
    usage: &Usage,
    notes: &mut Notes,
) -> Result<Vec<Row>, Error> {
    for step in 0..len {
        let q = param.at(step);
        if !(0.0..=1.0).contains(&q) {
            notes.add_number(Note::InvalidQuantile, param_span, q);
        }
    }
    let (of_row, labels) = groups(&aggregation.by, rows);
    let mut members = vec![vec![]; labels.len()];
    of_row.iter().zip(rows).for_each(|(group, row)| members[*group].push(row));
    let mut found = vec![];
    let mut buffer = vec![];
    for (labels, members) in labels.into_iter().zip(members) {
        usage.check()?;
        usage.keep(len)?;
        let mut row = Row::new(labels, len);
        row.drop_name = members.iter().any(|member| member.drop_name);
        for step in 0..len {
            buffer.clear();
            buffer.extend(members.iter().map(|member| member.floats[step]).filter(|value| !is_absent(*value)));
            if members.iter().any(|member| member.histogram(step).is_some()) {
                notes.add(Note::IgnoredInAggregation, aggregation.span, "quantile");
            }
            if !buffer.is_empty() {
                row.floats[step] = quantile(param.at(step), &mut buffer);
            }
        }
        if !row.is_empty() {
            found.push(row);
        }
    }
    Ok(found)
}

/// `count_values`: how many series of a group have each value, with the value as a label.
pub(crate) fn count_values(
    aggregation: &Aggregation,
    label: &str,
    rows: &[Row],
    len: usize,
    usage: &Usage,
) -> Result<Vec<Row>, Error> {
    if !crate::labels::is_label_name(label) {
        return Err(Error::execution(format!("invalid label name {}", crate::syntax::quote(label))));
    }
    let mut by = aggregation.by.clone();
    if !by.without {
        by.labels.push(label.to_owned());
        by.labels.sort();
        by.labels.dedup();
    }
    let mut counts: HashMap<Labels, Row> = HashMap::new();
    for row in rows {
        usage.check()?;
        let mut builder = row.labels.builder();
        let mut known: HashMap<u64, Labels> = HashMap::new();
        for step in 0..len {
            let labels = if let Some(histogram) = row.histogram(step) {
                by.labels(&builder.set(label, &histogram.to_string()).build())
            } else if is_absent(row.floats[step]) {
                continue;
            } else {
                let value = row.floats[step];
                let labels = || by.labels(&builder.set(label, &crate::number::format(value)).build());
                known.entry(value.to_bits()).or_insert_with(labels).clone()
            };
            let counted = match counts.entry(labels) {
                Entry::Occupied(counted) => counted.into_mut(),
                Entry::Vacant(place) => {
                    usage.keep(len)?;
                    let row = Row::new(place.key().clone(), len);
                    place.insert(row)
                }
            };
            let cell = &mut counted.floats[step];
            *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
        }
    }
    Ok(counts.into_values().collect())
}
