//! `kubernetes_sd_configs`: nodes, pods, services, endpoints and ingresses become targets.

mod groups;
mod labels;
mod objects;
mod watch;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use tokio::sync::Notify;

use super::{Found, Group, failed};
use crate::client::Client;
use crate::config::{Authorization, HttpOptions, KubernetesDiscovery, Role, TlsOptions};
use groups::{ByName, Others};
use objects::{Endpoints, Ingress, Node, Object, Pod, Service, Slice};
use watch::{Copies, Watch};

/// Changes that come one after another are taken together.
const TOGETHER: Duration = Duration::from_secs(2);
/// Where a pod finds who it is.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Between looks for what a pod's environment must have.
const RETRY: Duration = Duration::from_secs(30);

/// The kinds of objects that targets of a role are made of.
pub(crate) fn kinds(role: Role) -> &'static [Role] {
    match role {
        Role::Node => &[Role::Node],
        Role::Pod => &[Role::Pod, Role::Node],
        Role::Service => &[Role::Service],
        Role::Endpoints => &[Role::Endpoints, Role::Service, Role::Pod, Role::Node],
        Role::EndpointSlice => &[Role::EndpointSlice, Role::Service, Role::Pod, Role::Node],
        Role::Ingress => &[Role::Ingress],
    }
}

/// Copies of all objects that targets are made of.
#[derive(Default)]
struct Cluster {
    nodes: Arc<Copies<Node>>,
    pods: Arc<Copies<Pod>>,
    services: Arc<Copies<Service>>,
    endpoints: Arc<Copies<Endpoints>>,
    slices: Arc<Copies<Slice>>,
    ingresses: Arc<Copies<Ingress>>,
}

/// Where the API is, and who asks.
struct Api {
    server: String,
    client: Arc<Client>,
    /// None: everywhere.
    namespaces: Vec<Option<String>>,
}

/// Works until it is dropped.
pub(super) async fn run(job: String, options: KubernetesDiscovery, found: Arc<Found>) {
    let api = loop {
        match api(&options).await {
            Ok(api) => break api,
            Err(error) => failed(&job, "kubernetes", &error),
        }
        seam::sleep(RETRY).await;
    };
    let cluster = Cluster::default();
    let changed = Arc::new(Notify::new());
    let start = Start { job: &job, options: &options, api: &api, changed: &changed };
    let mut tasks = Vec::new();
    for kind in kinds(options.role) {
        match kind {
            Role::Node if options.role != Role::Node && !options.attach_node => {}
            Role::Node => tasks.extend(start.watch(Role::Node, &cluster.nodes, &[None])),
            Role::Pod => tasks.extend(start.watch(Role::Pod, &cluster.pods, &api.namespaces)),
            Role::Service => tasks.extend(start.watch(Role::Service, &cluster.services, &api.namespaces)),
            Role::Endpoints => tasks.extend(start.watch(Role::Endpoints, &cluster.endpoints, &api.namespaces)),
            Role::EndpointSlice => tasks.extend(start.watch(Role::EndpointSlice, &cluster.slices, &api.namespaces)),
            Role::Ingress => tasks.extend(start.watch(Role::Ingress, &cluster.ingresses, &api.namespaces)),
        }
    }
    loop {
        changed.notified().await;
        // Half of the objects would be targets with half of their labels.
        if cluster.is_complete() {
            found.replace(cluster.groups(options.role));
            seam::sleep(TOGETHER).await;
        }
    }
}

struct Start<'a> {
    job: &'a str,
    options: &'a KubernetesDiscovery,
    api: &'a Api,
    changed: &'a Arc<Notify>,
}

impl Start<'_> {
    /// Watches a kind of objects in these namespaces.
    fn watch<T: Object>(&self, kind: Role, copies: &Arc<Copies<T>>, namespaces: &[Option<String>]) -> Vec<seam::Task> {
        let selector = self.options.selectors.iter().find(|selector| selector.role == kind);
        let watch = |namespace: &Option<String>| Watch {
            job: self.job.to_owned(),
            client: self.api.client.clone(),
            server: self.api.server.clone(),
            namespace: namespace.clone(),
            label_selector: selector.map(|selector| selector.label.clone()).unwrap_or_default(),
            field_selector: selector.map(|selector| selector.field.clone()).unwrap_or_default(),
            copies: copies.clone(),
            place: copies.place(),
            changed: self.changed.clone(),
            kind: PhantomData,
        };
        namespaces.iter().map(|namespace| seam::spawn(watch(namespace).run())).collect()
    }
}

impl Cluster {
    fn is_complete(&self) -> bool {
        self.nodes.is_complete()
            && self.pods.is_complete()
            && self.services.is_complete()
            && self.endpoints.is_complete()
            && self.slices.is_complete()
            && self.ingresses.is_complete()
    }

    fn groups(&self, role: Role) -> Vec<Group> {
        fn each<T>(all: &ByName<T>, group: impl Fn(&T) -> Option<Group>) -> Vec<Group> {
            all.values().filter_map(|object| group(object)).collect()
        }
        let (nodes, pods, services) = (self.nodes.all(), self.pods.all(), self.services.all());
        let others = Others { services: &services, pods: &pods, nodes: &nodes };
        match role {
            Role::Node => each(&nodes, groups::node),
            Role::Pod => each(&pods, |pod| groups::pod(pod, &nodes)),
            Role::Service => each(&services, |service| Some(groups::service(service))),
            Role::Endpoints => each(&self.endpoints.all(), |endpoints| Some(groups::endpoints(endpoints, &others))),
            Role::EndpointSlice => each(&self.slices.all(), |slice| Some(groups::slice(slice, &others))),
            Role::Ingress => each(&self.ingresses.all(), |ingress| Some(groups::ingress(ingress))),
        }
    }
}

/// Finds the API: the one that is configured, or that of the cluster which this process runs in.
async fn api(options: &KubernetesDiscovery) -> Result<Api, String> {
    let (server, http) = match &options.api_server {
        Some(server) => (server.trim_end_matches('/').to_owned(), options.http.clone()),
        None => inside()?,
    };
    let mut namespaces = options.namespaces.clone();
    if options.own_namespace {
        let file = format!("{ACCOUNT}/namespace");
        let own = tokio::fs::read_to_string(&file).await;
        let own = own.map_err(|error| format!("namespaces.own_namespace: {file}: {error}"))?;
        namespaces.push(own.trim().to_owned());
    }
    namespaces.sort();
    namespaces.dedup();
    let namespaces = if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
    Ok(Api { server, client: Arc::new(Client::new(http)), namespaces })
}

/// The API of the cluster that this process is a pod of.
fn inside() -> Result<(String, HttpOptions), String> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| {
            format!("api_server is not given, and {name} is not set, as it would be in a pod: name the API server")
        })
    };
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let http = HttpOptions {
        authorization: Some(Authorization {
            credentials_file: Some(format!("{ACCOUNT}/token").into()),
            ..Default::default()
        }),
        tls_config: TlsOptions { ca_file: Some(format!("{ACCOUNT}/ca.crt").into()), ..Default::default() },
        ..Default::default()
    };
    Ok((format!("https://{}", labels::address(&host, port)), http))
}

#[cfg(test)]
mod tests;
