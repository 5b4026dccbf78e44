//! Against a server that answers in the shape of Kubernetes' API: lists in pages, and watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::config::Selector;

/// A server: lists by path, events of the first watch of each, and what it was asked.
#[derive(Default)]
struct Server {
    lists: BTreeMap<&'static str, Vec<Value>>,
    events: Mutex<BTreeMap<&'static str, Vec<Value>>>,
    asked: Mutex<Vec<String>>,
}

async fn answer(
    State(server): State<Arc<Server>>,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    server.asked.lock().push(uri.to_string());
    let Some((path, items)) = server.lists.get_key_value(uri.path()) else {
        let said = json!({ "kind": "Status", "code": 403, "message": "forbidden: no right to list" });
        return (StatusCode::FORBIDDEN, said.to_string()).into_response();
    };
    if query.contains_key("watch") {
        let events: String =
            server.events.lock().remove(path).into_iter().flatten().map(|e| format!("{e}\n")).collect();
        // The watch stays open after them.
        let stream = futures::stream::iter([Ok::<_, std::convert::Infallible>(events)]);
        return Body::from_stream(futures::StreamExt::chain(stream, futures::stream::pending())).into_response();
    }
    // Pages of one object each.
    let at: usize = query.get("continue").map_or(0, |next| next.parse().unwrap());
    let next = if at + 1 < items.len() { (at + 1).to_string() } else { String::new() };
    let page: Vec<&Value> = items.iter().skip(at).take(1).collect();
    json!({ "metadata": { "resourceVersion": "100", "continue": next }, "items": page }).to_string().into_response()
}

async fn serve(server: Arc<Server>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(server);
    seam::spawn(async move { axum::serve(listener, router).await.unwrap() }).detach();
    format!("http://{address}")
}

/// Runs discovery until its groups satisfy a condition: all targets, their labels and their group's together.
async fn discover(
    server: Server,
    role: Role,
    change: impl FnOnce(&mut KubernetesDiscovery),
    wanted: &str,
) -> (Vec<String>, Vec<String>) {
    let server = Arc::new(server);
    let mut options = KubernetesDiscovery {
        role,
        api_server: Some(serve(server.clone()).await),
        http: HttpOptions::default(),
        namespaces: Vec::new(),
        own_namespace: false,
        selectors: Vec::new(),
        attach_node: false,
    };
    change(&mut options);
    let changed = Arc::new(Notify::new());
    let found = Found::new(changed.clone());
    let _task = seam::spawn(run("job".into(), options, found.clone()));
    let shown = || {
        let mut all = Vec::new();
        for group in found.groups() {
            for target in &group.targets {
                let mut labels = target.clone();
                group.labels.iter().for_each(|(name, value)| labels.set_default(name.to_owned(), value.to_owned()));
                labels.sort();
                let short =
                    |(name, value): (&str, &str)| format!("{}={value}", name.trim_start_matches(labels::PREFIX));
                all.push(labels.iter().map(short).collect::<Vec<_>>().join(" "));
            }
        }
        all
    };
    let wait = async {
        loop {
            let all = shown();
            if all.iter().any(|target| target.contains(wanted)) {
                return all;
            }
            changed.notified().await;
        }
    };
    let all = seam::timeout(Duration::from_secs(30), wait).await;
    (all.unwrap_or_else(|_| panic!("{:?}", shown())), server.asked.lock().clone())
}

fn pod(name: &str, ip: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "shop", "uid": "u1", "labels": { "app.kubernetes.io/name": "cart" },
            "annotations": { "prometheus.io/scrape": "true" }, "resourceVersion": "101",
            "ownerReferences": [{ "kind": "ReplicaSet", "name": "cart-5", "controller": true }] },
        "spec": { "nodeName": "n1",
            "containers": [
                { "name": "cart", "image": "cart:1", "ports": [
                    { "name": "metrics", "containerPort": 9100, "protocol": "TCP" }, { "containerPort": 8080 }] },
                { "name": "sidecar", "image": "side:1" }],
            "initContainers": [{ "name": "init", "image": "init:1" }] },
        "status": { "phase": "Running", "podIP": ip, "hostIP": "192.168.0.1",
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{ "name": "cart", "containerID": "docker://c1" }] },
    })
}

