//! A server that asks for credentials, and callers of every kind.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Server, Store};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Requests written so far: the next one's name.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Somebody who sends requests, and what the file of callers allows.
pub struct Caller {
    /// As tables show it.
    pub name: &'static str,
    /// What it sends as `Authorization`.
    pub authorization: Option<&'static str>,
    /// Whether the file knows it.
    pub known: bool,
    /// The tenants that the file lists; `*` is all.
    pub tenants: &'static [&'static str],
    /// The rights that the file lists.
    pub rights: &'static [&'static str],
}

/// Callers of every kind.
pub const CALLERS: &[Caller] = &[
    Caller { name: "none", authorization: None, known: false, tenants: &[], rights: &[] },
    Caller { name: "wrong token", authorization: Some("Bearer wrong"), known: false, tenants: &[], rights: &[] },
    READER_A,
    WRITER_A,
    ADMIN,
    READER_AB,
    ALL,
];

/// May read tenant a.
pub const READER_A: Caller = Caller {
    name: "reader of a",
    authorization: Some("Bearer hush-reader-of-a"),
    known: true,
    tenants: &["a"],
    rights: &["read"],
};

/// May write tenant a; known by user name and password (`writer:test`).
pub const WRITER_A: Caller = Caller {
    name: "writer of a",
    authorization: Some("Basic d3JpdGVyOnRlc3Q="),
    known: true,
    tenants: &["a"],
    rights: &["write"],
};

/// May operate, and neither read nor write.
pub const ADMIN: Caller =
    Caller { name: "admin", authorization: Some("Bearer hush-admin"), known: true, tenants: &[], rights: &["admin"] };

/// May read tenants a and b.
pub const READER_AB: Caller = Caller {
    name: "reader of a, b",
    authorization: Some("Bearer hush-reader-of-ab"),
    known: true,
    tenants: &["a", "b"],
    rights: &["read"],
};

/// May read and write all tenants.
pub const ALL: Caller = Caller {
    name: "all of *",
    authorization: Some("Bearer hush-all"),
    known: true,
    tenants: &["*"],
    rights: &["read", "write"],
};

/// What the file says of [`CALLERS`].
pub const FILE: &str = "callers:
  - { name: reader-a, token: hush-reader-of-a, tenants: [a], rights: [read] }
  - name: writer-a
    username: writer
    password_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    tenants: [a]
    rights: [write]
  - { name: admin, token: hush-admin, rights: [admin] }
  - { name: reader-ab, token: hush-reader-of-ab, tenants: [a, b], rights: [read] }
  - { name: all, token: hush-all, tenants: '*', rights: [read, write] }
";

impl Caller {
    /// The headers that it sends, naming these tenants.
    pub fn headers<'a>(&self, tenants: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
        let authorization = self.authorization.map(|value| ("authorization", value));
        authorization.into_iter().chain(tenants.map(|tenants| ("x-scope-orgid", tenants))).collect()
    }
}

/// A server with authentication on.
pub struct Guarded {
    /// The server.
    pub server: Server,
    dir: TempDir,
}

impl Guarded {
    /// Starts a server that knows [`CALLERS`].
    pub async fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-test-").tempdir()?;
        let file = dir.path().join("auth.yaml");
        fs::write(&file, FILE)?;
        let file = file.to_str().context("a temporary directory without a name")?;
        let auth = [("BONGHWA_AUTH__ENABLED", "true"), ("BONGHWA_AUTH__FILE", file)];
        Ok(Guarded { server: Server::start_with(Store::Local, &auth).await?, dir })
    }

    /// Puts another version in the place of the file.
    pub fn rewrite(&self, text: &str) -> Result<()> {
        let (new, file) = (self.dir.path().join("auth.yaml.new"), self.dir.path().join("auth.yaml"));
        fs::write(&new, text)?;
        Ok(fs::rename(new, file)?)
    }

    /// A request of a caller to the API port, naming these tenants.
    pub fn request(&self, caller: &Caller, tenants: Option<&str>, method: Method, path: &str) -> RequestBuilder {
        with_headers(self.server.http().request(method, self.server.url(path)), &caller.headers(tenants))
    }

    /// What a caller is answered to a query.
    pub async fn sql(&self, caller: &Caller, tenants: Option<&str>, query: &str) -> Result<Response> {
        let request = self.request(caller, tenants, Method::POST, "/api/v1/sql");
        Ok(request.json(&json!({ "query": query })).send().await?)
    }

    /// The rows of a query that must succeed.
    pub async fn rows(&self, caller: &Caller, tenants: Option<&str>, query: &str) -> Result<Vec<Value>> {
        let answer = self.sql(caller, tenants, query).await?;
        ensure!(answer.status() == 200, "{} as {tenants:?}: {query}: {}", caller.name, answer.text().await?);
        Ok(answer.json().await?)
    }

    /// Writes a log record and a span, whose text is `of-TENANT`, with an attribute that only this tenant has.
    pub async fn write(&self, tenant: &str, trace_id: &str) -> Result<()> {
        let text = format!("of-{tenant}");
        let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": text } }] });
        let attributes = json!([{ "key": format!("key-{text}"), "value": { "stringValue": text } }]);
        let time = "1767225600000000000";
        let log = json!({ "timeUnixNano": time, "body": { "stringValue": text }, "attributes": attributes });
        let span = json!({ "traceId": trace_id, "spanId": "00000000000000a1", "name": text, "kind": 2,
            "startTimeUnixNano": time, "endTimeUnixNano": time, "attributes": attributes });
        let logs = json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "logRecords": [log] }] }] });
        let spans = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }] });
        for (path, body) in [("/v1/logs", logs), ("/v1/traces", spans)] {
            // The same bytes under another name are other records.
            let name = WRITES.fetch_add(1, Ordering::Relaxed).to_string();
            let request = self.request(&ALL, Some(tenant), Method::POST, path).header("idempotency-key", name);
            let answer = request.json(&body).send().await?;
            ensure!(answer.status() == 200, "writing {path} of {tenant}: {}", answer.text().await?);
        }
        Ok(())
    }

    /// Writes everything that is in memory to blocks.
    pub async fn flush(&self) -> Result<()> {
        let answer = self.request(&ADMIN, None, Method::POST, "/admin/flush").send().await?;
        ensure!(answer.status() == 200, "POST /admin/flush: {}", answer.text().await?);
        Ok(())
    }
}

/// A request with these headers, each as often as it is there.
pub fn with_headers(request: RequestBuilder, headers: &[(&str, &str)]) -> RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}
