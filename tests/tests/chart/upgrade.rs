//! From one preset to the other, and what an upgrade or a restart must leave alone.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::api::ApiServer;
use crate::render::{self, Rendered};

#[test]
fn the_cluster_takes_over_the_addresses_of_the_single_node() -> Result<()> {
    let before = render::render("single-s3", "1.30.0", &[])?;
    let after = render::render("cluster", "1.30.0", &["--is-upgrade"])?;
    for name in ["bonghwa-otlp", "bonghwa-api"] {
        let ports = |rendered: &Rendered| -> Result<Value> {
            Ok(rendered.named("Service", name).with_context(|| format!("no service {name}"))?["spec"]["ports"].clone())
        };
        ensure!(ports(&before)? == ports(&after)?, "{name} changes its ports");
    }
    // A StatefulSet of the same name would have to be of the same make: most of its fields cannot be changed.
    let workloads = |rendered: &Rendered| -> BTreeSet<String> { rendered.pods().iter().map(|p| p.name()).collect() };
    let (before, after) = (workloads(&before), workloads(&after));
    let both: Vec<_> = before.intersection(&after).collect();
    ensure!(both == ["Pod bonghwa-test"], "in both presets: {both:?}");
    Ok(())
}

/// Selectors, claims and service names of workloads cannot be changed by an upgrade.
#[test]
fn values_that_change_later_touch_no_fixed_field() -> Result<()> {
    let more = "image.tag=9.9.9,ingester.replicas=5,ingester.resources.limits.memory=8Gi,querier.replicas=4,\
                tls.enabled=true,tls.existingSecret=x,config.telemetry.log=debug,replicationFactor=1";
    let before = render::render("cluster", "1.30.0", &[])?;
    let after = render::render("cluster", "1.30.0", &["--is-upgrade", "--set", more])?;
    for pod in before.pods() {
        let (kind, name) = (pod.owner["kind"].as_str(), pod.owner["metadata"]["name"].as_str());
        let later = after.named(kind.context("kind")?, name.context("name")?).context("gone")?;
        for field in ["selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
            let fields = (&pod.owner["spec"][field], &later["spec"][field]);
            ensure!(fields.0 == fields.1, "{}: {field} changes from {} to {}", pod.name(), fields.0, fields.1);
        }
    }
    Ok(())
}

/// Only a change of what pods run with restarts them. Scaling is no such change.
#[test]
fn a_scale_in_restarts_nobody() -> Result<()> {
    let template = |replicas: &str| -> Result<Vec<Value>> {
        let set = format!("ingester.replicas={replicas}");
        let rendered = render::render("cluster", "1.30.0", &["--set", &set])?;
        Ok(rendered.pods().iter().map(|pod| pod.owner["spec"]["template"].clone()).collect())
    };
    ensure!(template("6")? == template("3")?, "pods change with the number of ingesters");
    let before = render::render("cluster", "1.30.0", &[])?;
    let after = render::render("cluster", "1.30.0", &["--set", "config.ingester.flush_age=1m"])?;
    let checksums = |rendered: &Rendered| -> BTreeSet<String> {
        let pods = rendered.pods();
        let of = pods.iter().filter(|p| p.owner["kind"] != "Pod");
        of.map(|p| p.owner["spec"]["template"]["metadata"]["annotations"]["checksum/config"].to_string()).collect()
    };
    let (before, after) = (checksums(&before), checksums(&after));
    ensure!(before.len() == 1 && after.len() == 1 && before != after, "{before:?}, then {after:?}");
    Ok(())
}

