//! Mimir's views of cardinality, `cardinality/{label_names,label_values,active_series}`, and Prometheus'
//! `status/tsdb`: which labels make how many series. They look at what lies in the last two hours, or from
//! `start` to `end`, as far as tails and parts of blocks are told apart by their times: a tail that reaches
//! further back is counted whole.

use std::collections::{BTreeSet, HashMap};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bonghwa_promql::syntax::parse_matchers;
use bonghwa_promql::{Labels, METRIC_NAME};
use bonghwa_query::{Cardinality, Counts, MetricsAnswer, SeriesQuery};
use http::{Request, header};
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

/// The series of the window.
fn recent(params: &Params) -> Result<SeriesQuery, ApiError> {
    let selector = |text: &str| parse_matchers(text).map_err(|error| invalid("selector", error.to_string()));
    let matchers = params.get("selector").map(selector).transpose()?.unwrap_or_default();
    let end = params.time("end")?.unwrap_or_else(now);
    let range = (params.time("start")?.unwrap_or(end.saturating_sub(WINDOW_MS)), end);
    if range.0 > range.1 {
        return Err(invalid("end", "end timestamp must not be before start time".to_owned()));
    }
    Ok(SeriesQuery { matchers: vec![matchers], range })
}

/// How many series of the window have which labels.
async fn counts(
    querier: &Querier,
    params: &Params,
    query: SeriesQuery,
) -> Result<(MetricsAnswer<Cardinality>, Partial), ApiError> {
    let (tenants, stale) = (request::tenants(&params.headers)?, querier.stale());
    let mut found = querier.engine.cardinality(&tenants, query).await.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: std::mem::take(&mut found.missing), stale: stale.max(querier.stale()) };
    Ok((found, partial))
}

/// How many values were counted.
fn size(counts: &Counts) -> usize {
    counts.values().map(HashMap::len).sum()
}

/// A view of Mimir's, which has no envelope.
fn bare(body: String, partial: &Partial) -> Response {
    (partial.header(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// `limit` within its bounds.
fn limit(params: &Params, (usual, most): (usize, usize)) -> Result<usize, ApiError> {
    match params.limit()? {
        0 if params.get("limit").is_none() => Ok(usual),
        limit if limit <= most => Ok(limit),
        limit => Err(invalid("limit", format!("{limit} is above {most}, the most there are"))),
    }
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
    let (found, partial) = counts(&querier, &params, recent(&params)?).await?;
    let values = &found.answer.values;
    let shown = top(values.iter().map(|(name, values)| (name, values.len() as u64)), limit);
    let shown: Vec<Value> =
        shown.into_iter().map(|(name, count)| json!({ "label_name": name, "label_values_count": count })).collect();
    let body = json!({
        "label_values_count_total": size(values),
        "label_names_count": values.len(),
        "cardinality": shown,
    });
    Ok(bare(body.to_string(), &partial))
}

/// How many series each value of some labels has.
pub(crate) async fn label_values(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let limit = limit(&params, MIMIR)?;
    let asked: BTreeSet<String> = params.all("label_names[]").map(unescape).collect();
    if asked.is_empty() || asked.contains("") {
        return Err(invalid("label_names[]", "name one label at least".to_owned()));
    }
    let (mut found, partial) = counts(&querier, &params, recent(&params)?).await?;
    let (series, values) = (found.answer.series, std::mem::take(&mut found.answer.values));
    let body = answers::written(size(&values), move || values_of(&asked, series, &values, limit).to_string());
    Ok(bare(body.await?, &partial))
}

fn values_of(asked: &BTreeSet<String>, all: u64, values: &Counts, limit: usize) -> Value {
    let none = HashMap::new();
    let of_label = |name: &String| {
        let values = values.get(name).unwrap_or(&none);
        let series: u64 = values.values().sum();
        let shown = top(values.iter().map(|(value, count)| (value, *count)), limit);
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
    let mut labels: Vec<(u64, Value)> = asked.iter().map(of_label).collect();
    // They come sorted by name.
    labels.sort_by_key(|(series, _)| std::cmp::Reverse(*series));
    let labels: Vec<Value> = labels.into_iter().map(|(_, text)| text).collect();
    json!({ "series_count_total": all, "labels": labels })
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
    let (tenants, query, stale) = (request::tenants(&params.headers)?, recent(&params)?, querier.stale());
    let mut found = querier.engine.series(&tenants, query).await.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: std::mem::take(&mut found.missing), stale: stale.max(querier.stale()) };
    let series = std::mem::take(&mut found.answer);
    let body = answers::written(series.len(), move || {
        let mut body = r#"{"data":"#.to_owned();
        answers::list(&mut body, &series, |out, labels: &Labels| labels.push_json(out));
        body.push('}');
        body
    });
    Ok(bare(body.await?, &partial))
}

/// What makes the most series. There are no chunks, and so no count of them.
pub(crate) async fn tsdb(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let limit = limit(&params, TSDB)?;
    let query = recent(&params)?;
    let range = query.range;
    let (mut found, partial) = counts(&querier, &params, query).await?;
    let (series, values) = (found.answer.series, std::mem::take(&mut found.answer.values));
    let data = answers::written(size(&values), move || head(series, &values, range, limit)).await?;
    Ok(answers::success(data, Vec::new(), &partial))
}

fn head(series: u64, values: &Counts, range: (i64, i64), limit: usize) -> Value {
    let list = |counts: Vec<(&str, u64)>| -> Vec<Value> {
        counts.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
    };
    let of_names = values.get(METRIC_NAME).into_iter().flatten();
    let by_metric = top(of_names.map(|(name, count)| (name.as_str(), *count)), limit);
    let by_label = top(values.iter().map(|(name, values)| (name.as_str(), values.len() as u64)), limit);
    let bytes = |values: &HashMap<String, u64>| values.iter().map(|(value, count)| value.len() as u64 * count).sum();
    let by_bytes = top(values.iter().map(|(name, values)| (name.as_str(), bytes(values))), limit);
    let pairs =
        values.iter().flat_map(|(name, values)| values.iter().map(move |(value, count)| ((name, value), *count)));
    let by_pair = top(pairs, limit).into_iter().map(|((name, value), count)| (format!("{name}={value}"), count));
    let by_pair: Vec<Value> = by_pair.map(|(name, value)| json!({ "name": name, "value": value })).collect();
    json!({
        "headStats": {
            "numSeries": series,
            "numLabelPairs": size(values),
            "minTime": range.0,
            "maxTime": range.1,
        },
        "seriesCountByMetricName": list(by_metric),
        "labelValueCountByLabelName": list(by_label),
        "memoryInBytesByLabelName": list(by_bytes),
        "seriesCountByLabelValuePair": by_pair,
    })
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
