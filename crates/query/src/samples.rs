//! Series with their samples as they are, for those who evaluate elsewhere: remote read and federation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_model::TenantSet;
use bonghwa_promql::{Histogram, Labels};
use futures::future::BoxFuture;

use crate::promql::{MetricsAnswer, SeriesQuery};
use crate::series::{self, Bounds, Found, Wanted};
use crate::{Engine, QueryError, SeriesLimits};

/// A series and its samples, in the order of time.
#[derive(Clone, Debug)]
pub struct SeriesSamples {
    /// What it is called.
    pub labels: Labels,
    /// Unix milliseconds of the floats.
    pub times: Vec<i64>,
    /// Floats; staleness markers keep their bits.
    pub values: Vec<f64>,
    /// Native histograms by Unix milliseconds.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

impl Engine {
    /// The series that have samples, for each query in the order of their labels. All queries together
    /// stay within the limits of one.
    pub fn samples(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        queries: Vec<SeriesQuery>,
    ) -> BoxFuture<'_, Result<MetricsAnswer<Vec<Vec<SeriesSamples>>>, QueryError>> {
        self.ask(tenants.into(), Duration::MAX, move |engine, tenants, missing, alive| {
            let queries = queries.clone();
            Box::pin(async move {
                let views = engine.metrics(&tenants, &missing, &alive).await?;
                let mut left = Left::new(engine.bounds());
                let mut answers = Vec::with_capacity(queries.len());
                for query in queries {
                    let mut all: BTreeMap<Labels, Found> = BTreeMap::new();
                    for matchers in query.matchers {
                        let wanted = Wanted { matchers: matchers.into(), range: query.range, samples: true };
                        let found = engine.read_within(&views, &wanted, left.bounds, &alive).await;
                        let found = found.map_err(|error| left.explain(error))?;
                        left.take(&found);
                        // What two sets of matchers select is the same series.
                        all.extend(found);
                    }
                    let filled = all.into_iter().filter(|(_, found)| !found.is_empty());
                    let finished = filled.map(|(labels, found)| finish(labels, found));
                    answers.push(finished.collect());
                    alive.check()?;
                }
                Ok(answers)
            })
        })
    }
}

/// What is left of what a question may hold.
struct Left {
    whole: Bounds,
    bounds: Bounds,
}

impl Left {
    fn new(whole: Bounds) -> Self {
        Left { whole, bounds: whole }
    }

    fn take(&mut self, found: &[(Labels, Found)]) {
        let series = found.len() as u64;
        let samples = found.iter().map(|(_, found)| found.len() as u64).sum();
        let SeriesLimits { series: most_series, samples: most_samples } = self.bounds.limits;
        self.bounds.limits =
            SeriesLimits { series: most_series.saturating_sub(series), samples: most_samples.saturating_sub(samples) };
        let bytes = series::bytes((series, samples));
        self.bounds.memory_bytes = self.bounds.memory_bytes.saturating_sub(bytes as usize);
    }

    /// Counts what was read before, too.
    fn explain(&self, error: QueryError) -> QueryError {
        let QueryError::Limit { what, reached, limit, key } = error else { return error };
        let whole = match key {
            "query.max_series" => self.whole.limits.series,
            "query.max_samples" => self.whole.limits.samples,
            _ => self.whole.memory_bytes as u64,
        };
        QueryError::Limit { what, reached: reached + (whole - limit), limit: whole, key }
    }
}

fn finish(labels: Labels, mut found: Found) -> SeriesSamples {
    found.finish();
    let Found { times, values, histograms, .. } = found;
    SeriesSamples { labels, times, values, histograms }
}
