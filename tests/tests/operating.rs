//! What an operator does: recreates a lost catalog, inspects a block, limits a tenant,
//! looks at the node's pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{FaultMix, Generator, S3, Server, Signal, Store, seed, tools};
use bonghwa_tests::questions::{Data, ask};
use bonghwa_tests::{On, on_every_store};
use reqwest::Response;
use serde_json::{Value, json};

on_every_store!(a_lost_catalog_comes_back_from_its_blocks);

async fn a_lost_catalog_comes_back_from_its_blocks(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let mut data = Data::new(seed::draw("rebuild"));
    for _ in 0..2 {
        data.send(&server).await?;
        server.flush().await?;
    }
    server.stop().await?;
    fs::remove_dir_all(server.data_dir().join("log"))?;
    // As a crash between upload and commit leaves it: a block whose records another one has too.
    let blocks = blocks(&server.objects())?;
    let block = blocks.iter().find(|b| b.components().any(|c| c.as_os_str() == "logs")).context("no block of logs")?;
    let name = block.file_name().and_then(|n| n.to_str()).context("no name")?;
    let (positions, _) = name.rsplit_once('-').with_context(|| format!("a block named {name}"))?;
    fs::copy(block, block.with_file_name(format!("{positions}-00000000.parquet")))?;
    fs::write(server.objects().join("logs/l0/garbage.parquet"), "no parquet at all, but long enough")?;
    refused_start(&mut server).await?;

    let said = server.run(&["meta", "rebuild"]).await?;
    let expected = format!("{} blocks are in the catalog again; 1 left out, 1 unreadable", blocks.len());
    for words in [&expected, "logs/l0/garbage.parquet is damaged"] {
        ensure!(said.contains(words), "meta rebuild says {said:?}, not {words:?}");
    }

    server.restart().await?;
    ask(&server.sql(), &data.questions(), "after the catalog was rebuilt").await?;
    data.send(&server).await?;
    ask(&server.sql(), &data.questions(), "with more from the tail").await?;
    server.flush().await?;
    ask(&server.sql(), &data.questions(), "with more from blocks").await?;
    server.stop().await
}

