//! What is rendered fits Kubernetes' schemas, old and new, and is locked down.

use anyhow::{Context, Result, ensure};
use bonghwa_tests::python;
use serde_json::{Value, json};

use crate::render::{self, CASES};

/// Custom resources. Kubernetes has no schemas of them: tests here look at their fields.
const CUSTOM: [&str; 2] = ["ServiceMonitor", "ScaledObject"];

#[test]
fn helm_lint_finds_nothing() -> Result<()> {
    let chart = render::chart().display().to_string();
    for (case, kubernetes) in CASES {
        let values = format!("{chart}/ci/{case}-values.yaml");
        let said = render::helm(&["lint", &chart, "--strict", "-f", &values, "--kube-version", kubernetes])?;
        ensure!(said.is_ok(), "{case}: {said:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_fit_kubernetes_from_1_30_to_the_newest() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut args = vec![];
    for (case, rendered) in render::all()? {
        let file = dir.path().join(format!("{case}.yaml"));
        std::fs::write(&file, rendered.text)?;
        args.push(file.into());
    }
    for file in ["collector/gateway.yaml", "collector/sidecar.yaml"] {
        args.push(render::repository().join("deploy").join(file).into());
    }
    for kind in CUSTOM {
        args.extend(["--custom".into(), kind.into()]);
    }
    python("manifests.py", args, vec![]).await
}

/// A check of the check: it is strict.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_kubernetes_does_not_know_is_found() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("wrong.yaml");
    let rendered = render::render("single", "1.30.0", &[])?;
    let wrong = rendered.text.replace("terminationGracePeriodSeconds:", "terminationGraceSeconds:");
    ensure!(wrong != rendered.text, "there is nothing to spoil");
    std::fs::write(&file, wrong)?;
    let error = python("manifests.py", vec![file.into()], vec![]).await.err().context("a wrong field passed")?;
    let error = format!("{error:#}");
    for words in ["Kubernetes 1.30: ", "StatefulSet bonghwa-single", "terminationGraceSeconds"] {
        ensure!(error.contains(words), "the error lacks {words:?}: {error}");
    }
    Ok(())
}

/// As the `restricted` Pod Security Standard asks, and one thing more: no service links. Kubernetes would
/// set `BONGHWA_OTLP_PORT` and the like, and the server refuses a variable that is no key.
#[test]
fn pods_are_locked_down() -> Result<()> {
    for (case, rendered) in render::all()? {
        for pod in rendered.pods() {
            let name = format!("{case}: {}", pod.name());
            let security = &pod.spec["securityContext"];
            ensure!(security["runAsNonRoot"] == true && security["fsGroup"].is_u64(), "{name}: {security}");
            ensure!(security["seccompProfile"]["type"] == "RuntimeDefault", "{name}: {security}");
            ensure!(pod.spec["enableServiceLinks"] == false, "{name}: enableServiceLinks");
            // Only ingesters ask the Kubernetes API something, and scrapers that find their targets by it.
            let component = &pod.labels["app.kubernetes.io/component"];
            let token = component == "ingester" || component == "scraper";
            ensure!(pod.spec["automountServiceAccountToken"] == token, "{name}: automountServiceAccountToken");
            for container in pod.containers() {
                let security = &container["securityContext"];
                let expected = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                });
                ensure!(*security == expected, "{name}: {security}");
                ensure!(container["resources"]["requests"]["memory"].is_string(), "{name} asks for no memory");
            }
        }
    }
    Ok(())
}

