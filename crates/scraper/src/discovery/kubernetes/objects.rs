//! Kubernetes' objects, as far as targets are made of them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What all objects have.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub annotations: Option<BTreeMap<String, String>>,
    pub owner_references: Option<Vec<Owner>>,
    pub resource_version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Owner {
    pub kind: String,
    pub name: String,
    pub controller: bool,
}

/// Declares an object: its metadata, and these fields.
macro_rules! objects {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(super) struct $name { $($(#[$attribute])* pub $field: $type),* }
    )*};
}

objects! {
    Node { metadata: Meta, spec: NodeSpec, status: NodeStatus }
    NodeSpec { #[serde(rename = "providerID")] provider_id: String }
    NodeStatus { addresses: Vec<NodeAddress>, daemon_endpoints: DaemonEndpoints }
    NodeAddress { #[serde(rename = "type")] kind: String, address: String }
    DaemonEndpoints { kubelet_endpoint: KubeletEndpoint }
    KubeletEndpoint { #[serde(rename = "Port")] port: u16 }

    Pod { metadata: Meta, spec: PodSpec, status: PodStatus }
    PodSpec { node_name: String, containers: Vec<Container>, init_containers: Vec<Container> }
    Container { name: String, image: String, ports: Vec<ContainerPort> }
    ContainerPort { name: String, container_port: u16, protocol: Protocol }
    PodStatus {
        phase: String,
        #[serde(rename = "podIP")] pod_ip: String,
        #[serde(rename = "hostIP")] host_ip: String,
        conditions: Vec<Condition>,
        container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>,
    }
    Condition { #[serde(rename = "type")] kind: String, status: String }
    ContainerStatus { name: String, #[serde(rename = "containerID")] container_id: String }

    Service { metadata: Meta, spec: ServiceSpec }
    ServiceSpec {
        #[serde(rename = "type")] kind: String,
        #[serde(rename = "clusterIP")] cluster_ip: String,
        external_name: String,
        #[serde(rename = "loadBalancerIP")] load_balancer_ip: String,
        ports: Vec<ServicePort>,
    }
    ServicePort { name: String, port: u16, protocol: Protocol }

    Endpoints { metadata: Meta, subsets: Option<Vec<Subset>> }
    Subset {
        addresses: Vec<EndpointAddress>,
        not_ready_addresses: Vec<EndpointAddress>,
        ports: Vec<ServicePort>,
    }
    EndpointAddress { ip: String, hostname: String, node_name: String, target_ref: Option<Reference> }
    Reference { kind: String, namespace: String, name: String }

    Slice { metadata: Meta, address_type: String, endpoints: Option<Vec<SliceEndpoint>>, ports: Option<Vec<SlicePort>> }
    SliceEndpoint {
        addresses: Vec<String>,
        conditions: SliceConditions,
        hostname: String,
        node_name: String,
        zone: String,
        target_ref: Option<Reference>,
    }
    SliceConditions { ready: Option<bool>, serving: Option<bool>, terminating: Option<bool> }
    SlicePort { name: String, port: Option<u16>, protocol: Protocol, app_protocol: String }

    Ingress { metadata: Meta, spec: IngressSpec }
    IngressSpec { ingress_class_name: String, tls: Vec<IngressTls>, rules: Vec<IngressRule> }
    IngressTls { hosts: Vec<String> }
    IngressRule { host: String, http: Option<IngressHttp> }
    IngressHttp { paths: Vec<IngressPath> }
    IngressPath { path: String }
}

/// A protocol; TCP where nothing is said.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub(super) struct Protocol(pub String);

impl Default for Protocol {
    fn default() -> Self {
        Protocol("TCP".into())
    }
}

/// An object that is kept by its namespace and name.
pub(super) trait Object: Clone + PartialEq + Send + Sync + serde::de::DeserializeOwned + 'static {
    /// The path of its kind in the API; the namespace goes before its last part.
    const PATH: (&'static str, &'static str);

    /// Its metadata.
    fn meta(&self) -> &Meta;
}

macro_rules! kinds {
    ($($kind:ty, $prefix:literal, $name:literal;)*) => {$(
        impl Object for $kind {
            const PATH: (&'static str, &'static str) = ($prefix, $name);

            fn meta(&self) -> &Meta {
                &self.metadata
            }
        }
    )*};
}

kinds! {
    Node, "/api/v1", "nodes";
    Pod, "/api/v1", "pods";
    Service, "/api/v1", "services";
    Endpoints, "/api/v1", "endpoints";
    Slice, "/apis/discovery.k8s.io/v1", "endpointslices";
    Ingress, "/apis/networking.k8s.io/v1", "ingresses";
}