/// A restart must never take two replicas of a partition, nor a quorum of meta.
#[test]
fn restarts_and_evictions_go_one_by_one() -> Result<()> {
    for (case, strategy) in [("cluster", "RollingUpdate"), ("cluster-zones", "OnDelete")] {
        let rendered = render::render(case, "1.30.0", &[])?;
        let mut ingesters = 0;
        for pod in rendered.pods().iter().filter(|p| p.labels["app.kubernetes.io/component"] == "ingester") {
            ingesters += 1;
            let spec = &pod.owner["spec"];
            ensure!(spec["updateStrategy"]["type"] == strategy, "{case}: {}", spec["updateStrategy"]);
            ensure!(spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain", "{case}: {spec}");
            if strategy == "OnDelete" {
                // What the rollout-operator goes by.
                let labels = &pod.owner["metadata"]["labels"];
                ensure!(labels["rollout-group"] == "bonghwa-ingester", "{labels}");
                ensure!(pod.labels["name"] == pod.owner["metadata"]["name"], "{}", pod.labels);
                let affinity = &pod.spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
                let zone = &affinity["nodeSelectorTerms"][0]["matchExpressions"][0];
                ensure!(zone["key"] == "topology.kubernetes.io/zone", "{affinity}");
                ensure!(spec["replicas"].is_null(), "an autoscaler decides");
            }
        }
        ensure!(ingesters == if strategy == "OnDelete" { 3 } else { 1 }, "{case}: {ingesters} StatefulSets");
        for component in ["meta", "ingester"] {
            let name = format!("bonghwa-{component}");
            let budget = rendered.named("PodDisruptionBudget", &name).with_context(|| format!("no budget {name}"))?;
            ensure!(budget["spec"]["maxUnavailable"] == 1, "{budget}");
            let pods = rendered.pods();
            let covered = pods.iter().filter(|p| p.is_selected_by(&budget["spec"]["selector"]["matchLabels"]));
            ensure!(covered.count() == if component == "ingester" { ingesters } else { 1 }, "{budget}");
        }
    }
    Ok(())
}

#[test]
fn an_upgrade_that_would_lose_nodes_is_refused() -> Result<()> {
    let (meta, ingester) = (("bonghwa-meta", "meta", 3), ("bonghwa-ingester", "ingester", 3));
    for (runs, case, set, expected) in [
        (&[][..], "cluster", "meta.replicas=5", None),
        (&[("bonghwa-single", "single", 1)], "cluster", "meta.replicas=1", None),
        (&[meta, ingester], "cluster", "ingester.replicas=6", None),
        (&[meta, ingester], "cluster", "meta.replicas=5", Some("meta.replicas is 5, and 3 meta nodes run")),
        (&[meta, ingester], "cluster-zones", "meta.replicas=3", Some("would remove StatefulSet bonghwa-ingester with")),
        // Another release's.
        (&[("other-ingester", "other", 3)], "cluster-zones", "meta.replicas=3", None),
    ] {
        let said = upgrade(runs, case, set)?;
        match expected {
            None => ensure!(said.is_ok(), "{case} with {set} over {runs:?}: {said:?}"),
            Some(words) => ensure!(said.as_ref().is_err_and(|e| e.contains(words)), "{set} over {runs:?}: {said:?}"),
        }
    }
    Ok(())
}

/// Renders an upgrade of a release whose StatefulSets run already: (name, component, replicas).
fn upgrade(runs: &[(&str, &str, u64)], case: &str, set: &str) -> Result<std::result::Result<(), String>> {
    let set_of = |(name, component, replicas): &(&str, &str, u64)| {
        let release = if *component == "other" { "other" } else { render::RELEASE };
        let labels = json!({ "app.kubernetes.io/instance": release, "app.kubernetes.io/component": component });
        json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": { "name": name, "namespace": render::NAMESPACE, "labels": labels },
            "spec": { "replicas": replicas },
        })
    };
    let sets: Vec<Value> = runs.iter().map(set_of).collect();
    let api = ApiServer::start(move |path| answer(path, &sets))?;
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("kubeconfig");
    let cluster = json!({ "name": "c", "cluster": { "server": api.url() } });
    let context = json!({ "name": "c", "context": { "cluster": "c", "user": "u" } });
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "contexts": [context],
        "current-context": "c",
        "users": [{ "name": "u", "user": {} }],
    });
    std::fs::write(&config, kubeconfig.to_string())?;
    let config = config.display().to_string();
    let more = ["--is-upgrade", "--dry-run=server", "--kubeconfig", &config, "--set", set];
    Ok(render::try_render(case, "1.35.0", &more)?.map(|_| ()))
}

/// What discovery and a look-up of StatefulSets get.
fn answer(path: &str, sets: &[Value]) -> (u16, String) {
    let version = json!({ "groupVersion": "apps/v1", "version": "v1" });
    let group = json!({ "name": "apps", "versions": [version], "preferredVersion": version });
    let verbs = ["get", "list"];
    let resource = json!({ "name": "statefulsets", "namespaced": true, "kind": "StatefulSet", "verbs": verbs });
    let found = match path {
        "/version" => Some(json!({ "major": "1", "minor": "35", "gitVersion": "v1.35.0" })),
        "/api" => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        "/apis" => Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group] })),
        "/api/v1" => Some(json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [] })),
        "/apis/apps/v1" => {
            Some(json!({ "kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [resource] }))
        }
        _ if path.ends_with("/statefulsets") => {
            let list = json!({ "apiVersion": "apps/v1", "kind": "StatefulSetList", "metadata": {}, "items": sets });
            Some(list)
        }
        _ => sets.iter().find(|set| set["metadata"]["name"].as_str() == path.rsplit('/').next()).cloned(),
    };
    let missing = || json!({ "apiVersion": "v1", "kind": "Status", "reason": "NotFound", "code": 404 });
    (if found.is_some() { 200 } else { 404 }, found.unwrap_or_else(missing).to_string())
}
