//! `bonghwa query promql`: values as a table, with a line of blocks for each series of a range.

use std::io::Write;

use anyhow::{Context, Result, anyhow, bail};
use bonghwa_cluster::seam;
use bonghwa_promql::syntax::parse_duration;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::client::Address;
use super::table::{self, Row};

/// Steps of a range whose step is not given.
const STEPS: i64 = 60;
/// From the least value of a series to its greatest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Blocks of a line.
const WIDTH: usize = 60;

/// A query and its times.
#[derive(Args)]
pub struct PromqlArgs {
    /// For example: `sum by (job) (rate(http_requests_total[5m]))`
    #[arg(allow_hyphen_values = true)]
    query: String,
    /// When: Unix seconds, RFC 3339, `now`, or `now-1h` [default: now].
    #[arg(long, conflicts_with_all = ["start", "end", "step"])]
    time: Option<String>,
    /// Over a range of time: its start, written as --time is.
    #[arg(long)]
    start: Option<String>,
    /// Its end [default: now].
    #[arg(long, requires = "start")]
    end: Option<String>,
    /// From one value to the next, for example 30s [default: a sixtieth of the range].
    #[arg(long, requires = "start")]
    step: Option<String>,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    address: Address,
}

/// Forms of an answer.
#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// Aligned columns.
    Table,
    /// As the server answers.
    Json,
}

/// Runs a query and prints its answer; what the server has to say of it goes to standard error.
pub async fn run(args: PromqlArgs) -> Result<()> {
    let PromqlArgs { query, time, start, end, step, output, address } = args;
    let now = seam::unix_nanos() / 1_000_000;
    let (path, mut form) = match &start {
        None => ("/api/v1/query", vec![("time", moment(time.as_deref().unwrap_or("now"), now)?)]),
        Some(start) => {
            let (start, end) = (moment(start, now)?, moment(end.as_deref().unwrap_or("now"), now)?);
            let step = step.map_or_else(|| usual_step(&start, &end), Ok)?;
            ("/api/v1/query_range", vec![("start", start), ("end", end), ("step", step)])
        }
    };
    form.push(("query", query));
    let text = address.send(address.post(path).form(&form)).await?.text().await?;
    if let Output::Json = output {
        let mut out = std::io::stdout().lock();
        return Ok(writeln!(out, "{text}")?);
    }
    let answer: Value = serde_json::from_str(&text).context("the answer is no JSON")?;
    for (kind, key) in [("warning", "warnings"), ("info", "infos")] {
        for sentence in answer[key].as_array().into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("{kind}: {}", printable(sentence));
        }
    }
    table::print(&rows(&answer["data"])?)
}

/// A sentence on one line, without what a terminal obeys.
fn printable(text: &str) -> String {
    let of_char = |c: char| if c.is_control() { c.escape_debug().collect() } else { vec![c] };
    text.chars().flat_map(of_char).collect()
}

/// A time as the server reads it.
fn moment(text: &str, now: i64) -> Result<String> {
    let Some(rest) = text.strip_prefix("now") else { return Ok(text.to_owned()) };
    let before = match rest.strip_prefix('-') {
        Some(duration) => parse_duration(duration).map_err(|error| anyhow!("{text:?} is no time: {error}"))?,
        None if rest.is_empty() => 0,
        None => bail!("{text:?} is no time: write now, or now-1h"),
    };
    Ok(((now - before) as f64 / 1e3).to_string())
}

/// A sixtieth of the range, in whole seconds. Times that only the server reads need a step.
fn usual_step(start: &str, end: &str) -> Result<String> {
    let (Ok(start), Ok(end)) = (start.parse::<f64>(), end.parse::<f64>()) else {
        bail!("--step is missing: it is only known of a range in Unix seconds or from `now`");
    };
    Ok((((end - start) as i64) / STEPS).max(1).to_string())
}

fn rows(data: &Value) -> Result<Vec<Row>> {
    let result = &data["result"];
    let series = || result.as_array().into_iter().flatten();
    let rows = match data["resultType"].as_str() {
        Some("scalar" | "string") => vec![Row(vec![("value".into(), result[1].clone())])],
        Some("vector") => series()
            .map(|one| {
                let point = [&one["value"], &one["histogram"]].into_iter().find(|point| !point.is_null());
                let value = point.map_or(Value::Null, |point| shown(&point[1]));
                Row(vec![("series".into(), json!(name(&one["metric"]))), ("value".into(), value)])
            })
            .collect(),
        Some("matrix") => {
            let range = spread(series());
            series().map(|one| over_time(one, range)).collect()
        }
        _ => bail!("the answer has no result"),
    };
    Ok(rows)
}

