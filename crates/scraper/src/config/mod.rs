//! Prometheus' `scrape_configs`: the whole format, checked, with errors that name file, job and key.
//!
//! Like Prometheus, variables of the environment are filled in in the values of `external_labels`, and nowhere else.

mod discovery;
mod environment;
mod global;
mod http;
mod job;
mod protocol;
mod read;
mod relabel;
mod values;
mod yaml;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml_ng::Value;

pub use discovery::{Discovery, FileDiscovery, HttpDiscovery, KubernetesDiscovery, Role, Selector};
pub use http::{Authorization, BasicAuth, HeaderValues, HttpOptions, Secret, TlsOptions, TlsVersion};
pub use job::{Job, Limits};
pub use protocol::{Escaping, NameScheme, Protocol, accept};
pub use read::ConfigError;
pub use values::{Size, Span, Text};

pub(crate) use yaml::yaml;

use global::Global;

/// Sections of a whole prometheus.yml that are about something else than scraping.
const OTHERS: [&str; 8] =
    ["rule_files", "alerting", "remote_write", "remote_read", "storage", "tracing", "otlp", "runtime"];
/// What this crate reads.
const OWN: [&str; 3] = ["global", "scrape_configs", "scrape_config_files"];

/// A scrape configuration.
#[derive(Clone, Debug, Default)]
pub struct ScrapeConfig {
    /// The jobs, in the order of the file.
    pub jobs: Vec<Job>,
    /// Sections that are in the file and not used here.
    pub unused: Vec<String>,
    /// The text of all files that it was read from: another text is another configuration.
    pub(crate) texts: Vec<(PathBuf, String)>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JobsFile {
    scrape_configs: Vec<Value>,
}

impl ScrapeConfig {
    /// Reads a file, and those that its `scrape_config_files` names. It blocks.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let fail = |message: String| ConfigError { file: path.to_owned(), job: None, message };
        let dir = path.parent().unwrap_or(Path::new(""));
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let mut file = yaml(&text).map_err(fail)?;
        let mut config = ScrapeConfig { texts: vec![(path.to_owned(), text)], ..Default::default() };
        if let Value::Mapping(sections) = &file {
            let names = sections.keys().map(|key| key.as_str().unwrap_or_default());
            config.unused = names.filter(|name| OTHERS.contains(name)).map(str::to_owned).collect();
        }
        read::take(&mut file, &OTHERS);
        let own = match file {
            Value::Null => Value::Mapping(Default::default()),
            file => file,
        };
        let Value::Mapping(mut own) = own else {
            return Err(fail("it holds no sections: write `scrape_configs:` and a list of jobs".into()));
        };
        let global = Global::read(own.remove("global").unwrap_or_default()).map_err(fail)?;
        let jobs = own.remove("scrape_configs").unwrap_or_default();
        let more = own.remove("scrape_config_files").unwrap_or_default();
        if let Some(key) = own.keys().next() {
            let name = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
            return Err(fail(read::unknown_key("", &name, OWN.iter().chain(&OTHERS).copied())));
        }
        let jobs: Vec<Value> = read_list(jobs, "scrape_configs").map_err(fail)?;
        config.add(jobs, &global, path)?;
        let patterns: Vec<String> = read_list(more, "scrape_config_files").map_err(fail)?;
        for pattern in patterns {
            let pattern = dir.join(pattern).to_string_lossy().into_owned();
            let files = glob::glob(&pattern).map_err(|error| fail(format!("`scrape_config_files`: {error}")))?;
            for file in files.flatten() {
                config.add_file(&file, &global)?;
            }
        }
        let mut names = BTreeSet::new();
        match config.jobs.iter().find(|job| !names.insert(&job.name)) {
            Some(job) => {
                let message = "the name is there twice: each job needs one of its own";
                Err(ConfigError { file: path.to_owned(), job: Some(job.name.clone()), message: message.into() })
            }
            None => Ok(config),
        }
    }

    fn add_file(&mut self, path: &Path, global: &Global) -> Result<(), ConfigError> {
        let fail = |message: String| ConfigError { file: path.to_owned(), job: None, message };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let file: JobsFile = read::read(yaml(&text).map_err(fail)?, "").map_err(fail)?;
        self.texts.push((path.to_owned(), text));
        self.add(file.scrape_configs, global, path)
    }

    fn add(&mut self, jobs: Vec<Value>, global: &Global, path: &Path) -> Result<(), ConfigError> {
        let dir = path.parent().unwrap_or(Path::new(""));
        for (at, job) in jobs.into_iter().enumerate() {
            let name = job.get("job_name").and_then(Value::as_str);
            let name = name.map_or_else(|| format!("scrape_configs[{at}]"), str::to_owned);
            let fail = |message| ConfigError { file: path.to_owned(), job: Some(name.clone()), message };
            self.jobs.push(Job::read(job, global, dir).map_err(fail)?);
        }
        Ok(())
    }

    /// The texts that make the configuration, to tell whether it changed.
    pub(crate) fn same_as(&self, other: &ScrapeConfig) -> bool {
        self.texts == other.texts
    }
}

fn read_list<T: serde::de::DeserializeOwned>(value: Value, key: &str) -> Result<Vec<T>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        value => read::read(value, key),
    }
}

/// Rules, for tests of what they do.
#[cfg(test)]
pub(crate) fn read_rules(list: Vec<Value>) -> Result<Vec<crate::relabel::Rule>, String> {
    relabel::rules(list, "")
}

/// A job `j` of these keys, for tests of what becomes of it.
#[cfg(test)]
pub(crate) fn read_job(keys: &str) -> Result<Job, String> {
    let value = yaml(&format!("job_name: j\n{keys}"))?;
    Job::read(value, &Global::read(Value::Null)?, Path::new(""))
}

#[cfg(test)]
mod tests;
