//! From Kubernetes' objects to groups of targets, as Prometheus' `kubernetes_sd_config` documents them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::labels::{add_container, add_meta, add_node, add_pod, address, set};
use super::objects::{Container, Endpoints, Ingress, Meta, Node, Pod, Reference, Service, Slice};
use crate::discovery::Group;
use crate::labels::OwnedLabels;

/// Objects by namespace and name.
pub(super) type ByName<T> = BTreeMap<(String, String), Arc<T>>;

/// What targets of endpoints are completed with.
pub(super) struct Others<'a> {
    pub services: &'a ByName<Service>,
    pub pods: &'a ByName<Pod>,
    /// Empty where nodes are not attached.
    pub nodes: &'a ByName<Node>,
}

/// The kinds of addresses of a node, the best first.
const ADDRESSES: [&str; 6] = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

fn group(kind: &str, meta: &Meta, mut labels: OwnedLabels, targets: Vec<OwnedLabels>) -> Group {
    let source = match meta.namespace.as_str() {
        "" => format!("{kind}/{}", meta.name),
        namespace => {
            set(&mut labels, "namespace", namespace);
            format!("{kind}/{namespace}/{}", meta.name)
        }
    };
    Group { source, targets, labels }
}

fn target(address: String) -> OwnedLabels {
    [("__address__", address)].into_iter().collect()
}

/// A node: its kubelet.
pub(super) fn node(node: &Node) -> Option<Group> {
    let addresses = &node.status.addresses;
    let best = ADDRESSES.iter().find_map(|kind| addresses.iter().find(|address| address.kind == *kind))?;
    let mut target = target(address(&best.address, node.status.daemon_endpoints.kubelet_endpoint.port));
    target.set("instance", node.metadata.name.clone());
    for address in addresses.iter().rev() {
        // The first of a kind is the last to be set.
        set(&mut target, &format!("node_address_{}", super::labels::sanitized(&address.kind)), address.address.clone());
    }
    let mut labels = OwnedLabels::default();
    add_meta(&mut labels, "node", &node.metadata);
    set(&mut labels, "node_provider_id", node.spec.provider_id.clone());
    Some(group("node", &node.metadata, labels, vec![target]))
}

/// A pod: each port of each container, and containers without any.
pub(super) fn pod(pod: &Pod, nodes: &ByName<Node>) -> Option<Group> {
    if pod.status.pod_ip.is_empty() {
        return None;
    }
    let mut targets = Vec::new();
    for (init, container) in containers(pod) {
        let ip = &pod.status.pod_ip;
        let ports = container.ports.iter().map(|port| (Some(port), address(ip, port.container_port)));
        let without = container.ports.is_empty().then(|| (None, ip.clone()));
        for (port, address) in ports.chain(without) {
            let mut target = target(address);
            add_container(&mut target, container, port);
            set(&mut target, "pod_container_init", init.to_string());
            set(&mut target, "pod_container_id", container_id(pod, container));
            targets.push(target);
        }
    }
    let mut labels = OwnedLabels::default();
    add_pod(&mut labels, pod);
    if let Some(node) = named(nodes, &pod.spec.node_name) {
        add_node(&mut labels, node);
    }
    Some(group("pod", &pod.metadata, labels, targets))
}

/// A service: each of its ports, by its name in DNS.
pub(super) fn service(service: &Service) -> Group {
    let (meta, spec) = (&service.metadata, &service.spec);
    let kind = if spec.kind.is_empty() { "ClusterIP" } else { &spec.kind };
    let targets = spec.ports.iter().map(|port| {
        let mut target = target(address(&format!("{}.{}.svc", meta.name, meta.namespace), port.port));
        set(&mut target, "service_port_name", port.name.clone());
        set(&mut target, "service_port_number", port.port.to_string());
        set(&mut target, "service_port_protocol", port.protocol.0.clone());
        set(&mut target, "service_type", kind);
        match kind {
            "ExternalName" => set(&mut target, "service_external_name", spec.external_name.clone()),
            _ => set(&mut target, "service_cluster_ip", spec.cluster_ip.clone()),
        }
        if kind == "LoadBalancer" {
            set(&mut target, "service_loadbalancer_ip", spec.load_balancer_ip.clone());
        }
        target
    });
    let targets = targets.collect();
    let mut labels = OwnedLabels::default();
    add_meta(&mut labels, "service", meta);
    group("svc", meta, labels, targets)
}