/// A start beside the blocks of a lost catalog ends with a sentence that says what to do.
async fn refused_start(server: &mut Server) -> Result<()> {
    ensure!(server.restart().await.is_err(), "an empty catalog was started beside blocks");
    let log = server.log_tail();
    for words in ["holds blocks (logs/", "`bonghwa meta rebuild`", "an empty prefix"] {
        ensure!(log.contains(words), "the log lacks {words:?}:\n{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_outlasts_a_store_that_falters() -> Result<()> {
    let s3 = S3::start(seed::draw("falter")).await?;
    let mut server = Server::start(Store::S3(s3.clone())).await?;
    let mut data = Data::new(seed::draw("falter"));
    data.send(&server).await?;
    server.flush().await?;
    server.stop().await?;
    fs::remove_dir_all(server.data_dir().join("log"))?;

    s3.faults().set(FaultMix { error: 0.3, slow_down: 0.2, ..Default::default() });
    let said = server.run(&["meta", "rebuild"]).await?;
    s3.faults().clear();
    let expected =
        format!("{} blocks are in the catalog again; 0 left out, 0 unreadable", blocks(&s3.objects())?.len());
    ensure!(said.contains(&expected), "meta rebuild says {said:?}, not {expected:?}");
    server.restart().await?;
    ask(&server.sql(), &data.questions(), "after the catalog was rebuilt from a store that faltered").await?;
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_exists_is_not_rebuilt() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    Data::new(seed::draw("catalog")).send(&server).await?;
    server.stop().await?;
    let error = server.run(&["meta", "rebuild"]).await.err().context("meta rebuild ran over a catalog")?;
    ensure!(format!("{error:#}").contains("the catalog has"), "the error is {error:#}");
    Ok(())
}

/// All blocks below a directory.
fn blocks(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(blocks(&path)?);
        } else if path.extension().is_some_and(|e| e == "parquet") {
            found.push(path);
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_says_what_it_holds() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    Data::new(seed::draw("inspect")).send(&server).await?;
    server.flush().await?;
    for (directory, table) in [("logs", "logs"), ("metrics", "metrics"), ("traces", "spans")] {
        let mut items = 0;
        for block in blocks(&server.objects().join(directory))? {
            let text = inspect(&block).await?;
            let said: Value = serde_json::from_str(&text)?;
            ensure!(said["signal"] == directory, "{}: signal {}", block.display(), said["signal"]);
            ensure!(said["bytes"] == fs::metadata(&block)?.len(), "{}: bytes {}", block.display(), said["bytes"]);
            for tenant in said["tenants"].as_array().context("tenants")? {
                ensure!(tenant["tenant"] == "default", "tenant {}", tenant["tenant"]);
                items += tenant["items"].as_u64().context("items")?;
            }
        }
        let count = server.sql().rows(&format!("SELECT count(*) AS n FROM {table}")).await?;
        ensure!(count == [json!({ "n": items })], "the blocks of {table} say {items}, SQL says {count:?}");
    }
    let error = inspect(&server.data_dir().join("node-name")).await.err();
    let error = format!("{:#}", error.context("a file that is no block was inspected")?);
    ensure!(error.contains("node-name") && !error.contains("panicked"), "the error is {error}");
    server.stop().await
}

async fn inspect(file: &Path) -> Result<String> {
    tools::run(&["block".as_ref(), "inspect".as_ref(), file.as_ref()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_beyond_its_rate_is_told_when_to_come_back() -> Result<()> {
    let limit = ("BONGHWA_LIMITS__NAMED__LOGS_RATE", "10");
    let mut server = Server::start_with(Store::Local, &[limit, ("BONGHWA_LIMITS__NAMED__LOGS_BURST", "10")]).await?;
    let mut generator = Generator::new(seed::draw("limits"), 0, Generator::now());
    let batch = generator.batch(Signal::Logs, 100);
    let sent = AtomicU64::new(0);
    let send = async |tenant: Option<&str>| -> Result<Response> {
        let request = server.http().post(format!("{}/v1/logs", server.otlp_http())).body(batch.body.clone());
        let request = request.header("content-type", "application/x-protobuf");
        // The same bytes under another name are other records.
        let name = sent.fetch_add(1, Ordering::Relaxed).to_string();
        let request = tenant.into_iter().fold(request, |r, t| r.header("x-scope-orgid", t));
        Ok(request.header("idempotency-key", name).send().await?)
    };
    let first = send(Some("noisy")).await?.status();
    ensure!(first == 200, "the first request of a full bucket answers {first}");
    let second = send(Some("noisy")).await?;
    ensure!(second.status() == 429, "a request beyond the rate answers {}", second.status());
    let after = second.headers().get("retry-after").context("no Retry-After")?.to_str()?.parse::<u64>()?;
    ensure!((1..=60).contains(&after), "Retry-After: {after}");
    let body = second.bytes().await?;
    let sentence = String::from_utf8_lossy(&body);
    for word in ["noisy", "limits.logs", "10 bytes per second"] {
        ensure!(sentence.contains(word), "the sentence lacks {word:?}: {sentence}");
    }
    let other = send(Some("quiet")).await?.status();
    ensure!(other == 200, "another tenant's first request answers {other}");
    for _ in 0..3 {
        let unnamed = send(None).await?.status();
        ensure!(unnamed == 200, "a caller without a tenant has no limit, but is answered {unnamed}");
    }
    let rows = server.sql().rows("SELECT count(*) AS n FROM logs").await?;
    ensure!(rows == [json!({ "n": 300 })], "of three requests of 100 records SQL finds {rows:?}");
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_tell_how_the_node_is() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    Data::new(seed::draw("pages")).send(&server).await?;
    server.flush().await?;
    for (page, words) in [
        ("/ready", &["ready"][..]),
        ("/health", &["ok"]),
        ("/version", &["\"version\":\""]),
        ("/config", &["flush_bytes:", "data_dir:"]),
        ("/metrics", &["# TYPE bonghwa_", "# HELP bonghwa_"]),
        ("/ring", &["\"state\":\"active\"", "\"leader\":\""]),
    ] {
        let answer = server.http().get(server.url(page)).send().await?;
        ensure!(answer.status() == 200, "{page} answers {}", answer.status());
        let text = answer.text().await?;
        for word in words {
            ensure!(text.contains(word), "{page} lacks {word:?}:\n{text}");
        }
    }
    let ring: Value = server.http().get(server.url("/ring")).send().await?.json().await?;
    for partition in ring["partitions"].as_array().context("partitions")? {
        let flushed = partition["watermark"] == partition["position"] && partition["head_bytes"] == 0;
        ensure!(flushed, "after a flush of everything: {partition}");
    }
    let page = server.http().get(server.url("/ring")).header("accept", "text/html").send().await?.text().await?;
    ensure!(page.contains("<h2>Partitions</h2>") && page.contains("<td>active</td>"), "{page}");
    server.stop().await
}
