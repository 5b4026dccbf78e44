//! More series by remote write: many that come and go, classic histograms, a month of a few.

use bonghwa_testkit::{Signal, seed};
use rand::Rng as _;

use super::infrastructure::pod_name;
use super::metrics::remote_write::{self, Sample, TimeSeries};
use super::metrics::{
    Kind, MS, OPERATIONS, PODS_PER_REQUEST, POINTS_PER_REQUEST, Point, SERIES_PER_POD, as_remote_write,
};
use super::{BASE_TIME, LANES, SEED, Set};

/// Upper bounds of histograms, seconds.
const BOUNDS: [&str; 12] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
/// Days of [`month`], which end where the other sets begin.
pub const DAYS: i64 = 30;
const MONTH_STEP_MS: i64 = 300_000;

fn set(items_per_request: usize, requests: Vec<bytes::Bytes>) -> Set {
    Set { signal: Signal::Metrics, items_per_request: items_per_request as u64, requests, lanes: LANES }
}

/// A sample every 15 s of so many series at any time, a multiple of 20,000. Each pod is replaced once by one of
/// another name, with its 100 series; they go evenly over the time.
pub fn churning(series: usize, steps: usize) -> Set {
    let pods = series / SERIES_PER_POD;
    let mut rng = seed::rng(SEED, 4);
    let mut points = vec![Point::default(); pods * SERIES_PER_POD];
    let generation = |pod: usize, step: usize| (step + pod % steps) / steps;
    let mut requests = vec![];
    for step in 0..steps {
        for (at, point) in points.iter_mut().enumerate() {
            let pod = at / SERIES_PER_POD;
            if step > 0 && generation(pod, step) != generation(pod, step - 1) {
                *point = Point::default();
            }
            point.advance(&mut rng, Kind::of_series(at), step as u64);
        }
        for (nth, points) in points.chunks(POINTS_PER_REQUEST).enumerate() {
            let name = |pod: usize| pod_name(pod + generation(pod, step) * pods);
            requests.push(as_remote_write(nth * PODS_PER_REQUEST, points, name));
        }
    }
    set(POINTS_PER_REQUEST, requests)
}

/// `http_duration_seconds_bucket` of 20 pods by operation, 1,200 series, a sample every 15 s.
pub fn histograms(steps: usize) -> Set {
    let mut rng = seed::rng(SEED, 5);
    let pods = 2 * LANES;
    let mut counts = vec![[[0u64; BOUNDS.len()]; OPERATIONS.len()]; pods];
    let mut requests = vec![];
    for step in 0..steps as i64 {
        let timestamp = (BASE_TIME / MS) as i64 + step * 15_000;
        for (lane, pods) in counts.chunks_mut(pods / LANES).enumerate() {
            let mut all = vec![];
            for (nth, operations) in pods.iter_mut().enumerate() {
                let pod = lane * 2 + nth;
                for (buckets, operation) in operations.iter_mut().zip(OPERATIONS) {
                    let mut more = 0;
                    for (count, bound) in buckets.iter_mut().zip(BOUNDS) {
                        more += rng.random_range(0..8);
                        *count += more;
                        let own = [
                            ("k8s_pod_name", pod_name(pod)),
                            ("le", bound.to_owned()),
                            ("operation", operation.to_owned()),
                        ];
                        let labels = remote_write::labels("http_duration_seconds_bucket", pod, own);
                        all.push(TimeSeries { labels, samples: vec![Sample { value: *count as f64, timestamp }] });
                    }
                }
            }
            requests.push(remote_write::request(all));
        }
    }
    set(2 * OPERATIONS.len() * BOUNDS.len(), requests)
}

/// `month_requests`: 100 counters, a sample every five minutes of the [`DAYS`] before all other sets. A request has
/// an hour of all of them: Prometheus takes nothing that is older than that beside what it has.
pub fn month() -> Set {
    const SAMPLES: usize = 12;
    let mut rng = seed::rng(SEED, 6);
    let start = (BASE_TIME / MS) as i64 - DAYS * 86_400_000;
    let steps = (DAYS * 86_400_000 / MONTH_STEP_MS) as usize;
    let mut counts = [[0.0; OPERATIONS.len()]; 20];
    let mut requests = vec![];
    for first in (0..steps).step_by(SAMPLES) {
        let mut all = vec![];
        for (pod, counts) in counts.iter_mut().enumerate() {
            for (count, operation) in counts.iter_mut().zip(OPERATIONS) {
                let own = [("k8s_pod_name", pod_name(pod)), ("operation", operation.to_owned())];
                let samples = (first..first + SAMPLES).map(|step| {
                    *count += f64::from(rng.random_range(0..300));
                    Sample { value: *count, timestamp: start + step as i64 * MONTH_STEP_MS }
                });
                let samples = samples.collect();
                all.push(TimeSeries { labels: remote_write::labels("month_requests", pod, own), samples });
            }
        }
        requests.push(remote_write::request(all));
    }
    Set { lanes: 1, ..set(100 * SAMPLES, requests) }
}
