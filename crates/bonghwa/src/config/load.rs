//! Where configuration comes from: defaults, then the file, then the environment, then flags.

use std::path::Path;

use bonghwa_block::CacheOptions;
use serde_json::{Map, Value};

use super::Config;
use crate::roles::Roles;
use crate::units::Size;

const PREFIX: &str = "BONGHWA_";

/// A configuration that cannot be used. The message is for the person who wrote it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("{path} cannot be read")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("{path}: {message}")]
    Syntax {
        /// Which file.
        path: String,
        /// Line and column included.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`{}", .nearest.as_ref().map(|n| format!(": did you mean `{n}`?")).unwrap_or_default())]
    UnknownKey {
        /// File or environment.
        origin: String,
        /// The key, with its section.
        key: String,
        /// The most similar key.
        nearest: Option<String>,
    },
    /// A value of the wrong type or out of range.
    #[error("`{key}`: {message}")]
    Value {
        /// The key, with its section.
        key: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Loads the configuration. `flags` are keys and values given on the command line.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[(&str, String)],
) -> Result<Config, ConfigError> {
    let defaults = serde_json::to_value(Config::default())
        .map_err(|e| ConfigError::Value { key: "defaults".into(), message: e.to_string() })?;
    let mut config = defaults.clone();
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        let given: Value = serde_yaml_ng::from_str(&text)
            .map_err(|e| ConfigError::Syntax { path: name.clone(), message: e.to_string() })?;
        if !given.is_null() {
            merge(&mut config, given, &name, "")?;
        }
    }
    for (name, text) in environment {
        // BONGHWA_CONFIG names the file; BONGHWA_ADDRESS and BONGHWA_TOKEN are the client's.
        let Some(key) = name.strip_prefix(PREFIX).filter(|k| !matches!(*k, "CONFIG" | "ADDRESS" | "TOKEN" | "CACHE"))
        else {
            continue;
        };
        let key = key.to_lowercase().replace("__", ".");
        set(&mut config, &key, &text, &format!("environment variable {name}"))?;
    }
    for (key, text) in flags {
        set(&mut config, key, text, "command line")?;
    }
    let config: Config = serde_path_to_error::deserialize(config).map_err(|e| {
        let key = e.path().to_string();
        ConfigError::Value { key, message: e.into_inner().to_string() }
    })?;
    check(&config)?;
    Ok(config)
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let error = |key: &str, message: String| Err(ConfigError::Value { key: key.into(), message });
    check_cluster(config)?;
    for (key, text) in [
        ("http_listen", &config.http_listen),
        ("grpc_listen", &config.grpc_listen),
        ("otlp_grpc_listen", &config.otlp_grpc_listen),
        ("otlp_http_listen", &config.otlp_http_listen),
    ] {
        if text.parse::<std::net::SocketAddr>().is_err() {
            return error(key, format!("{text:?} is no address: write IP:PORT, for example 127.0.0.1:7800"));
        }
    }
    let receiving = &config.distributor;
    for (key, label) in [
        ("distributor.ha_cluster_label", &receiving.ha_cluster_label),
        ("distributor.ha_replica_label", &receiving.ha_replica_label),
    ] {
        if label.is_empty() || label == "__name__" {
            return error(key, format!("{label:?} cannot tell replicas apart: name a label that the servers add"));
        }
    }
    if receiving.ha_cluster_label == receiving.ha_replica_label {
        return error("distributor.ha_replica_label", "it is the label of the cluster too: use two".into());
    }
    if receiving.ha_failover.0 < std::time::Duration::from_secs(1) {
        return error("distributor.ha_failover", "it must be 1s or more: scrapes are seconds apart".into());
    }
    if config.ingester.partitions_per_signal == 0 {
        return error("ingester.partitions_per_signal", "0 partitions take no data: 1 is the least".into());
    }
    if config.ingester.head_bytes.0 < config.ingester.flush_bytes.0 {
        let message = format!(
            "{} is less than ingester.flush_bytes ({})",
            config.ingester.head_bytes, config.ingester.flush_bytes
        );
        return error("ingester.head_bytes", message);
    }
    if let Err(message) = config.compactor.options(&config.retention).check() {
        return error("compactor", message);
    }
    if config.auth.enabled && config.auth.file.as_os_str().is_empty() {
        return error(
            "auth.file",
            "it is empty, and auth.enabled asks for callers: name a file that lists them".into(),
        );
    }
    if let Err(message) = config.scrape.options(config.cluster.unreachable_after.0) {
        return error("scrape.tenant", message);
    }
    let token = &config.telemetry.otlp_token;
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "it has a character that Authorization cannot carry: use letters, digits and signs";
        return error("telemetry.otlp_token", message.into());
    }
    if let Err((key, message)) = config.metrics.check() {
        return error(key, message);
    }
    for (key, limit) in [("query.max_series", config.query.max_series), ("query.max_samples", config.query.max_samples)]
    {
        if limit == 0 {
            return error(key, "0 would refuse every query of PromQL: give 1 or more".into());
        }
    }
    if config.query.concurrent == 0 {
        return error("query.concurrent", "0 would let no query run: give 1 or more".into());
    }
    let disk = config.query.cache_disk_bytes;
    if (1..CacheOptions::MIN_DISK_BYTES).contains(&disk.0) {
        let least = Size(CacheOptions::MIN_DISK_BYTES);
        return error(
            "query.cache_disk_bytes",
            format!("{disk} is too little to be of use: give 0, or {least} or more"),
        );
    }
    if !matches!(config.telemetry.log_format.as_str(), "text" | "json") {
        return error(
            "telemetry.log_format",
            format!("{:?} is neither `text` nor `json`", config.telemetry.log_format),
        );
    }
    let endpoint = &config.s3.endpoint;
    if !endpoint.is_empty() && !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
        return error("s3.endpoint", format!("{endpoint:?} is no URL: write http://{endpoint} or https://{endpoint}"));
    }
    crate::storage::check_url(&config.object_store_url())
        .map_err(|message| ConfigError::Value { key: "object_store".into(), message })
}

