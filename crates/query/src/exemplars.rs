//! Exemplars of series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_model::{Signal, TenantSet};
use bonghwa_promql::Labels;
use futures::future::BoxFuture;

use crate::promql::{MetricsAnswer, SeriesQuery, of_tenant, with_tenant};
use crate::series::{self, Exemplar, Exemplars};
use crate::{Engine, QueryError};

impl Engine {
    /// The exemplars of series that have some in range, in the order of labels and time. Those of histograms
    /// with explicit bounds are of the bucket that their value lies in.
    pub fn exemplars(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        query: SeriesQuery,
    ) -> BoxFuture<'_, Result<MetricsAnswer<Vec<Exemplars>>, QueryError>> {
        self.ask(tenants.into(), Duration::MAX, move |engine, tenants, missing, alive| {
            let query = query.clone();
            Box::pin(async move {
                let views = engine.metrics(&tenants, &missing, &alive).await?;
                let mut all: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
                for (source, of_signals) in &views {
                    let Some(view) = of_signals.get(&Signal::Metrics) else { continue };
                    for matchers in &query.matchers {
                        let Some(matchers) = of_tenant(matchers, &source.tenant, views.len()) else { continue };
                        let (options, bounds) = (&engine.metrics_options, engine.bounds());
                        let found =
                            series::exemplars(source, view, matchers, query.range, options, bounds, &alive).await?;
                        // What two sets of matchers select is the same series.
                        all.extend(found.into_iter().map(|(labels, found)| match views.len() {
                            1 => (labels, found),
                            _ => (with_tenant(&labels, &source.tenant), found),
                        }));
                    }
                }
                Ok(all.into_iter().map(|(series, exemplars)| Exemplars { series, exemplars }).collect())
            })
        })
    }
}
