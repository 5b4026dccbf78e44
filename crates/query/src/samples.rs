//! Series with their samples as they are, for those who evaluate elsewhere: remote read and federation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_model::TenantSet;
use bonghwa_promql::{Histogram, Labels};
use futures::future::BoxFuture;

use crate::promql::{MetricsAnswer, SeriesQuery};
use crate::series::{Found, Held, Taken, Wanted};
use crate::{Engine, QueryError};

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

impl SeriesSamples {
    fn is_empty(&self) -> bool {
        self.times.is_empty() && self.histograms.is_empty()
    }
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
                let held = Held::new(&alive);
                let mut answers = Vec::with_capacity(queries.len());
                for query in queries {
                    let mut all: BTreeMap<Labels, Found> = BTreeMap::new();
                    for matchers in query.matchers {
                        let wanted = Wanted::new(matchers.into(), query.range, Taken::Values);
                        for (labels, found) in engine.read_series(&views, &wanted, &held, &alive).await? {
                            // What two sets of matchers select is the same series.
                            if let Some(same) = all.insert(labels, found) {
                                held.let_go((1, same.weight()));
                            }
                        }
                    }
                    let finished = all.into_iter().map(|(labels, found)| finish(labels, found, query.range));
                    answers.push(finished.filter(|series| !series.is_empty()).collect());
                    alive.check()?;
                }
                Ok(answers)
            })
        })
    }
}

fn finish(labels: Labels, mut found: Found, range: (i64, i64)) -> SeriesSamples {
    found.finish();
    found.cut(range);
    let Found { times, values, histograms, .. } = found;
    SeriesSamples { labels, times, values, histograms }
}
