//! Runs Helm on the chart, and reads what it renders.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::tools;
use serde_json::Value;

/// The values that are tried, below the chart's `ci`, each with a Kubernetes that it is meant for.
pub const CASES: [(&str, &str); 6] = [
    ("single", "1.30.0"),
    ("single-s3", "1.30.0"),
    ("cluster", "1.30.0"),
    ("cluster-zones", "1.30.0"),
    ("cluster-rebuild", "1.30.0"),
    // Zones from the pods' labels, which 1.35 brought.
    ("cluster-keda", "1.35.0"),
];

/// The release and the namespace that everything is rendered for. A release that bears the
/// product's name is the hard case: its services could be taken for configuration.
pub const RELEASE: &str = "bonghwa";
pub const NAMESPACE: &str = "telemetry";

/// What a release consists of.
pub struct Rendered {
    pub text: String,
    pub objects: Vec<Value>,
}

/// A pod as a workload or the test describes it.
pub struct Pod<'a> {
    pub owner: &'a Value,
    pub labels: &'a Value,
    pub spec: &'a Value,
}

pub fn repository() -> PathBuf {
    tools::tests_dir().join("..")
}

pub fn chart() -> PathBuf {
    repository().join("charts/bonghwa")
}

/// Runs Helm: what it printed, or what it complained of.
pub fn helm(args: &[&str]) -> Result<std::result::Result<String, String>> {
    // Helm keeps what it learns of a cluster in the user's home.
    let home = tempfile::tempdir()?;
    let mut command = Command::new(tools::helm()?);
    command.args(args).env("HOME", home.path()).stdin(Stdio::null());
    let output = command.output().context("starting Helm")?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    Ok(if output.status.success() { Ok(stdout) } else { Err(stdout + &stderr) })
}

/// Renders the chart with a file of `ci` and more arguments of Helm's.
pub fn try_render(case: &str, kubernetes: &str, more: &[&str]) -> Result<std::result::Result<Rendered, String>> {
    let chart = chart().display().to_string();
    let values = format!("{chart}/ci/{case}-values.yaml");
    let fixed = ["template", RELEASE, &chart, "-n", NAMESPACE, "-f", &values, "--kube-version", kubernetes];
    match helm(&[&fixed[..], more].concat())? {
        Ok(text) => {
            let objects = documents(&text).with_context(|| format!("{case} with {more:?}"))?;
            ensure!(!objects.is_empty(), "{case} with {more:?} renders nothing");
            Ok(Ok(Rendered { text, objects }))
        }
        Err(complaint) => Ok(Err(complaint)),
    }
}

/// Renders what must render.
pub fn render(case: &str, kubernetes: &str, more: &[&str]) -> Result<Rendered> {
    try_render(case, kubernetes, more)?.map_err(|complaint| anyhow::anyhow!("{case} with {more:?}: {complaint}"))
}

/// All cases, rendered.
pub fn all() -> Result<Vec<(&'static str, Rendered)>> {
    CASES.into_iter().map(|(case, kubernetes)| Ok((case, render(case, kubernetes, &[])?))).collect()
}

/// The documents of a YAML file. A key that is there twice is an error.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let mut found = vec![];
    for document in text.split("\n---").filter(|d| !d.trim().is_empty()) {
        let document = document.strip_prefix("---").unwrap_or(document);
        let value: Value = serde_yaml_ng::from_str(document).with_context(|| document.to_owned())?;
        if !value.is_null() {
            found.push(value);
        }
    }
    Ok(found)
}

impl Rendered {
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |o| o["kind"] == kind)
    }

    pub fn named(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
    }

    /// The pods of all workloads, and those that stand alone.
    pub fn pods(&self) -> Vec<Pod<'_>> {
        let kinds = ["StatefulSet", "Deployment", "DaemonSet", "Job", "Pod"];
        self.objects.iter().filter(|o| kinds.iter().any(|kind| o["kind"] == *kind)).map(Pod::of).collect()
    }
}

impl<'a> Pod<'a> {
    fn of(owner: &'a Value) -> Self {
        let pod = if owner["kind"] == "Pod" { owner } else { &owner["spec"]["template"] };
        Pod { owner, labels: &pod["metadata"]["labels"], spec: &pod["spec"] }
    }

    /// Kind and name of what the pod comes from.
    pub fn name(&self) -> String {
        let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        format!("{} {}", word(&self.owner["kind"]), word(&self.owner["metadata"]["name"]))
    }

    /// Whether `matchLabels`, or a service's selector, selects this pod.
    pub fn is_selected_by(&self, labels: &Value) -> bool {
        let wanted = labels.as_object().into_iter().flatten();
        wanted.into_iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// The containers, those that run before the others included.
    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        let lists = ["initContainers", "containers"].map(|list| &self.spec[list]);
        lists.into_iter().flat_map(|list| list.as_array().into_iter().flatten())
    }

    /// The number of a container port that a service names.
    pub fn port(&self, target: &Value) -> Option<u64> {
        let mut ports = self.containers().flat_map(|c| c["ports"].as_array().into_iter().flatten());
        ports.find(|p| p["name"] == *target || p["containerPort"] == *target)?["containerPort"].as_u64()
    }
}
