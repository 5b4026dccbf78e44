//! Prometheus' remote write, both versions: bytes to a batch, by the mapping of [`bonghwa_model::prometheus`].
//!
//! [`Version::parse`] reads which message a body is, [`decode`] walks it. A series that breaks a rule is left
//! out with a sentence that names it and the field, its siblings are kept. Labels that are not sorted are
//! sorted; those without a value are as good as none.

mod exemplars;
mod histograms;
mod labels;
mod metadata;
mod schema;
mod sink;
mod times;
mod v1;
mod v2;

pub use metadata::metadata_batch;

use bonghwa_model::prometheus::Metadata;

use crate::{DecodeOptions, Decoded, WireError};
use sink::Sink;

/// Which message a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// Reads a Content-Type header. One that names no message means version 1, and so does none at all:
    /// version 1 is older than the parameter, and than the habit to send the header.
    pub fn parse(header: &str) -> Result<Version, WireError> {
        let unknown = || Err(WireError::UnsupportedMessage(header.chars().take(100).collect()));
        let mut parts = header.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        if !["", "application/x-protobuf"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return unknown();
        }
        for part in parts {
            let Some((key, value)) = part.split_once('=') else { continue };
            if !key.trim().eq_ignore_ascii_case("proto") {
                continue;
            }
            return match value.trim().trim_matches('"') {
                "prometheus.WriteRequest" => Ok(Version::V1),
                "io.prometheus.write.v2.Request" => Ok(Version::V2),
                _ => unknown(),
            };
        }
        Ok(Version::V1)
    }
}

/// What was taken of a request, as version 2 reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// A decoded request.
#[derive(Clone, Debug)]
pub struct Received {
    /// Samples and histograms as a batch, and what was rejected.
    pub decoded: Decoded,
    /// What was taken.
    pub written: Written,
    /// What the request says of metrics. It is no part of the batch: senders repeat it, and
    /// [`metadata_batch`] makes rows of what is worth keeping.
    pub metadata: Vec<Metadata>,
    /// Which of several servers sent it, where its series say so: see [`crate::DecodeOptions::replicas`].
    pub replica: Option<Replica>,
}

/// One of several Prometheus servers that scrape the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// What they scrape.
    pub cluster: String,
    /// The server.
    pub name: String,
}

/// Decodes a request.
pub fn decode(version: Version, bytes: &[u8], options: &DecodeOptions) -> Result<Received, WireError> {
    let mut sink = Sink::new(options);
    sink.reserve(bytes.len());
    let walked = match version {
        Version::V1 => v1::walk(bytes, &mut sink),
        Version::V2 => v2::walk(bytes, &mut sink),
    };
    walked.and_then(|()| sink.finish()).map_err(|fault| fault.into_error(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (header, expected) in [
            ("application/x-protobuf", Some(Version::V1)),
            ("", Some(Version::V1)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Some(Version::V1)),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some(Version::V2)),
            ("Application/X-Protobuf; charset=x; Proto=\"io.prometheus.write.v2.Request\"", Some(Version::V2)),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", None),
            ("application/x-protobuf;proto=", None),
            ("application/json", None),
            ("text/plain", None),
        ] {
            let found = Version::parse(header);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{header}");
            if let Err(error) = found {
                assert_eq!(error.status(), 415);
                assert!(error.to_string().contains("prometheus.WriteRequest"), "{error}");
            }
        }
    }
}
