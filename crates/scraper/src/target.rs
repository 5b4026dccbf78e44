//! Targets: from the labels that discovery gives to what is scraped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::{Job, Span};
use crate::labels::{Labels, OwnedLabels};
use crate::relabel;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";

/// One endpoint that is scraped.
#[derive(Clone, Debug)]
pub struct Target {
    /// As it was discovered.
    pub discovered: Arc<OwnedLabels>,
    /// Its labels, by name.
    labels: Vec<(String, String)>,
    /// What is fetched.
    pub url: Url,
    /// How often.
    pub interval: Duration,
    /// How long that may take.
    pub timeout: Duration,
    /// A hash of labels and URL: targets with the same one are one.
    pub key: u64,
}

/// What became of discovered labels.
#[derive(Debug)]
pub enum Made {
    /// A target.
    Target(Box<Target>),
    /// Relabelling drops it.
    Dropped,
}

impl Target {
    /// Its labels, by name.
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// Runs the job's relabelling over discovered labels. An error says why they make no target.
    pub fn make(job: &Job, discovered: &Arc<OwnedLabels>) -> Result<Made, String> {
        let mut labels = with_defaults(job, discovered);
        if !relabel::apply(&job.relabel, &mut labels) {
            return Ok(Made::Dropped);
        }
        let address = labels.get(ADDRESS).to_owned();
        if address.is_empty() {
            return Err("it has no address: relabelling must leave __address__".into());
        }
        if address.contains('/') {
            return Err(format!("{address:?} is no address: write HOST:PORT, without a scheme or a path"));
        }
        let url = url(job, &labels, &address)?;
        let (interval, timeout) = times(&labels)?;
        labels.set_default("instance", address);
        let mut labels: Vec<(String, String)> = labels
            .iter()
            .filter(|(name, _)| !name.starts_with("__"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        labels.sort();
        let hash = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Labels<'_>>().hash();
        let key = xxh3_64_with_seed(url.as_str().as_bytes(), hash);
        let discovered = discovered.clone();
        Ok(Made::Target(Box::new(Target { discovered, labels, url, interval, timeout, key })))
    }

    /// Whether another one of the same key was also found by the same labels, and is scraped as often.
    pub fn same_as(&self, other: &Target) -> bool {
        self.discovered == other.discovered && self.interval == other.interval && self.timeout == other.timeout
    }

    /// The times at which it is scraped are this far into its interval.
    pub fn offset(&self) -> Duration {
        let nanos = self.interval.as_nanos() as u64;
        Duration::from_nanos(self.key.checked_rem(nanos).unwrap_or(0))
    }
}

/// Discovered labels and what the job says where they say nothing.
pub(crate) fn with_defaults(job: &Job, discovered: &OwnedLabels) -> OwnedLabels {
    let mut labels = discovered.clone();
    labels.set_default("job", job.name.clone());
    labels.set_default(INTERVAL, Span(job.interval).to_string());
    labels.set_default(TIMEOUT, Span(job.timeout).to_string());
    labels.set_default(METRICS_PATH, job.metrics_path.clone());
    labels.set_default(SCHEME, job.scheme.clone());
    for (name, values) in &job.params {
        if let Some(value) = values.first() {
            labels.set_default(format!("{PARAM}{name}"), value.clone());
        }
    }
    labels
}

fn url(job: &Job, labels: &OwnedLabels, address: &str) -> Result<Url, String> {
    let scheme = labels.get(SCHEME);
    if !matches!(scheme, "http" | "https") {
        return Err(format!("its scheme is {scheme:?}: it must be http or https"));
    }
    let mut url = Url::parse(&format!("{scheme}://{address}/"))
        .map_err(|error| format!("{address:?} is no address: {error}: write HOST:PORT"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{address:?} is no address: write HOST:PORT"));
    }
    url.set_path(labels.get(METRICS_PATH));
    let mut params: BTreeMap<&str, Vec<&str>> =
        job.params.iter().map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect())).collect();
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix(PARAM) else { continue };
        match params.entry(name).or_default() {
            values if values.is_empty() => values.push(value),
            values => values[0] = value,
        }
    }
    let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if !query.is_empty() {
        url.set_query(Some(&query));
    }
    Ok(url)
}

fn times(labels: &OwnedLabels) -> Result<(Duration, Duration), String> {
    let read = |name: &str| {
        let Span(time) = Span::parse(labels.get(name)).map_err(|message| format!("{name}: {message}"))?;
        if time.is_zero() { Err(format!("{name} is 0")) } else { Ok(time) }
    };
    let (interval, timeout) = (read(INTERVAL)?, read(TIMEOUT)?);
    if timeout > interval {
        let (timeout, interval) = (Span(timeout), Span(interval));
        return Err(format!("its timeout, {timeout}, is longer than its interval, {interval}"));
    }
    Ok((interval, timeout))
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
