//! Fetches a target's body, and learns what it is written in.

use std::io::Read as _;

use bonghwa_cluster::seam;
use http::header;

use crate::client::{Client, describe};
use crate::config::{Job, Protocol, Span, accept};
use crate::memory::Held;
use crate::parse::Format;
use crate::target::Target;

/// How much is unpacked at a time.
const CHUNK: usize = 256 << 10;
/// A body of more bytes is unpacked while the worker's other tasks go elsewhere.
const LARGE: usize = 64 << 10;

/// A body.
#[derive(Debug)]
pub(crate) struct Body {
    /// Uncompressed.
    pub bytes: Vec<u8>,
    /// As it came, if that was compressed with gzip.
    pub gzip: Option<Vec<u8>>,
    pub format: Format,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) struct Failure {
    pub message: String,
    /// Whether the body was over its limit.
    pub too_large: bool,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure { message, too_large: false }
    }
}

/// Asks a target. `held` grows by the memory that the body takes, and waits for it; `most`: bytes of a body where the
/// job has no limit.
pub(crate) async fn fetch(
    client: &Client,
    job: &Job,
    target: &Target,
    held: &mut Held,
    most: u64,
) -> Result<Body, Failure> {
    let accepted = accept(&job.protocols, job.escaping);
    let timeout = target.timeout.as_secs_f64().to_string();
    let headers = [
        ("accept", accepted.as_str()),
        ("accept-encoding", if job.compression { "gzip" } else { "identity" }),
        ("x-prometheus-scrape-timeout-seconds", timeout.as_str()),
    ];
    let mut answer = client.get(target.url.as_str(), &headers).await?;
    if answer.status() != http::StatusCode::OK {
        return Err(format!("server returned HTTP status {}", answer.status()).into());
    }
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = format(text(header::CONTENT_TYPE), job.fallback)?;
    let packed = match text(header::CONTENT_ENCODING).trim() {
        "" | "identity" => false,
        encoding if encoding.eq_ignore_ascii_case("gzip") => true,
        other => return Err(format!("its Content-Encoding is {other:?}: gzip was asked for").into()),
    };
    let limit = if job.limits.body > 0 { job.limits.body } else { most };
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| describe(&error))? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_large(limit));
        }
        held.grow(chunk.len()).await?;
        bytes.extend_from_slice(&chunk);
    }
    let gzip = packed.then(|| std::mem::take(&mut bytes));
    if let Some(packed) = &gzip {
        bytes = unpack(packed, limit, held).await?;
    }
    Ok(Body { bytes, gzip, format })
}

fn too_large(limit: u64) -> Failure {
    Failure { message: format!("body size limit exceeded: it has more than {limit} bytes"), too_large: true }
}

async fn unpack(packed: &[u8], limit: u64, held: &mut Held) -> Result<Vec<u8>, Failure> {
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(packed);
    loop {
        let before = unpacked.len();
        let large = before.max(packed.len()) > LARGE;
        let mut read = || reader.by_ref().take(CHUNK as u64).read_to_end(&mut unpacked);
        let read = if large { seam::in_place(read) } else { read() };
        read.map_err(|error| format!("its body is no gzip: {error}"))?;
        if unpacked.len() == before {
            return Ok(unpacked);
        }
        if unpacked.len() as u64 > limit {
            return Err(too_large(limit));
        }
        held.grow(unpacked.len() - before).await?;
    }
}

/// The format that a Content-Type names.
fn format(content_type: &str, fallback: Option<Protocol>) -> Result<Format, String> {
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let media = parts.next().unwrap_or_default();
    match media.as_str() {
        "application/openmetrics-text" => return Ok(Format::OpenMetrics),
        "text/plain" => return Ok(Format::Text),
        "application/vnd.google.protobuf" => {
            let parts: Vec<String> = parts.collect();
            let is = |name: &str, value: &str| {
                let given = parts.iter().find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
                given.is_some_and(|given| given.trim_matches('"') == value)
            };
            if is("proto", "io.prometheus.client.metricfamily") && is("encoding", "delimited") {
                return Ok(Format::Protobuf);
            }
        }
        _ => {}
    }
    match fallback {
        Some(Protocol::PrometheusProto) => Ok(Format::Protobuf),
        Some(Protocol::PrometheusText0_0_4 | Protocol::PrometheusText1_0_0) => Ok(Format::Text),
        Some(Protocol::OpenMetricsText0_0_1 | Protocol::OpenMetricsText1_0_0) => Ok(Format::OpenMetrics),
        None if content_type.is_empty() => Err("it sends no Content-Type: name what it is in \
                                                fallback_scrape_protocol, for example PrometheusText0.0.4"
            .into()),
        None => Err(format!(
            "its Content-Type, {content_type:?}, is none of the formats of metrics: if it is one nevertheless, name it in \
             fallback_scrape_protocol"
        )),
    }
}

/// The failure of a scrape that took too long.
pub(crate) fn timed_out(target: &Target) -> Failure {
    format!("context deadline exceeded: no answer within {}", Span(target.timeout)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[test]
    fn content_types() {
        let proto = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        for (given, expected) in [
            ("text/plain; version=0.0.4; charset=utf-8", Some(Format::Text)),
            ("application/openmetrics-text; version=1.0.0", Some(Format::OpenMetrics)),
            (proto, Some(Format::Protobuf)),
            ("application/vnd.google.protobuf; proto=other; encoding=delimited", None),
            ("text/html", None),
            ("", None),
        ] {
            assert_eq!(format(given, None).ok(), expected, "{given}");
            let fallback = format(given, Some(Protocol::PrometheusText0_0_4)).ok();
            assert_eq!(fallback, expected.or(Some(Format::Text)), "{given}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn unpacking_stops_at_the_limit() {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![b'a'; 1 << 20]).unwrap();
        let packed = encoder.finish().unwrap();
        let memory = Memory::new(2 << 20);
        assert_eq!(unpack(&packed, 1 << 20, &mut memory.hold()).await.unwrap().len(), 1 << 20);
        assert!(unpack(&packed, 1 << 19, &mut memory.hold()).await.unwrap_err().too_large);
        let small = Memory::new(1 << 19);
        let refused = unpack(&packed, 1 << 20, &mut small.hold()).await.unwrap_err();
        assert!(refused.message.contains("max_inflight_bytes"));
        assert!(unpack(&packed[..100], 1 << 20, &mut memory.hold()).await.is_err());
    }
}
