//! What tests of Prometheus' API share: remote write in, questions out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Generator, Server, wait};
use prost::Message as _;
use serde_json::Value;

#[path = "../../crates/wire/tests/support/prometheus.rs"]
pub mod messages;

use messages::{Series, WriteRequest};

/// How long something may take to become true.
const DEADLINE: Duration = Duration::from_secs(60);

/// Now, in Unix milliseconds.
pub fn now() -> i64 {
    (Generator::now() / 1_000_000) as i64
}

/// Compresses a message as Prometheus' protocols do.
pub fn snappy(message: &[u8]) -> Result<Vec<u8>> {
    Ok(snap::raw::Encoder::new().compress_vec(message)?)
}

/// Sends series by remote write 1.0: status and body of the answer.
pub async fn write(server: &Server, tenant: Option<&str>, timeseries: Vec<Series>) -> Result<(u16, String)> {
    let body = snappy(&WriteRequest { timeseries, metadata: vec![] }.encode_to_vec())?;
    let mut request = server.http().post(server.url("/api/v1/write")).header("content-encoding", "snappy");
    request = request.header("content-type", "application/x-protobuf");
    if let Some(tenant) = tenant {
        request = request.header("x-scope-orgid", tenant);
    }
    let answer = request.body(body).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The same, all of which must be taken.
pub async fn store(server: &Server, timeseries: Vec<Series>) -> Result<()> {
    let (status, said) = write(server, None, timeseries).await?;
    ensure!(status == 204, "{status}: {said}");
    Ok(())
}

/// Asks with GET: status and JSON of the answer.
pub async fn ask(server: &Server, path: &str, parameters: &[(&str, &str)]) -> Result<(u16, Value)> {
    let answer = server.http().get(server.url(path)).query(parameters).send().await?;
    let status = answer.status().as_u16();
    let text = answer.text().await?;
    Ok((status, serde_json::from_str(&text).with_context(|| format!("{path} answers {status}: {text}"))?))
}

/// The result of an instant query.
pub async fn instant(server: &Server, query: &str) -> Result<Vec<Value>> {
    let (status, answer) = ask(server, "/api/v1/query", &[("query", query)]).await?;
    ensure!(status == 200, "{query}: {answer}");
    Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
}

/// The one number that a query answers with; none where it finds nothing.
pub async fn number(server: &Server, query: &str) -> Result<Option<f64>> {
    let found = instant(server, query).await?;
    ensure!(found.len() <= 1, "{query}: {found:?}");
    let value = found.first().and_then(|one| one["value"][1].as_str());
    value.map(|value| value.parse().context("a value")).transpose()
}

/// Waits until a query answers with a number between these.
pub async fn becomes(server: &Server, query: &str, (least, most): (f64, f64)) -> Result<()> {
    wait::until(&format!("{query} is from {least} to {most}"), DEADLINE, || async {
        match number(server, query).await {
            Ok(Some(value)) if (least..=most).contains(&value) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}
