//! The labels of a metric's series, as Prometheus' OTLP receiver makes them.

use std::collections::HashMap;
use std::sync::Arc;

use bonghwa_model::prometheus_names::{self as names, Strategy};
use bonghwa_model::{Value, json};
use bonghwa_promql::Labels;

use super::heartbeat::PushUp;
use super::identity;
use super::slice;

/// How OpenTelemetry's metrics are shown.
#[derive(Clone, Debug, Default)]
pub struct MetricsOptions {
    /// How names are made.
    pub strategy: Strategy,
    /// Resource attributes that become labels of every series, besides `job` and `instance`.
    pub promoted: Promoted,
    /// Whether scope name and version become the labels `otel_scope_name` and `otel_scope_version`.
    pub promote_scope: bool,
    /// When instances that push are shown to be down.
    pub push_up: PushUp,
}

/// Some of the resource attributes.
#[derive(Clone, Debug)]
pub enum Promoted {
    /// These.
    Named(Vec<String>),
    /// All but these. Heartbeats do without: an instance is the same whatever else its resource says.
    AllBut(Vec<String>),
}

impl Default for Promoted {
    fn default() -> Self {
        Promoted::Named(Vec::new())
    }
}

impl Promoted {
    fn has(&self, key: &String) -> bool {
        match self {
            Promoted::Named(named) => named.contains(key),
            Promoted::AllBut(ignored) => !ignored.contains(key),
        }
    }
}

/// The service of resources that name none.
pub(super) const UNKNOWN_SERVICE: &str = "unknown_service";

/// Labels without the metric's name, by name; a name may come twice.
pub(super) type Pairs = Vec<(String, String)>;

/// The series that describes each resource.
pub(crate) const TARGET_INFO: &str = "target_info";

/// What a resource says of all its series.
#[derive(Clone, Debug, Default)]
pub(super) struct Resource {
    /// `job`, `instance`, and promoted attributes.
    pub labels: Pairs,
    /// Without `job` and `instance` there is nothing to join with, and without others nothing to tell.
    pub target: Option<Arc<Target>>,
}

/// A series of `target_info`.
#[derive(Debug)]
pub(crate) struct Target {
    /// With its name.
    pub labels: Labels,
    /// Which slice it belongs to.
    pub place: u64,
    /// What it takes in memory, roughly.
    pub bytes: usize,
}

/// Turns attributes into labels; what resources became is kept.
pub(super) struct Labeller<'a> {
    options: &'a MetricsOptions,
    resources: HashMap<String, Resource>,
}

impl<'a> Labeller<'a> {
    pub fn new(options: &'a MetricsOptions) -> Self {
        Labeller { options, resources: HashMap::new() }
    }

    /// What a resource, given as JSON, says of its series. Its service is known to all signals, even where
    /// it is not called `service.name`.
    pub fn resource(&mut self, text: &str, service: &str) -> &Resource {
        if !self.resources.contains_key(text) {
            let resource = self.read_resource(text, service);
            self.resources.insert(text.to_owned(), resource);
        }
        &self.resources[text]
    }

    fn read_resource(&self, text: &str, service: &str) -> Resource {
        let attributes = json::parse_object(text);
        let find = |key: &str| attributes.iter().find(|(k, _)| k == key).map(|(_, value)| label_value(value));
        let mut labels = Pairs::new();
        if service != UNKNOWN_SERVICE {
            let job = match find("service.namespace").filter(|namespace| !namespace.is_empty()) {
                Some(namespace) => format!("{namespace}/{service}"),
                None => service.to_owned(),
            };
            labels.push(("job".to_owned(), job));
        }
        if let Some(instance) = find("service.instance.id") {
            labels.push(("instance".to_owned(), instance));
        }
        let mut info = Pairs::new();
        for (key, value) in attributes.iter().filter(|(key, _)| !key.is_empty()) {
            let pair = || (names::label_name(key, self.options.strategy), label_value(value));
            if self.options.promoted.has(key) {
                labels.push(pair());
            }
            if !matches!(key.as_str(), "service.name" | "service.namespace" | "service.instance.id") {
                info.push(pair());
            }
        }
        Resource { target: target(&labels, info), labels }
    }

    /// The labels of a point's attributes, given as JSON.
    pub fn attributes(&self, text: &str) -> Pairs {
        let attributes = json::parse_object(text);
        // A label without a name is none.
        let pairs = attributes.iter().filter(|(key, _)| !key.is_empty()).map(|(key, value)| {
            let name = names::label_name(key, self.options.strategy);
            (name, label_value(value))
        });
        joined(pairs.collect())
    }

