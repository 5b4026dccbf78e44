//! Content-Type: which encoding a body has, and its response.

use crate::WireError;

/// The two encodings of OTLP/HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Binary protobuf.
    Protobuf,
    /// OTLP's JSON.
    Json,
}

impl Format {
    /// Reads a Content-Type header; parameters such as `charset` are passed over.
    pub fn parse(header: &str) -> Result<Format, WireError> {
        let name = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "application/x-protobuf" | "application/protobuf" => Ok(Format::Protobuf),
            "application/json" => Ok(Format::Json),
            _ => Err(WireError::UnsupportedMediaType(header.chars().take(100).collect())),
        }
    }

    /// The Content-Type of a response in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (header, expected) in [
            ("application/x-protobuf", Some(Format::Protobuf)),
            ("application/json; charset=utf-8", Some(Format::Json)),
            (" Application/JSON ", Some(Format::Json)),
            ("text/plain", None),
            ("", None),
        ] {
            let found = Format::parse(header);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{header}");
            if let Err(error) = found {
                assert_eq!(error.status(), 415);
                assert!(error.to_string().contains("application/x-protobuf or application/json"), "{error}");
            }
        }
    }
}
