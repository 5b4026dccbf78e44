//! What a row of points says of itself, as Prometheus sees it: a series, or the parts of a distribution.

use std::sync::Arc;

use bonghwa_model::metrics::{Metric, MetricType};
use bonghwa_model::prometheus_names::metric_name;
use bonghwa_model::{heartbeat, prometheus};
use bonghwa_promql::number;
use bonghwa_promql::{Labels, METRIC_NAME};

use super::columns::Columns;
use super::labels::{Labeller, MetricsOptions, Pairs, Promoted, Target, verbatim};
use super::slice;

/// Bytes of an identity beside its labels, roughly: itself, and what counts who shares it.
const FIXED_BYTES: usize = 160;
/// Bytes of a label beside its texts.
const LABEL_BYTES: usize = 8;

/// What all rows of one series id have in common.
#[derive(Debug)]
pub(crate) struct Identity {
    /// A hash over all that the series is told by.
    pub id: u128,
    pub kind: MetricType,
    /// It came with Prometheus' own labels.
    pub verbatim: bool,
    /// Values are changes since the sample before.
    pub delta: bool,
    /// With the metric's name; those of a distribution's parts have a suffix and a bound besides.
    pub labels: Labels,
    /// Which slice it belongs to.
    pub place: u64,
    /// What its resource is in `target_info`.
    pub target: Option<Arc<Target>>,
    /// What it takes in memory, roughly.
    pub bytes: usize,
}

impl Identity {
    /// The labels of a part of a distribution.
    pub fn part(&self, suffix: &str, bound: Option<(&str, f64)>) -> Labels {
        if suffix.is_empty() && bound.is_none() {
            return self.labels.clone();
        }
        let name = format!("{}{suffix}", self.labels.metric_name());
        let bound = bound.map(|(label, value)| (label, number::format(value)));
        let bound = bound.as_ref().map(|(label, value)| (*label, value.as_str()));
        Labels::new(self.labels.iter().chain(bound).chain([(METRIC_NAME, name.as_str())]))
    }

    /// Whether its samples tell which series its parts are.
    pub fn has_bounds(&self) -> bool {
        matches!(self.kind, MetricType::Histogram | MetricType::Summary) && !self.verbatim
    }

    /// Whether each of its samples is one number.
    pub fn is_number(&self) -> bool {
        matches!(self.kind, MetricType::Gauge | MetricType::Sum)
    }
}

/// Reads identities from rows.
pub(super) struct IdentityReader<'a> {
    labeller: Labeller<'a>,
    options: &'a MetricsOptions,
    /// The metric of the row before, and its name: rows of one metric lie together.
    last: Option<(Metric, String)>,
}

impl<'a> IdentityReader<'a> {
    pub fn new(options: &'a MetricsOptions) -> Self {
        IdentityReader { labeller: Labeller::new(options), options, last: None }
    }

    /// The identity of a row; none where it is metadata and no series.
    pub fn read(&mut self, columns: &Columns<'_>, row: usize) -> Option<Identity> {
        let scope = columns.scope_name.value(row);
        if scope == prometheus::METADATA_SCOPE {
            return None;
        }
        let kind = kind(columns.metric_type.value(row));
        let is_verbatim = scope == prometheus::SCOPE;
        let (labels, target) = if is_verbatim {
            (named(&verbatim(columns.attributes.value(row)), columns.name.value(row)), None)
        } else {
            let (pairs, target) = self.pairs(columns, row);
            (named(&pairs, self.name(columns, row, kind)), target)
        };
        // The first that shares its resource counts it.
        let first = target.as_ref().filter(|target| Arc::strong_count(target) == 2);
        Some(Identity {
            id: columns.id(row),
            kind,
            verbatim: is_verbatim,
            delta: columns.temporality.value(row) == "delta",
            place: slice::place(&labels),
            bytes: FIXED_BYTES + bytes(&labels) + first.map_or(0, |target| FIXED_BYTES + target.bytes),
            labels,
            target,
        })
    }

    /// The labels of attributes.
    pub fn attributes(&self, text: &str) -> Pairs {
        self.labeller.attributes(text)
    }

    /// The labels of a row without its name, and what its resource is in `target_info`.
    fn pairs(&mut self, columns: &Columns<'_>, row: usize) -> (Pairs, Option<Arc<Target>>) {
        let scope = columns.scope_name.value(row);
        // Nothing that the resource says of itself: neither a scope of its own nor a sign of its metrics' times.
        let is_heartbeat = scope == heartbeat::SCOPE;
        let mut pairs = self.labeller.attributes(columns.attributes.value(row));
        if !is_heartbeat {
            pairs.extend(self.labeller.scope(scope, columns.scope_version.value(row)));
        }
        let resource = self.labeller.resource(columns.resource.value(row), columns.service_name.value(row));
        let alone = is_heartbeat && matches!(self.options.promoted, Promoted::AllBut(_));
        for (name, value) in &resource.labels {
            // What identifies the target wins over an attribute of the same name, and that over what is promoted.
            let identifies = matches!(name.as_str(), "job" | "instance");
            if identifies || !alone && !pairs.iter().any(|(known, _)| known == name) {
                pairs.push((name.clone(), value.clone()));
            }
        }
        (pairs, resource.target.clone().filter(|_| !is_heartbeat))
    }

    /// The name of a row's metric in Prometheus, without suffix.
    fn name(&mut self, columns: &Columns<'_>, row: usize, kind: MetricType) -> &str {
        let (name, unit, monotonic) = (columns.name.value(row), columns.unit.value(row), columns.monotonic.value(row));
        let is_last = self.last.as_ref().is_some_and(|(last, _)| {
            (last.name.as_str(), last.unit.as_str(), last.metric_type, last.monotonic) == (name, unit, kind, monotonic)
        });
        if !is_last {
            let (name, unit) = (name.to_owned(), unit.to_owned());
            let metric = Metric { name, unit, metric_type: kind, monotonic, ..Default::default() };
            let shown = metric_name(&metric, self.options.strategy);
            self.last = Some((metric, shown));
        }
        self.last.as_ref().map_or("", |(_, shown)| shown.as_str())
    }
}

/// Bytes of labels in memory, roughly.
pub(super) fn bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len() + LABEL_BYTES).sum()
}

/// Labels with a metric's name.
pub(super) fn named(pairs: &Pairs, name: &str) -> Labels {
    let all = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Labels::new(all.chain([(METRIC_NAME, name)]))
}

/// The type that a name means.
pub(super) fn kind(name: &str) -> MetricType {
    let all = [MetricType::Sum, MetricType::Histogram, MetricType::ExponentialHistogram, MetricType::Summary];
    all.into_iter().find(|kind| kind.as_str() == name).unwrap_or(MetricType::Gauge)
}
