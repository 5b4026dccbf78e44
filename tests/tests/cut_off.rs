//! Nodes that are cut off from meta go on, and say what they cannot know.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Generator, seed, wait};
use bonghwa_tests::nodes::Nodes;
use serde_json::json;

const LONG: Duration = Duration::from_secs(60);

/// The rows that a count finds, and what the answer says is left out.
async fn ask(nodes: &Nodes) -> Result<(i64, Option<String>)> {
    let request = nodes.querier.http().post(nodes.querier.url("/api/v1/sql"));
    let answer = request.json(&json!({ "query": "SELECT count(*) AS n FROM logs" })).send().await?;
    let partial = answer.headers().get("x-bonghwa-partial").map(|value| value.to_str().map(str::to_owned));
    let partial = partial.transpose()?;
    let rows: Vec<serde_json::Value> = answer.json().await?;
    Ok((rows[0]["n"].as_i64().context("n")?, partial))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_querier_whose_catalog_is_old_says_so() -> Result<()> {
    let mut nodes = Nodes::start(&[]).await?;
    let mut generator = Generator::new(seed::draw("cut off"), 0, Generator::now());
    nodes.write(&mut generator, 100).await?;
    ensure!(ask(&nodes).await? == (100, None), "{:?}", ask(&nodes).await?);

    nodes.meta.kill9()?;
    let old = || async {
        match ask(&nodes).await {
            Ok((100, Some(partial))) if partial.starts_with("catalog of ") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    wait::until("the querier says that its catalog is old", LONG, old).await?;
    // Neither writes nor queries need meta.
    nodes.write(&mut generator, 50).await?;
    let (found, partial) = ask(&nodes).await?;
    ensure!(found == 150 && partial.is_some(), "{found} {partial:?}");
    for node in [&nodes.querier, &nodes.distributor] {
        node.says(&["WARN", "cut off from meta"]).await?;
        let metrics = node.http().get(node.url("/metrics")).send().await?.text().await?;
        let age = metrics.lines().find_map(|line| line.strip_prefix("bonghwa_catalog_age_seconds "));
        let age: f64 = age.context("no age among the metrics")?.parse()?;
        ensure!(age > 3.0, "the catalog is {age} s old");
    }

    nodes.meta.restart()?;
    let whole = || async {
        match ask(&nodes).await {
            Ok((150, None)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    wait::until("answers are whole again", LONG, whole).await?;
    nodes.stop().await
}
