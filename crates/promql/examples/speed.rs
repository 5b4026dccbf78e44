//! How long evaluation takes, on one thread and without storage: 20,000 series, 194 steps.
//!
//! `cargo run --release -p bonghwa-promql --example speed`

use std::time::Instant;

use bonghwa_promql::{Error, Evaluation, Labels, Params, Query, Series};

const SERIES: usize = 20_000;
const STEPS: i64 = 194;
/// A sample every 15 s.
const SAMPLES: i64 = 200;

struct Data {
    labels: Vec<Labels>,
    times: Vec<i64>,
    values: Vec<Vec<f64>>,
}

fn data() -> Data {
    let label = |i: usize| {
        let (pod, bucket) = (format!("pod-{}", i / 20), i % 20);
        let bound = if bucket == 19 { "+Inf".to_owned() } else { format!("{}", 0.001 * f64::powi(2.0, bucket as i32)) };
        let names = [
            ("__name__", "http_requests_bucket"),
            ("job", "api"),
            ("namespace", "production"),
            ("pod", &pod),
            ("le", &bound),
        ];
        Labels::new(names)
    };
    let values = |i: usize| {
        let mut total = 0.0;
        let mut value = |t: i64| {
            // A reset now and then.
            total = if (t as usize + i) % 97 == 96 { 0.0 } else { total + ((t as usize * 7 + i * 13) % 11) as f64 };
            total
        };
        (0..SAMPLES).map(&mut value).collect()
    };
    Data {
        labels: (0..SERIES).map(label).collect(),
        times: (0..SAMPLES).map(|t| t * 15_000).collect(),
        values: (0..SERIES).map(values).collect(),
    }
}

fn run(data: &Data, text: &str) -> Result<usize, Error> {
    let query = Query::parse(text)?;
    let end = (SAMPLES - 1) * 15_000;
    let step = end / STEPS;
    let evaluation = Evaluation::new(&query, Params::range(end - (STEPS - 1) * step, end, step))?;
    let mut folds = vec![];
    for i in 0..evaluation.selections().len() {
        let Some(mut fold) = evaluation.fold(i) else { continue };
        for (labels, values) in data.labels.iter().zip(&data.values) {
            fold.push(&Series::floats(labels, &data.times, values))?;
        }
        folds.push(fold);
    }
    let answer = evaluation.finish(folds)?;
    Ok(match answer.value {
        bonghwa_promql::Value::Matrix(series) => series.len(),
        _ => 0,
    })
}

fn main() -> Result<(), Error> {
    let data = data();
    let queries = [
        "http_requests_bucket",
        "sum(http_requests_bucket)",
        "sum(rate(http_requests_bucket[5m]))",
        "sum by (pod) (rate(http_requests_bucket[5m]))",
        "rate(http_requests_bucket[5m])",
        "topk(5, sum by (pod) (rate(http_requests_bucket[5m])))",
        "topk(5, rate(http_requests_bucket[5m]))",
        "histogram_quantile(0.9, sum by (le) (rate(http_requests_bucket[5m])))",
        "histogram_quantile(0.9, rate(http_requests_bucket[5m]))",
        "max_over_time(http_requests_bucket[10m])",
        "sum(rate(http_requests_bucket[5m])) / sum(http_requests_bucket)",
        "rate(http_requests_bucket[5m]) / on (pod, le) http_requests_bucket",
    ];
    for text in queries {
        let mut best = f64::INFINITY;
        let mut series = 0;
        for _ in 0..3 {
            #[allow(clippy::disallowed_methods)]
            let start = Instant::now();
            series = run(&data, text)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{:8.1} ms  {series:6} series  {text}", best * 1000.0);
    }
    Ok(())
}
