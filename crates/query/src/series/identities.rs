//! Which stored rows are the series that matchers select: a row has one identity, and the series of a
//! histogram are parts of one.

use std::collections::BTreeSet;
use std::sync::Arc;

use bonghwa_model::metrics::MetricType;
use bonghwa_promql::Labels;
use futures::TryStreamExt;

use super::columns::{self, Columns, Texts};
use super::conditions::Conditions;
use super::distribution;
use super::identity::{Identity, IdentityReader};
use super::labels::MetricsOptions;
use super::read::{self, Wanted};
use crate::alive::Alive;
use crate::plan::Source;
use crate::view::View;
use crate::{QueryError, scan};

/// Identities of rows, and what stands in the way.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// Those whose series are all selected.
    pub(crate) whole: BTreeSet<u128>,
    /// A metric of which only some series are.
    pub(crate) partly: Option<String>,
}

/// The rows in range whose series matchers select; no more than `most` of them and one.
pub(crate) async fn identities(
    source: &Source,
    view: &View,
    wanted: &Wanted,
    options: &MetricsOptions,
    most: usize,
    alive: &Arc<Alive>,
) -> Result<Identities, QueryError> {
    let plan = Arc::new(read::plan(source, view, columns::of_series(false), wanted.predicate()).await?);
    let mut all = Identities::default();
    let (mut identities, mut conditions) = (IdentityReader::new(options), Conditions::new(&wanted.matchers));
    for unit in &plan.units {
        let batches = scan::open(&plan, unit).await.map_err(|error| QueryError::of_stream(&error))?;
        let mut batches = batches.map_err(|error| QueryError::of_stream(&error));
        while let Some(batch) = batches.try_next().await? {
            alive.check()?;
            let (columns, texts) = (Columns::new(&batch)?, Texts::of_distributions(&batch)?);
            for at in 0..columns.rows {
                if all.whole.contains(&columns.id(at)) {
                    continue;
                }
                let Some(identity) = identities.read(&columns, at) else { continue };
                let parts = parts(&identity, texts.first(at));
                match parts.iter().filter(|labels| conditions.select(labels)).count() {
                    0 => {}
                    selected if selected == parts.len() => drop(all.whole.insert(identity.id)),
                    _ => all.partly = Some(identity.labels.metric_name().to_owned()),
                }
                if all.whole.len() > most || all.partly.is_some() {
                    return Ok(all);
                }
            }
        }
    }
    Ok(all)
}

/// The series that a row is, by the text of one of its distributions.
fn parts(identity: &Identity, text: Option<&str>) -> Vec<Labels> {
    if !identity.has_bounds() {
        return vec![identity.labels.clone()];
    }
    let mut parts = vec![identity.part("_count", None), identity.part("_sum", None)];
    if identity.kind == MetricType::Histogram {
        let bounds = text.and_then(distribution::explicit).unwrap_or_default().bounds;
        let bounds = bounds.into_iter().chain([f64::INFINITY]);
        parts.extend(bounds.map(|bound| identity.part("_bucket", Some(("le", bound)))));
    } else {
        let quantiles = text.and_then(distribution::summary).unwrap_or_default().quantiles;
        parts.extend(quantiles.iter().map(|q| identity.part("", Some(("quantile", q.quantile)))));
    }
    parts
}