/// Endpoints: each address and port, ready or not, and what else their pods listen on.
pub(super) fn endpoints(endpoints: &Endpoints, others: &Others<'_>) -> Group {
    let meta = &endpoints.metadata;
    let mut found = OfPods { others, targets: Vec::new(), seen: BTreeMap::new() };
    for subset in endpoints.subsets.iter().flatten() {
        let ready = subset.addresses.iter().map(|address| (true, address));
        let all: Vec<_> = ready.chain(subset.not_ready_addresses.iter().map(|address| (false, address))).collect();
        for port in &subset.ports {
            for (ready, of) in &all {
                let mut target = target(address(&of.ip, port.port));
                set(&mut target, "endpoint_port_name", port.name.clone());
                set(&mut target, "endpoint_port_protocol", port.protocol.0.clone());
                set(&mut target, "endpoint_ready", ready.to_string());
                set(&mut target, "endpoint_node_name", of.node_name.clone());
                set(&mut target, "endpoint_hostname", of.hostname.clone());
                if let Some(reference) = &of.target_ref {
                    set(&mut target, "endpoint_address_target_kind", reference.kind.clone());
                    set(&mut target, "endpoint_address_target_name", reference.name.clone());
                }
                found.add(target, &of.node_name, of.target_ref.as_ref(), &meta.namespace, port.port);
            }
        }
    }
    let mut labels = OwnedLabels::default();
    add_meta(&mut labels, "endpoints", meta);
    add_service(&mut labels, others, &meta.namespace, &meta.name);
    group("endpoints", meta, labels, found.finish())
}

/// A slice of endpoints: the same.
pub(super) fn slice(slice: &Slice, others: &Others<'_>) -> Group {
    let meta = &slice.metadata;
    let mut found = OfPods { others, targets: Vec::new(), seen: BTreeMap::new() };
    for port in slice.ports.iter().flatten() {
        for endpoint in slice.endpoints.iter().flatten() {
            for ip in &endpoint.addresses {
                let mut target = match port.port {
                    Some(port) => target(address(ip, port)),
                    None => target(ip.clone()),
                };
                let conditions = &endpoint.conditions;
                for (name, value) in [
                    ("port_name", port.name.clone()),
                    ("port_protocol", port.protocol.0.clone()),
                    ("port", port.port.map(|port| port.to_string()).unwrap_or_default()),
                    ("port_app_protocol", port.app_protocol.clone()),
                    ("endpoint_conditions_ready", shown(conditions.ready)),
                    ("endpoint_conditions_serving", shown(conditions.serving)),
                    ("endpoint_conditions_terminating", shown(conditions.terminating)),
                    ("endpoint_hostname", endpoint.hostname.clone()),
                    ("endpoint_node_name", endpoint.node_name.clone()),
                    ("endpoint_zone", endpoint.zone.clone()),
                ] {
                    set(&mut target, &format!("endpointslice_{name}"), value);
                }
                if let Some(reference) = &endpoint.target_ref {
                    set(&mut target, "endpointslice_address_target_kind", reference.kind.clone());
                    set(&mut target, "endpointslice_address_target_name", reference.name.clone());
                }
                let number = port.port.unwrap_or(0);
                found.add(target, &endpoint.node_name, endpoint.target_ref.as_ref(), &meta.namespace, number);
            }
        }
    }
    let mut labels = OwnedLabels::default();
    add_meta(&mut labels, "endpointslice", meta);
    set(&mut labels, "endpointslice_address_type", slice.address_type.clone());
    let service = meta.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
    add_service(&mut labels, others, &meta.namespace, service.unwrap_or(&String::new()));
    group("endpointslice", meta, labels, found.finish())
}

