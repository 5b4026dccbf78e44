//! From one preset to the other, and what an upgrade or a restart must leave alone.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

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
