//! Why a whole request was refused, with the status that HTTP and gRPC callers get.

/// Why nothing of a request was taken. The same bytes never get a better answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    /// The bytes are no protobuf message of this kind.
    #[error("{path} {detail} (byte {offset} of the request): send the whole message, encoded as protobuf")]
    Malformed {
        /// Field, as a path from the request.
        path: String,
        /// Where in the decompressed request.
        offset: usize,
        /// What is wrong.
        detail: String,
    },
    /// The text is no JSON, or of the wrong shape.
    #[error("{path}: {detail}: send an OTLP request in the JSON encoding of the OTLP specification")]
    Json {
        /// Field, as a path from the request; `$` is the request itself.
        path: String,
        /// What is wrong, with line and column.
        detail: String,
    },
    /// The body holds more than the server takes at once.
    #[error("{what} is over the limit of {limit}: send smaller batches, or raise {setting}")]
    TooLarge {
        /// What was counted.
        what: String,
        /// How much is allowed.
        limit: usize,
        /// The option that allows more.
        setting: &'static str,
    },
    /// The body does not decompress.
    #[error("the body is not valid {encoding}: {detail}: compress it as Content-Encoding says, or send it as it is")]
    Compression {
        /// As named by Content-Encoding.
        encoding: &'static str,
        /// What the decompressor says.
        detail: String,
    },
    /// No such Content-Encoding.
    #[error("Content-Encoding {0:?} is not supported: use one of {list}", list = crate::compress::ACCEPTED)]
    UnsupportedEncoding(String),
    /// No such Content-Type.
    #[error("Content-Type {0:?} is not supported: use application/x-protobuf or application/json")]
    UnsupportedMediaType(String),
    /// No message of remote write.
    #[error(
        "Content-Type {0:?} is not supported: use application/x-protobuf, with proto=prometheus.WriteRequest \
         or proto=io.prometheus.write.v2.Request"
    )]
    UnsupportedMessage(String),
}

/// The gRPC status codes that requests end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GrpcCode {
    /// INVALID_ARGUMENT.
    InvalidArgument = 3,
    /// RESOURCE_EXHAUSTED; without RetryInfo, which says: don't send the same again.
    ResourceExhausted = 8,
    /// UNIMPLEMENTED.
    Unimplemented = 12,
}

impl WireError {
    /// The HTTP status code.
    pub fn status(&self) -> u16 {
        match self {
            WireError::Malformed { .. } | WireError::Json { .. } | WireError::Compression { .. } => 400,
            WireError::TooLarge { .. } => 413,
            WireError::UnsupportedEncoding(_)
            | WireError::UnsupportedMediaType(_)
            | WireError::UnsupportedMessage(_) => 415,
        }
    }

    /// The gRPC status code.
    pub fn grpc_code(&self) -> GrpcCode {
        match self {
            WireError::Malformed { .. } | WireError::Json { .. } | WireError::Compression { .. } => {
                GrpcCode::InvalidArgument
            }
            WireError::TooLarge { .. } => GrpcCode::ResourceExhausted,
            WireError::UnsupportedEncoding(_)
            | WireError::UnsupportedMediaType(_)
            | WireError::UnsupportedMessage(_) => GrpcCode::Unimplemented,
        }
    }

    /// A short name for metrics that count discarded requests.
    pub fn reason(&self) -> &'static str {
        match self {
            WireError::Malformed { .. } => "malformed_protobuf",
            WireError::Json { .. } => "malformed_json",
            WireError::TooLarge { .. } => "too_large",
            WireError::Compression { .. } => "malformed_compression",
            WireError::UnsupportedEncoding(_) => "unsupported_encoding",
            WireError::UnsupportedMediaType(_) | WireError::UnsupportedMessage(_) => "unsupported_media_type",
        }
    }
}
