//! `load_with_nhcb`: classic histograms loaded as native ones with custom buckets too.

use std::collections::BTreeMap;
use std::sync::Arc;

use bonghwa_promql::{CUSTOM_BUCKETS, Histogram, Labels, METRIC_NAME};

use super::Samples;
use super::series::{Point, parse_number};

/// Bounds with cumulative counts, the count, the sum, of one time.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms of the classic ones among `loaded`.
pub fn histograms(loaded: &[(Labels, Samples)]) -> Vec<(Labels, Samples)> {
    let mut found: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for (labels, samples) in loaded {
        let name = labels.metric_name();
        let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| name.ends_with(suffix));
        let Some(suffix) = suffix else { continue };
        let base = labels.builder().set(METRIC_NAME, &name[..name.len() - suffix.len()]).set("le", "").build();
        let Some(bound) = (if suffix == "_bucket" { parse_number(labels.get("le")) } else { Some(0.0) }) else {
            continue;
        };
        let times = found.entry(base).or_default();
        for (time, point) in samples {
            let Point::Float(value) = point else { continue };
            let classic = times.entry(*time).or_default();
            match suffix {
                "_bucket" => classic.buckets.push((bound, *value)),
                "_count" => classic.count = Some(*value),
                _ => classic.sum = *value,
            }
        }
    }
    let native = |times: BTreeMap<i64, Classic>| {
        times.into_iter().map(|(time, classic)| (time, Point::Histogram(Arc::new(classic.native())))).collect()
    };
    found.into_iter().map(|(labels, times)| (labels, native(times))).collect()
}

impl Classic {
    fn native(mut self) -> Histogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let last = self.buckets.last().map_or(0.0, |bucket| bucket.1);
        if self.buckets.last().is_none_or(|bucket| bucket.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, self.count.unwrap_or(last)));
        }
        let count = self.buckets.last().map_or(0.0, |bucket| bucket.1);
        let mut below = 0.0;
        let mut positive = vec![];
        for (i, (_, total)) in self.buckets.iter().enumerate() {
            if *total != below {
                positive.push((i as i32, total - below));
            }
            below = *total;
        }
        let custom_values = self.buckets.iter().map(|b| b.0).filter(|bound| bound.is_finite()).collect();
        Histogram { schema: CUSTOM_BUCKETS, count, sum: self.sum, positive, custom_values, ..Histogram::default() }
    }
}
