//! Who sends: 8 services with 12 pods each, and the resource that a pod describes itself with.

use bonghwa_testkit::generate::{attribute, text};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;

pub const SERVICES: [&str; 8] =
    ["frontend", "cart", "checkout", "payment", "shipping", "currency", "catalog", "accounts"];
pub const PODS_PER_SERVICE: usize = 12;
pub const PODS: usize = SERVICES.len() * PODS_PER_SERVICE;

pub const NAMESPACE: &str = "shop";
const NODES: usize = 6;

/// Pods are numbered service by service.
pub fn service(pod: usize) -> &'static str {
    SERVICES[pod / PODS_PER_SERVICE % SERVICES.len()]
}

/// As a Deployment names its pods.
pub fn pod_name(pod: usize) -> String {
    format!("{}-{:05x}", service(pod), pod.wrapping_mul(0x9E37) & 0xF_FFFF)
}

pub fn node_name(pod: usize) -> String {
    format!("node-{}", pod % NODES)
}

pub fn resource(pod: usize) -> Resource {
    Resource {
        attributes: vec![
            attribute("service.name", text(service(pod))),
            attribute("k8s.namespace.name", text(NAMESPACE)),
            attribute("k8s.pod.name", text(pod_name(pod))),
            attribute("host.name", text(node_name(pod))),
        ],
        ..Default::default()
    }
}

pub fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "shop".into(), ..Default::default() }
}
