//! The section `global`: what holds for all jobs that say nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_yaml_ng::Value;

use super::environment::expand;
use super::job::{LIMIT_KEYS, LimitKeys};
use super::protocol::{Escaping, NameScheme, Protocol};
use super::read;
use super::values::{Span, Text, some_flag};

/// What holds for all jobs.
#[derive(Clone, Debug)]
pub(super) struct Global {
    pub interval: Duration,
    pub timeout: Duration,
    pub protocols: Option<Vec<Protocol>>,
    pub native_histograms: Option<bool>,
    pub classic_histograms: Option<bool>,
    pub names: NameScheme,
    pub escaping: Option<Escaping>,
    pub extra_metrics: bool,
    pub limits: LimitKeys,
    pub external_labels: Vec<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GlobalSection {
    scrape_interval: Option<Span>,
    scrape_timeout: Option<Span>,
    scrape_protocols: Option<Vec<Protocol>>,
    #[serde(deserialize_with = "some_flag")]
    scrape_native_histograms: Option<bool>,
    #[serde(deserialize_with = "some_flag")]
    always_scrape_classic_histograms: Option<bool>,
    #[serde(deserialize_with = "some_flag")]
    convert_classic_histograms_to_nhcb: Option<bool>,
    metric_name_validation_scheme: Option<NameScheme>,
    metric_name_escaping_scheme: Option<Escaping>,
    #[serde(deserialize_with = "some_flag")]
    extra_scrape_metrics: Option<bool>,
    external_labels: BTreeMap<String, Text>,
    // What rules and Prometheus' own files go by.
    #[serde(rename = "evaluation_interval")]
    _evaluation_interval: Option<Value>,
    #[serde(rename = "rule_query_offset")]
    _rule_query_offset: Option<Value>,
    #[serde(rename = "query_log_file")]
    _query_log_file: Option<Value>,
    #[serde(rename = "scrape_failure_log_file")]
    _scrape_failure_log_file: Option<Value>,
}

impl Global {
    /// Reads the section.
    pub(super) fn read(mut value: Value) -> Result<Self, String> {
        let limits: LimitKeys = read::read(read::take(&mut value, LIMIT_KEYS), "global")?;
        let section: GlobalSection = read::read_among(value, "global", LIMIT_KEYS)?;
        if section.convert_classic_histograms_to_nhcb == Some(true) {
            let message = "classic histograms are stored as they are: leave it out";
            return Err(format!("`global.convert_classic_histograms_to_nhcb`: {message}"));
        }
        let (interval, timeout) = match (section.scrape_interval, section.scrape_timeout) {
            (None, None) => (Duration::from_secs(60), Duration::from_secs(10)),
            (Some(Span(interval)), None) => (interval, interval.min(Duration::from_secs(10))),
            (interval, Some(Span(timeout))) => {
                let interval = interval.map_or(Duration::from_secs(60), |span| span.0);
                if timeout > interval {
                    let (timeout, interval) = (Span(timeout), Span(interval));
                    return Err(format!(
                        "`global.scrape_timeout`: {timeout} is longer than the scrape_interval, {interval}"
                    ));
                }
                (interval, timeout)
            }
        };
        for (key, length) in [("scrape_interval", interval), ("scrape_timeout", timeout)] {
            if length.is_zero() {
                return Err(format!("`global.{key}`: it must be above 0"));
            }
        }
        Ok(Global {
            interval,
            timeout,
            protocols: section.scrape_protocols.filter(|protocols| !protocols.is_empty()),
            native_histograms: section.scrape_native_histograms,
            classic_histograms: section.always_scrape_classic_histograms,
            names: section.metric_name_validation_scheme.unwrap_or_default(),
            escaping: section.metric_name_escaping_scheme,
            extra_metrics: section.extra_scrape_metrics.unwrap_or(false),
            limits,
            external_labels: external_labels(section.external_labels),
        })
    }
}

/// Labels whose values may name variables of the environment; what is empty then is no label.
fn external_labels(section: BTreeMap<String, Text>) -> Vec<(String, String)> {
    let variable = |name: &str| match name {
        "$" => "$".to_owned(),
        name => std::env::var(name).unwrap_or_default(),
    };
    let expanded = section.into_iter().map(|(name, value)| (name, expand(&value.0, variable)));
    expanded.filter(|(_, value)| !value.is_empty()).collect()
}
