//! Bad input over OTLP/HTTP and gRPC: each case gets the status that the protocol defines
//! and a sentence that names the field; the valid rest is kept; the server stays up and small.

mod requests;

use std::io::Write as _;

use anyhow::{Context, Result, bail, ensure};
use bonghwa_testkit::{Server, Signal, Store, send};
use bonghwa_tests::{On, python};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use requests::{logs, metrics, nested, spans, text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MIB: u64 = 1 << 20;
/// What a request may cost beside the limits of one body.
const MEMORY: u64 = 700 * MIB;

/// What the server must do with a request of three records, of which the second is bad.
enum Expect {
    /// This status; the sentence has this word; nothing is kept.
    Refused(u16, &'static str),
    /// 200; the second is rejected with a sentence that has this word, the others are kept.
    Rejected(&'static str),
    /// 200; everything is kept, with a sentence that has this word.
    Remarked(&'static str),
    /// 200; everything is kept.
    Kept,
}
use Expect::{Kept, Refused, Rejected, Remarked};

struct Case {
    name: &'static str,
    signal: Signal,
    headers: &'static [(&'static str, &'static str)],
    body: Bytes,
    expect: Expect,
}

const PROTOBUF: &[(&str, &str)] = &[("content-type", "application/x-protobuf")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn case(
    name: &'static str,
    signal: Signal,
    headers: &'static [(&'static str, &'static str)],
    body: impl Into<Bytes>,
    expect: Expect,
) -> Case {
    Case { name, signal, headers, body: body.into(), expect }
}

/// A request of three log records whose second one is changed.
fn log(name: &'static str, change: impl Fn(&mut requests::Log), expect: Expect) -> Case {
    case(name, Signal::Logs, PROTOBUF, logs(name, change), expect)
}

fn span(name: &'static str, change: impl Fn(&mut requests::SpanMessage), expect: Expect) -> Case {
    case(name, Signal::Traces, PROTOBUF, spans(name, change), expect)
}

fn metric(name: &'static str, change: impl Fn(&mut requests::Point), expect: Expect) -> Case {
    case(name, Signal::Metrics, PROTOBUF, metrics(name, change), expect)
}

/// One nanosecond past what 64 signed bits hold: in the year 2262.
const YEAR_2262: u64 = i64::MAX as u64 + 1;

fn whole_requests() -> Result<Vec<Case>> {
    let good = |name| logs(name, |_| {});
    let truncated = |name| good(name)[..good(name).len() - 4].to_vec();
    Ok(vec![
        case(
            "protobuf.truncated",
            Signal::Logs,
            PROTOBUF,
            truncated("protobuf.truncated"),
            Refused(400, "resource_logs"),
        ),
        case("protobuf.noise", Signal::Logs, PROTOBUF, vec![0xFF; 300], Refused(400, "protobuf")),
        case("protobuf.wrong.wire.type", Signal::Traces, PROTOBUF, vec![0x08, 0x05], Refused(400, "resource_spans")),
        case("protobuf.json.inside", Signal::Logs, PROTOBUF, r#"{"resourceLogs":[]}"#, Refused(400, "protobuf")),
        case("json.truncated", Signal::Logs, JSON, r#"{"resourceLogs":[{"#, Refused(400, "resourceLogs")),
        case("json.array", Signal::Logs, JSON, "[]", Refused(400, "$")),
        case("json.empty", Signal::Logs, JSON, "", Refused(400, "$")),
        case("json.resource.no.list", Signal::Logs, JSON, r#"{"resourceLogs":{}}"#, Refused(400, "resourceLogs")),
        case(
            "json.time.no.number",
            Signal::Logs,
            JSON,
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"yesterday"}]}]}]}"#,
            Refused(400, "timeUnixNano"),
        ),
        case(
            "json.attributes.as.map",
            Signal::Traces,
            JSON,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":{"a":"b"}}]}]}]}"#,
            Refused(400, "attributes"),
        ),
        case("json.deep", Signal::Logs, JSON, requests::json_nested("json.deep", 5_000), Rejected("levels deep")),
        case(
            "type.unknown",
            Signal::Logs,
            &[("content-type", "text/plain")],
            good("type.unknown"),
            Refused(415, "text/plain"),
        ),
        case("type.missing", Signal::Logs, &[], good("type.missing"), Refused(415, "Content-Type")),
        case(
            "encoding.unknown",
            Signal::Logs,
            &[("content-type", "application/x-protobuf"), ("content-encoding", "br")],
            good("encoding.unknown"),
            Refused(415, "br"),
        ),
        case("gzip.broken", Signal::Logs, GZIP, good("gzip.broken"), Refused(400, "gzip")),
        case("zstd.broken", Signal::Logs, ZSTD, good("zstd.broken"), Refused(400, "zstd")),
        case("gzip.cut", Signal::Logs, GZIP, gzip(&good("gzip.cut"))?[..40].to_vec(), Refused(400, "gzip")),
        case("gzip.bomb", Signal::Logs, GZIP, gzip(&vec![0; 1 << 30])?, Refused(413, "limit")),
        case("zstd.bomb", Signal::Metrics, ZSTD, zstd::encode_all(&vec![0; 1 << 30][..], 1)?, Refused(413, "limit")),
        case(
            "tenant.impossible",
            Signal::Logs,
            &[("content-type", "application/x-protobuf"), ("x-scope-orgid", "no/such/tenant")],
            good("tenant.impossible"),
            Refused(400, "X-Scope-OrgID"),
        ),
        case("json.id.no.hex", Signal::Logs, JSON, requests::json_id("json.id.no.hex", "xyz"), Remarked("trace_id")),
        case("gzip.fine", Signal::Logs, GZIP, gzip(&good("gzip.fine"))?, Kept),
        case("zstd.fine", Signal::Logs, ZSTD, zstd::encode_all(&good("zstd.fine")[..], 3)?, Kept),
        case("empty", Signal::Logs, PROTOBUF, "", Kept),
    ])
}

const GZIP: &[(&str, &str)] = &[("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
const ZSTD: &[(&str, &str)] = &[("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];

fn single_records() -> Vec<Case> {
    vec![
        span("id.trace.short", |s| s.trace_id = vec![1; 15], Rejected("trace_id")),
        span("id.trace.long", |s| s.trace_id = vec![1; 17], Rejected("trace_id")),
        span("id.trace.none", |s| s.trace_id = vec![], Rejected("trace_id")),
        span("id.trace.zero", |s| s.trace_id = vec![0; 16], Rejected("trace_id")),
        span("id.span.short", |s| s.span_id = vec![1; 7], Rejected("span_id")),
        span("id.span.zero", |s| s.span_id = vec![0; 8], Rejected("span_id")),
        span("id.parent.long", |s| s.parent_span_id = vec![1; 9], Rejected("parent_span_id")),
        span("id.link.short", |s| s.links = vec![requests::link(vec![1; 3])], Rejected("links")),
        log("id.log.trace.short", |l| l.trace_id = vec![1; 15], Remarked("trace_id")),
        log("id.log.span.long", |l| l.span_id = vec![1; 9], Remarked("span_id")),
        log("time.log.zero", |l| (l.time_unix_nano, l.observed_time_unix_nano) = (0, 0), Kept),
        log("time.log.2262", |l| l.time_unix_nano = YEAR_2262, Rejected("time_unix_nano")),
        log("time.log.largest", |l| l.time_unix_nano = u64::MAX, Rejected("time_unix_nano")),
        span("time.span.zero", |s| s.start_time_unix_nano = 0, Rejected("start_time_unix_nano")),
        span("time.span.2262", |s| s.end_time_unix_nano = YEAR_2262, Rejected("end_time_unix_nano")),
        metric("time.metric.zero", |p| p.time_unix_nano = 0, Rejected("time_unix_nano")),
        metric("time.metric.2262", |p| p.time_unix_nano = YEAR_2262, Rejected("time_unix_nano")),
        metric("value.nan", |p| p.value = requests::double(f64::NAN), Kept),
        metric("value.infinity", |p| p.value = requests::double(f64::NEG_INFINITY), Kept),
        metric("value.none", |p| p.value = None, Rejected("as_double")),
        log("attributes.nan", |l| l.attributes = vec![requests::double_attribute("x", f64::NAN)], Kept),
        log("attributes.10000", |l| l.attributes = requests::many(10_000), Rejected("attributes")),
        span("attributes.10000.span", |s| s.attributes = requests::many(10_000), Rejected("attributes")),
        metric("attributes.10000.metric", |p| p.attributes = requests::many(10_000), Rejected("attributes")),
        log("nested.20", |l| l.body = Some(nested(20)), Kept),
        log("nested.100.body", |l| l.body = Some(nested(100)), Rejected("body")),
        span("nested.100", |s| s.attributes = vec![requests::attribute("deep", nested(100))], Rejected("deep")),
        log("nested.1000", |l| l.body = Some(nested(1_000)), Rejected("body")),
        log("body.1MB", |l| l.body = Some(text("x".repeat(1 << 20))), Rejected("body")),
        log("key.long", |l| l.attributes = vec![requests::attribute(&"k".repeat(5_000), text("v"))], Rejected("key")),
    ]
}

/// Text that is not UTF-8, which Rust's message types can't hold: the bytes of a good
/// request with a marker replaced.
fn invalid_utf8() -> Vec<Case> {
    let broken = |mut body: Vec<u8>| {
        let marker = requests::MARKER.as_bytes();
        if let Some(at) = body.windows(marker.len()).position(|w| w == marker) {
            body[at..at + 2].copy_from_slice(&[0xC3, 0x28]);
        }
        body
    };
    let key = |l: &mut requests::Log| l.attributes = vec![requests::attribute(requests::MARKER, text("v"))];
    let body = logs("utf8.body", |l| l.body = Some(text(requests::MARKER)));
    let name = spans("utf8.name", |s| s.name = requests::MARKER.into());
    vec![
        case("utf8.body", Signal::Logs, PROTOBUF, broken(body), Rejected("body")),
        case("utf8.key", Signal::Logs, PROTOBUF, broken(logs("utf8.key", key)), Rejected("attributes")),
        case("utf8.name", Signal::Traces, PROTOBUF, broken(name), Rejected("name")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_gets_its_status_and_a_sentence() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let mut failures = vec![];
    for case in whole_requests()?.into_iter().chain(single_records()).chain(invalid_utf8()) {
        if let Err(error) = check(&server, &case).await {
            failures.push(format!("{}: {error:#}", case.name));
        }
        server.check_alive().context(case.name)?;
    }
    ensure!(failures.is_empty(), "\n{}", failures.join("\n"));
    let peak = server.memory()?.peak;
    ensure!(peak < MEMORY, "the server took {} MiB", peak / MIB);
    // What was kept survives the way into a block.
    server.flush().await?;
    server.stop().await
}

async fn check(server: &Server, case: &Case) -> Result<()> {
    let mut request = server.http().post(format!("{}{}", server.otlp_http(), case.signal.path()));
    for (name, value) in case.headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(case.body.clone()).send().await?;
    let status = answer.status().as_u16();
    let content_type = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = answer.bytes().await?;
    let said = String::from_utf8_lossy(&body);
    let (kept, count) = (kept(server, case).await?, if case.body.is_empty() { 0 } else { 3 });
    match case.expect {
        Refused(expected, word) => {
            ensure!(status == expected && said.contains(word), "{status} {said:?} instead of {expected} with {word:?}");
            ensure!(said.len() > 20, "no sentence: {said:?}");
            ensure!(kept == 0, "{kept} records were kept");
            // An error comes in the encoding of the request.
            let sent = case.headers.iter().find(|(name, _)| *name == "content-type").map(|(_, v)| *v);
            if let Some(sent) = sent.filter(|_| status != 415) {
                ensure!(content_type.as_deref() == Some(sent), "answered as {content_type:?}");
            }
        }
        Rejected(word) => {
            let (rejected, message) = rejected(case, &body).with_context(|| format!("{status} {said:?}"))?;
            ensure!(status == 200 && rejected == 1, "{status}, {rejected} rejected: {said:?}");
            ensure!(message.contains(word), "{message:?} does not say {word:?}");
            ensure!(kept == count - 1, "{kept} records were kept");
        }
        Kept | Remarked(_) => {
            let word = if let Remarked(word) = case.expect { word } else { "" };
            ensure!(status == 200, "{status} {said:?}");
            let (rejected, message) = rejected(case, &body)?;
            ensure!(rejected == 0 && message.contains(word), "{said:?}");
            ensure!(kept == count, "{kept} records were kept");
        }
    }
    Ok(())
}

/// The count and the message of a partial success, in the encoding of the request.
fn rejected(case: &Case, body: &[u8]) -> Result<(i64, String)> {
    if case.headers != JSON {
        return Ok(send::rejected(case.signal, body)?);
    }
    let answer: serde_json::Value = serde_json::from_slice(body)?;
    let partial = &answer["partialSuccess"];
    // 64-bit numbers are text in protobuf's JSON.
    let count = partial["rejectedLogRecords"].as_str().unwrap_or("0").parse()?;
    Ok((count, partial["errorMessage"].as_str().unwrap_or_default().to_owned()))
}

async fn kept(server: &Server, case: &Case) -> Result<i64> {
    let (table, sent, service) = (case.signal.table(), case.signal.sent(), case.name);
    server.sql().integer(&format!("SELECT count(*) FROM {table} WHERE service_name = '{service}' AND {sent}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_100_mb_is_refused_without_being_read() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let before = server.memory()?.peak;
    for chunked in [false, true] {
        let answer = huge(&server, chunked).await?;
        ensure!(answer.starts_with("HTTP/1.1 413"), "chunked {chunked}: {answer}");
        ensure!(answer.contains("limit") || answer.contains("larger"), "no sentence: {answer}");
        server.check_alive()?;
    }
    let grown = server.memory()?.peak - before;
    ensure!(grown < 200 * MIB, "the server took {} MiB", grown / MIB);
    server.stop().await
}

/// Sends 100 MB with or without a Content-Length and returns what comes back. A client
/// library would give up when the server stops reading.
async fn huge(server: &Server, chunked: bool) -> Result<String> {
    const SIZE: usize = 100_000_000;
    const PIECE: usize = 1 << 16;
    let address = server.otlp_http();
    let stream = TcpStream::connect(address.trim_start_matches("http://")).await?;
    let (mut read, mut write) = stream.into_split();
    let length = if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {SIZE}") };
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n{length}\r\n\r\n");
    write.write_all(head.as_bytes()).await?;
    let sending = tokio::spawn(async move {
        let frame = if chunked { format!("{PIECE:x}\r\n") } else { String::new() };
        let end: &[u8] = if chunked { b"\r\n" } else { b"" };
        let piece = [frame.as_bytes(), &[b'x'; PIECE][..], end].concat();
        for _ in 0..SIZE / PIECE {
            // The server may hang up at any time.
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    let mut answer = vec![];
    let mut buffer = [0; 4096];
    // The sentence comes with the head or right after it.
    while !String::from_utf8_lossy(&answer).contains("send") {
        match read.read(&mut buffer).await {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(error) if answer.is_empty() => bail!("no answer: {error}"),
            Err(_) => break,
        }
    }
    sending.abort();
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_is_given_up() -> Result<()> {
    let mut server = Server::start_with(Store::Local, &[("BONGHWA_DISTRIBUTOR__BODY_TIMEOUT", "2s")]).await?;
    let mut stream = TcpStream::connect(server.otlp_http().trim_start_matches("http://")).await?;
    let head =
        "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 99\r\n\r\n";
    stream.write_all(format!("{head}half of it").as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer[..read]);
    ensure!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not arrive"), "{answer}");
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_over_grpc() -> Result<()> {
    let mut server = On::Local.server().await?;
    python("grpc_errors.py", vec!["--endpoint".into(), server.otlp_grpc().into()], vec![]).await?;
    server.check_alive()?;
    let peak = server.memory()?.peak;
    ensure!(peak < MEMORY, "the server took {} MiB", peak / MIB);
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_nobody_wrote_to_has_nothing() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let body = logs("tenants", |_| {});
    let sent = server.http().post(server.url("/v1/logs")).header("content-type", "application/x-protobuf");
    ensure!(sent.header("x-scope-orgid", "shop").body(body).send().await?.status() == 200, "not taken");
    for (tenant, count) in [("shop", 3), ("nobody", 0), ("default", 0)] {
        let request = server.http().post(server.url("/api/v1/sql")).header("x-scope-orgid", tenant);
        let body = r#"{"query": "SELECT count(*) AS n FROM logs"}"#;
        let answer = request.header("content-type", "application/json").body(body).send().await?.text().await?;
        let rows: serde_json::Value = serde_json::from_str(&answer)?;
        ensure!(rows == serde_json::json!([{ "n": count }]), "{tenant}: {answer}");
    }
    server.stop().await
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
