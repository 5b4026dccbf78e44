//! One entry of `scrape_configs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_yaml_ng::Value;

use super::discovery::{Discovery, Sections, UNSUPPORTED};
use super::global::Global;
use super::http::{self, HttpOptions};
use super::protocol::{Escaping, NameScheme, Protocol};
use super::values::{Size, Span, Text, flag, some_flag, some_number};
use super::{read, relabel};
use crate::relabel::Rule;

/// A job: targets, how they are found, and how they are scraped.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name, and the label `job` of its series.
    pub name: String,
    /// How often a target is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// The path on a target.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether a series' own labels win over the target's.
    pub honor_labels: bool,
    /// Whether a sample's own timestamp is kept.
    pub honor_timestamps: bool,
    /// Whether series that have timestamps end with a marker too.
    pub track_timestamps_staleness: bool,
    /// Whether targets may compress.
    pub compression: bool,
    /// Formats that are asked for, the best first.
    pub protocols: Vec<Protocol>,
    /// The format of a target that names none.
    pub fallback: Option<Protocol>,
    /// How targets are asked to write names that are not in the older character set.
    pub escaping: Escaping,
    /// Which names are good.
    pub names: NameScheme,
    /// Whether native histograms are kept.
    pub native_histograms: bool,
    /// Whether classic buckets are kept beside native ones.
    pub classic_histograms: bool,
    /// Limits; what exceeds one makes the scrape fail.
    pub limits: Limits,
    /// Whether the less usual series about a scrape are written too.
    pub extra_metrics: bool,
    /// Labels of all series that do not have them.
    pub external_labels: Vec<(String, String)>,
    /// How targets are called.
    pub http: HttpOptions,
    /// Where targets are found.
    pub discoveries: Vec<Discovery>,
    /// What becomes of targets' labels.
    pub relabel: Vec<Rule>,
    /// What becomes of series' labels.
    pub metric_relabel: Vec<Rule>,
}

/// Limits of a job; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Samples of a scrape, after relabelling.
    pub samples: u64,
    /// Labels of a series.
    pub labels: u64,
    /// Bytes of a label's name.
    pub label_name: u64,
    /// Bytes of a label's value.
    pub label_value: u64,
    /// Targets of the job, after relabelling.
    pub targets: u64,
    /// Bytes of a body, uncompressed.
    pub body: u64,
    /// Dropped targets that are remembered for the API.
    pub kept_dropped: u64,
    /// Buckets of a native histogram.
    pub buckets: u64,
}

/// Limits as they are written, in `global` and in a job.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LimitKeys {
    #[serde(deserialize_with = "some_number")]
    pub sample_limit: Option<u64>,
    #[serde(deserialize_with = "some_number")]
    pub label_limit: Option<u64>,
    #[serde(deserialize_with = "some_number")]
    pub label_name_length_limit: Option<u64>,
    #[serde(deserialize_with = "some_number")]
    pub label_value_length_limit: Option<u64>,
    #[serde(deserialize_with = "some_number")]
    pub target_limit: Option<u64>,
    pub body_size_limit: Option<Size>,
    #[serde(deserialize_with = "some_number")]
    pub keep_dropped_targets: Option<u64>,
    #[serde(deserialize_with = "some_number")]
    pub native_histogram_bucket_limit: Option<u64>,
}

