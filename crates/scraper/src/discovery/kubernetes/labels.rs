//! `__meta_kubernetes_` labels.

use super::objects::{Container, ContainerPort, Meta, Node, Pod};
use crate::labels::OwnedLabels;

/// The prefix of all of them.
pub(super) const PREFIX: &str = "__meta_kubernetes_";

/// Sets one.
pub(super) fn set(labels: &mut OwnedLabels, name: &str, value: impl Into<String>) {
    labels.set(format!("{PREFIX}{name}"), value.into());
}

/// The labels and annotations of an object, and its name.
pub(super) fn add_meta(labels: &mut OwnedLabels, role: &str, meta: &Meta) {
    set(labels, &format!("{role}_name"), meta.name.clone());
    for (what, all) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
        for (name, value) in all.iter().flatten() {
            let name = sanitized(name);
            set(labels, &format!("{role}_{what}_{name}"), value.clone());
            set(labels, &format!("{role}_{what}present_{name}"), "true");
        }
    }
}

/// A name with `_` in place of what may not be in a label's name.
pub(super) fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// What is said of a node that a pod runs on.
pub(super) fn add_node(labels: &mut OwnedLabels, node: &Node) {
    add_meta(labels, "node", &node.metadata);
}

/// What is said of a pod.
pub(super) fn add_pod(labels: &mut OwnedLabels, pod: &Pod) {
    let (meta, status) = (&pod.metadata, &pod.status);
    add_meta(labels, "pod", meta);
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    set(labels, "pod_ready", ready.map_or_else(|| "unknown".into(), |condition| condition.status.to_lowercase()));
    set(labels, "pod_ip", status.pod_ip.clone());
    set(labels, "pod_phase", status.phase.clone());
    set(labels, "pod_node_name", pod.spec.node_name.clone());
    set(labels, "pod_host_ip", status.host_ip.clone());
    set(labels, "pod_uid", meta.uid.clone());
    if let Some(owner) = meta.owner_references.iter().flatten().find(|owner| owner.controller) {
        set(labels, "pod_controller_kind", owner.kind.clone());
        set(labels, "pod_controller_name", owner.name.clone());
    }
}

/// What is said of a container and one of its ports.
pub(super) fn add_container(labels: &mut OwnedLabels, container: &Container, port: Option<&ContainerPort>) {
    set(labels, "pod_container_name", container.name.clone());
    set(labels, "pod_container_image", container.image.clone());
    if let Some(port) = port {
        set(labels, "pod_container_port_name", port.name.clone());
        set(labels, "pod_container_port_number", port.container_port.to_string());
        set(labels, "pod_container_port_protocol", port.protocol.0.clone());
    }
}

/// `HOST:PORT`, brackets around an IPv6 address.
pub(super) fn address(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
