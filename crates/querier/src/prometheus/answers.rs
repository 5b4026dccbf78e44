//! Answers as Prometheus writes them. Large ones are written straight to text, without a tree of JSON.

use std::collections::HashMap;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bonghwa_cluster::seam;
use bonghwa_promql::number::{self, format_seconds};
use bonghwa_promql::{Annotations, Answer, Point, Sample, SeriesPoints, Stats, Value};
use http::{StatusCode, header};
use serde_json::json;

use crate::error::ApiError;
use crate::partial::Partial;

/// Values of an answer that is written where the request is served; to write more would keep others waiting.
const FEW: usize = 4096;
/// Bytes of a value with its time, roughly.
const VALUE_BYTES: usize = 32;
/// Annotations of each kind that are shown, as many as Prometheus shows.
const MOST_ANNOTATIONS: usize = 10;
/// How the body of an answer begins.
const START: &str = r#"{"status":"success","data":"#;

/// What is said of an answer that was longer than it may be.
const TRUNCATED: &str = "results truncated due to limit";

/// How an answer is to be written.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The time of scalars and vectors, in milliseconds.
    pub(crate) time: i64,
    /// How many series there may be; 0 is any number.
    pub(crate) limit: usize,
    /// What to tell of what it cost.
    pub(crate) stats: Option<Told>,
}

/// What is told of the cost of a query.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// Also the samples of each of these steps: the first, the last, and from one to the next, in milliseconds.
    pub(crate) steps: Option<(i64, i64, i64)>,
    /// Reading the query's text.
    pub(crate) preparing: Duration,
    /// Waiting for its turn.
    pub(crate) queued: Duration,
    /// Evaluating it.
    pub(crate) evaluating: Duration,
}

/// An answer of the API.
pub(crate) fn success(data: serde_json::Value, warnings: Vec<String>, partial: &Partial) -> Response {
    envelope(format!("{START}{data}"), warnings, Vec::new(), partial)
}

/// Does the work of writing an answer of so many values: where there are many, on a thread of its own.
pub(crate) async fn written<T: Send + 'static>(
    values: usize,
    write: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if values <= FEW {
        return Ok(write());
    }
    let stopped = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "writing the answer was stopped");
    seam::blocking(write).await.ok_or_else(stopped)
}

