//! Services that push with the real OpenTelemetry SDK: who is killed is down soon, without scraping.

use std::time::Duration;

use anyhow::{Result, ensure};
use bonghwa_testkit::{Exporter, Server, wait};
use bonghwa_tests::prometheus::{ask, instant};
use bonghwa_tests::{On, on_every_store};
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(60);
/// The instances by name, and whether they are up.
const INSTANCES: &str = "up{bonghwa_source='otlp', job='pushed'}";
/// Services of which nothing is up.
const DOWN: &str = "max by (job) (up{bonghwa_source='otlp'}) == 0";

async fn values(server: &Server, query: &str) -> Result<Vec<(String, String)>> {
    let found = instant(server, query).await?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut values: Vec<_> =
        found.iter().map(|one| (text(&one["metric"]["instance"]), text(&one["value"][1]))).collect();
    values.sort();
    Ok(values)
}

/// Waits until a query answers this, by instance.
async fn becomes(server: &Server, query: &str, expected: &[(&str, &str)]) -> Result<()> {
    let expected: Vec<_> = expected.iter().map(|(i, v)| ((*i).to_owned(), (*v).to_owned())).collect();
    wait::until(&format!("{query} is {expected:?}"), DEADLINE, || async {
        match values(server, query).await {
            Ok(found) if found == expected => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

async fn an_instance_that_stops_sending_is_down(on: On) -> Result<()> {
    // The SDK exports once a second; by default nobody is down within a minute.
    let environment = [("BONGHWA_METRICS__PUSH_UP__MIN_SILENCE", "1s")];
    let mut server = Server::start_with(on.store().await?, &environment).await?;
    let mut one = Exporter::shop(&server.otlp_http(), "one").await?;
    let mut two = Exporter::shop(&server.otlp_http(), "two").await?;
    becomes(&server, INSTANCES, &[("one", "1"), ("two", "1")]).await?;
    // How often they send shows after a few times.
    let often = format!("count_over_time({INSTANCES}[5m]) > bool 4");
    becomes(&server, &often, &[("one", "1"), ("two", "1")]).await?;

    one.kill()?;
    for place in ["tail", "block"] {
        becomes(&server, INSTANCES, &[("one", "0"), ("two", "1")]).await.map_err(|error| error.context(place))?;
        server.flush().await?;
    }
    // What was up before is so in the past.
    let was = format!("max_over_time({INSTANCES}[5m])");
    becomes(&server, &was, &[("one", "1"), ("two", "1")]).await?;
    two.kill()?;
    becomes(&server, DOWN, &[("", "0")]).await?;
    one.restart().await?;
    becomes(&server, INSTANCES, &[("one", "1"), ("two", "0")]).await?;
    becomes(&server, DOWN, &[]).await?;

    // Heartbeats are rows like others.
    let rows = "SELECT DISTINCT service_name, type, value, attributes['bonghwa_source'] AS source FROM metrics WHERE name = 'up'";
    let rows = server.sql().rows(rows).await?;
    ensure!(rows == [json!({ "service_name": "pushed", "type": "gauge", "value": 1.0, "source": "otlp" })], "{rows:?}");
    let (_, described) = ask(&server, "/api/v1/metadata", &[("metric", "up")]).await?;
    ensure!(described["data"]["up"][0]["type"] == "gauge", "{described}");
    server.stop().await
}
on_every_store!(an_instance_that_stops_sending_is_down);

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_off_there_is_none() -> Result<()> {
    let mut server =
        Server::start_with(On::Local.store().await?, &[("BONGHWA_METRICS__PUSH_UP__ENABLED", "false")]).await?;
    let _one = Exporter::shop(&server.otlp_http(), "one").await?;
    let sent = "count(shop_temperature_celsius{instance='one'}) > bool 0";
    becomes(&server, sent, &[("", "1")]).await?;
    becomes(&server, "up", &[]).await?;
    server.stop().await
}

/// Resource attributes are labels without a join; who is up is the same instance whatever else its resource says.
#[tokio::test(flavor = "multi_thread")]
async fn all_resource_attributes_may_be_labels() -> Result<()> {
    let environment = [
        ("BONGHWA_METRICS__PROMOTE_ALL_RESOURCE_ATTRIBUTES", "true"),
        ("BONGHWA_METRICS__IGNORE_RESOURCE_ATTRIBUTES", "service.name,telemetry.sdk.version"),
    ];
    let mut server = Server::start_with(On::Local.store().await?, &environment).await?;
    let _one = Exporter::shop(&server.otlp_http(), "one").await?;
    becomes(&server, INSTANCES, &[("one", "1")]).await?;
    for place in ["tail", "block"] {
        let by_label = "count by (instance) (shop_temperature_celsius{telemetry_sdk_language='python'})";
        becomes(&server, by_label, &[("one", "1")]).await.map_err(|error| error.context(place))?;
        let ignored = "{service_name!='', job='pushed'} or {telemetry_sdk_version!='', __name__!='target_info'}";
        becomes(&server, ignored, &[]).await?;
        let up = instant(&server, INSTANCES).await?;
        let labels = json!({ "__name__": "up", "bonghwa_source": "otlp", "instance": "one", "job": "pushed" });
        ensure!(up[0]["metric"] == labels, "{up:?}");
        server.flush().await?;
    }
    server.stop().await
}
