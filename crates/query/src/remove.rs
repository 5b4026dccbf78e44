//! What a delete of series means in stored rows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_model::{Signal, TenantId, TenantSet};
use bonghwa_promql::{METRIC_NAME, MatchOp, Matcher};
use futures::future::BoxFuture;

use crate::promql::{MetricsAnswer, SeriesQuery};
use crate::series::{self, TARGET_INFO, Taken, Wanted};
use crate::{Engine, QueryError};

impl Engine {
    /// The identities of the rows in range whose series are selected, at most `most` of them. Rows of which
    /// only some series are selected, as one bucket of a histogram, make it an error: they go as one. So does
    /// `target_info`, which no row is.
    pub fn rows_of_series(
        self: &Arc<Self>,
        tenant: &TenantId,
        query: SeriesQuery,
        most: usize,
    ) -> BoxFuture<'_, Result<MetricsAnswer<BTreeSet<u128>>, QueryError>> {
        self.ask(TenantSet::from(tenant), Duration::MAX, move |engine, tenants, missing, alive| {
            let query = query.clone();
            Box::pin(async move {
                let views = engine.metrics(&tenants, &missing, &alive).await?;
                let mut all = BTreeSet::new();
                for (source, of_signals) in &views {
                    let Some(view) = of_signals.get(&Signal::Metrics) else { continue };
                    for matchers in &query.matchers {
                        let wanted = Wanted::new(matchers.clone().into(), query.range, Taken::Nothing);
                        let options = &engine.metrics_options;
                        let found = series::identities(source, view, &wanted, options, most, &alive).await?;
                        if let Some(metric) = found.partly {
                            return Err(QueryError::Execution(format!(
                                "only some series of the metric {metric:?} are selected, and buckets, sum and count of \
                                 a histogram or summary are stored as one: select all of them, for example by \
                                 {{__name__=~\"{metric}(_bucket|_sum|_count)?\"}}"
                            )));
                        }
                        let is_info = |m: &Matcher| (m.name.as_str(), m.op) == (METRIC_NAME, MatchOp::Equal);
                        if found.whole.is_empty() && matchers.iter().any(|m| is_info(m) && m.value == TARGET_INFO) {
                            return Err(QueryError::Execution(format!(
                                "{TARGET_INFO:?} is not stored: it is made of the resources that send metrics, and \
                                 goes with their series; select those, for example by their job"
                            )));
                        }
                        all.extend(found.whole);
                    }
                }
                if all.len() > most {
                    let reached = all.len();
                    return Err(QueryError::Execution(format!(
                        "over {most} stored series are selected ({reached} so far), more than one request may delete: \
                         narrow the selectors or the time range and delete them in parts, or delete by service and \
                         attributes with POST /admin/deletes"
                    )));
                }
                Ok(all)
            })
        })
    }
}