/// An ingress: each path of each host.
pub(super) fn ingress(ingress: &Ingress) -> Group {
    let (meta, spec) = (&ingress.metadata, &ingress.spec);
    let mut targets = Vec::new();
    for rule in &spec.rules {
        let secure = spec.tls.iter().flat_map(|tls| &tls.hosts).any(|pattern| matches_host(pattern, &rule.host));
        let paths = rule.http.iter().flat_map(|http| &http.paths).map(|path| path.path.as_str());
        let mut paths: Vec<&str> = paths.map(|path| if path.is_empty() { "/" } else { path }).collect();
        if paths.is_empty() {
            paths.push("/");
        }
        for path in paths {
            let mut target = target(rule.host.clone());
            set(&mut target, "ingress_scheme", if secure { "https" } else { "http" });
            set(&mut target, "ingress_host", rule.host.clone());
            set(&mut target, "ingress_path", path);
            targets.push(target);
        }
    }
    let mut labels = OwnedLabels::default();
    add_meta(&mut labels, "ingress", meta);
    set(&mut labels, "ingress_class_name", spec.ingress_class_name.clone());
    group("ingress", meta, labels, targets)
}

/// Targets of endpoints, with what is known of the pods behind them.
struct OfPods<'a> {
    others: &'a Others<'a>,
    targets: Vec<OwnedLabels>,
    /// Pods behind endpoints, and their ports that are endpoints.
    seen: BTreeMap<(String, String), (&'a Pod, Vec<u16>)>,
}

impl OfPods<'_> {
    fn add(&mut self, mut target: OwnedLabels, node: &str, to: Option<&Reference>, namespace: &str, port: u16) {
        if let Some(node) = named(self.others.nodes, node) {
            add_node(&mut target, node);
        }
        let to = to.filter(|reference| reference.kind == "Pod");
        let pod = to.and_then(|reference| {
            let namespace = if reference.namespace.is_empty() { namespace } else { &reference.namespace };
            self.others.pods.get_key_value(&(namespace.to_owned(), reference.name.clone()))
        });
        if let Some((key, pod)) = pod {
            add_pod(&mut target, pod);
            let listens = |container: &&Container| container.ports.iter().any(|p| p.container_port == port);
            if let Some(container) = containers(pod).map(|(_, container)| container).find(listens) {
                let port = container.ports.iter().find(|p| p.container_port == port);
                add_container(&mut target, container, port);
            }
            self.seen.entry(key.clone()).or_insert_with(|| (pod, Vec::new())).1.push(port);
        }
        self.targets.push(target);
    }

    /// Ports of the pods that no endpoint is for are targets too.
    fn finish(mut self) -> Vec<OwnedLabels> {
        for (pod, ports) in self.seen.values() {
            if pod.status.pod_ip.is_empty() {
                continue;
            }
            for container in &pod.spec.containers {
                for port in container.ports.iter().filter(|port| !ports.contains(&port.container_port)) {
                    let mut target = target(address(&pod.status.pod_ip, port.container_port));
                    add_container(&mut target, container, Some(port));
                    add_pod(&mut target, pod);
                    if let Some(node) = named(self.others.nodes, &pod.spec.node_name) {
                        add_node(&mut target, node);
                    }
                    self.targets.push(target);
                }
            }
        }
        self.targets
    }
}

fn add_service(labels: &mut OwnedLabels, others: &Others<'_>, namespace: &str, name: &str) {
    if let Some(service) = others.services.get(&(namespace.to_owned(), name.to_owned())) {
        add_meta(labels, "service", &service.metadata);
    }
}

fn named<'a>(nodes: &'a ByName<Node>, name: &str) -> Option<&'a Node> {
    nodes.get(&(String::new(), name.to_owned())).map(|node| &**node)
}

/// The containers of a pod, and whether they run before the others.
fn containers(pod: &Pod) -> impl Iterator<Item = (bool, &Container)> {
    let usual = pod.spec.containers.iter().map(|container| (false, container));
    usual.chain(pod.spec.init_containers.iter().map(|container| (true, container)))
}

fn container_id(pod: &Pod, container: &Container) -> String {
    let mut all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    all.find(|status| status.name == container.name).map(|status| status.container_id.clone()).unwrap_or_default()
}

fn shown(condition: Option<bool>) -> String {
    condition.map(|condition| condition.to_string()).unwrap_or_default()
}

/// Whether a host is a pattern's: the same, or with one part in the place of `*`.
fn matches_host(pattern: &str, host: &str) -> bool {
    if pattern == host {
        return !host.is_empty();
    }
    let rest = pattern.strip_prefix("*.").zip(host.split_once('.'));
    rest.is_some_and(|(pattern, (first, rest))| !first.is_empty() && pattern == rest)
}
