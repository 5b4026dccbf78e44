//! Values that cannot work are refused before anything is installed, with the value and the remedy.

use anyhow::{Result, ensure};

use crate::render;

#[test]
fn values_that_cannot_work_are_refused() -> Result<()> {
    for (case, set, expected) in [
        // By the schema: unknown names, wrong types, values out of range.
        ("single", "presett=cluster", &["presett"][..]),
        ("single", "preset=huge", &["preset", "cluster"]),
        ("single", "ingester.replica=3", &["ingester", "replica"]),
        ("single", "ingester.resources.limit.memory=1Gi", &["resources", "limit"]),
        ("single", "config.ingester.flush_sise=1MiB", &["config/ingester", "flush_sise"]),
        ("single", "config.ingester.flush_bytes=3apples", &["flush_bytes"]),
        ("single", "config.query.timeout=5", &["timeout"]),
        ("single", "config.data_dir=/elsewhere", &["config", "data_dir"]),
        ("single", "config.drain_on_shutdown=true", &["config", "drain_on_shutdown"]),
        ("single", "objectStore.url=ftp://x", &["objectStore/url"]),
        ("single", "objectStore.url=gs://bucket/prefix", &["objectStore/url"]),
        ("single", "objectStore.secretAccessKey=x", &["objectStore", "secretAccessKey"]),
        ("cluster", "meta.replicas=2", &["meta/replicas"]),
        ("cluster", "replicationFactor=2", &["replicationFactor"]),
        ("cluster", "distributor.autoscaling.kind=vpa", &["autoscaling/kind"]),
        ("cluster", "image.digest=latest", &["image/digest"]),
        ("cluster", "services.otlp.type=Elsewhere", &["services/otlp/type"]),
        ("cluster-zones", "ingester.zones.list[0].name=eu-west-1a-long", &["ingester/zones/list/0/name"]),
        // By the templates: values that do not fit each other.
        ("single", "preset=cluster", &["objectStore.url is \"\"", "s3://bucket/prefix"]),
        ("cluster", "objectStore.url=file:///data", &["objectStore.url is \"file:///data\"", "all pods reach"]),
        ("cluster", "ingester.replicas=2", &["ingester.replicas is 2", "replicationFactor 3"]),
        ("cluster-keda", "ingester.autoscaling.minReplicas=1", &["minReplicas is 1", "replicationFactor 3"]),
        ("cluster-keda", "querier.autoscaling.minReplicas=11", &["querier.autoscaling.minReplicas is 11"]),
        ("cluster-zones", "ingester.drain.enabled=false", &["scaleIn is true", "must drain first"]),
        ("cluster-zones", "querier.autoscaling.cpu=0", &["querier.autoscaling has nothing to scale by"]),
        ("cluster-keda", "querier.autoscaling.cpu=0", &["querier.autoscaling has nothing to scale by"]),
        ("cluster", "auth.enabled=true", &["auth.existingSecret is empty", "file of callers"]),
        ("cluster", "auth.enabled=true,auth.existingSecret=x", &["auth.tokenSecret is empty", "may administrate"]),
        ("cluster", "tls.enabled=true", &["tls.existingSecret is empty"]),
        ("single", "ingress.enabled=true", &["ingress.hosts is empty"]),
        ("cluster", "ingester.zones.mode=statefulSets", &["ingester.zones.list is empty"]),
        ("cluster", "ingester.zones.mode=podLabel", &["Kubernetes v1.30.0 gives pods no label", "statefulSets"]),
        ("cluster", "meta.rebuild=true", &["meta.rebuild is true", "set meta.replicas to 1"]),
        ("cluster-zones", "ingester.zones.list[0].name=b", &["two zones of the name \"b\""]),
    ] {
        let kubernetes = if case == "cluster-keda" { "1.35.0" } else { "1.30.0" };
        let Err(complaint) = render::try_render(case, kubernetes, &["--set", set])? else {
            anyhow::bail!("{case} takes {set}");
        };
        for words in expected {
            // The schema's errors write paths with slashes, some versions of Helm with dots.
            let said = complaint.contains(words) || complaint.contains(&words.replace('/', "."));
            ensure!(said, "{case} with {set}: the complaint lacks {words:?}: {complaint}");
        }
    }
    Ok(())
}

#[test]
fn a_kubernetes_that_is_too_old_is_refused() -> Result<()> {
    let complaint = render::try_render("single", "1.29.0", &[])?.err().unwrap_or_default();
    ensure!(complaint.contains(">=1.30.0-0"), "{complaint}");
    Ok(())
}
