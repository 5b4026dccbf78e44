//! Finding targets. Each way of it keeps a list of groups current, and says when it changed.

mod files;
mod http;
pub(crate) mod kubernetes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bonghwa_cluster::seam;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::config::{Discovery, Text};
use crate::labels::OwnedLabels;
use crate::metrics;

/// Targets that were found together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Where: a group replaces the one that was found there before.
    pub source: String,
    /// The targets' own labels, `__address__` among them.
    pub targets: Vec<OwnedLabels>,
    /// Labels of those targets that do not have them.
    pub labels: OwnedLabels,
}

/// A group as it is written in configurations, files and answers. Programs in Go write an empty list as `null`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GroupSection {
    targets: Option<Vec<Text>>,
    labels: Option<BTreeMap<String, Text>>,
}

impl GroupSection {
    /// The group that it describes.
    pub fn group(self, source: String) -> Group {
        Group {
            source,
            targets: self
                .targets
                .into_iter()
                .flatten()
                .map(|address| [("__address__", address.0)].into_iter().collect())
                .collect(),
            labels: self.labels.into_iter().flatten().map(|(name, value)| (name, value.0)).collect(),
        }
    }
}

/// The groups of a list in JSON; `null` is an empty one.
fn read_json(text: &[u8]) -> Result<Vec<GroupSection>, String> {
    let sections: Option<Vec<GroupSection>> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(sections.unwrap_or_default())
}

/// The groups of one way of finding them, and where to tell of changes.
pub(crate) struct Found {
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
    changed: Arc<Notify>,
}

impl Found {
    fn new(changed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Found { groups: Mutex::default(), changed })
    }

    /// The groups now.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.lock().values().cloned().collect()
    }

    /// Replaces all of them.
    pub fn replace(&self, groups: impl IntoIterator<Item = Group>) {
        let new: BTreeMap<String, Arc<Group>> =
            groups.into_iter().map(|group| (group.source.clone(), Arc::new(group))).collect();
        {
            let mut groups = self.groups.lock();
            if *groups == new {
                return;
            }
            *groups = new;
        }
        self.changed.notify_one();
    }
}

/// A way of finding targets, at work until it is dropped.
pub(crate) struct Finder {
    pub found: Arc<Found>,
    _task: Option<seam::Task>,
}

impl Finder {
    /// Starts it. `changed` is notified when groups come or go.
    pub fn start(job: &str, discovery: &Discovery, changed: Arc<Notify>) -> Finder {
        let found = Found::new(changed);
        let task = match discovery {
            Discovery::Static(groups) => {
                found.replace(groups.clone());
                None
            }
            Discovery::File(options) => Some(seam::spawn(files::run(job.to_owned(), options.clone(), found.clone()))),
            Discovery::Http(options) => {
                Some(seam::spawn(http::run(job.to_owned(), (**options).clone(), found.clone())))
            }
            Discovery::Kubernetes(options) => {
                Some(seam::spawn(kubernetes::run(job.to_owned(), (**options).clone(), found.clone())))
            }
        };
        Finder { found, _task: task }
    }
}

/// Tells of a failure; what was found before stays.
fn failed(job: &str, kind: &str, error: &str) {
    metrics::DISCOVERY_FAILURES.with_label_values(&[job, kind]).inc();
    tracing::warn!(job, kind, error, "targets cannot be found anew: those found before stay");
}