fn node() -> Value {
    json!({
        "metadata": { "name": "n1", "labels": { "kubernetes.io/arch": "amd64" } },
        "spec": { "providerID": "cloud://n1" },
        "status": { "addresses": [{ "type": "Hostname", "address": "n1" }, { "type": "InternalIP", "address": "fd00::1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } } },
    })
}

const POD: &str =
    "namespace=shop pod_annotation_prometheus_io_scrape=true pod_annotationpresent_prometheus_io_scrape=true";
const POD_END: &str = "pod_controller_kind=ReplicaSet pod_controller_name=cart-5 pod_host_ip=192.168.0.1 pod_ip=10.0.0.7 \
                       pod_label_app_kubernetes_io_name=cart pod_labelpresent_app_kubernetes_io_name=true \
                       pod_name=cart-a pod_node_name=n1 pod_phase=Running pod_ready=true pod_uid=u1";

#[tokio::test]
async fn pods_listed_in_pages_and_then_watched() {
    let mut moved = pod("cart-b", "10.0.0.9");
    moved["metadata"]["resourceVersion"] = json!("103");
    let events = vec![
        json!({ "type": "ADDED", "object": pod("cart-b", "10.0.0.8") }),
        json!({ "type": "BOOKMARK", "object": { "kind": "Pod", "metadata": { "resourceVersion": "102" } } }),
        json!({ "type": "MODIFIED", "object": moved }),
        json!({ "type": "DELETED", "object": pod("cart-c", "10.0.0.6") }),
    ];
    let server = Server {
        lists: [("/api/v1/pods", vec![pod("cart-a", "10.0.0.7"), pod("cart-c", "10.0.0.6"), pod("pending", "")])]
            .into(),
        events: Mutex::new([("/api/v1/pods", events)].into()),
        ..Default::default()
    };
    let select = |options: &mut KubernetesDiscovery| {
        options.selectors = vec![Selector { role: Role::Pod, label: "app=a,tier in (b)".into(), field: String::new() }];
    };
    let (targets, asked) = discover(server, Role::Pod, select, "10.0.0.9").await;
    assert_eq!(targets.len(), 8, "{targets:?}");
    assert_eq!(
        targets[0],
        format!(
            "__address__=10.0.0.7:9100 {POD} pod_container_id=docker://c1 pod_container_image=cart:1 \
             pod_container_init=false pod_container_name=cart pod_container_port_name=metrics \
             pod_container_port_number=9100 pod_container_port_protocol=TCP {POD_END}"
        )
    );
    assert!(targets[1].contains("__address__=10.0.0.7:8080") && targets[1].contains("port_protocol=TCP"));
    assert!(targets[2].starts_with("__address__=10.0.0.7 ") && targets[2].contains("pod_container_name=sidecar"));
    assert!(targets[3].contains("pod_container_init=true"));
    assert!(!targets.iter().any(|target| target.contains("10.0.0.8") || target.contains("10.0.0.6")));
    assert_eq!(asked[0], "/api/v1/pods?labelSelector=app%3Da%2Ctier+in+%28b%29&limit=500");
    assert!(asked[3].contains("watch=1") && asked[3].contains("resourceVersion=100"), "{asked:?}");
}

#[tokio::test]
async fn nodes() {
    let server = Server { lists: [("/api/v1/nodes", vec![node()])].into(), ..Default::default() };
    let (targets, _) = discover(server, Role::Node, |_| {}, "n1").await;
    assert_eq!(
        targets,
        ["__address__=[fd00::1]:10250 node_address_Hostname=n1 node_address_InternalIP=fd00::1 \
          node_label_kubernetes_io_arch=amd64 node_labelpresent_kubernetes_io_arch=true node_name=n1 \
          node_provider_id=cloud://n1 instance=n1"]
    );
}

fn service() -> Value {
    json!({
        "metadata": { "name": "cart", "namespace": "shop", "labels": { "team": "a" } },
        "spec": { "type": "LoadBalancer", "clusterIP": "10.1.0.1", "loadBalancerIP": "1.2.3.4",
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
    })
}

#[tokio::test]
async fn services_of_named_namespaces() {
    let server = Server { lists: [("/api/v1/namespaces/shop/services", vec![service()])].into(), ..Default::default() };
    let (targets, _) = discover(server, Role::Service, |o| o.namespaces = vec!["shop".into()], "cart").await;
    assert_eq!(
        targets,
        ["__address__=cart.shop.svc:80 namespace=shop service_cluster_ip=10.1.0.1 service_label_team=a \
          service_labelpresent_team=true service_loadbalancer_ip=1.2.3.4 service_name=cart service_port_name=http \
          service_port_number=80 service_port_protocol=TCP service_type=LoadBalancer"]
    );
}

#[tokio::test]
async fn endpoints_with_their_pods_services_and_nodes() {
    let reference = json!({ "kind": "Pod", "namespace": "shop", "name": "cart-a" });
    let endpoints = json!({
        "metadata": { "name": "cart", "namespace": "shop" },
        "subsets": [{
            "addresses": [{ "ip": "10.0.0.7", "nodeName": "n1", "hostname": "h", "targetRef": reference }],
            "notReadyAddresses": [{ "ip": "10.9.9.9" }],
            "ports": [{ "name": "metrics", "port": 9100, "protocol": "TCP" }],
        }],
    });
    let slice = json!({
        "metadata": { "name": "cart-x", "namespace": "shop", "labels": { "kubernetes.io/service-name": "cart" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.0.0.7"], "conditions": { "ready": true, "terminating": false }, "nodeName": "n1",
            "zone": "z", "targetRef": reference }],
        "ports": [{ "name": "metrics", "port": 9100, "protocol": "TCP", "appProtocol": "http" }],
    });
    let lists = || {
        [
            ("/api/v1/endpoints", vec![endpoints.clone()]),
            ("/apis/discovery.k8s.io/v1/endpointslices", vec![slice.clone()]),
            ("/api/v1/services", vec![service()]),
            ("/api/v1/pods", vec![pod("cart-a", "10.0.0.7")]),
            ("/api/v1/nodes", vec![node()]),
        ]
        .into()
    };
    let server = || Server { lists: lists(), ..Default::default() };
    let attach = |options: &mut KubernetesDiscovery| options.attach_node = true;
    let (targets, _) = discover(server(), Role::Endpoints, attach, "10.0.0.7").await;
    assert_eq!(targets.len(), 3, "the endpoint, the one that is not ready, and the pod's other port: {targets:?}");
    for part in [
        "__address__=10.0.0.7:9100 endpoint_address_target_kind=Pod endpoint_address_target_name=cart-a \
         endpoint_hostname=h endpoint_node_name=n1 endpoint_port_name=metrics endpoint_port_protocol=TCP \
         endpoint_ready=true endpoints_name=cart namespace=shop node_label_kubernetes_io_arch=amd64",
        "pod_container_image=cart:1 pod_container_name=cart pod_container_port_name=metrics",
        "service_label_team=a service_labelpresent_team=true service_name=cart",
    ] {
        assert!(targets[0].contains(part), "{part}\n{}", targets[0]);
    }
    assert!(targets[1].starts_with("__address__=10.9.9.9:9100 ") && targets[1].contains("endpoint_ready=false"));
    assert!(targets[2].starts_with("__address__=10.0.0.7:8080 ") && !targets[2].contains("endpoint_ready"));
    let (targets, _) = discover(server(), Role::EndpointSlice, |_| {}, "10.0.0.7").await;
    let part = "__address__=10.0.0.7:9100 endpointslice_address_target_kind=Pod \
                endpointslice_address_target_name=cart-a endpointslice_address_type=IPv4 \
                endpointslice_endpoint_conditions_ready=true endpointslice_endpoint_conditions_terminating=false \
                endpointslice_endpoint_node_name=n1 endpointslice_endpoint_zone=z";
    assert!(targets[0].starts_with(part) && targets[0].contains("service_name=cart"), "{}", targets[0]);
    assert_eq!(targets.len(), 2);
}

#[tokio::test]
async fn ingresses() {
    let ingress = json!({
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "ingressClassName": "nginx", "tls": [{ "hosts": ["*.example.com"] }], "rules": [
            { "host": "a.example.com", "http": { "paths": [{ "path": "/x" }, { "path": "" }] } },
            { "host": "a.b.example.com" }] },
    });
    let server =
        Server { lists: [("/apis/networking.k8s.io/v1/ingresses", vec![ingress])].into(), ..Default::default() };
    let (targets, _) = discover(server, Role::Ingress, |_| {}, "example").await;
    let common = "ingress_class_name=nginx ingress_host";
    assert_eq!(
        targets,
        [("a.example.com", "/x", "https"), ("a.example.com", "/", "https"), ("a.b.example.com", "/", "http")].map(
            |(host, path, scheme)| {
                format!(
                    "__address__={host} {common}={host} ingress_name=web ingress_path={path} ingress_scheme={scheme} \
                     namespace=shop"
                )
            }
        )
    );
}
