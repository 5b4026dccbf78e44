//! Exemplars, and the series that each is an example of.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use bonghwa_block::{Column, to_millis};
use bonghwa_model::metrics::MetricType;
use bonghwa_model::{Value, json};
use bonghwa_promql::{Labels, Matcher};
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::columns::{self, Columns, Texts};
use super::distribution;
use super::identity::IdentityReader;
use super::labels::{MetricsOptions, verbatim};
use super::read::{Bounds, Taken, Wanted};
use crate::alive::Alive;
use crate::plan::{self, Source};
use crate::view::View;
use crate::{QueryError, scan};

/// An exemplar may lie so far from the sample that it came with, in milliseconds.
const NEAR: i64 = 600_000;
/// Bytes of an exemplar in memory without its labels, roughly.
const BYTES: usize = 128;

/// An example of what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// `trace_id`, `span_id`, and what else was measured with it.
    pub labels: Labels,
    /// What was measured.
    pub value: f64,
    /// Unix milliseconds.
    pub time_ms: i64,
}

/// The exemplars of a series, in the order of time.
#[derive(Clone, Debug)]
pub struct Exemplars {
    /// The series.
    pub series: Labels,
    /// One at least.
    pub exemplars: Vec<Exemplar>,
}

/// As it is stored: see `bonghwa_model::metrics`.
#[derive(Deserialize)]
struct Stored<'a> {
    time_unix_nano: i64,
    value: serde_json::Value,
    trace_id: &'a str,
    span_id: &'a str,
    #[serde(borrow)]
    attributes: &'a RawValue,
}

/// The exemplars in range (Unix milliseconds, both inclusive) of the series that matchers select.
pub(crate) async fn exemplars(
    source: &Source,
    view: &View,
    matchers: Arc<[Matcher]>,
    range: (i64, i64),
    options: &MetricsOptions,
    bounds: Bounds,
    alive: &Arc<Alive>,
) -> Result<BTreeMap<Labels, Vec<Exemplar>>, QueryError> {
    let near = (range.0.saturating_sub(NEAR), range.1.saturating_add(NEAR));
    let wanted = Wanted::new(matchers.clone(), near, Taken::Nothing);
    let mut of_series = columns::of_series(false);
    of_series.push(Column::List("exemplars"));
    let of_samples = columns::of_labels().chain([Column::Base("buckets"), Column::Base("exemplars")]).collect();
    let plan = plan::plan_with(source, view, of_series, of_samples, wanted.predicate(), true).await?;
    let plan = Arc::new(plan);
    let identities = IdentityReader::new(options);
    let mut collect = Collect { matchers, range, identities, found: BTreeMap::new(), bytes: 0 };
    for unit in &plan.units {
        let batches = scan::open(&plan, unit).await.map_err(|error| QueryError::of_stream(&error))?;
        let mut batches = batches.map_err(|error| QueryError::of_stream(&error));
        while let Some(batch) = batches.try_next().await? {
            let before = collect.bytes;
            collect.add(&batch)?;
            alive.memory.hold((collect.bytes - before) as u64)?;
            alive.check()?;
            if collect.bytes > bounds.memory_bytes {
                let (reached, limit) = (collect.bytes as u64, bounds.memory_bytes as u64);
                return Err(QueryError::Limit {
                    what: "bytes of exemplars",
                    reached,
                    limit,
                    key: "query.memory_bytes",
                });
            }
        }
    }
    let mut found = collect.found;
    for exemplars in found.values_mut() {
        exemplars.sort_by_key(|exemplar| exemplar.time_ms);
        // Senders repeat them.
        exemplars.dedup();
    }
    Ok(found)
}

struct Collect<'a> {
    matchers: Arc<[Matcher]>,
    range: (i64, i64),
    identities: IdentityReader<'a>,
    found: BTreeMap<Labels, Vec<Exemplar>>,
    bytes: usize,
}

impl Collect<'_> {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let wrong = |what: &str| QueryError::Internal(format!("exemplars came {what}"));
        let exemplars = batch.columns().last().ok_or_else(|| wrong("without columns"))?;
        let (columns, distributions) = (Columns::new(batch)?, Texts::of_distributions(batch)?);
        for at in 0..columns.rows {
            let texts = texts(exemplars, at).ok_or_else(|| wrong("with another type"))?;
            for text in texts.into_iter().filter(|text| text.len() > "[]".len()) {
                self.row(&columns, at, distributions.first(at), text);
            }
        }
        Ok(())
    }

    /// Takes the exemplars of a sample, or of several of its series.
    fn row(&mut self, columns: &Columns<'_>, at: usize, distribution: Option<&str>, text: &str) {
        // Text of our own writing: what is no exemplar is none.
        let stored: Vec<Stored<'_>> = serde_json::from_str(text).unwrap_or_default();
        let stored = stored.into_iter().filter(|one| {
            let time = to_millis(one.time_unix_nano);
            (self.range.0..=self.range.1).contains(&time)
        });
        let stored: Vec<Stored<'_>> = stored.collect();
        if stored.is_empty() {
            return;
        }
        let Some(identity) = self.identities.read(columns, at) else { return };
        let buckets = identity.kind == MetricType::Histogram && !identity.verbatim;
        let explicit = buckets.then(|| distribution.and_then(distribution::explicit)).flatten();
        for one in stored {
            let Some(value) = number(&one.value) else { continue };
            let series = if buckets {
                let bounds = explicit.as_ref().map_or(&[][..], |explicit| &explicit.bounds);
                let bound = bounds.iter().copied().find(|bound| value <= *bound).unwrap_or(f64::INFINITY);
                identity.part("_bucket", Some(("le", bound)))
            } else {
                identity.labels.clone()
            };
            if !self.matchers.iter().all(|matcher| matcher.matches(series.get(&matcher.name))) {
                continue;
            }
            let exemplar = Exemplar {
                labels: self.labels(&one, identity.verbatim),
                value,
                time_ms: to_millis(one.time_unix_nano),
            };
            self.bytes += BYTES + text.len() / 2;
            self.found.entry(series).or_default().push(exemplar);
        }
    }

    fn labels(&self, stored: &Stored<'_>, own: bool) -> Labels {
        let text = stored.attributes.get();
        let others = if own { verbatim(text) } else { self.identities.attributes(text) };
        let ids = [("trace_id", stored.trace_id), ("span_id", stored.span_id)];
        let ids = ids.map(|(name, id)| (name.to_owned(), id.to_owned()));
        // The ids win over attributes of their names; an id that is not there is empty, which is no label.
        let ids = ids.into_iter().filter(|(_, id)| !id.is_empty());
        Labels::new(others.into_iter().chain(ids))
    }
}

fn number(value: &serde_json::Value) -> Option<f64> {
    match json::parse_value(value) {
        Value::Int(int) => Some(int as f64),
        Value::Double(double) => Some(double),
        _ => None,
    }
}

/// The texts of a row; none where the column has another type.
fn texts(column: &ArrayRef, row: usize) -> Option<Vec<&str>> {
    let (items, range) = match column.as_list_opt::<i32>() {
        Some(list) if list.is_null(row) => return Some(Vec::new()),
        Some(list) => {
            let offsets = list.value_offsets();
            (list.values(), offsets[row] as usize..offsets[row + 1] as usize)
        }
        None => (column, row..row + 1),
    };
    let items = items.as_string_opt::<i32>()?;
    Some(range.filter(|at| items.is_valid(*at)).map(|at| items.value(at)).collect())
}
