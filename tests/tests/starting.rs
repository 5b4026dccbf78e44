//! What a node finds when it starts.

use std::fs;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Server, Store};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_its_name_when_the_hosts_changes() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let name = fs::read_to_string(server.data_dir().join("node-name"))?;
    ensure!(names(&server).await? == [name.trim()], "the first start's name is not {name:?}");
    server.stop().await?;

    // As a data directory whose first start was on another host.
    fs::remove_dir_all(server.data_dir())?;
    fs::create_dir(server.data_dir())?;
    fs::write(server.data_dir().join("node-name"), "other-host")?;
    for _ in 0..2 {
        server.restart().await?;
        let names = names(&server).await?;
        ensure!(names == ["other-host"], "the ring shows {names:?}");
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_listed_ends_the_first_start() -> Result<()> {
    let store = ("BONGHWA_OBJECT_STORE", "s3://bonghwa/telemetry");
    let endpoint = ("BONGHWA_S3__ENDPOINT", "http://127.0.0.1:1");
    let keys = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let started = Server::start_with(Store::Local, &[store, endpoint, keys[0], keys[1]]).await;
    let error = format!("{:#}", started.err().context("a node started without its object store")?);
    for words in ["object_store: s3://bonghwa/telemetry cannot be listed", "its endpoint and its credentials"] {
        ensure!(error.contains(words), "the error lacks {words:?}:\n{error}");
    }
    Ok(())
}

/// The names of the nodes in the ring.
async fn names(server: &Server) -> Result<Vec<String>> {
    let ring: Value = server.http().get(server.url("/ring")).send().await?.json().await?;
    let nodes = ring["nodes"].as_array().context("nodes")?;
    nodes.iter().map(|node| Ok(node["name"].as_str().context("name")?.to_owned())).collect()
}
