//! How long rows are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use bonghwa_block::Removal;
use bonghwa_model::Signal;
use bonghwa_protocol::v1;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::options::nanos;

/// How long rows are kept, by signal and tenant, and of logs by stream.
#[derive(Clone, Debug, Default)]
pub struct Retention {
    /// Of tenants that are not named.
    pub default: SignalRetention,
    /// Of tenants that are; a signal for which they name nothing is kept as by default.
    pub tenants: BTreeMap<String, SignalRetention>,
    /// Log records that are kept for another time than the rest of their tenant's.
    pub streams: Vec<StreamRetention>,
}

/// How long rows of each signal are kept. None: for ever, or as by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignalRetention {
    /// Log records.
    pub logs: Option<Duration>,
    /// Samples.
    pub metrics: Option<Duration>,
    /// Spans, by their start.
    pub traces: Option<Duration>,
}

impl SignalRetention {
    fn of(&self, signal: Signal) -> Option<Duration> {
        match signal {
            Signal::Logs => self.logs,
            Signal::Metrics => self.metrics,
            Signal::Traces => self.traces,
        }
    }
}

/// How long certain log records are kept, longer or shorter than the others.
#[derive(Clone, Debug)]
pub struct StreamRetention {
    /// Whose; none for all tenants.
    pub tenant: Option<String>,
    /// Which records: by service, attributes, severity. `max_severity` 8 means: up to DEBUG.
    pub selector: v1::Selector,
    /// How long. Where several match a record, the longest counts.
    pub keep: Duration,
}

/// Rows that go when they are old enough, though others of their block stay.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub keep: i64,
    selector: v1::Selector,
    unless: Vec<v1::Selector>,
    /// Tells whether the rule, as it is now, was carried out on a block.
    pub fingerprint: u64,
}

impl Rule {
    fn new(keep: Duration, selector: v1::Selector, unless: Vec<v1::Selector>) -> Self {
        let mut bytes = (keep.as_nanos() as u64).to_le_bytes().to_vec();
        bytes.extend(selector.encode_length_delimited_to_vec());
        unless.iter().for_each(|selector| bytes.extend(selector.encode_length_delimited_to_vec()));
        Rule { keep: nanos(keep), selector, unless, fingerprint: xxh3_64(&bytes) }
    }

    /// The rows that go now.
    pub fn removal(&self, now: i64) -> Removal {
        Removal {
            id: Removal::OF_ALL,
            selector: self.selector.clone(),
            min_time: i64::MIN,
            max_time: now.saturating_sub(self.keep).saturating_sub(1),
            unless: self.unless.clone(),
        }
    }
}

impl Retention {
    fn general(&self, tenant: &str, signal: Signal) -> Option<Duration> {
        self.tenants.get(tenant).and_then(|own| own.of(signal)).or(self.default.of(signal))
    }

    fn streams<'a>(&'a self, tenant: &'a str, signal: Signal) -> impl Iterator<Item = &'a StreamRetention> {
        let of_tenant = move |s: &&StreamRetention| s.tenant.as_deref().is_none_or(|named| named == tenant);
        self.streams.iter().filter(move |_| signal == Signal::Logs).filter(of_tenant)
    }

    /// Rows older than this, nanoseconds, are past every rule; none if some stay for ever.
    pub fn longest(&self, tenant: &str, signal: Signal) -> Option<i64> {
        let general = self.general(tenant, signal)?;
        let streams = self.streams(tenant, signal).map(|s| s.keep);
        streams.chain([general]).max().map(nanos)
    }

    /// What goes while other rows of its block stay. The general rule is among them only
    /// where some streams are kept longer.
    pub(crate) fn rules(&self, tenant: &str, signal: Signal) -> Vec<Rule> {
        let streams: Vec<&StreamRetention> = self.streams(tenant, signal).collect();
        let longer = |keep: Duration| -> Vec<v1::Selector> {
            streams.iter().filter(|other| other.keep > keep).map(|other| other.selector.clone()).collect()
        };
        let of_streams = streams.iter().map(|s| Rule::new(s.keep, s.selector.clone(), longer(s.keep)));
        let mut rules: Vec<Rule> = of_streams.collect();
        if let Some(general) = self.general(tenant, signal) {
            // A stream's own rule counts, be it longer or shorter; the shorter has taken its rows already.
            rules.push(Rule::new(general, v1::Selector::default(), longer(general)));
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    fn stream(tenant: Option<&str>, service: &str, keep: u64) -> StreamRetention {
        let selector = v1::Selector { service: service.into(), ..Default::default() };
        StreamRetention { tenant: tenant.map(str::to_owned), selector, keep: days(keep) }
    }

    #[test]
    fn the_longest_rule_ends_a_block() {
        let retention = Retention {
            default: SignalRetention { logs: Some(days(30)), traces: Some(days(7)), metrics: None },
            tenants: BTreeMap::from([("a".into(), SignalRetention { logs: Some(days(3)), ..Default::default() })]),
            streams: vec![stream(Some("b"), "audit", 365), stream(None, "chatty", 1)],
        };
        for (tenant, signal, expected) in [
            ("a", Signal::Logs, Some(3)),
            ("a", Signal::Traces, Some(7)),
            ("a", Signal::Metrics, None),
            ("b", Signal::Logs, Some(365)),
            ("c", Signal::Logs, Some(30)),
        ] {
            let expected = expected.map(|d| nanos(days(d)));
            assert_eq!(retention.longest(tenant, signal), expected, "{tenant} {signal}");
        }
    }

    #[test]
    fn a_stream_that_is_kept_longer_is_spared() {
        let retention = Retention {
            default: SignalRetention { logs: Some(days(30)), ..Default::default() },
            streams: vec![stream(None, "audit", 365), stream(None, "chatty", 1)],
            ..Default::default()
        };
        let rules = retention.rules("a", Signal::Logs);
        let said: Vec<(i64, &str, Vec<&str>)> = rules
            .iter()
            .map(|r| {
                (
                    r.keep / nanos(days(1)),
                    r.selector.service.as_str(),
                    r.unless.iter().map(|s| s.service.as_str()).collect(),
                )
            })
            .collect();
        assert_eq!(said, [(365, "audit", vec![]), (1, "chatty", vec!["audit"]), (30, "", vec!["audit"])]);
        let changed = Retention { streams: vec![stream(None, "audit", 366)], ..retention };
        assert_ne!(rules[0].fingerprint, changed.rules("a", Signal::Logs)[0].fingerprint);
        assert!(changed.rules("a", Signal::Traces).is_empty());
    }
}
