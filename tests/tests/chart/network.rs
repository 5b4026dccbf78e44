//! Services lead to pods, and network policies let through what services name.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::render::{self, Pod, Rendered};

#[test]
fn services_lead_to_ports_of_pods() -> Result<()> {
    for (case, rendered) in render::all()? {
        for service in rendered.of_kind("Service") {
            let name = format!("{case}: service {}", service["metadata"]["name"]);
            let pods = selected(&rendered, service);
            ensure!(!pods.is_empty(), "{name} selects no pods");
            for port in service["spec"]["ports"].as_array().context("ports")? {
                for pod in &pods {
                    let number = pod.port(&port["targetPort"]);
                    ensure!(number == port["port"].as_u64(), "{name}: {port} leads to {number:?} of {}", pod.name());
                }
            }
        }
        for pod in rendered.pods().iter().filter(|p| p.owner["kind"] == "StatefulSet") {
            let service = pod.owner["spec"]["serviceName"].as_str().context("serviceName")?;
            let service = rendered.named("Service", service).with_context(|| format!("{case}: no {service}"))?;
            ensure!(service["spec"]["clusterIP"] == "None" && pod.is_selected_by(&service["spec"]["selector"]));
        }
    }
    Ok(())
}

fn selected<'a>(rendered: &'a Rendered, service: &Value) -> Vec<Pod<'a>> {
    rendered.pods().into_iter().filter(|pod| pod.is_selected_by(&service["spec"]["selector"])).collect()
}

#[test]
fn policies_admit_what_services_name() -> Result<()> {
    for (case, rendered) in render::all()? {
        for service in rendered.of_kind("Service") {
            for pod in selected(&rendered, service) {
                for port in service["spec"]["ports"].as_array().context("ports")? {
                    let number = port["port"].as_u64().context("port")?;
                    // Between pods of the release every port; from outside those that clients use.
                    let who = format!("{case}: port {number} of {}", pod.name());
                    let admitted = admitted(&rendered, &pod, number);
                    ensure!(admitted.contains(&Peer::Inside), "{who} is closed to other roles");
                    let outside = admitted.contains(&Peer::Outside);
                    ensure!(outside == (number != 7801), "{who}: open to others is {outside}");
                }
            }
        }
    }
    Ok(())
}

#[derive(PartialEq)]
enum Peer {
    /// This release's pods.
    Inside,
    /// Others, all or some.
    Outside,
}

/// Who may reach a port of a pod, by all policies that select the pod.
fn admitted(rendered: &Rendered, pod: &Pod<'_>, port: u64) -> Vec<Peer> {
    let mut peers = vec![];
    for policy in rendered.of_kind("NetworkPolicy") {
        if !pod.is_selected_by(&policy["spec"]["podSelector"]["matchLabels"]) {
            continue;
        }
        for rule in policy["spec"]["ingress"].as_array().into_iter().flatten() {
            if !rule["ports"].as_array().is_some_and(|ports| ports.iter().any(|p| p["port"] == port)) {
                continue;
            }
            let from = rule["from"].as_array();
            // A pod selector alone means pods of the same namespace: only the release's are named so.
            let inside = from.is_some_and(|f| f.iter().all(|peer| peer["podSelector"]["matchLabels"].is_object()));
            peers.push(if inside { Peer::Inside } else { Peer::Outside });
        }
    }
    peers
}

#[test]
fn an_egress_policy_still_allows_names_and_other_roles() -> Result<()> {
    let rendered = render::render("cluster-zones", "1.30.0", &[])?;
    let policy = rendered.named("NetworkPolicy", "bonghwa-inside").context("no policy")?;
    ensure!(policy["spec"]["policyTypes"] == serde_json::json!(["Ingress", "Egress"]), "{policy}");
    let rules = policy["spec"]["egress"].as_array().context("egress")?;
    let port = |rule: &Value, port: u64| rule["ports"].as_array().is_some_and(|p| p.iter().any(|p| p["port"] == port));
    ensure!(rules.iter().any(|rule| port(rule, 53)), "no DNS: {policy}");
    ensure!(rules.iter().any(|rule| port(rule, 9000)), "no object store: {policy}");
    let release = &policy["spec"]["podSelector"];
    ensure!(rules.iter().any(|rule| rule["to"][0]["podSelector"] == *release), "not each other: {policy}");
    Ok(())
}