/// What a node of a cluster must know of it.
fn check_cluster(config: &Config) -> Result<(), ConfigError> {
    let error = |key: &str, message: String| Err(ConfigError::Value { key: key.into(), message });
    let roles = match Roles::parse(&config.target) {
        Ok(roles) => roles,
        Err(message) => return error("target", message),
    };
    for (key, addresses) in [("join", config.join_addresses()), ("meta_peers", config.meta_peer_addresses())] {
        for address in addresses {
            if !address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
                return error(key, format!("{address:?} is no HOST:PORT, for example meta-0:7801"));
            }
        }
    }
    let asked = config.target.split(',').any(|role| role.trim() == "scraper");
    if asked && !config.scrape.is_on() {
        return error("scrape.config", "it is empty, and the target names scraper: name a file with jobs".into());
    }
    if !roles.has("meta") && config.join_addresses().is_empty() {
        return error("join", format!("it is empty, and the target {:?} runs no meta: name its nodes", config.target));
    }
    if !roles.has("meta") && !config.meta_peers.is_empty() {
        return error("meta_peers", format!("they are for meta nodes, and the target is {:?}", config.target));
    }
    let tls = &config.tls;
    for (key, value) in [("tls.cert", &tls.cert), ("tls.key", &tls.key), ("tls.ca", &tls.ca)] {
        let any = [&tls.cert, &tls.key, &tls.ca].iter().any(|file| !file.is_empty());
        if any && value.is_empty() {
            return error(key, "it is missing: TLS between roles needs tls.cert, tls.key and tls.ca".into());
        }
    }
    let cluster = &config.cluster;
    if cluster.unreachable_after.0 < cluster.heartbeat.0 * 2 {
        return error("cluster.unreachable_after", "it must be two of cluster.heartbeat or more".into());
    }
    if cluster.lost_after.0 <= cluster.unreachable_after.0 {
        return error("cluster.lost_after", "it must be longer than cluster.unreachable_after".into());
    }
    if cluster.log_heartbeat.0 < std::time::Duration::from_millis(10) {
        return error("cluster.log_heartbeat", "it must be 10 ms or more".into());
    }
    Ok(())
}

