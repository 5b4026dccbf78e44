//! Heartbeats of the instances that sent a request, by the mapping of [`bonghwa_model::heartbeat`].

use bonghwa_model::batch::{Batch, Resource};
use bonghwa_model::heartbeat::{METRIC, SOURCE, SOURCE_LABEL, metric, scope};
use bonghwa_model::metrics::{MetricRow, PointKind};
use bonghwa_model::prometheus_names::{Strategy, label_name};
use bonghwa_model::{Kind, Value};

use crate::decoded::Reason;
use crate::fault::{Fault, Result};
use crate::resource::UNKNOWN_SERVICE;
use crate::series;

/// Adds to the metrics of an OTLP request that arrived at this time a heartbeat of each resource that names its
/// service, `service.name`, and has a point which is not older than `max_age`: what is filled in later is no sign of
/// life. Both in nanoseconds. Other signals get none: a service may well have nothing to log.
pub fn add(batch: &mut Batch, arrival: i64, max_age: i64) {
    let Batch::Metrics(batch) = batch else { return };
    let mut newest = vec![i64::MIN; batch.common.resources.len()];
    for (group, rows) in batch.common.group_ranges() {
        let newest = &mut newest[group.resource as usize];
        *newest = batch.time[rows].iter().copied().fold(*newest, i64::max);
    }
    let lives = |(_, (resource, newest)): &(u32, (&Resource, &i64))| {
        arrival.saturating_sub(**newest) <= max_age && is_named(resource)
    };
    let resources = (0..).zip(batch.common.resources.iter().zip(&newest));
    let senders: Vec<u32> = resources.filter(lives).map(|(number, _)| number).collect();
    if senders.is_empty() {
        return;
    }
    let (scope, metric) = (scope(), metric());
    let (scope_number, metric_number) = (batch.common.scopes.len() as u32, batch.metrics.len() as u32);
    let key = batch.common.keys.id(SOURCE_LABEL);
    let value = batch.common.arena.push(SOURCE.as_bytes());
    let row = MetricRow {
        metric: metric_number,
        time: arrival - arrival.rem_euclid(1_000_000),
        point_kind: PointKind::Int,
        value: 1,
        ..Default::default()
    };
    for resource in senders {
        let sender = series::sender(&batch.common.resources[resource as usize], &scope);
        let series = series::identity(series::metric(sender, &metric), series::text(SOURCE_LABEL, SOURCE));
        batch.attributes.push(key, Kind::Str, value.0);
        batch.push_row(MetricRow { series, ..row });
        batch.common.close_group(resource, scope_number, batch.rows() as u32);
    }
    batch.common.scopes.push(scope);
    batch.metrics.push(metric);
}

/// Whether a resource says itself which service it is of.
fn is_named(resource: &Resource) -> bool {
    let names = |(key, value): &(String, Value)| {
        key == "service.name" && matches!(value, Value::Str(name) if !name.is_empty() && name != UNKNOWN_SERVICE)
    };
    resource.attributes.iter().any(names)
}

/// Whether Prometheus may call a metric of this name as it calls heartbeats, by whatever translation.
#[inline]
pub(crate) fn may_be_called_so(name: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric();
    // Most names end here.
    let Some(start) = name.iter().position(is_letter).filter(|at| name[*at..].starts_with(METRIC.as_bytes())) else {
        return false;
    };
    !name[start + METRIC.len()..].iter().any(is_letter)
}

/// Refuses a point of a metric of that name whose attributes have the label of heartbeats.
#[cold]
pub(crate) fn check<'k>(mut keys: impl Iterator<Item = &'k str>) -> Result<()> {
    match keys.any(|key| label_name(key, Strategy::default()) == SOURCE_LABEL) {
        true => Err(reserved("attributes")),
        false => Ok(()),
    }
}

/// The rejection of a series that has the label of heartbeats.
#[cold]
pub(crate) fn reserved(field: &str) -> Box<Fault> {
    let text = format!(
        "have {SOURCE_LABEL:?}, which on the metric {METRIC:?} is kept for the heartbeats of instances that push: \
         rename the metric, or leave the label out"
    );
    Fault::rejected(Reason::InvalidLabel, field, text)
}

