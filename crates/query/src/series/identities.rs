//! Which stored rows are the series that matchers select: a row has one identity, and the series of a
//! histogram are parts of one.

use std::collections::BTreeSet;
use std::sync::Arc;

use bonghwa_model::metrics::MetricType;
use bonghwa_model::prometheus;
use bonghwa_promql::{Labels, METRIC_NAME, Matcher};
use futures::TryStreamExt;

use super::columns::{self, Columns};
use super::distribution;
use super::gather::{Names, kind, with};
use super::labels::{Labeller, MetricsOptions, Pairs, verbatim};
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
    let mut labeller = Labeller::new(options);
    for unit in &plan.units {
        let batches = scan::open(&plan, unit).await.map_err(|error| QueryError::of_stream(&error))?;
        let mut batches = batches.map_err(|error| QueryError::of_stream(&error));
        while let Some(batch) = batches.try_next().await? {
            alive.check()?;
            let columns = Columns::new(&batch)?;
            let mut names = Names::new(options);
            for at in 0..columns.rows {
                if columns.scope_name.value(at) == prometheus::METADATA_SCOPE {
                    continue;
                }
                // Hexadecimal digits, always.
                let id = u128::from_str_radix(columns.id.value(at), 16).unwrap_or_default();
                if all.whole.contains(&id) {
                    continue;
                }
                let own = columns.scope_name.value(at) == prometheus::SCOPE;
                let name = names.of(&columns, at, own);
                let pairs = pairs(&mut labeller, &columns, at, own);
                let selects =
                    |labels: &Labels| wanted.matchers.iter().all(|m: &Matcher| m.matches(labels.get(&m.name)));
                let parts = parts(&columns, at, own, &name, &pairs);
                match parts.iter().filter(|labels| selects(labels)).count() {
                    0 => {}
                    selected if selected == parts.len() => drop(all.whole.insert(id)),
                    _ => all.partly = Some(name),
                }
                if all.whole.len() > most || all.partly.is_some() {
                    return Ok(all);
                }
            }
        }
    }
    Ok(all)
}

/// The labels of a row, without name.
pub(super) fn pairs(labeller: &mut Labeller<'_>, columns: &Columns<'_>, at: usize, own: bool) -> Pairs {
    if own {
        return verbatim(columns.attributes.value(at));
    }
    let mut pairs = labeller.attributes(columns.attributes.value(at));
    pairs.extend(labeller.scope(columns.scope_name.value(at), columns.scope_version.value(at)));
    pairs.extend(labeller.resource(columns.resource.value(at), columns.service_name.value(at)).labels.clone());
    pairs
}

/// The series that a row is.
fn parts(columns: &Columns<'_>, at: usize, own: bool, name: &str, pairs: &Pairs) -> Vec<Labels> {
    let whole = with(pairs, name, None);
    let kind = kind(columns.metric_type.value(at));
    if own || !matches!(kind, MetricType::Histogram | MetricType::Summary) {
        return vec![whole];
    }
    // Where rows may be deleted they come as samples.
    let of_sample = || columns.samples.as_ref().and_then(|samples| samples.buckets(at, 0));
    let text = columns.distribution(at).or_else(of_sample);
    let suffixed = |suffix: &str| whole.builder().set(METRIC_NAME, &format!("{name}{suffix}")).build();
    let mut parts = vec![suffixed("_count"), suffixed("_sum")];
    if kind == MetricType::Histogram {
        let bounds = text.and_then(distribution::explicit).unwrap_or_default().bounds;
        let bounds = bounds.into_iter().chain([f64::INFINITY]);
        parts.extend(bounds.map(|bound| with(pairs, &format!("{name}_bucket"), Some(("le", bound)))));
    } else {
        let quantiles = text.and_then(distribution::summary).unwrap_or_default().quantiles;
        parts.extend(quantiles.iter().map(|q| with(pairs, name, Some(("quantile", q.quantile)))));
    }
    parts
}
