//! What metrics say of themselves: type, unit, help.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use bonghwa_block::{Column, Predicate};
use bonghwa_cluster::seam;
use bonghwa_model::metrics::{Metric, MetricType};
use bonghwa_model::prometheus;
use bonghwa_model::prometheus_names::metric_name;
use bonghwa_model::{Value, json};
use futures::TryStreamExt;

use super::identity::kind;
use super::labels::MetricsOptions;
use super::read;
use crate::alive::Alive;
use crate::plan::Source;
use crate::view::View;
use crate::{QueryError, scan};

/// A metric's type, help and unit, as Prometheus names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    /// `counter`, `gauge`, `histogram`, `summary` or `unknown`.
    pub metric_type: &'static str,
    /// Help text.
    pub help: String,
    /// Unit.
    pub unit: String,
}

/// How far back is looked for it: samples say it again all the time, and Prometheus' senders every hour or so.
const SPAN: i64 = 6 * 3_600_000_000_000;

const COLUMNS: [&str; 7] = ["name", "type", "unit", "description", "monotonic", "scope_name", "metadata"];

/// All distinct ones of the last hours, with the names of their metrics, or about one metric; others may be
/// among them.
pub(crate) async fn metadata(
    source: &Source,
    view: &View,
    metric: Option<&str>,
    options: &MetricsOptions,
    alive: &Arc<Alive>,
) -> Result<BTreeSet<(String, Metadata)>, QueryError> {
    // A list that is nearly always empty makes rows those of series.
    let columns = COLUMNS.iter().map(|name| Column::Base(name)).chain([Column::List("flags")]).collect();
    let predicate = Predicate {
        min_time: seam::unix_nanos().saturating_sub(SPAN),
        metric_names: metric.map(|metric| vec![metric.to_owned()]),
        ..Default::default()
    };
    let plan = Arc::new(read::plan(source, view, columns, predicate).await?);
    let mut all = BTreeSet::new();
    for unit in &plan.units {
        let batches = scan::open(&plan, unit).await.map_err(|error| QueryError::of_stream(&error))?;
        let mut batches = batches.map_err(|error| QueryError::of_stream(&error));
        while let Some(batch) = batches.try_next().await? {
            alive.check()?;
            let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            let monotonic = batch.column_by_name("monotonic").and_then(|column| column.as_boolean_opt());
            let texts = (text("name"), text("type"), text("unit"), text("description"));
            let of_scope = (text("scope_name"), text("metadata"), monotonic);
            let ((Some(names), Some(kinds), Some(units), Some(helps)), (Some(scopes), Some(metadata), Some(monotonic))) =
                (texts, of_scope)
            else {
                return Err(QueryError::Internal("metrics came without what they say of themselves".to_owned()));
            };
            let told = |row: usize| {
                let about = metadata.is_valid(row).then(|| metadata.value(row));
                let texts = [names, kinds, units, helps, scopes].map(|texts| texts.value(row));
                (texts, about, monotonic.value(row))
            };
            // Rows come sorted by name: most say what the one before says.
            let new = (0..batch.num_rows()).filter(|row| *row == 0 || told(*row) != told(*row - 1));
            for row in new.filter(|row| scopes.value(*row) != prometheus::SCOPE) {
                let metric = Metric {
                    name: names.value(row).to_owned(),
                    unit: units.value(row).to_owned(),
                    metric_type: kind(kinds.value(row)),
                    monotonic: monotonic.value(row),
                    ..Default::default()
                };
                let (help, unit) = (helps.value(row).to_owned(), metric.unit.clone());
                if scopes.value(row) == prometheus::METADATA_SCOPE {
                    let metric_type = told_type(metadata.is_valid(row).then(|| metadata.value(row)));
                    all.insert((metric.name, Metadata { metric_type, help, unit }));
                    continue;
                }
                let metric_type = match metric.metric_type {
                    MetricType::Sum if metric.monotonic => "counter",
                    MetricType::Gauge | MetricType::Sum => "gauge",
                    MetricType::Histogram | MetricType::ExponentialHistogram => "histogram",
                    MetricType::Summary => "summary",
                };
                all.insert((metric_name(&metric, options.strategy), Metadata { metric_type, help, unit }));
            }
        }
    }
    Ok(all)
}

/// The type that Prometheus told.
fn told_type(metadata: Option<&str>) -> &'static str {
    let metadata = json::parse_object(metadata.unwrap_or_default());
    let told = metadata.iter().find(|(key, _)| key == prometheus::TYPE_KEY);
    let known = |value: &Value| prometheus::TYPES.into_iter().find(|name| matches!(value, Value::Str(v) if v == name));
    told.and_then(|(_, value)| known(value)).unwrap_or("unknown")
}