#[test]
fn a_service_monitor_finds_each_pod_once() -> Result<()> {
    for case in ["single-s3", "cluster-zones"] {
        let rendered = render::render(case, "1.30.0", &[])?;
        let monitor = rendered.of_kind("ServiceMonitor").next().context("no ServiceMonitor")?;
        ensure!(monitor["apiVersion"] == "monitoring.coreos.com/v1", "{monitor}");
        let spec = &monitor["spec"];
        ensure!(spec["namespaceSelector"]["matchNames"] == json!([render::NAMESPACE]), "{spec}");
        ensure!(spec["endpoints"].as_array().is_some_and(|e| e.len() == 1), "{spec}");
        let endpoint = &spec["endpoints"][0];
        ensure!(endpoint["path"] == "/metrics" && endpoint["interval"] == "30s", "{endpoint}");

        let expression = &spec["selector"]["matchExpressions"][0];
        ensure!(expression["operator"] == "In", "{expression}");
        let key = expression["key"].as_str().context("key")?;
        let values = expression["values"].as_array().context("values")?;
        let release = spec["selector"]["matchLabels"].as_object().context("matchLabels")?;
        let services: Vec<&Value> = rendered
            .of_kind("Service")
            .filter(|s| {
                let labels = &s["metadata"]["labels"];
                values.contains(&labels[key]) && release.iter().all(|(k, v)| labels[k] == *v)
            })
            .collect();
        for service in &services {
            let ports = service["spec"]["ports"].as_array().context("ports")?;
            ensure!(ports.iter().any(|p| p["name"] == endpoint["port"]), "{case}: {service}");
        }
        for pod in rendered.pods().iter().filter(|pod| pod.owner["kind"] != "Pod") {
            let found = services.iter().filter(|s| pod.is_selected_by(&s["spec"]["selector"])).count();
            ensure!(found == 1, "{case}: the monitor finds the pods of {} {found} times", pod.name());
        }
    }
    Ok(())
}

#[test]
fn autoscalers_scale_what_exists_and_only_drained_ingesters_go() -> Result<()> {
    for (case, kind, least, most) in [
        ("cluster-zones", "HorizontalPodAutoscaler", "minReplicas", "maxReplicas"),
        ("cluster-keda", "ScaledObject", "minReplicaCount", "maxReplicaCount"),
    ] {
        let rendered = render::render(case, "1.35.0", &[])?;
        let scalers: Vec<&Value> = rendered.of_kind(kind).collect();
        ensure!(scalers.len() == if case == "cluster-zones" { 5 } else { 3 }, "{case}: {} {kind}", scalers.len());
        for scaler in scalers {
            let spec = &scaler["spec"];
            let target = &spec["scaleTargetRef"];
            let (target_kind, name) = (target["kind"].as_str(), target["name"].as_str());
            let (target_kind, name) = (target_kind.context("kind")?, name.context("name")?);
            let workload = rendered.named(target_kind, name).with_context(|| format!("{case}: no {target}"))?;
            // An upgrade must not undo what the autoscaler decided.
            ensure!(workload["spec"]["replicas"].is_null(), "{case}: {name} has a number of replicas");
            ensure!(spec[least].as_u64() <= spec[most].as_u64() && spec[least].as_u64() > Some(0), "{spec}");
            let behavior = match kind {
                "ScaledObject" => &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
                _ => &spec["behavior"],
            };
            let down = &behavior["scaleDown"];
            if case == "cluster-keda" && name.contains("ingester") {
                ensure!(down["selectPolicy"] == "Disabled", "{case}: {name} may scale in: {down}");
            } else {
                ensure!(down["selectPolicy"].is_null(), "{case}: {name} may not scale in: {down}");
            }
            let mut triggers = spec["triggers"].as_array().into_iter().flatten();
            let complete = |t: &Value| t["type"].is_string() && t["metadata"].is_object();
            ensure!(triggers.all(complete), "{case}: {spec}");
        }
    }
    let keda = render::render("cluster-keda", "1.35.0", &[])?;
    let distributor = keda.named("ScaledObject", "bonghwa-distributor").context("no ScaledObject")?;
    ensure!(distributor["apiVersion"] == "keda.sh/v1alpha1", "{distributor}");
    let metadata = &distributor["spec"]["triggers"][1]["metadata"];
    let query = "sum(rate(bonghwa_distributor_received_bytes_total\
                 {namespace=\"telemetry\",pod=~\"bonghwa-distributor-.+\"}[2m]))";
    ensure!(metadata["query"] == query && metadata["threshold"] == "40e6", "{metadata}");
    Ok(())
}
