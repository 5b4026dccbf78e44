//! Response bodies: OTLP's partial success and google.rpc.Status, in protobuf or JSON.

use std::time::Duration;

use bonghwa_model::{Signal, json};

use crate::Format;

/// The body of a successful export: `ExportLogsServiceResponse` or a sibling.
///
/// With nothing rejected and no message the response is the empty one, as OTLP asks. A
/// message without rejections is a warning.
pub fn export(signal: Signal, format: Format, rejected: u64, message: &str) -> Vec<u8> {
    let partial = rejected > 0 || !message.is_empty();
    let mut out = Vec::new();
    match format {
        Format::Protobuf if partial => {
            let mut inner = Vec::new();
            if rejected > 0 {
                put_number(&mut inner, 1, rejected);
            }
            put_bytes(&mut inner, 2, message.as_bytes());
            put_bytes(&mut out, 1, &inner);
        }
        Format::Protobuf => {}
        Format::Json if partial => {
            let field = match signal {
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
                Signal::Traces => "rejectedSpans",
            };
            // 64-bit integers are texts in protobuf's JSON.
            out.extend_from_slice(
                format!("{{\"partialSuccess\":{{\"{field}\":\"{rejected}\",\"errorMessage\":").as_bytes(),
            );
            json::write_str(&mut out, message);
            out.extend_from_slice(b"}}");
        }
        Format::Json => out.extend_from_slice(b"{}"),
    }
    out
}

/// The body of a failure: `google.rpc.Status` with a gRPC code, and RetryInfo where a retry
/// makes sense. In protobuf it is also what the header `grpc-status-details-bin` holds.
pub fn status(format: Format, code: u8, message: &str, retry_after: Option<Duration>) -> Vec<u8> {
    const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
    let mut out = Vec::new();
    match format {
        Format::Protobuf => {
            put_number(&mut out, 1, u64::from(code));
            put_bytes(&mut out, 2, message.as_bytes());
            if let Some(delay) = retry_after {
                let (mut duration, mut info, mut any) = (Vec::new(), Vec::new(), Vec::new());
                put_number(&mut duration, 1, delay.as_secs());
                put_number(&mut duration, 2, u64::from(delay.subsec_nanos()));
                put_bytes(&mut info, 1, &duration);
                put_bytes(&mut any, 1, RETRY_INFO.as_bytes());
                put_bytes(&mut any, 2, &info);
                put_bytes(&mut out, 3, &any);
            }
        }
        Format::Json => {
            out.extend_from_slice(format!("{{\"code\":{code},\"message\":").as_bytes());
            json::write_str(&mut out, message);
            if let Some(delay) = retry_after {
                let detail = format!(
                    ",\"details\":[{{\"@type\":\"{RETRY_INFO}\",\"retryDelay\":\"{}.{:09}s\"}}]",
                    delay.as_secs(),
                    delay.subsec_nanos()
                );
                out.extend_from_slice(detail.as_bytes());
            }
            out.push(b'}');
        }
    }
    out
}

fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_varint(out, u64::from((field << 3) | 2));
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    use prost::Message;

    #[test]
    fn partial_success_reads_back() {
        assert!(export(Signal::Logs, Format::Protobuf, 0, "").is_empty());
        assert_eq!(export(Signal::Traces, Format::Json, 0, ""), b"{}");
        let bytes = export(Signal::Logs, Format::Protobuf, 300, "why \"so\"");
        let partial = ExportLogsServiceResponse::decode(&bytes[..]).unwrap().partial_success.unwrap();
        assert_eq!((partial.rejected_log_records, partial.error_message.as_str()), (300, "why \"so\""));
        let json = export(Signal::Metrics, Format::Json, 3, "why \"so\"");
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"why \"so\""}}"#
        );
    }

    #[test]
    fn statuses() {
        let json = status(Format::Json, 8, "slow down", Some(Duration::from_millis(1500)));
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"code":8,"message":"slow down","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500000000s"}]}"#
        );
        let bytes = status(Format::Protobuf, 3, "no", None);
        assert_eq!(bytes, [0x08, 3, 0x12, 2, b'n', b'o']);
        let bytes = status(Format::Protobuf, 8, "", Some(Duration::from_secs(2)));
        let info = [0x12, 6, 0x0a, 4, 0x08, 2, 0x10, 0];
        assert!(bytes.ends_with(&info), "{bytes:?}");
    }
}
