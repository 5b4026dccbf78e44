//! Answers as Prometheus writes them. Large ones are written straight to text, without a tree of JSON.

use axum::response::{IntoResponse, Response};
use bonghwa_promql::number::{self, format_seconds};
use bonghwa_promql::{Answer, Point, Sample, SeriesPoints, Stats, Value};
use http::header;
use serde_json::json;

use crate::partial::Partial;

/// How an answer is to be written.
pub(crate) struct Shape {
    /// The time of scalars and vectors, in milliseconds.
    pub(crate) time: i64,
    /// How many series there may be; 0 is any number.
    pub(crate) limit: usize,
    /// Whether to tell what it cost.
    pub(crate) stats: bool,
}

/// An answer of the API.
pub(crate) fn success(data: serde_json::Value, warnings: Vec<String>, partial: &Partial) -> Response {
    envelope(&data.to_string(), warnings, Vec::new(), partial)
}

/// The answer of a query.
pub(crate) fn query(answer: &Answer, shape: &Shape, partial: &Partial) -> Response {
    let mut warnings = answer.annotations.warnings.clone();
    let series = match &answer.value {
        Value::Vector(samples) => samples.len(),
        Value::Matrix(series) => series.len(),
        Value::Scalar(_) | Value::String(_) => 0,
    };
    let shown = if shape.limit > 0 && series > shape.limit {
        warnings.push("results truncated due to limit".to_owned());
        shape.limit
    } else {
        series
    };
    let mut data = format!(r#"{{"resultType":"{}","result":"#, kind(&answer.value));
    value(&mut data, &answer.value, shape.time, shown);
    if shape.stats {
        data += &format!(r#","stats":{}"#, stats(&answer.stats));
    }
    data.push('}');
    envelope(&data, warnings, answer.annotations.infos.clone(), partial)
}

fn envelope(data: &str, mut warnings: Vec<String>, infos: Vec<String>, partial: &Partial) -> Response {
    if !partial.is_whole() {
        warnings.push(format!("the answer is partial: {}", partial.message()));
    }
    let mut body = format!(r#"{{"status":"success","data":{data}"#);
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
        Value::Scalar(number) => float(out, time, *number),
        Value::String(text) => *out += &format!("[{},{}]", format_seconds(time), json!(text)),
        Value::Vector(samples) => list(out, &samples[..shown], |out, sample| vector(out, sample, time)),
        Value::Matrix(series) => list(out, &series[..shown], matrix),
    }
}

fn list<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
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
    number::push(out, value);
    out.push_str("\"]");
}

fn stats(stats: &Stats) -> serde_json::Value {
    json!({ "samples": {
        "totalQueryableSamples": stats.samples,
        "peakSamples": stats.peak_points,
        "series": stats.series,
    }})
}