/// Keys below these are the user's own.
fn is_open(path: &str) -> bool {
    path == "limits.overrides" || path == "retention.tenants"
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn unknown(origin: &str, section: &str, key: &str, known: &Map<String, Value>) -> ConfigError {
    let nearest = known
        .keys()
        .map(|k| (strsim::damerau_levenshtein(k, key), k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len() / 3)
        .map(|(_, k)| join(section, k));
    ConfigError::UnknownKey { origin: origin.to_owned(), key: join(section, key), nearest }
}

fn merge(into: &mut Value, given: Value, origin: &str, section: &str) -> Result<(), ConfigError> {
    match (into, given) {
        (Value::Object(known), Value::Object(given)) => {
            for (key, value) in given {
                if !known.contains_key(&key) {
                    if !is_open(section) {
                        return Err(unknown(origin, section, &key, known));
                    }
                    known.insert(key, value);
                    continue;
                }
                if let Some(slot) = known.get_mut(&key) {
                    merge(slot, value, origin, &join(section, &key))?;
                }
            }
            Ok(())
        }
        (Value::Object(_), other) => Err(ConfigError::Value {
            key: if section.is_empty() { origin.to_owned() } else { section.to_owned() },
            message: format!("{other} stands where a section with keys belongs"),
        }),
        (slot, value) => {
            *slot = value;
            Ok(())
        }
    }
}

/// Sets one key from text; numbers and booleans are read as the default's type asks, items of a list stand between commas.
fn set(config: &mut Value, key: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
    let mut at = config;
    let mut section = String::new();
    for part in key.split('.') {
        if let Value::Object(known) = &*at
            && !known.contains_key(part)
        {
            return Err(unknown(origin, &section, part, known));
        }
        let nearest = Some(section.clone());
        // A key below one that is no section.
        at = at.get_mut(part).ok_or_else(|| ConfigError::UnknownKey {
            origin: origin.into(),
            key: key.into(),
            nearest,
        })?;
        section = join(&section, part);
    }
    *at = match at {
        Value::Number(_) | Value::Bool(_) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into())),
        Value::Object(_) => {
            return Err(ConfigError::Value {
                key: key.into(),
                message: format!("{origin} gives a value to a section: name a key in it"),
            });
        }
        Value::Array(_) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
        _ => Value::String(text.to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn from_yaml(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), std::iter::empty(), &[])
            .map_err(|e| e.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "node_name: file\nhttp_listen: 127.0.0.1:1\ningester: { flush_age: 1s }\n")
            .unwrap();
        let environment = [
            ("BONGHWA_INGESTER__FLUSH_AGE".to_owned(), "2s".to_owned()),
            ("BONGHWA_NODE_NAME".to_owned(), "environment".to_owned()),
            ("BONGHWA_METRICS__PROMOTE_RESOURCE_ATTRIBUTES".to_owned(), "k8s.pod.name, zone".to_owned()),
            ("BONGHWA_TOKEN".to_owned(), "of the client".to_owned()),
            ("PATH".to_owned(), "/".to_owned()),
        ];
        let flags = [("node_name", "flag".to_owned())];
        let config = load(Some(file.path()), environment.into_iter(), &flags).unwrap();
        assert_eq!((config.node_name.as_str(), config.http_listen.as_str()), ("flag", "127.0.0.1:1"));
        assert_eq!(config.metrics.promote_resource_attributes, ["k8s.pod.name", "zone"]);
        assert_eq!(config.ingester.flush_age.to_string(), "2s");
    }

    #[test]
    fn mistakes_name_the_key_and_the_remedy() {
        for (text, expected) in [
            ("htp_listen: x", "FILE: unknown key `htp_listen`: did you mean `http_listen`?"),
            (
                "ingester: {flush_sise: 1}",
                "FILE: unknown key `ingester.flush_sise`: did you mean `ingester.flush_age`?",
            ),
            ("ingester: {flush_bytes: 3 apples}", "`ingester.flush_bytes`: \"3 apples\" is no size"),
            ("http_listen: localhost", "`http_listen`: \"localhost\" is no address"),
            ("target: moon", "`target`: \"moon\" is no role"),
            ("target: 'all,scraper'", "`scrape.config`: it is empty"),
            ("scrape: {tenant: 'a b'}", "`scrape.tenant`: "),
            ("object_store: ftp://x", "`object_store`: \"ftp://x\""),
            ("s3: {endpoint: 'minio:9000'}", "`s3.endpoint`: \"minio:9000\" is no URL: write http://minio:9000"),
            ("query: 5", "`query`: 5 stands where a section"),
            ("a: [", "FILE: "),
            ("auth: {enabled: true}", "`auth.file`: it is empty"),
            ("auth: {callers: []}", "FILE: unknown key `auth.callers`"),
            ("telemetry: {otlp_token: 'a b'}", "`telemetry.otlp_token`: it has a character"),
            ("limits: {overrides: {shop: {log_rate: 5}}}", "limits.overrides.shop"),
            ("query: {concurrent: 0}", "`query.concurrent`: 0 would let no query run"),
            ("metrics: {ignore_resource_attributes: [a]}", "`metrics.ignore_resource_attributes`: nothing is ignored"),
            (
                "metrics: {promote_all_resource_attributes: true, promote_resource_attributes: [a]}",
                "`metrics.promote_resource_attributes`: metrics.promote_all_resource_attributes promotes all",
            ),
            ("metrics: {push_up: {min_silence: 10ms}}", "`metrics.push_up.min_silence`: 10ms is not from"),
            ("metrics: {push_up: {forget_after: 1m}}", "`metrics.push_up.forget_after`: it must be longer"),
            ("metrics: {span_metrics: {interval: 10ms}}", "`metrics.span_metrics.interval`: 10ms is too short"),
            ("metrics: {span_metrics: {forget_after: 15s}}", "`metrics.span_metrics.forget_after`: it must be longer"),
            ("metrics: {span_metrics: {max_series: 10}}", "`metrics.span_metrics.max_series`: 10 is not enough"),
            ("metrics: {service_graph: {wait: 10ms}}", "`metrics.service_graph.wait`: 10ms is too short"),
            ("metrics: {service_graph: {max_items: 0}}", "`metrics.service_graph.max_items`: 0 lets no span wait"),
            (
                "metrics: {service_graph: {peer_attributes: ['']}}",
                "`metrics.service_graph.peer_attributes`: one of them",
            ),
            (
                "metrics: {service_graph: {forget_after: 15s}}",
                "`metrics.service_graph.forget_after`: it must be longer",
            ),
            ("metrics: {service_graph: {max_series: 20}}", "`metrics.service_graph.max_series`: 20 is not enough"),
        ] {
            let error = from_yaml(text).unwrap_err();
            assert!(error.starts_with(expected) || error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = from_yaml("s3: {secret_access_key: hush}\ntelemetry: {otlp_token: hush}").unwrap();
        let shown = config.to_yaml();
        assert_eq!((shown.contains("hush"), shown.matches("<hidden>").count()), (false, 2), "{shown}");
    }

    #[test]
    fn what_is_shown_can_be_loaded() {
        let shown = Config::default().to_yaml();
        assert_eq!(from_yaml(&shown).unwrap().to_yaml(), shown);
    }
}