    /// The labels of a scope, where they are asked for.
    pub fn scope(&self, name: &str, version: &str) -> Pairs {
        let labels = [("otel_scope_name", name), ("otel_scope_version", version)];
        let labels = labels.into_iter().filter(|(_, value)| self.options.promote_scope && !value.is_empty());
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The series of a resource with these labels and other attributes.
fn target(labels: &Pairs, info: Pairs) -> Option<Arc<Target>> {
    if labels.is_empty() || info.is_empty() {
        return None;
    }
    let target = labels.iter().filter(|(name, _)| matches!(name.as_str(), "job" | "instance"));
    let pairs: Pairs = joined(info).into_iter().chain(target.cloned()).collect();
    let labels = identity::named(&pairs, TARGET_INFO);
    Some(Arc::new(Target { bytes: identity::bytes(&labels), place: slice::place(&labels), labels }))
}

/// The labels of a series that came with Prometheus' own: its attributes as they are.
pub(super) fn verbatim(attributes: &str) -> Pairs {
    json::parse_object(attributes).into_iter().map(|(key, value)| (key, label_value(&value))).collect()
}

/// An attribute's value as a label, as OpenTelemetry's collector writes it: text as it is, numbers as short as may be,
/// bytes in base64, lists and maps as JSON.
fn label_value(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        Value::Null => String::new(),
        Value::Double(number) => number_label(*number),
        Value::Bytes(bytes) => json::base64(bytes),
        other => {
            let mut text = Vec::new();
            json::write_value(&mut text, other);
            String::from_utf8_lossy(&text).into_owned()
        }
    }
}

fn number_label(number: f64) -> String {
    match number.abs() {
        _ if number.is_infinite() => (if number > 0.0 { "+Inf" } else { "-Inf" }).to_owned(),
        // This is where numbers of ECMAScript get an exponent, with its sign.
        size if size >= 1e21 => format!("{number:e}").replace('e', "e+"),
        size if size < 1e-6 && size > 0.0 => format!("{number:e}"),
        _ => number.to_string(),
    }
}

/// Attributes whose keys became one name share a label: their values, joined by `;` in the order of
/// their keys (which come sorted).
fn joined(pairs: Pairs) -> Pairs {
    let mut joined: Pairs = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        match joined.iter_mut().find(|(n, _)| *n == name) {
            Some((_, values)) => *values = format!("{values};{value}"),
            None => joined.push((name, value)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn resources_become_job_and_instance() {
        let promoted = Promoted::Named(vec!["k8s.pod.name".into()]);
        let promoted = MetricsOptions { promoted, ..Default::default() };
        let mut labeller = Labeller::new(&promoted);
        let resource = labeller.resource(
            r#"{"k8s.pod.name":"p","service.instance.id":"i","service.name":"s","service.namespace":"n","zone":1}"#,
            "s",
        );
        assert_eq!(resource.labels, pairs(&[("job", "n/s"), ("instance", "i"), ("k8s_pod_name", "p")]));
        let info = r#"{__name__="target_info", instance="i", job="n/s", k8s_pod_name="p", zone="1"}"#;
        assert_eq!(resource.target.as_ref().map(|target| target.labels.to_string()), Some(info.to_owned()));
        assert!(labeller.resource("{}", UNKNOWN_SERVICE).labels.is_empty());
    }

    #[test]
    fn all_but_some_may_be_promoted() {
        let promoted = Promoted::AllBut(vec!["service.name".into(), "process.pid".into()]);
        let options = MetricsOptions { promoted, ..Default::default() };
        let text = r#"{"process.pid":7,"service.name":"s","service.version":"2","zone":1.0}"#;
        let labels = pairs(&[("job", "s"), ("service_version", "2"), ("zone", "1")]);
        assert_eq!(Labeller::new(&options).resource(text, "s").labels, labels);
    }

    #[test]
    fn values_are_written_as_collectors_write_them() {
        for (number, text) in [
            (11.0, "11"),
            (-0.5, "-0.5"),
            (1e20, "100000000000000000000"),
            (1.5e21, "1.5e+21"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(label_value(&Value::Double(number)), text);
        }
        assert_eq!(label_value(&Value::Bytes(vec![0, 255])), "AP8=");
        assert_eq!(label_value(&Value::Array(vec![Value::Int(1), Value::Null])), "[1,null]");
    }

    #[test]
    fn attributes_whose_names_meet_are_joined() {
        let options = MetricsOptions::default();
        let labeller = Labeller::new(&options);
        let labels = labeller.attributes(r#"{"":"x","a.b":"1","a_b":"2","c":true,"d":1.5}"#);
        assert_eq!(labels, pairs(&[("a_b", "1;2"), ("c", "true"), ("d", "1.5")]));
    }
}
