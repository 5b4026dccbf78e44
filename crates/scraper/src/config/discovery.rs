//! Where targets are found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::Value;

use super::http::{self, HttpOptions};
use super::read;
use super::values::{Span, Text, flag};
use crate::discovery::{Group, GroupSection};

/// Ways to find targets that Prometheus has and this crate has not.
pub(super) const UNSUPPORTED: &[&str] = &[
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// One way of finding targets.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// They are listed in the configuration.
    Static(Vec<Group>),
    /// They are listed in files.
    File(FileDiscovery),
    /// A server lists them.
    Http(Box<HttpDiscovery>),
    /// Kubernetes has them.
    Kubernetes(Box<KubernetesDiscovery>),
}

/// `file_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDiscovery {
    /// Patterns of paths that end in .json, .yml or .yaml.
    pub files: Vec<String>,
    /// How often the files are read again at the latest.
    pub refresh: Duration,
}

/// `http_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpDiscovery {
    /// What answers with the list.
    pub url: String,
    /// How often it is asked.
    pub refresh: Duration,
    /// How.
    pub http: HttpOptions,
}

/// `kubernetes_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesDiscovery {
    /// What becomes a target.
    pub role: Role,
    /// URL of the API server; none: the one of the cluster that this process runs in.
    pub api_server: Option<String>,
    /// How it is asked.
    pub http: HttpOptions,
    /// Where; empty: everywhere.
    pub namespaces: Vec<String>,
    /// Also in the namespace that this process runs in.
    pub own_namespace: bool,
    /// Which objects.
    pub selectors: Vec<Selector>,
    /// Whether targets of pods get the labels of their node.
    pub attach_node: bool,
}

/// What Kubernetes' objects become targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Role {
    Node,
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
}

