//! Spans as columns.

use crate::batch::batch;
use crate::refs::Ref;

batch! {
    /// Spans. All columns have one value per row.
    SpanBatch {
        plain {
            /// Never all zero.
            trace_id: Vec<[u8; 16]>,
            /// Never all zero.
            span_id: Vec<[u8; 8]>,
            /// All zero for a root.
            parent_span_id: Vec<[u8; 8]>,
            /// W3C trace flags and OTLP's remote bits.
            flags: Vec<u32>,
            /// OTLP SpanKind, 0 to 5.
            kind: Vec<u8>,
            /// Unix nanoseconds.
            start_time: Vec<i64>,
            /// Unix nanoseconds.
            end_time: Vec<i64>,
            /// OTLP StatusCode, 0 to 2.
            status_code: Vec<u8>,
            /// How many attributes the sender dropped.
            dropped_attributes: Vec<u32>,
            /// How many events the sender dropped.
            dropped_events: Vec<u32>,
            /// How many links the sender dropped.
            dropped_links: Vec<u32>,
        }
        refs {
            /// W3C tracestate.
            trace_state: Vec,
            /// Operation.
            name: Vec,
            /// Status message.
            status_message: Vec,
            /// JSON array of `{"time_unix_nano":N,"name":"","attributes":{},"dropped_attributes_count":N}`;
            /// empty for none.
            events: Vec,
            /// JSON array of `{"trace_id":"hex","span_id":"hex","trace_state":"","flags":N,"attributes":{},"dropped_attributes_count":N}`;
            /// empty for none.
            links: Vec,
        }
        tables {}
    }
}

/// Names of OTLP's span kinds, by number, as TraceQL spells them.
pub const SPAN_KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

/// Names of OTLP's status codes, by number, as TraceQL spells them.
pub const STATUS_CODES: [&str; 3] = ["unset", "ok", "error"];

/// One span's columns, for building a batch row by row.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)] // The fields are those of SpanBatch.
pub struct SpanRow {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub parent_span_id: [u8; 8],
    pub flags: u32,
    pub kind: u8,
    pub start_time: i64,
    pub end_time: i64,
    pub status_code: u8,
    pub dropped_attributes: u32,
    pub dropped_events: u32,
    pub dropped_links: u32,
    pub trace_state: Ref,
    pub name: Ref,
    pub status_message: Ref,
    pub events: Ref,
    pub links: Ref,
}

impl SpanBatch {
    /// Adds a row with the attributes pushed since the last one.
    #[inline]
    pub fn push_row(&mut self, row: SpanRow) {
        self.trace_id.push(row.trace_id);
        self.span_id.push(row.span_id);
        self.parent_span_id.push(row.parent_span_id);
        self.flags.push(row.flags);
        self.kind.push(row.kind);
        self.start_time.push(row.start_time);
        self.end_time.push(row.end_time);
        self.status_code.push(row.status_code);
        self.dropped_attributes.push(row.dropped_attributes);
        self.dropped_events.push(row.dropped_events);
        self.dropped_links.push(row.dropped_links);
        self.trace_state.push(row.trace_state);
        self.name.push(row.name);
        self.status_message.push(row.status_message);
        self.events.push(row.events);
        self.links.push(row.links);
        self.attributes.end_row();
    }
}
