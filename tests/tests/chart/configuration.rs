//! The binary takes the configuration, the flags and the environment that the chart gives to its pods.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use bonghwa_testkit::tools;
use serde_json::Value;

use crate::render::{self, Rendered};

/// Where pods find their configuration and secrets.
const MOUNTED: &str = "/etc/bonghwa/";

#[test]
fn the_binary_takes_what_pods_start_with() -> Result<()> {
    let mut checked = BTreeSet::new();
    for (case, rendered) in render::all()? {
        let dir = tempfile::tempdir()?;
        mount(&rendered, dir.path())?;
        for pod in rendered.pods() {
            for container in pod.containers().filter(|c| c["args"][0] == "serve") {
                let name = format!("{case}: {}", pod.name());
                let own = pod.owner["metadata"]["name"].as_str().context("name")?;
                let environment = environment(container, &format!("{own}-0")).context(name.clone())?;
                let args = arguments(container, &environment)?;
                let said = check(&args, &environment, dir.path())?;
                ensure!(said == Ok("the configuration is good\n".into()), "{name}: {args:?}: {said:?}");
                checked.extend(args.into_iter().filter(|a| a.starts_with("--target=")));
            }
        }
    }
    let roles = ["all", "compactor", "distributor", "ingester", "meta", "querier", "scraper"];
    ensure!(checked == roles.map(|role| format!("--target={role}")).into(), "checked: {checked:?}");
    Ok(())
}

/// The configuration as a pod sees it, and files in the place of secrets.
fn mount(rendered: &Rendered, dir: &Path) -> Result<()> {
    let files: Vec<(&String, &Value)> =
        rendered.of_kind("ConfigMap").filter_map(|map| map["data"].as_object()).flatten().collect();
    let file = |name: &str| files.iter().find(|(file, _)| *file == name).and_then(|(_, text)| text.as_str());
    let text = file("bonghwa.yaml").context("no bonghwa.yaml")?;
    std::fs::write(dir.join("bonghwa.yaml"), text.replace(MOUNTED, &format!("{}/", dir.display())))?;
    if let Some(jobs) = file("scrape.yml") {
        std::fs::create_dir(dir.join("scrape"))?;
        std::fs::write(dir.join("scrape/scrape.yml"), jobs)?;
    }
    Ok(())
}

fn check(
    args: &[String],
    environment: &BTreeMap<String, String>,
    dir: &Path,
) -> Result<std::result::Result<String, String>> {
    let here = args.iter().map(|arg| arg.replace(MOUNTED, &format!("{}/", dir.display())));
    // Nothing of this process' environment: a BONGHWA_ variable of a test run is no key either.
    let mut command = Command::new(tools::bonghwa()?);
    command.args(["config", "check"]).args(here).env_clear().envs(environment).stdin(Stdio::null());
    let output = command.output().context("starting bonghwa")?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    Ok(if output.status.success() { Ok(stdout) } else { Err(stderr) })
}

/// The flags after `serve`, variables filled in.
fn arguments(container: &Value, environment: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let args = container["args"].as_array().context("args")?;
    args.iter().skip(1).map(|arg| expand(arg.as_str().context("an argument")?, environment)).collect()
}

/// The environment that the kubelet makes of a container's `env`.
fn environment(container: &Value, pod: &str) -> Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    for variable in container["env"].as_array().context("env")? {
        let name = variable["name"].as_str().context("name")?.to_owned();
        let source = &variable["valueFrom"];
        let value = if let Some(value) = variable["value"].as_str() {
            expand(value, &environment)?
        } else if source["secretKeyRef"]["key"].is_string() {
            "from-a-secret".into()
        } else {
            match source["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => pod.into(),
                Some("status.podIP") => "10.0.0.7".into(),
                Some("metadata.labels['topology.kubernetes.io/zone']") => "eu-west-1a".into(),
                _ => bail!("{name} comes from {source}"),
            }
        };
        ensure!(environment.insert(name, value).is_none(), "{} is set twice", variable["name"]);
    }
    Ok(environment)
}

/// Replaces `$(NAME)`; a name that is not set yet would stay as it is, which is never meant.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> Result<String> {
    let expanded = environment.iter().fold(text.to_owned(), |t, (name, value)| t.replace(&format!("$({name})"), value));
    ensure!(!expanded.contains("$("), "{text:?} names a variable that is not set before it");
    Ok(expanded)
}

