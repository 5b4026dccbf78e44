//! Every caller at every endpoint for every tenant: who is let in, and who is told what. And the file
//! of callers: what is wrong with it is said, a change is heeded, and no secret shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{grpc, tools, wait};
use bonghwa_tests::callers::{ADMIN, CALLERS, Caller, FILE, Guarded, READER_A, with_headers};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How a route is tried.
struct Probe {
    /// As `bonghwa config rights` lists it.
    route: &'static str,
    method: Method,
    path: &'static str,
    body: &'static str,
    /// What it answers to whoever is let in.
    good: u16,
}

fn probe(route: &'static str, method: Method, path: &'static str, body: &'static str, good: u16) -> Probe {
    Probe { route, method, path, body, good }
}

/// Every method of every route over HTTP.
fn probes() -> Vec<Probe> {
    let get = |route, path, good| probe(route, Method::GET, path, "", good);
    let mut probes: Vec<Probe> = ["/health", "/ready", "/version", "/metrics", "/ring", "/config", "/admin/limits"]
        .into_iter()
        .chain(["/-/healthy", "/-/ready", "/api/echo", "/tempo/api/echo"])
        .map(|route| get(route, route, 200))
        .collect();
    probes.extend([
        probe("/admin/flush", Method::POST, "/admin/flush", "", 200),
        probe("/admin/compact", Method::POST, "/admin/compact", "", 200),
        get("/admin/deletes", "/admin/deletes", 200),
        probe("/admin/deletes", Method::POST, "/admin/deletes", r#"{"signal":"logs","tenant":"a"}"#, 201),
        probe("/admin/deletes/{id}", Method::DELETE, "/admin/deletes/999999", "", 404),
        get("/admin/limits/{tenant}", "/admin/limits/a", 200),
        probe("/admin/limits/{tenant}", Method::PUT, "/admin/limits/a", "{}", 200),
        probe("/admin/limits/{tenant}", Method::DELETE, "/admin/limits/a", "", 200),
        probe("/admin/nodes/{name}/drain", Method::POST, "/admin/nodes/nobody/drain", "", 404),
        probe("/admin/nodes/{name}/drain", Method::DELETE, "/admin/nodes/nobody/drain", "", 404),
        get("/api/v1/sql", "/api/v1/sql?query=SELECT%201", 200),
        probe("/api/v1/sql", Method::POST, "/api/v1/sql", r#"{"query":"SELECT 1"}"#, 200),
        get("/api/traces/{id}", "/api/traces/1a2b", 404),
        get("/api/v2/traces/{id}", "/api/v2/traces/1a2b", 404),
        get("/tempo/api/traces/{id}", "/tempo/api/traces/1a2b", 404),
        get("/tempo/api/v2/traces/{id}", "/tempo/api/v2/traces/1a2b", 404),
    ]);
    // Prometheus' API: the path, and whether it takes forms too.
    let prometheus = [
        ("/api/v1/query", "/api/v1/query?query=1", true),
        ("/api/v1/query_range", "/api/v1/query_range?query=1&start=0&end=1&step=1", true),
        ("/api/v1/labels", "/api/v1/labels", true),
        ("/api/v1/label/{name}/values", "/api/v1/label/job/values", false),
        ("/api/v1/series", "/api/v1/series?match[]=up", true),
        ("/api/v1/metadata", "/api/v1/metadata", false),
        ("/api/v1/format_query", "/api/v1/format_query?query=1", true),
        ("/api/v1/parse_query", "/api/v1/parse_query?query=1", true),
        ("/api/v1/status/buildinfo", "/api/v1/status/buildinfo", false),
        ("/prometheus/api/v1/query", "/prometheus/api/v1/query?query=1", true),
        ("/prometheus/api/v1/query_range", "/prometheus/api/v1/query_range?query=1&start=0&end=1&step=1", true),
        ("/prometheus/api/v1/labels", "/prometheus/api/v1/labels", true),
        ("/prometheus/api/v1/label/{name}/values", "/prometheus/api/v1/label/job/values", false),
        ("/prometheus/api/v1/series", "/prometheus/api/v1/series?match[]=up", true),
        ("/prometheus/api/v1/metadata", "/prometheus/api/v1/metadata", false),
        ("/prometheus/api/v1/format_query", "/prometheus/api/v1/format_query?query=1", true),
        ("/prometheus/api/v1/parse_query", "/prometheus/api/v1/parse_query?query=1", true),
        ("/prometheus/api/v1/status/buildinfo", "/prometheus/api/v1/status/buildinfo", false),
    ];
    // Nothing is scraped here: the lists are empty.
    for path in ["targets", "targets/metadata", "scrape_pools"] {
        for prefix in ["", "/prometheus"] {
            let path: &'static str = format!("{prefix}/api/v1/{path}").leak();
            probes.push(get(path, path, 200));
        }
    }
    for (route, path, forms) in prometheus {
        probes.push(get(route, path, 200));
        if forms {
            probes.push(probe(route, Method::POST, path, "", 200));
        }
    }
    for prefix in ["", "/prometheus"] {
        for (route, path, method, good) in PROMETHEUS {
            // Listed once for each prefix, as long as the tests run.
            let [route, path] = [route, path].map(|path| &*format!("{prefix}{path}").leak());
            probes.push(probe(route, method.clone(), path, "", *good));
        }
    }
    let writes = [
        "/v1/logs",
        "/v1/metrics",
        "/v1/traces",
        "/otlp/v1/logs",
        "/otlp/v1/metrics",
        "/otlp/v1/traces",
        "/api/v1/otlp/v1/metrics",
    ];
    probes.extend(writes.map(|route| probe(route, Method::POST, route, "{}", 200)));
    // Who is let in is told that this is no JSON.
    probes.extend(REMOTE_WRITE.map(|route| probe(route, Method::POST, route, "{}", 415)));
    probes
}

/// The rest of Prometheus' API: its route, a path of it, and what it answers to whoever is let in.
const PROMETHEUS: &[(&str, &str, Method, u16)] = &[
    ("/federate", "/federate?match[]=up", Method::GET, 200),
    ("/api/v1/query_exemplars", "/api/v1/query_exemplars?query=up", Method::GET, 200),
    ("/api/v1/query_exemplars", "/api/v1/query_exemplars?query=up", Method::POST, 200),
    // Who is let in is told that this is no protobuf.
    ("/api/v1/read", "/api/v1/read", Method::POST, 415),
    ("/api/v1/cardinality/label_names", "/api/v1/cardinality/label_names", Method::GET, 200),
    ("/api/v1/cardinality/label_names", "/api/v1/cardinality/label_names", Method::POST, 200),
    ("/api/v1/cardinality/label_values", "/api/v1/cardinality/label_values?label_names[]=job", Method::GET, 200),
    ("/api/v1/cardinality/label_values", "/api/v1/cardinality/label_values?label_names[]=job", Method::POST, 200),
    ("/api/v1/cardinality/active_series", "/api/v1/cardinality/active_series?selector=up", Method::GET, 200),
    ("/api/v1/cardinality/active_series", "/api/v1/cardinality/active_series?selector=up", Method::POST, 200),
    ("/api/v1/status/tsdb", "/api/v1/status/tsdb", Method::GET, 200),
    ("/api/v1/status/config", "/api/v1/status/config", Method::GET, 200),
    ("/api/v1/status/flags", "/api/v1/status/flags", Method::GET, 200),
    ("/api/v1/status/runtimeinfo", "/api/v1/status/runtimeinfo", Method::GET, 200),
    ("/api/v1/admin/tsdb/delete_series", "/api/v1/admin/tsdb/delete_series?match[]=up", Method::POST, 204),
    ("/api/v1/admin/tsdb/delete_series", "/api/v1/admin/tsdb/delete_series?match[]=up", Method::PUT, 204),
    ("/api/v1/admin/tsdb/clean_tombstones", "/api/v1/admin/tsdb/clean_tombstones", Method::POST, 204),
    ("/api/v1/admin/tsdb/clean_tombstones", "/api/v1/admin/tsdb/clean_tombstones", Method::PUT, 204),
    ("/api/v1/admin/tsdb/snapshot", "/api/v1/admin/tsdb/snapshot", Method::POST, 501),
    ("/api/v1/admin/tsdb/snapshot", "/api/v1/admin/tsdb/snapshot", Method::PUT, 501),
];

/// Prometheus' remote write.
const REMOTE_WRITE: [&str; 4] =
    ["/api/v1/write", "/api/v1/push", "/prometheus/api/v1/write", "/prometheus/api/v1/push"];

/// OTLP's calls over gRPC.
const CALLS: [&str; 3] = [
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
];

/// What a request may name as its tenants.
const TENANTS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("a|b")];

/// The status of a refusal; none for whoever must be let in.
fn refusal(caller: &Caller, needs: &str, tenants: Option<&str>) -> Option<u16> {
    let has = |right: &str| caller.rights.contains(&right);
    let all = caller.tenants == ["*"];
    let may = match needs {
        "nothing" => return None,
        _ if !caller.known => return Some(401),
        "overview" => has("admin") || (has("read") && all),
        right => has(right),
    };
    if !may {
        return Some(403);
    }
    if !matches!(needs, "read" | "write") {
        return None;
    }
    let Some(tenants) = tenants else {
        return (all || caller.tenants.len() != 1).then_some(400);
    };
    let named: Vec<&str> = tenants.split('|').collect();
    if !all && named.iter().any(|tenant| !caller.tenants.contains(tenant)) {
        return Some(403);
    }
    (needs == "write" && named.len() > 1).then_some(400)
}

/// Route -> the right that it needs, as the binary says.
async fn rights() -> Result<BTreeMap<String, String>> {
    let text = tools::run(&["config".as_ref(), "rights".as_ref()]).await?;
    let pair = |line: &str| -> Result<(String, String)> {
        let (needs, route) = line.split_once(' ').with_context(|| format!("the line {line:?}"))?;
        Ok((route.trim().to_owned(), needs.to_owned()))
    };
    text.lines().map(pair).collect()
}

/// Rows of a table: what was tried, and a cell for each caller.
#[derive(Default)]
struct Table {
    rows: Vec<(String, Vec<String>)>,
    wrong: Vec<String>,
}

impl Table {
    /// Tries all callers and tenants with a request, whose status `ask` answers.
    async fn row(
        &mut self,
        what: String,
        needs: &str,
        good: u16,
        status_of: impl Fn(u16) -> u16,
        ask: impl AsyncFn(&[(&str, &str)]) -> Result<u16>,
    ) -> Result<()> {
        let mut cells = vec![];
        for caller in CALLERS {
            let mut cell: Vec<String> = vec![];
            for tenants in TENANTS {
                let expected = refusal(caller, needs, tenants).map_or(good, &status_of);
                let found = ask(&caller.headers(tenants)).await?;
                if found != expected {
                    let tenants = tenants.unwrap_or("none");
                    let caller = caller.name;
                    self.wrong.push(format!("{what}, {caller}, tenants {tenants}: {found}, not {expected}"));
                }
                cell.push(found.to_string());
            }
            cell.dedup();
            cells.push(cell.join(" "));
        }
        self.rows.push((format!("{what} ({needs})"), cells));
        Ok(())
    }

    fn print(&self) {
        println!("Status by caller; four where it depends on X-Scope-OrgID: none, a, b, a|b (equal neighbours once).");
        let first = self.rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
        let header = CALLERS.iter().map(|c| format!(" | {:<15}", c.name)).collect::<String>();
        println!("{:first$}{header}", "");
        for (what, cells) in &self.rows {
            println!("{what:first$}{}", cells.iter().map(|c| format!(" | {c:<15}")).collect::<String>());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_caller_at_every_endpoint_for_every_tenant() -> Result<()> {
    let mut guarded = Guarded::start().await?;
    let server = &guarded.server;
    let rights = rights().await?;
    let probes = probes();
    let tried: BTreeSet<&str> = probes.iter().map(|p| p.route).chain(CALLS).collect();
    let listed: BTreeSet<&str> = rights.keys().map(String::as_str).collect();
    ensure!(
        tried == listed,
        "tried but not listed, or listed but not tried: {:?}",
        tried.symmetric_difference(&listed)
    );

    let mut table = Table::default();
    for probe in &probes {
        let needs = &rights[probe.route];
        let (api, otlp) = (server.url(""), server.otlp_http());
        let listeners = if needs == "write" { vec![("api", api), ("otlp", otlp)] } else { vec![("api", api)] };
        for (listener, base) in listeners {
            let what = format!("{listener} {} {}", probe.method, probe.route);
            let ask = async |headers: &[(&str, &str)]| -> Result<u16> {
                let request = server.http().request(probe.method.clone(), format!("{base}{}", probe.path));
                let request = request.header("content-type", "application/json").body(probe.body);
                let answer = with_headers(request, headers).send().await?;
                let (status, challenge) = (answer.status().as_u16(), answer.headers().contains_key("www-authenticate"));
                ensure!((status == 401) == challenge, "{}: {status}, WWW-Authenticate: {challenge}", probe.path);
                answer.bytes().await?;
                Ok(status)
            };
            table.row(what, needs, probe.good, |status| status, ask).await?;
        }
    }
    for call in CALLS {
        let code = |status: u16| match status {
            401 => 16,
            403 => 7,
            _ => 3,
        };
        let ask = async |headers: &[(&str, &str)]| -> Result<u16> {
            Ok(grpc::call(&server.otlp_grpc(), call, headers, b"").await?.status)
        };
        let short = call.split('.').next_back().unwrap_or(call);
        table.row(format!("grpc {short}"), &rights[call], 0, code, ask).await?;
    }
    table.print();
    ensure!(table.wrong.is_empty(), "{}", table.wrong.join("\n"));
    guarded.server.stop().await
}

/// Paths that a server could take for another, as no client would send them.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_goes_around_the_gate() -> Result<()> {
    let mut guarded = Guarded::start().await?;
    let api = guarded.server.url("").replace("http://", "");
    for (target, status) in [
        ("/config", "401"),
        ("/config?a=/ready", "401"),
        ("http://elsewhere/config", "401"),
        ("//config", "404"),
        ("/config/", "404"),
        ("/./config", "404"),
        ("/ready/../config", "404"),
        ("/%63onfig", "404"),
        ("/ready%2f..%2fconfig", "404"),
        ("/config;ready", "404"),
        ("/CONFIG", "404"),
        ("/ready?/../config", "200"),
        ("/ready#/../config", "400"),
    ] {
        let mut stream = TcpStream::connect(&api).await?;
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(!answer.contains("data_dir"), "{target} shows the configuration:\n{answer}");
        let found = answer.split(' ').nth(1).unwrap_or_default();
        // A fragment is no part of a target: a server may refuse it, or pass over it.
        let fragment = target.contains('#') && matches!(found, "200" | "404");
        ensure!(found == status || fragment, "{target} answers {found}, not {status}:\n{answer}");
    }
    guarded.server.stop().await
}

/// How long a change of the file may take to be heeded.
const PATIENCE: Duration = Duration::from_secs(30);

async fn becomes(guarded: &Guarded, caller: &Caller, status: u16) -> Result<()> {
    let what = format!("{} is answered {status}", caller.name);
    wait::until(&what, PATIENCE, || answers(guarded, caller, status)).await
}

async fn answers(guarded: &Guarded, caller: &Caller, status: u16) -> Result<(), String> {
    match guarded.sql(caller, None, "SELECT 1").await {
        Ok(answer) if answer.status() == status => Ok(()),
        Ok(answer) => Err(answer.status().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn shows(guarded: &Guarded, line: &str) -> Result<(), String> {
    let answer = guarded.request(&ADMIN, None, Method::GET, "/metrics").send().await.map_err(|e| e.to_string())?;
    let text = answer.text().await.map_err(|e| e.to_string())?;
    if text.lines().any(|l| l == line) { Ok(()) } else { Err(format!("/metrics does not show {line}")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_the_file_holds_if_it_is_good() -> Result<()> {
    let mut guarded = Guarded::start().await?;
    let renewed = Caller { name: "with the new token", authorization: Some("Bearer hush-renewed"), ..READER_A };
    becomes(&guarded, &READER_A, 200).await?;
    guarded.rewrite(&FILE.replace("hush-reader-of-a,", "hush-renewed,"))?;
    becomes(&guarded, &renewed, 200).await?;
    becomes(&guarded, &READER_A, 401).await?;

    guarded.rewrite(&FILE.replace("tenants: [a]", "tenants: [a/b]"))?;
    wait::until("the broken file is noticed", PATIENCE, || shows(&guarded, "bonghwa_auth_file_broken 1")).await?;
    becomes(&guarded, &renewed, 200).await?;
    let log = guarded.server.log_tail();
    for words in ["auth.file: the callers stay as they were", "caller reader-a: tenants has"] {
        ensure!(log.contains(words), "the log lacks {words:?}:\n{log}");
    }
    let refused = guarded.server.run(&["config", "check"]).await.err().context("a broken file passes the check")?;
    ensure!(format!("{refused:#}").contains("caller reader-a: tenants has"), "{refused:#}");

    guarded.rewrite(FILE)?;
    becomes(&guarded, &READER_A, 200).await?;
    wait::until("the good file is noticed", PATIENCE, || shows(&guarded, "bonghwa_auth_file_broken 0")).await?;
    guarded.server.run(&["config", "check"]).await?;
    guarded.server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_anywhere() -> Result<()> {
    let mut guarded = Guarded::start().await?;
    for caller in CALLERS {
        guarded.sql(caller, Some("a"), "SELECT 1").await?;
        guarded.sql(caller, Some("nobody"), "SELECT nothing").await?;
    }
    let mut shown =
        vec![guarded.server.run(&["config", "show"]).await?, guarded.server.run(&["config", "check"]).await?];
    for path in ["/config", "/metrics", "/ring"] {
        shown.push(guarded.request(&ADMIN, None, Method::GET, path).send().await?.text().await?);
    }
    guarded.server.stop().await?;
    shown.push(guarded.server.log_tail());
    for text in &shown {
        for secret in ["hush", "d3JpdGVyOnRlc3Q", "9f86d081"] {
            ensure!(!text.contains(secret), "{secret} shows:\n{text}");
        }
    }
    ensure!(shown[0].contains("auth.yaml"), "the file's name is no secret:\n{}", shown[0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_send_a_token() -> Result<()> {
    let mut guarded = Guarded::start().await?;
    let address = guarded.server.url("");
    let run = async |args: &[&str]| {
        let args: Vec<&std::ffi::OsStr> = args.iter().map(|arg| (*arg).as_ref()).collect();
        tools::run(&args).await
    };
    let query = ["query", "sql", "SELECT 1 AS one", "--output", "ndjson", "--address", &address];
    let refused = run(&query).await.err().context("a query without a token is answered")?;
    ensure!(format!("{refused:#}").contains("401"), "{refused:#}");
    let said = run(&[&query[..], &["--token", "hush-reader-of-a"]].concat()).await?;
    ensure!(said.trim() == r#"{"one":1}"#, "{said}");
    let ring = run(&["ring", "--address", &address, "--token", "hush-admin"]).await?;
    ensure!(ring.contains("catalog version"), "{ring}");
    // As the environment of a shell has it, which a server started from there must pass over.
    let help = run(&["query", "sql", "--help"]).await?;
    ensure!(help.contains("BONGHWA_TOKEN"), "{help}");
    guarded.server.stop().await
}
