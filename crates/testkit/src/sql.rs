//! Asking SQL over HTTP.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A client of `POST /api/v1/sql`.
#[derive(Clone)]
pub struct Sql {
    http: reqwest::Client,
    url: String,
}

/// An answer as it came.
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Content-Type, empty when there is none.
    pub content_type: String,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Sql {
    pub(crate) fn new(http: reqwest::Client, url: String) -> Self {
        Sql { http, url }
    }

    /// Where the queries go.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The answer to a query, whatever its status.
    pub async fn ask(&self, query: &str, accept: &str) -> Result<Answer> {
        let request = self.http.post(&self.url).header("accept", accept).json(&json!({ "query": query }));
        let answer = request.send().await.with_context(|| format!("asking {query}"))?;
        let content_type = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        Ok(Answer { status: answer.status(), content_type: content_type.to_owned(), body: answer.bytes().await? })
    }

    async fn ask_well(&self, query: &str, accept: &str) -> Result<Answer> {
        let answer = self.ask(query, accept).await?;
        ensure!(answer.status == StatusCode::OK, "{} to {query}: {}", answer.status, answer.text());
        Ok(answer)
    }

    /// The rows as JSON objects.
    pub async fn rows(&self, query: &str) -> Result<Vec<Value>> {
        let answer = self.ask_well(query, "application/json").await?;
        serde_json::from_slice(&answer.body).with_context(|| format!("no JSON rows: {}", answer.text()))
    }

    /// The rows as CSV with a header.
    pub async fn csv(&self, query: &str) -> Result<String> {
        Ok(self.ask_well(query, "text/csv").await?.text())
    }

    /// The only integer of the only row.
    pub async fn integer(&self, query: &str) -> Result<i64> {
        let rows = self.rows(query).await?;
        let value = rows.first().and_then(Value::as_object).and_then(|row| row.values().next());
        value.and_then(Value::as_i64).with_context(|| format!("no integer: {rows:?}"))
    }
}