#[cfg(test)]
mod tests {
    use bonghwa_model::batch::Scope;
    use bonghwa_model::codec;
    use bonghwa_model::heartbeat::{SCOPE, VERSION};
    use bonghwa_model::metrics::{Metric, MetricBatch};

    use super::*;

    /// Seconds of this arrival; a point may be an hour old.
    const ARRIVAL: i64 = 1_000_000;
    const SECOND: i64 = 1_000_000_000;

    type Attributes<'a> = &'a [(&'a str, &'a str)];

    /// A batch with one point of each of these resources, so many seconds old; none where that is not told.
    fn batch(resources: &[(Attributes<'_>, Option<i64>)]) -> Batch {
        let mut batch = MetricBatch::default();
        batch.common.scopes.push(Scope::default());
        batch.metrics.push(Metric { name: "a".into(), ..Default::default() });
        for (number, (attributes, age)) in (0..).zip(resources) {
            let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), Value::Str((*v).to_owned()))).collect();
            batch.common.resources.push(Resource { attributes, ..Default::default() });
            if let Some(age) = age {
                batch.push_row(MetricRow { time: (ARRIVAL - age) * SECOND, ..Default::default() });
                batch.common.close_group(number, 0, batch.rows() as u32);
            }
        }
        Batch::Metrics(batch)
    }

    #[test]
    fn instances_that_live_get_one_heartbeat() {
        let named = |name: &'static str| [("service.name", name), ("service.instance.id", "i")];
        let (a, b, old, quiet) = (named("a"), named("b"), named("old"), named("quiet"));
        let (empty, unknown) = (named(""), named("unknown_service"));
        let mut sent = batch(&[
            (&a, Some(0)),
            (&[("host.name", "x")], Some(0)),
            (&old, Some(3_601)),
            (&b, Some(3_600)),
            (&quiet, None),
            (&empty, Some(0)),
            (&unknown, Some(0)),
        ]);
        let rows = sent.rows();
        add(&mut sent, ARRIVAL * SECOND + 1_234_567, 3_601 * SECOND);
        let Batch::Metrics(found) = &sent else { unreachable!() };
        let (scopes, metrics) = (&found.common.scopes, &found.metrics);
        let mut beats = Vec::new();
        for (group, range) in found.common.group_ranges().filter(|(_, range)| range.start >= rows) {
            let scope = &scopes[group.scope as usize];
            assert_eq!((scope.name.as_str(), scope.version.as_str()), (SCOPE, VERSION));
            for row in range {
                assert_eq!(metrics[found.metric[row] as usize].name, METRIC);
                assert_eq!((found.time[row], found.value[row]), (ARRIVAL * SECOND + 1_000_000, 1));
                assert_eq!(PointKind::from_u8(found.point_kind[row]), Some(PointKind::Int));
                beats.push((group.resource, found.series[row]));
            }
        }
        assert_eq!(beats.iter().map(|(resource, _)| *resource).collect::<Vec<_>>(), [0, 3]);
        assert_ne!(beats[0].1, beats[1].1);
        // What is stored is what was made; the same request later is the same series.
        assert!(codec::decode(&codec::encode(&sent)).is_ok_and(|stored| stored == sent));
        let mut later = batch(&[(&b, Some(0))]);
        add(&mut later, (ARRIVAL + 60) * SECOND, 3_600 * SECOND);
        let Batch::Metrics(later) = &later else { unreachable!() };
        assert_eq!((later.rows(), later.series[1]), (2, beats[1].1));
    }

    #[test]
    fn names_that_become_up() {
        for (name, expected) in [
            ("up", true),
            (".up", true),
            ("up.", true),
            ("_up_", true),
            ("u", false),
            ("", false),
            ("upper", false),
            ("up.total", false),
            ("cup", false),
            ("is.up", false),
            ("up.1", false),
            ("봉up", true),
        ] {
            assert_eq!(may_be_called_so(name.as_bytes()), expected, "{name}");
        }
    }
}
