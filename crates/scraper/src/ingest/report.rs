//! The series about a scrape itself.

use super::mapper::Mapper;
use super::message::Point;
use super::{Counts, MessageWriter, STALE_NAN, Scrape};
use crate::parse::Value;

/// What there is to say of a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// Whether it worked.
    pub up: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What it brought.
    pub counts: Counts,
    /// Bytes of the body, uncompressed; negative where it was over the limit.
    pub body: f64,
}

/// Writes them.
pub(crate) fn report(scrape: &Scrape<'_>, facts: &Facts, writer: &mut MessageWriter) {
    let job = scrape.job;
    let counts = facts.counts;
    let mut series = vec![
        ("up", f64::from(u8::from(facts.up))),
        ("scrape_duration_seconds", facts.seconds),
        ("scrape_samples_scraped", counts.scraped as f64),
        ("scrape_samples_post_metric_relabeling", counts.kept as f64),
        ("scrape_series_added", counts.added as f64),
    ];
    if job.extra_metrics {
        series.extend([
            ("scrape_timeout_seconds", scrape.target.timeout.as_secs_f64()),
            ("scrape_sample_limit", job.limits.samples as f64),
            ("scrape_body_size_bytes", facts.body),
        ]);
    }
    write(scrape, &series, writer);
}

/// Ends them, where a target is gone.
pub(crate) fn end_reports(scrape: &Scrape<'_>, writer: &mut MessageWriter) {
    let usual = [
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    ];
    let extra = ["scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"];
    let extra = extra.iter().filter(|_| scrape.job.extra_metrics);
    let series: Vec<(&str, f64)> = usual.iter().chain(extra).map(|name| (*name, STALE_NAN)).collect();
    write(scrape, &series, writer);
}

fn write(scrape: &Scrape<'_>, series: &[(&str, f64)], writer: &mut MessageWriter) {
    let mut mapper = Mapper::new(scrape.job, scrape.target.labels());
    for (name, value) in series {
        let value = Value::Float(*value);
        let point = Point { value, time: scrape.time, start: None, exemplars: &[], metadata: None };
        mapper.report(name, |labels| writer.series(labels, &point));
    }
}