/// A value; a histogram by its count and sum.
fn shown(value: &Value) -> Value {
    match value {
        Value::Object(histogram) => {
            let text = |key: &str| histogram.get(key).and_then(Value::as_str).unwrap_or("?");
            json!(format!("histogram: count {}, sum {}", text("count"), text("sum")))
        }
        other => other.clone(),
    }
}

/// Points of a series: seconds and values, a histogram's being its count.
fn points(series: &Value) -> Vec<(f64, f64)> {
    let of = |key: &str| series[key].as_array().into_iter().flatten();
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    let point = |point: &Value| {
        let value = if point[1].is_object() { number(&point[1]["count"]) } else { number(&point[1]) };
        point[0].as_f64().zip(value)
    };
    let mut points: Vec<(f64, f64)> = of("values").chain(of("histograms")).filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// The first and last time of all series.
fn spread<'a>(series: impl Iterator<Item = &'a Value>) -> (f64, f64) {
    let times = series.flat_map(|one| points(one).into_iter().map(|point| point.0));
    times.fold((f64::INFINITY, f64::NEG_INFINITY), |(first, last), time| (first.min(time), last.max(time)))
}

fn over_time(series: &Value, range: (f64, f64)) -> Row {
    let points = points(series);
    let values = || points.iter().map(|point| point.1);
    let number = |value: Option<f64>| value.map_or(Value::Null, |value| json!(brief(value)));
    Row(vec![
        ("series".into(), json!(name(&series["metric"]))),
        ("min".into(), number(values().reduce(f64::min))),
        ("max".into(), number(values().reduce(f64::max))),
        ("last".into(), number(values().next_back())),
        ("over time".into(), json!(line(&points, range))),
    ])
}

/// A number of few digits.
fn brief(value: f64) -> String {
    let whole = value.fract() == 0.0 && value.abs() < 1e15;
    if whole || !value.is_finite() { value.to_string() } else { format!("{value:.4}") }
}

/// The values as blocks, blank where there are none.
fn line(points: &[(f64, f64)], (first, last): (f64, f64)) -> String {
    let finite = || points.iter().filter(|point| point.1.is_finite());
    let least = finite().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let most = finite().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let mut line = vec![' '; WIDTH];
    for (time, value) in finite() {
        let part =
            |value: f64, least: f64, most: f64| if most > least { (value - least) / (most - least) } else { 0.0 };
        let place = (part(*time, first, last) * (WIDTH - 1) as f64).round() as usize;
        let height = (part(*value, least, most) * (BLOCKS.len() - 1) as f64).round() as usize;
        if let (Some(place), Some(block)) = (line.get_mut(place), BLOCKS.get(height)) {
            *place = *block;
        }
    }
    line.into_iter().collect()
}

/// `up{job="a"}`.
fn name(metric: &Value) -> String {
    let labels = metric.as_object().into_iter().flatten();
    let labels = labels.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
    let (mut name, mut rest) = (String::new(), Vec::new());
    for (label, value) in labels {
        if label == "__name__" {
            value.clone_into(&mut name);
        } else {
            rest.push(format!("{label}={value:?}"));
        }
    }
    if rest.is_empty() && !name.is_empty() { name } else { format!("{name}{{{}}}", rest.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_where_they_say_so() -> Result<()> {
        for (text, expected) in
            [("now", "7200"), ("now-1h", "3600"), ("12.5", "12.5"), ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z")]
        {
            assert_eq!(moment(text, 7_200_000)?, expected);
        }
        for wrong in ["now+1h", "now-", "now-x", "nowhere"] {
            assert!(moment(wrong, 0).is_err(), "{wrong}");
        }
        assert_eq!(usual_step("0", "7200")?, "120");
        assert_eq!(usual_step("0", "10")?, "1");
        assert!(usual_step("2024-01-01T00:00:00Z", "7200").is_err());
        Ok(())
    }

    #[test]
    fn a_range_is_a_line_of_blocks() {
        let points = [(0.0, 1.0), (29.5, f64::NAN), (59.0, 8.0)];
        let line = line(&points, (0.0, 59.0));
        assert_eq!(line, format!("▁{}█", " ".repeat(WIDTH - 2)));
        assert_eq!(name(&json!({ "__name__": "up", "job": "a" })), "up{job=\"a\"}");
        assert_eq!((name(&json!({})), name(&json!({ "__name__": "up" }))), ("{}".to_owned(), "up".to_owned()));
    }
}