/// Which objects of a role are looked at.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// The kind of object.
    pub role: Role,
    /// By labels.
    #[serde(default)]
    pub label: String,
    /// By fields.
    #[serde(default)]
    pub field: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSection {
    files: Vec<String>,
    #[serde(default)]
    refresh_interval: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpSection {
    url: String,
    #[serde(default)]
    refresh_interval: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KubernetesSection {
    role: Role,
    #[serde(default)]
    api_server: Option<String>,
    #[serde(default)]
    kubeconfig_file: Option<PathBuf>,
    #[serde(default)]
    namespaces: Namespaces,
    #[serde(default)]
    selectors: Vec<Selector>,
    #[serde(default)]
    attach_metadata: Attach,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Namespaces {
    names: Vec<Text>,
    #[serde(deserialize_with = "flag")]
    own_namespace: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Attach {
    #[serde(deserialize_with = "flag")]
    node: bool,
    #[serde(deserialize_with = "flag")]
    namespace: bool,
}

/// The lists of a job.
#[derive(Default)]
pub(super) struct Sections {
    pub statics: Vec<Value>,
    pub files: Vec<Value>,
    pub http: Vec<Value>,
    pub kubernetes: Vec<Value>,
}

impl Sections {
    /// Reads them; paths are relative to the file's directory.
    pub(super) fn read(self, dir: &Path) -> Result<Vec<Discovery>, String> {
        let mut found = Vec::new();
        let mut groups = Vec::new();
        for (at, section) in self.statics.into_iter().enumerate() {
            let section: GroupSection = read::read(section, &format!("static_configs[{at}]"))?;
            groups.push(section.group(at.to_string()));
        }
        if !groups.is_empty() {
            found.push(Discovery::Static(groups));
        }
        for (at, section) in self.files.into_iter().enumerate() {
            found.push(file(section, &format!("file_sd_configs[{at}]"), dir)?);
        }
        for (at, section) in self.http.into_iter().enumerate() {
            found.push(http(section, &format!("http_sd_configs[{at}]"), dir)?);
        }
        for (at, section) in self.kubernetes.into_iter().enumerate() {
            found.push(kubernetes(section, &format!("kubernetes_sd_configs[{at}]"), dir)?);
        }
        Ok(found)
    }
}

fn section<T: DeserializeOwned>(mut value: Value, path: &str, dir: &Path) -> Result<(T, HttpOptions), String> {
    let http = HttpOptions::take(&mut value, path, dir)?;
    Ok((read::read_among(value, path, http::KEYS)?, http))
}

fn refresh(given: Option<Span>, default: u64, path: &str) -> Result<Duration, String> {
    match given {
        None => Ok(Duration::from_secs(default)),
        Some(Span(Duration::ZERO)) => Err(format!("`{path}.refresh_interval`: it must be above 0")),
        Some(Span(every)) => Ok(every),
    }
}

fn file(value: Value, path: &str, dir: &Path) -> Result<Discovery, String> {
    let section: FileSection = read::read(value, path)?;
    if section.files.is_empty() {
        return Err(format!("`{path}.files`: it is empty: name files"));
    }
    let mut files = Vec::new();
    for pattern in &section.files {
        if !["json", "yml", "yaml"].iter().any(|end| pattern.ends_with(&format!(".{end}"))) {
            return Err(format!("`{path}.files`: {pattern:?} does not end in .json, .yml or .yaml"));
        }
        let pattern = dir.join(pattern).to_string_lossy().into_owned();
        glob::Pattern::new(&pattern).map_err(|error| format!("`{path}.files`: {pattern:?} is no pattern: {error}"))?;
        files.push(pattern);
    }
    Ok(Discovery::File(FileDiscovery { files, refresh: refresh(section.refresh_interval, 300, path)? }))
}

fn http(value: Value, path: &str, dir: &Path) -> Result<Discovery, String> {
    let (section, http): (HttpSection, _) = section(value, path, dir)?;
    check_url(&section.url).map_err(|message| format!("`{path}.url`: {message}"))?;
    let refresh = refresh(section.refresh_interval, 60, path)?;
    Ok(Discovery::Http(Box::new(HttpDiscovery { url: section.url, refresh, http })))
}

fn check_url(url: &str) -> Result<(), String> {
    match url::Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(()),
        _ => Err(format!("{url:?} is no URL: write http://HOST/PATH or https://HOST/PATH")),
    }
}

fn kubernetes(value: Value, path: &str, dir: &Path) -> Result<Discovery, String> {
    let (section, http): (KubernetesSection, _) = section(value, path, dir)?;
    if section.kubeconfig_file.is_some() {
        let message = "kubeconfig files are not read: give api_server, with authorization and tls_config, or run inside \
                       of the cluster";
        return Err(format!("`{path}.kubeconfig_file`: {message}"));
    }
    if section.attach_metadata.namespace {
        let message = "labels of namespaces are not attached: leave it out";
        return Err(format!("`{path}.attach_metadata.namespace`: {message}"));
    }
    if let Some(url) = &section.api_server {
        check_url(url).map_err(|message| format!("`{path}.api_server`: {message}"))?;
    } else if http != HttpOptions::default() {
        let message = "without it the service account of the pod is used: leave authorization and tls_config out, or \
                       give it";
        return Err(format!("`{path}.api_server`: {message}"));
    }
    let asked = crate::discovery::kubernetes::kinds(section.role);
    let mut seen = BTreeMap::new();
    for selector in &section.selectors {
        if !asked.contains(&selector.role) {
            let message = format!("{:?} has none of that role: {asked:?}", section.role);
            return Err(format!("`{path}.selectors`: {message}"));
        }
        if seen.insert(selector.role, ()).is_some() {
            return Err(format!("`{path}.selectors`: {:?} is there twice", selector.role));
        }
    }
    Ok(Discovery::Kubernetes(Box::new(KubernetesDiscovery {
        role: section.role,
        api_server: section.api_server,
        http,
        namespaces: section.namespaces.names.into_iter().map(|name| name.0).collect(),
        own_namespace: section.namespaces.own_namespace,
        selectors: section.selectors,
        attach_node: section.attach_metadata.node,
    })))
}
