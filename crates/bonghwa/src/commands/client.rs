//! The HTTP API of a running server, as the commands call it.

use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

/// Where the server is, who asks, and whose data is meant.
#[derive(Args)]
pub struct Address {
    /// URL of the server's HTTP API.
    #[arg(long, env = "BONGHWA_ADDRESS", default_value = "http://127.0.0.1:7800", global = true)]
    address: String,
    /// Tenant, where the server has several; `a|b` reads those of both.
    #[arg(long, global = true)]
    tenant: Option<String>,
    /// Token of a caller, where the server asks for one.
    #[arg(long, env = "BONGHWA_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

impl Address {
    /// A request for this path.
    pub fn get(&self, path: &str) -> RequestBuilder {
        reqwest::Client::new().get(self.url(path))
    }

    /// A request to this path.
    pub fn post(&self, path: &str) -> RequestBuilder {
        reqwest::Client::new().post(self.url(path))
    }

    /// A request that takes this path away.
    pub fn delete(&self, path: &str) -> RequestBuilder {
        reqwest::Client::new().delete(self.url(path))
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.address.contains("://") { "" } else { "http://" };
        format!("{scheme}{}{path}", self.address.trim_end_matches('/'))
    }

    /// The answer, if it is a good one; else an error that says what the server said.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let request = match &self.tenant {
            Some(tenant) => request.header("x-scope-orgid", tenant),
            None => request,
        };
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.send().await.with_context(|| format!("no server answers at {}", self.address))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let message =
            serde_json::from_str::<Value>(&text).ok().and_then(|v| Some(v.get("error")?.as_str()?.to_owned()));
        bail!("{status}: {}", message.unwrap_or(text));
    }
}