/// A meta node knows itself among its peers by the address that it advertises.
#[test]
fn meta_nodes_are_among_their_peers_and_others_join_them() -> Result<()> {
    for case in ["cluster", "cluster-zones", "cluster-keda"] {
        let rendered = render::render(case, "1.35.0", &[])?;
        for pod in rendered.pods() {
            for container in pod.containers().filter(|c| c["args"][0] == "serve") {
                let own = pod.owner["metadata"]["name"].as_str().context("name")?;
                let arg = |flag: &str| -> Option<&str> {
                    let mut args = container["args"].as_array()?.iter().filter_map(Value::as_str);
                    args.find_map(|a| a.strip_prefix(flag))
                };
                if own == "bonghwa-meta" {
                    let peers: Vec<&str> = arg("--meta-peers=").context("no --meta-peers")?.split(',').collect();
                    let replicas = pod.owner["spec"]["replicas"].as_u64().context("replicas")?;
                    ensure!(peers.len() as u64 == replicas, "{case}: {replicas} replicas, and the peers are {peers:?}");
                    for (n, peer) in peers.iter().enumerate() {
                        let environment = environment(container, &format!("{own}-{n}"))?;
                        let advertised = &environment["BONGHWA_ADVERTISE"];
                        ensure!(advertised == peer, "{case}: {own}-{n} advertises {advertised}, its peers know {peer}");
                    }
                } else {
                    let join = arg("--join=").with_context(|| format!("{case}: {own} joins nobody"))?;
                    ensure!(join == "bonghwa-meta.telemetry.svc.cluster.local:7801", "{case}: {own} joins {join}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn ingesters_know_their_zone() -> Result<()> {
    for (case, zones) in [("cluster", &[][..]), ("cluster-zones", &["a", "b", "c"]), ("cluster-keda", &["eu-west-1a"])]
    {
        let rendered = render::render(case, "1.35.0", &[])?;
        let mut found = vec![];
        for pod in rendered.pods().iter().filter(|p| p.labels["app.kubernetes.io/component"] == "ingester") {
            let container = pod.containers().next().context("no container")?;
            found.extend(environment(container, "bonghwa-ingester-0")?.remove("BONGHWA_ZONE"));
        }
        ensure!(found == zones, "{case}: the zones are {found:?}");
    }
    Ok(())
}

/// Keys that the chart sets, or that have no place in it: a pod must not be told to drain at every stop.
const CHARTS_OWN: [&str; 20] = [
    "target",
    "node_name",
    "zone",
    "advertise",
    "join",
    "meta_peers",
    "replication_factor",
    "drain_on_shutdown",
    "data_dir",
    "http_listen",
    "grpc_listen",
    "otlp_grpc_listen",
    "otlp_http_listen",
    "object_store",
    "s3",
    "tls",
    "auth",
    "scrape.config",
    // Tenants' own names: the schema knows what lies below them.
    "limits.overrides",
    "retention.tenants",
];

#[test]
fn the_schema_knows_every_key_of_the_configuration() -> Result<()> {
    let mut command = Command::new(tools::bonghwa()?);
    let output = command.args(["config", "show"]).env_clear().stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown: Value = serde_yaml_ng::from_slice(&output.stdout)?;
    let schema = std::fs::read_to_string(render::chart().join("values.schema.json"))?;
    let schema: Value = serde_json::from_str(&schema)?;

    let binary = keys(&shown, "");
    let chart = schema_keys(&schema, &schema["properties"]["config"], "");
    let missing: Vec<_> = binary.difference(&chart).collect();
    ensure!(missing.is_empty(), "values.schema.json lacks these below properties.config: {missing:?}");
    let unknown: Vec<_> = chart.difference(&binary).collect();
    ensure!(unknown.is_empty(), "values.schema.json has keys that the binary does not know: {unknown:?}");
    Ok(())
}

/// The leaves of a configuration, as `section.key`.
fn keys(value: &Value, path: &str) -> BTreeSet<String> {
    let Some(section) = value.as_object().filter(|_| !CHARTS_OWN.contains(&path)) else {
        return BTreeSet::from([path.to_owned()]).into_iter().filter(|p| !CHARTS_OWN.contains(&p.as_str())).collect();
    };
    section.iter().flat_map(|(key, value)| keys(value, join(path, key).as_str())).collect()
}

/// The leaves that the schema of `config` admits.
fn schema_keys(root: &Value, schema: &Value, path: &str) -> BTreeSet<String> {
    let reference = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#'));
    let schema = reference.and_then(|r| root.pointer(r)).unwrap_or(schema);
    let Some(properties) = schema["properties"].as_object() else {
        return BTreeSet::from([path.to_owned()]).into_iter().filter(|p| !CHARTS_OWN.contains(&p.as_str())).collect();
    };
    properties.iter().flat_map(|(key, value)| schema_keys(root, value, join(path, key).as_str())).collect()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