pub(super) const LIMIT_KEYS: &[&str] = &[
    "sample_limit",
    "label_limit",
    "label_name_length_limit",
    "label_value_length_limit",
    "target_limit",
    "body_size_limit",
    "keep_dropped_targets",
    "native_histogram_bucket_limit",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobSection {
    job_name: Text,
    scrape_interval: Option<Span>,
    scrape_timeout: Option<Span>,
    scrape_protocols: Option<Vec<Protocol>>,
    fallback_scrape_protocol: Option<Protocol>,
    #[serde(default, deserialize_with = "some_flag")]
    scrape_native_histograms: Option<bool>,
    #[serde(default, deserialize_with = "some_flag")]
    scrape_classic_histograms: Option<bool>,
    #[serde(default, deserialize_with = "some_flag")]
    always_scrape_classic_histograms: Option<bool>,
    #[serde(default, deserialize_with = "some_flag")]
    convert_classic_histograms_to_nhcb: Option<bool>,
    native_histogram_min_bucket_factor: Option<Value>,
    metrics_path: Option<String>,
    scheme: Option<String>,
    #[serde(default)]
    params: BTreeMap<String, Vec<Text>>,
    #[serde(default, deserialize_with = "flag")]
    honor_labels: bool,
    #[serde(default, deserialize_with = "some_flag")]
    honor_timestamps: Option<bool>,
    #[serde(default, deserialize_with = "flag")]
    track_timestamps_staleness: bool,
    #[serde(default, deserialize_with = "some_flag")]
    enable_compression: Option<bool>,
    metric_name_validation_scheme: Option<NameScheme>,
    metric_name_escaping_scheme: Option<Escaping>,
    #[serde(default, deserialize_with = "some_flag")]
    extra_scrape_metrics: Option<bool>,
    scrape_failure_log_file: Option<String>,
    #[serde(default)]
    static_configs: Vec<Value>,
    #[serde(default)]
    file_sd_configs: Vec<Value>,
    #[serde(default)]
    http_sd_configs: Vec<Value>,
    #[serde(default)]
    kubernetes_sd_configs: Vec<Value>,
    #[serde(default)]
    relabel_configs: Vec<Value>,
    #[serde(default)]
    metric_relabel_configs: Vec<Value>,
}

impl LimitKeys {
    /// What these say, and where they say nothing, `others`.
    pub(super) fn or(self, others: LimitKeys) -> Limits {
        let pick = |own: Option<u64>, other: Option<u64>| own.or(other).unwrap_or(0);
        Limits {
            samples: pick(self.sample_limit, others.sample_limit),
            labels: pick(self.label_limit, others.label_limit),
            label_name: pick(self.label_name_length_limit, others.label_name_length_limit),
            label_value: pick(self.label_value_length_limit, others.label_value_length_limit),
            targets: pick(self.target_limit, others.target_limit),
            body: self.body_size_limit.or(others.body_size_limit).unwrap_or_default().0,
            kept_dropped: pick(self.keep_dropped_targets, others.keep_dropped_targets),
            buckets: pick(self.native_histogram_bucket_limit, others.native_histogram_bucket_limit),
        }
    }
}

impl Job {
    /// Reads one; paths are relative to `dir`.
    pub(super) fn read(mut value: Value, global: &Global, dir: &Path) -> Result<Self, String> {
        let http = HttpOptions::take(&mut value, "", dir)?;
        let limits: LimitKeys = read::read(read::take(&mut value, LIMIT_KEYS), "")?;
        if let Some(key) = UNSUPPORTED.iter().find(|key| value.get(**key).is_some()) {
            return Err(format!(
                "`{key}`: targets are found by static_configs, file_sd_configs, http_sd_configs and \
                 kubernetes_sd_configs: let another program write them to a file, or answer http_sd_configs"
            ));
        }
        let others: Vec<&str> = http::KEYS.iter().chain(LIMIT_KEYS).copied().collect();
        let section: JobSection = read::read_among(value, "", &others)?;
        section.job(global, http, limits.or(global.limits), dir)
    }
}

impl JobSection {
    fn job(self, global: &Global, http: HttpOptions, limits: Limits, dir: &Path) -> Result<Job, String> {
        self.check()?;
        let (interval, timeout) = self.times(global)?;
        let sections = Sections {
            statics: self.static_configs,
            files: self.file_sd_configs,
            http: self.http_sd_configs,
            kubernetes: self.kubernetes_sd_configs,
        };
        let listed = self.scrape_protocols.as_ref().or(global.protocols.as_ref());
        // Whoever lists the one format that has them wants them.
        let listed_native = listed.is_some_and(|protocols| protocols.contains(&Protocol::PrometheusProto));
        let native = self.scrape_native_histograms.or(global.native_histograms).unwrap_or(listed_native);
        let protocols = match listed {
            Some(protocols) => protocols.clone(),
            None if native => Protocol::WITH_NATIVE_HISTOGRAMS.to_vec(),
            None => Protocol::DEFAULT.to_vec(),
        };
        let discoveries = sections.read(dir)?;
        let relabel = relabel::rules(self.relabel_configs, "relabel_configs")?;
        if relabel.is_empty() {
            check_addresses(&discoveries)?;
        }
        let names = self.metric_name_validation_scheme.unwrap_or(global.names);
        let classic = self.always_scrape_classic_histograms.or(self.scrape_classic_histograms);
        Ok(Job {
            name: self.job_name.0,
            interval,
            timeout,
            metrics_path: self.metrics_path.unwrap_or_else(|| "/metrics".into()),
            scheme: self.scheme.unwrap_or_else(|| "http".into()),
            params: self
                .params
                .into_iter()
                .map(|(name, values)| (name, values.into_iter().map(|value| value.0).collect()))
                .collect(),
            honor_labels: self.honor_labels,
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: self.track_timestamps_staleness,
            compression: self.enable_compression.unwrap_or(true),
            protocols,
            fallback: self.fallback_scrape_protocol,
            escaping: self.metric_name_escaping_scheme.or(global.escaping).unwrap_or(names.escaping()),
            names,
            native_histograms: native,
            classic_histograms: classic.or(global.classic_histograms).unwrap_or(false),
            limits,
            extra_metrics: self.extra_scrape_metrics.unwrap_or(global.extra_metrics),
            external_labels: global.external_labels.clone(),
            http,
            discoveries,
            relabel,
            metric_relabel: relabel::rules(self.metric_relabel_configs, "metric_relabel_configs")?,
        })
    }

    fn check(&self) -> Result<(), String> {
        if self.job_name.0.is_empty() {
            return Err("`job_name`: it is empty: each job needs a name of its own".into());
        }
        if let Some(scheme) = self.scheme.as_ref().filter(|scheme| !matches!(scheme.as_str(), "http" | "https")) {
            return Err(format!("`scheme`: {scheme:?} is neither http nor https"));
        }
        if self.convert_classic_histograms_to_nhcb == Some(true) {
            return Err(
                "`convert_classic_histograms_to_nhcb`: classic histograms are stored as they are: leave it out".into(),
            );
        }
        let number = |value: &Value| value.as_str().map_or(value.as_f64(), |text| text.parse().ok());
        let factor = self.native_histogram_min_bucket_factor.as_ref();
        if factor.is_some_and(|factor| number(factor).is_none_or(|factor| factor > 0.0)) {
            return Err("`native_histogram_min_bucket_factor`: native histograms are stored in the resolution that \
                        they come in: leave it out, or limit it in the program that is scraped"
                .into());
        }
        if self.scrape_failure_log_file.as_ref().is_some_and(|file| !file.is_empty()) {
            return Err(
                "`scrape_failure_log_file`: failures are in the log and in /api/v1/targets: leave it out".into()
            );
        }
        if self.scrape_protocols.as_ref().is_some_and(Vec::is_empty) {
            return Err("`scrape_protocols`: it is empty: name one, or leave it out".into());
        }
        Ok(())
    }

    fn times(&self, global: &Global) -> Result<(Duration, Duration), String> {
        let interval = self.scrape_interval.map_or(global.interval, |span| span.0);
        if interval.is_zero() {
            return Err("`scrape_interval`: it must be above 0".into());
        }
        let timeout = match self.scrape_timeout {
            // The default must fit into a shorter interval.
            None => global.timeout.min(interval),
            Some(Span(timeout)) if timeout > interval => {
                let (timeout, interval) = (Span(timeout), Span(interval));
                return Err(format!("`scrape_timeout`: {timeout} is longer than the scrape_interval, {interval}"));
            }
            Some(Span(timeout)) if timeout.is_zero() => return Err("`scrape_timeout`: it must be above 0".into()),
            Some(Span(timeout)) => timeout,
        };
        Ok((interval, timeout))
    }
}

/// Refuses URLs where addresses belong; relabelling may make addresses of them.
fn check_addresses(discoveries: &[Discovery]) -> Result<(), String> {
    let groups = discoveries.iter().flat_map(|discovery| match discovery {
        Discovery::Static(groups) => &groups[..],
        _ => &[],
    });
    for (group, at) in groups.zip(0..) {
        let addresses = group.targets.iter().map(|target| target.get("__address__"));
        if let Some((target, address)) = addresses.enumerate().find(|(_, address)| address.contains('/')) {
            return Err(format!(
                "`static_configs[{at}].targets[{target}]`: {address:?} is no address: write HOST:PORT, and what else a \
                 URL has as the job's scheme, metrics_path and params"
            ));
        }
    }
    Ok(())
}
