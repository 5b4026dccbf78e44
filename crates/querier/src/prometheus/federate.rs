//! `/federate`: the latest sample of each selected series, as text that Prometheus scrapes.

use std::fmt::Write;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bonghwa_promql::{Labels, METRIC_NAME, STALE_BITS};
use bonghwa_query::{SeriesQuery, SeriesSamples};
use http::{Request, header};

use super::params::{Params, invalid, now};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// How old a sample may be, as long as Prometheus' lookback.
const LOOKBACK_MS: i64 = 300_000;
/// The label that a target without one is given by who scrapes, unless it is there and empty.
const INSTANCE: &str = "instance";

/// A series, and its latest sample.
struct Latest {
    labels: Labels,
    time: i64,
    value: f64,
}

/// How names are written that are not of letters, digits and underscores.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// In quotes: the scraper said that it reads them.
    Quoted,
    /// With underscores in place of other characters.
    Underscored,
}

/// The latest samples, by metric.
pub(crate) async fn federate(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let tenants = request::tenants(&params.headers)?;
    let matchers = params.matchers()?;
    if matchers.is_empty() {
        return Err(invalid("match[]", "no match[] parameter provided: name the series to federate".to_owned()));
    }
    let accept = params.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let names = if accept.contains("escaping=allow-utf-8") { Names::Quoted } else { Names::Underscored };
    let end = now();
    let query = SeriesQuery { matchers, range: (end - LOOKBACK_MS + 1, end) };
    let stale = querier.stale();
    let found = querier.engine.samples(&tenants, vec![query]).await.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    let mut latest: Vec<Latest> = found.answer.into_iter().flatten().filter_map(latest).collect();
    latest.sort_by(|a, b| (a.labels.metric_name(), &a.labels).cmp(&(b.labels.metric_name(), &b.labels)));
    let content_type = match names {
        Names::Quoted => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        Names::Underscored => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
    };
    Ok((partial.header(), [(header::CONTENT_TYPE, content_type)], text(&latest, names)).into_response())
}

/// The latest sample; none of a series that ended, that has no name, or whose latest is a native
/// histogram, which text cannot say.
fn latest(series: SeriesSamples) -> Option<Latest> {
    let SeriesSamples { labels, times, values, histograms } = series;
    let (time, value) = (*times.last()?, *values.last()?);
    let is_float = histograms.last().is_none_or(|(other, _)| *other <= time);
    let shown = is_float && value.to_bits() != STALE_BITS && !labels.metric_name().is_empty();
    shown.then_some(Latest { labels, time, value })
}

fn text(latest: &[Latest], names: Names) -> String {
    let mut out = String::new();
    let mut metric: Option<&str> = None;
    for Latest { labels, time, value } in latest {
        let name = labels.metric_name();
        if metric != Some(name) {
            metric = Some(name);
            // Writing to a String does not fail.
            let _ = writeln!(out, "# TYPE {} untyped", shown(name, names, true));
        }
        let quoted = names == Names::Quoted && !is_plain(name, true);
        if !quoted {
            out.push_str(&shown(name, names, true));
        }
        let mut pairs: Vec<String> = Vec::new();
        if quoted {
            pairs.push(shown(name, names, true));
        }
        let others = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        pairs.extend(others.map(|(label, value)| format!("{}=\"{}\"", shown(label, names, false), escape(value))));
        if labels.get(INSTANCE).is_empty() {
            pairs.push(format!("{INSTANCE}=\"\""));
        }
        let _ = writeln!(out, "{{{}}} {} {time}", pairs.join(","), number(*value));
    }
    out
}

/// A name as it stands in the text.
fn shown(name: &str, names: Names, metric: bool) -> String {
    match names {
        _ if is_plain(name, metric) => name.to_owned(),
        Names::Quoted => format!("\"{}\"", escape(name)),
        Names::Underscored => {
            let fits = |(at, c): (usize, char)| is_plain_char(at, c, metric);
            name.chars().enumerate().map(|(at, c)| if fits((at, c)) { c } else { '_' }).collect()
        }
    }
}

fn is_plain(name: &str, metric: bool) -> bool {
    name.chars().enumerate().all(|(at, c)| is_plain_char(at, c, metric))
}

fn is_plain_char(at: usize, c: char, metric: bool) -> bool {
    c.is_ascii_alphabetic() || c == '_' || (metric && c == ':') || (at > 0 && c.is_ascii_digit())
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A value; very large and very small ones with an exponent.
fn number(value: f64) -> String {
    let size = value.abs();
    if size.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
        return format!("{value:e}");
    }
    bonghwa_promql::number::format(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(pairs: &[(&str, &str)], value: f64) -> Latest {
        Latest { labels: Labels::new(pairs.iter().copied()), time: 1_500, value }
    }

    #[test]
    fn metrics_are_written_as_text() {
        let series = [
            latest(&[("__name__", "a:b"), ("instance", "x"), ("q", "say \"\\\"\n")], 1.5),
            latest(&[("__name__", "a:b"), ("instance", "y")], f64::INFINITY),
            latest(&[("__name__", "http.requests"), ("k8s.pod", "p")], 1e300),
            latest(&[("__name__", "up")], f64::NAN),
        ];
        let expected = "# TYPE a:b untyped\n\
                        a:b{instance=\"x\",q=\"say \\\"\\\\\\\"\\n\"} 1.5 1500\n\
                        a:b{instance=\"y\"} +Inf 1500\n\
                        # TYPE http_requests untyped\n\
                        http_requests{k8s_pod=\"p\",instance=\"\"} 1e300 1500\n\
                        # TYPE up untyped\n\
                        up{instance=\"\"} NaN 1500\n";
        assert_eq!(text(&series, Names::Underscored), expected);
        let quoted = text(&series[2..3], Names::Quoted);
        assert_eq!(
            quoted,
            "# TYPE \"http.requests\" untyped\n{\"http.requests\",\"k8s.pod\"=\"p\",instance=\"\"} 1e300 1500\n"
        );
    }
}
