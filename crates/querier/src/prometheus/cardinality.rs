//! Mimir's views of cardinality, `cardinality/{label_names,label_values,active_series}`, and Prometheus'
//! `status/tsdb`: which labels make how many series. They look at what lies in the last two hours, or from
//! `start` to `end`, as far as tails and parts of blocks are told apart by their times: a tail that reaches
//! further back is counted whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bonghwa_promql::syntax::parse_matchers;
use bonghwa_promql::{Labels, METRIC_NAME};
use bonghwa_query::SeriesQuery;
use http::Request;
use serde_json::{Value, json};

use super::answers;
use super::params::{Params, invalid, now, unescape};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// How far back a view looks, in milliseconds: as long as Prometheus' head.
const WINDOW_MS: i64 = 2 * 3_600_000;
/// Entries of Mimir's lists: by default, and at most.
const MIMIR: (usize, usize) = (20, 500);
/// Entries of Prometheus' lists.
const TSDB: (usize, usize) = (10, 10_000);

/// Series of the window, and where it lies.
struct Recent {
    series: Vec<Labels>,
    partial: Partial,
    range: (i64, i64),
}

async fn recent(querier: &Querier, params: &Params) -> Result<Recent, ApiError> {
    let tenants = request::tenants(&params.headers)?;
    let selector = |text: &str| parse_matchers(text).map_err(|error| invalid("selector", error.to_string()));
    let matchers = params.get("selector").map(selector).transpose()?.unwrap_or_default();
    let end = params.time("end")?.unwrap_or_else(now);
    let range = (params.time("start")?.unwrap_or(end.saturating_sub(WINDOW_MS)), end);
    if range.0 > range.1 {
        return Err(invalid("end", "end timestamp must not be before start time".to_owned()));
    }
    let stale = querier.stale();
    let found = querier.engine.series(&tenants, SeriesQuery { matchers: vec![matchers], range }).await;
    let found = found.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    Ok(Recent { series: found.answer, partial, range })
}

/// `limit` within its bounds.
fn limit(params: &Params, (usual, most): (usize, usize)) -> Result<usize, ApiError> {
    match params.limit()? {
        0 if params.get("limit").is_none() => Ok(usual),
        limit if limit <= most => Ok(limit),
        limit => Err(invalid("limit", format!("{limit} is above {most}, the most there are"))),
    }
}

/// For each value of each label, how many series have it.
fn values(series: &[Labels]) -> BTreeMap<&str, HashMap<&str, u64>> {
    let mut values: BTreeMap<&str, HashMap<&str, u64>> = BTreeMap::new();
    for (name, value) in series.iter().flat_map(Labels::iter) {
        *values.entry(name).or_default().entry(value).or_default() += 1;
    }
    values
}

/// The largest counts first, and equal ones by name.
fn top<N: Ord>(counts: impl IntoIterator<Item = (N, u64)>, limit: usize) -> Vec<(N, u64)> {
    let mut counts: Vec<(N, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    counts.truncate(limit);
    counts
}

/// How many values each label has.
pub(crate) async fn label_names(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let limit = limit(&params, MIMIR)?;
    let recent = recent(&querier, &params).await?;
    let values = values(&recent.series);
    let counts = values.iter().map(|(name, values)| (*name, values.len() as u64));
    let total: u64 = counts.clone().map(|(_, count)| count).sum();
    let shown = top(counts, limit);
    let shown: Vec<Value> =
        shown.into_iter().map(|(name, count)| json!({ "label_name": name, "label_values_count": count })).collect();
    let body = json!({
        "label_values_count_total": total,
        "label_names_count": values.len(),
        "cardinality": shown,
    });
    Ok((recent.partial.header(), Json(body)).into_response())
}

/// How many series each value of some labels has.
pub(crate) async fn label_values(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let limit = limit(&params, MIMIR)?;
    let asked: BTreeSet<String> = params.all("label_names[]").map(unescape).collect();
    if asked.is_empty() || asked.contains("") {
        return Err(invalid("label_names[]", "name one label at least".to_owned()));
    }
    let recent = recent(&querier, &params).await?;
    let values = values(&recent.series);
    let none = HashMap::new();
    let of_label = |name: &'_ str| {
        let values = values.get(name).unwrap_or(&none);
        let series: u64 = values.values().sum();
        let shown = top(values.iter().map(|(value, count)| (*value, *count)), limit);
        let shown: Vec<Value> =
            shown.into_iter().map(|(value, count)| json!({ "label_value": value, "series_count": count })).collect();
        let text = json!({
            "label_name": name,
            "label_values_count": values.len(),
            "series_count": series,
            "cardinality": shown,
        });
        (series, text)
    };
    let mut labels: Vec<(u64, Value)> = asked.iter().map(|name| of_label(name)).collect();
    // They come sorted by name.
    labels.sort_by_key(|(series, _)| std::cmp::Reverse(*series));
    let labels: Vec<Value> = labels.into_iter().map(|(_, text)| text).collect();
    let body = json!({ "series_count_total": recent.series.len(), "labels": labels });
    Ok((recent.partial.header(), Json(body)).into_response())
}

/// The series that a selector selects.
pub(crate) async fn active_series(
    State(querier): State<Querier>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    if params.get("selector").is_none() {
        return Err(invalid("selector", "it is missing: send the selector of the series to show".to_owned()));
    }
    let recent = recent(&querier, &params).await?;
    let series: Vec<Value> = recent.series.iter().map(Labels::to_json).collect();
    Ok((recent.partial.header(), Json(json!({ "data": series }))).into_response())
}

/// What makes the most series. There are no chunks, and so no count of them.
pub(crate) async fn tsdb(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let limit = limit(&params, TSDB)?;
    let recent = recent(&querier, &params).await?;
    let values = values(&recent.series);
    let list = |counts: Vec<(String, u64)>| -> Vec<Value> {
        counts.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
    };
    let of_names = values.get(METRIC_NAME).into_iter().flatten();
    let by_metric = top(of_names.map(|(name, count)| ((*name).to_owned(), *count)), limit);
    let by_label = top(values.iter().map(|(name, values)| ((*name).to_owned(), values.len() as u64)), limit);
    let bytes = |values: &HashMap<&str, u64>| values.iter().map(|(value, count)| value.len() as u64 * count).sum();
    let by_bytes = top(values.iter().map(|(name, values)| ((*name).to_owned(), bytes(values))), limit);
    let pairs =
        values.iter().flat_map(|(name, values)| values.iter().map(move |(value, count)| ((*name, *value), *count)));
    let by_pair = top(pairs, limit).into_iter().map(|((name, value), count)| (format!("{name}={value}"), count));
    let data = json!({
        "headStats": {
            "numSeries": recent.series.len(),
            "numLabelPairs": values.values().map(HashMap::len).sum::<usize>(),
            "minTime": recent.range.0,
            "maxTime": recent.range.1,
        },
        "seriesCountByMetricName": list(by_metric),
        "labelValueCountByLabelName": list(by_label),
        "memoryInBytesByLabelName": list(by_bytes),
        "seriesCountByLabelValuePair": list(by_pair.collect()),
    });
    Ok(answers::success(data, Vec::new(), &recent.partial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_equal_ones_by_name() {
        let counts = [("b", 2), ("c", 3), ("a", 2), ("d", 1)];
        assert_eq!(top(counts, 3), [("c", 3), ("a", 2), ("b", 2)]);
    }
}
