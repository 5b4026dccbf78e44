//! `deploy/`: the nodes of the compose files start, Grafana's questions are answered, and the script of
//! `helm test` finds what it sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Generator, Server, Signal, Store, seed, tools};
use serde_json::Value;

use crate::render;

/// A YAML file with its merges (`<<`) done.
fn compose(file: &str) -> Result<Value> {
    let text = std::fs::read_to_string(render::repository().join("deploy").join(file))?;
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text)?;
    // What is merged may hold merges itself.
    for _ in 0..4 {
        value.apply_merge()?;
    }
    Ok(serde_json::to_value(value)?)
}

/// What the image starts with where nothing else is said: the Dockerfile's CMD.
fn image_command() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(render::repository().join("deploy/Dockerfile"))?;
    let command = text.lines().find_map(|line| line.strip_prefix("CMD ")).context("the Dockerfile has no CMD")?;
    Ok(serde_json::from_str(command)?)
}

#[test]
fn the_image_is_built_with_the_workspaces_compiler() -> Result<()> {
    let toolchain = std::fs::read_to_string(render::repository().join("rust-toolchain.toml"))?;
    let channel = toolchain.lines().find_map(|l| l.strip_prefix("channel = ")).context("no channel")?.trim_matches('"');
    let dockerfile = std::fs::read_to_string(render::repository().join("deploy/Dockerfile"))?;
    ensure!(dockerfile.contains(&format!("FROM rust:{channel}-")), "the Dockerfile builds with another than {channel}");
    Ok(())
}

#[test]
fn the_nodes_of_the_compose_files_are_configured_well() -> Result<()> {
    let mut nodes = BTreeMap::new();
    for file in ["compose.yaml", "compose.cluster.yaml"] {
        let compose = compose(file)?;
        for (name, service) in compose["services"].as_object().context("services")? {
            for port in service["ports"].as_array().into_iter().flatten() {
                let loopback = port.as_str().is_some_and(|p| p.starts_with("127.0.0.1:"));
                ensure!(loopback, "{file}: {name} opens {port} to everyone");
            }
            if service["image"] != "bonghwa" {
                continue;
            }
            let mut command = image_command()?;
            if let Some(own) = service["command"].as_array() {
                command = own.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
            }
            ensure!(command.first().is_some_and(|word| word == "serve"), "{file}: {name} runs {command:?}");
            let environment: BTreeMap<String, String> = service["environment"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect::<Option<_>>()
                .with_context(|| format!("{file}: {name} has a variable that is no text"))?;
            let mut check = Command::new(tools::bonghwa()?);
            check.args(["config", "check"]).args(&command[1..]).env_clear().envs(&environment).stdin(Stdio::null());
            let output = check.output()?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{file}: {name} with {command:?} and {environment:?}: {complaint}");
            // Nodes of a cluster are told apart and found by the names that compose gives them.
            if file == "compose.cluster.yaml" {
                ensure!(environment["BONGHWA_NODE_NAME"] == *name, "{name}: {environment:?}");
                ensure!(environment["BONGHWA_ADVERTISE"] == format!("{name}:7801"), "{name}: {environment:?}");
                *nodes.entry(environment["BONGHWA_TARGET"].clone()).or_insert(0) += 1;
            }
        }
    }
    let expected = [("compactor", 1), ("distributor", 2), ("ingester", 3), ("meta", 3), ("querier", 2)];
    ensure!(nodes == expected.map(|(role, count)| (role.to_owned(), count)).into(), "the nodes are {nodes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboards_questions_are_answered() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let mut generator = Generator::new(seed::draw("dashboard"), 0, Generator::now() - 60_000_000_000);
    let sender = server.sender();
    for signal in Signal::ALL {
        sender.send(&generator.batch(signal, 200)).await;
    }
    let text = std::fs::read_to_string(render::repository().join("deploy/grafana/dashboards/services.json"))?;
    // As Grafana writes the bounds of the chosen time.
    let text = text.replace("${__from:date:iso}", "2020-01-01T00:00:00.000Z");
    let text = text.replace("${__to:date:iso}", "2100-01-01T00:00:00.000Z");
    ensure!(!text.contains("${__from") && !text.contains("${__to"), "a variable is left: {text}");
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    ensure!(!panels.is_empty(), "the dashboard is empty");
    for panel in panels {
        let target = &panel["targets"][0];
        let body = target["url_options"]["data"].as_str().context("data")?.to_owned();
        let path = target["url"].as_str().context("url")?;
        let answer = server.http().post(server.url(path)).header("accept", "application/json").body(body);
        let answer = answer.header("content-type", "application/json").send().await?;
        let status = answer.status();
        let rows: Value = answer.json().await?;
        ensure!(status == 200, "{}: {status}: {rows}", panel["title"]);
        let rows = rows.as_array().with_context(|| format!("{}: not a list of rows", panel["title"]))?;
        let first = rows.first().with_context(|| format!("{}: no rows", panel["title"]))?;
        for column in target["columns"].as_array().context("columns")? {
            let name = column["selector"].as_str().context("selector")?;
            ensure!(first.get(name).is_some(), "{}: no column {name} in {first}", panel["title"]);
        }
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_helm_test_finds_what_it_sent() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let said = helm_test(&server.otlp_http(), &server.url("")).await?;
    ensure!(said.is_ok_and(|said| said.contains("found it")), "the test fails on a server that works");
    server.stop().await?;

    // Records that go elsewhere are not found.
    let (mut one, mut other) = (Server::start(Store::Local).await?, Server::start(Store::Local).await?);
    let said = helm_test(&one.otlp_http(), &other.url("")).await?;
    ensure!(said.as_ref().is_err_and(|said| said.contains("does not find record")), "{said:?}");
    one.stop().await?;
    other.stop().await
}

/// Runs the script of `helm test`: what it said, and whether it was content.
async fn helm_test(otlp: &str, api: &str) -> Result<std::result::Result<String, String>> {
    let script = std::fs::read_to_string(render::chart().join(Path::new("files/send-and-ask.sh")))?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).env("OTLP", otlp).env("API", api).env("ATTEMPTS", "3").env("NO_PROXY", "*");
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await??;
    let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    Ok(if output.status.success() { Ok(text) } else { Err(text) })
}