/// A list of at most `limit` items; 0 is any number.
pub(crate) async fn listed<T: Send + 'static>(
    mut items: Vec<T>,
    limit: usize,
    write: fn(&mut String, &T),
    partial: &Partial,
) -> Result<Response, ApiError> {
    let cut = limit > 0 && items.len() > limit;
    if cut {
        items.truncate(limit);
    }
    let body = written(items.len(), move || {
        let mut body = START.to_owned();
        list(&mut body, &items, write);
        body
    });
    let warnings = if cut { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    Ok(envelope(body.await?, warnings, Vec::new(), partial))
}

/// The answer of a query.
pub(crate) async fn query(answer: Answer, shape: Shape, partial: &Partial) -> Result<Response, ApiError> {
    let Annotations { warnings, infos, .. } = &answer.annotations;
    let (mut warnings, infos) = (shortened(warnings, "warning"), shortened(infos, "info"));
    let (series, values) = match &answer.value {
        Value::Vector(samples) => (samples.len(), samples.len()),
        Value::Matrix(series) => {
            (series.len(), series.iter().map(|one| 1 + one.floats.len() + one.histograms.len()).sum())
        }
        Value::Scalar(_) | Value::String(_) => (0, 0),
    };
    let shown = if shape.limit > 0 && series > shape.limit {
        warnings.push(TRUNCATED.to_owned());
        shape.limit
    } else {
        series
    };
    let body = written(values, move || {
        let mut body = String::with_capacity(START.len() + (values + 8) * VALUE_BYTES);
        body += &format!(r#"{START}{{"resultType":"{}","result":"#, kind(&answer.value));
        value(&mut body, &answer.value, shape.time, shown);
        if let Some(told) = shape.stats {
            body += &format!(r#","stats":{}"#, stats(&answer.stats, told));
        }
        body.push('}');
        body
    });
    Ok(envelope(body.await?, warnings, infos, partial))
}

/// The first annotations, and how many more there are.
fn shortened(all: &[String], kind: &str) -> Vec<String> {
    let mut shown: Vec<String> = all.iter().take(MOST_ANNOTATIONS).cloned().collect();
    if all.len() > MOST_ANNOTATIONS {
        shown.push(format!("{} more {kind} annotations omitted", all.len() - MOST_ANNOTATIONS));
    }
    shown
}

fn envelope(mut body: String, mut warnings: Vec<String>, infos: Vec<String>, partial: &Partial) -> Response {
    if !partial.is_whole() {
        warnings.push(format!("the answer is partial: {}", partial.message()));
    }
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            body += &format!(r#","{name}":{}"#, json!(texts));
        }
    }
    body.push('}');
    (partial.header(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Scalar(_) => "scalar",
        Value::String(_) => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    }
}

fn value(out: &mut String, value: &Value, time: i64, shown: usize) {
    match value {
        // Without an exponent, unlike samples.
        Value::Scalar(number) => *out += &format!("[{},\"{}\"]", format_seconds(time), number::format(*number)),
        Value::String(text) => *out += &format!("[{},{}]", format_seconds(time), json!(text)),
        Value::Vector(samples) => list(out, &samples[..shown], |out, sample| vector(out, sample, time)),
        Value::Matrix(series) => list(out, &series[..shown], matrix),
    }
}

/// A list of items.
pub(crate) fn list<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

fn vector(out: &mut String, sample: &Sample, time: i64) {
    out.push_str(r#"{"metric":"#);
    sample.labels.push_json(out);
    out.push(',');
    match &sample.point {
        Point::Float(number) => {
            out.push_str(r#""value":"#);
            float(out, time, *number);
        }
        Point::Histogram(histogram) => {
            *out += &format!(r#""histogram":[{},{}]"#, format_seconds(time), histogram.to_json());
        }
    }
    out.push('}');
}

fn matrix(out: &mut String, series: &SeriesPoints) {
    out.push_str(r#"{"metric":"#);
    series.labels.push_json(out);
    if !series.floats.is_empty() {
        out.push_str(r#","values":"#);
        list(out, &series.floats, |out, (time, number)| float(out, *time, *number));
    }
    if !series.histograms.is_empty() {
        out.push_str(r#","histograms":"#);
        list(out, &series.histograms, |out, (time, histogram)| {
            *out += &format!("[{},{}]", format_seconds(*time), histogram.to_json());
        });
    }
    out.push('}');
}

fn float(out: &mut String, time: i64, value: f64) {
    out.push('[');
    number::push_seconds(out, time);
    out.push_str(",\"");
    number::push_sample(out, value);
    out.push_str("\"]");
}

fn stats(stats: &Stats, Told { steps, preparing, queued, evaluating }: Told) -> serde_json::Value {
    let mut samples = json!({
        "totalQueryableSamples": stats.steps.iter().map(|(_, samples)| samples).sum::<u64>(),
        "peakSamples": stats.peak_points,
        "series": stats.series,
    });
    if let Some((start, end, step)) = steps {
        // Steps whose values were kept took none.
        let taken: HashMap<i64, u64> = stats.steps.iter().copied().collect();
        let times = (0..).map(|number| start + number * step.max(1)).take_while(|time| *time <= end);
        let of = |time: i64| json!([time as f64 / 1e3, taken.get(&time).copied().unwrap_or(0)]);
        samples["totalQueryableSamplesPerStep"] = times.map(of).collect();
    }
    json!({
        "timings": {
            "evalTotalTime": (preparing + evaluating).as_secs_f64(),
            // Series are sorted where they are evaluated.
            "resultSortTime": 0.0,
            "queryPreparationTime": preparing.as_secs_f64(),
            "innerEvalTime": evaluating.as_secs_f64(),
            "execQueueTime": queued.as_secs_f64(),
            "execTotalTime": (preparing + queued + evaluating).as_secs_f64(),
        },
        "samples": samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_shown_as_far_as_anybody_reads() {
        let all: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert_eq!(shortened(&all[..10], "warning"), all[..10]);
        let shown = shortened(&all, "info");
        assert_eq!((shown.len(), shown[9].as_str()), (11, "9"));
        assert_eq!(shown[10], "2 more info annotations omitted");
    }
}
