//! OTLP and Prometheus' remote write on the wire: from bytes to columnar batches, and back to responses.
//!
//! Pure: no I/O, no clock, no async. A request goes through [`compress::decompress`],
//! then [`decode`] (protobuf) or [`decode_json`], and ends as a [`Decoded`]: the batch of
//! valid records, with a count and a sentence for those that were rejected. A request that
//! makes no sense as a whole is a [`WireError`]. Remote write has [`remote_write::decode`].
//!
//! Protobuf is walked by hand, straight into the columns: message structs would cost four
//! times as much. Fields that OTLP does not define are passed over; a field that must
//! not repeat but does holds what came last.

mod any;
mod content;
mod cursor;
mod decoded;
mod distributions;
mod envelope;
mod error;
mod exemplars;
mod fault;
mod json;
mod logs;
mod metrics;
mod options;
mod resource;
mod rows;
mod schema;
mod series;
mod traces;

pub mod compress;
pub mod derived;
pub mod heartbeat;
pub mod remote_write;
pub mod response;
pub mod service_graph;
pub mod span_metrics;

pub use content::Format;
pub use decoded::{Decoded, Reason, Rejection};
pub use error::{GrpcCode, WireError};
pub use options::{AttributeLimits, DecodeOptions, ReplicaLabels};

use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;
use bonghwa_model::logs::LogBatch;
use bonghwa_model::refs::Arena;
use bonghwa_model::spans::SpanBatch;

use envelope::{Sink, Walk};
use metrics::MetricSink;

/// Decodes an OTLP request (`ExportLogsServiceRequest` and its siblings) in protobuf.
///
/// Records that break a rule or a limit are left out and counted; a request that is no
/// protobuf, or over a limit of the request as a whole, is an error.
pub fn decode(signal: Signal, bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, WireError> {
    match signal {
        Signal::Logs => walk::<LogBatch>(bytes, options, Batch::Logs),
        Signal::Metrics => walk::<MetricSink<'_>>(bytes, options, |sink| Batch::Metrics(sink.batch)),
        Signal::Traces => walk::<SpanBatch>(bytes, options, Batch::Traces),
    }
}

/// Decodes an OTLP request in JSON.
///
/// Text that is no JSON, or of another shape than OTLP's, is an error that names the place.
/// Otherwise as [`decode`], to which it hands the request.
pub fn decode_json(signal: Signal, text: &[u8], options: &DecodeOptions) -> Result<Decoded, WireError> {
    let bytes = json::to_protobuf(envelope::Envelope::of(signal).request(), text, options.max_depth)?;
    decode(signal, &bytes, options)
}

/// Decodes an OTLP request in the format that its Content-Type says.
pub fn decode_as(format: Format, signal: Signal, body: &[u8], options: &DecodeOptions) -> Result<Decoded, WireError> {
    match format {
        Format::Protobuf => decode(signal, body, options),
        Format::Json => decode_json(signal, body, options),
    }
}

fn walk<'a, S: Sink<'a> + Default>(
    bytes: &'a [u8],
    options: &'a DecodeOptions,
    batch: impl FnOnce(S) -> Batch,
) -> Result<Decoded, WireError> {
    let pass = |strict| {
        let mut sink = S::default();
        // Half of a request or less is text.
        sink.parts().1.arena = Arena::with_capacity((bytes.len() / 2).min(options.max_text_bytes));
        let mut walk = Walk::new(S::SIGNAL, options, strict);
        walk.request(bytes, &mut sink).map_err(|f| f.into_error(bytes))?;
        Ok((sink, walk))
    };
    let (mut sink, mut done) = pass(false)?;
    if done.rows.recheck || simdutf8::basic::from_utf8(sink.parts().1.arena.as_bytes()).is_err() {
        // See `Rows::text`: find the records whose text is invalid.
        drop((sink, done));
        (sink, done) = pass(true)?;
    }
    Ok(Decoded {
        batch: batch(sink),
        rejected: done.tally.rejected,
        reasons: done.tally.reasons,
        cut_values: done.rows.cut_values,
        dropped_ids: done.rows.dropped_ids,
    })
}
