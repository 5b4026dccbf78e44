//! Log records as columns.

use crate::Kind;
use crate::batch::batch;
use crate::refs::Ref;

batch! {
    /// Log records. All columns have one value per row.
    LogBatch {
        plain {
            /// Unix nanoseconds: the record's time, else its observed time, else its arrival.
            time: Vec<i64>,
            /// Unix nanoseconds; 0 when not sent.
            observed_time: Vec<i64>,
            /// OTLP severity number, 0 to 24.
            severity_number: Vec<u8>,
            /// The body's [`Kind`].
            body_kind: Vec<u8>,
            /// All zero when not sent.
            trace_id: Vec<[u8; 16]>,
            /// All zero when not sent.
            span_id: Vec<[u8; 8]>,
            /// W3C trace flags.
            flags: Vec<u32>,
            /// How many attributes the sender dropped.
            dropped_attributes: Vec<u32>,
        }
        refs {
            /// Severity as the sender named it.
            severity_text: Vec,
            /// Text bodies as they are, all others as JSON text ([`crate::json`]).
            body: Vec,
            /// OTLP event name.
            event_name: Vec,
        }
        tables {}
    }
}

/// One record's columns, for building a batch row by row.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // The fields are those of LogBatch.
pub struct LogRow {
    pub time: i64,
    pub observed_time: i64,
    pub severity_number: u8,
    pub body_kind: Kind,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub flags: u32,
    pub dropped_attributes: u32,
    pub severity_text: Ref,
    pub body: Ref,
    pub event_name: Ref,
}

impl Default for LogRow {
    fn default() -> Self {
        LogRow {
            time: 0,
            observed_time: 0,
            severity_number: 0,
            body_kind: Kind::Null,
            trace_id: [0; 16],
            span_id: [0; 8],
            flags: 0,
            dropped_attributes: 0,
            severity_text: Ref::EMPTY,
            body: Ref::EMPTY,
            event_name: Ref::EMPTY,
        }
    }
}

impl LogBatch {
    /// Adds a row with the attributes pushed since the last one.
    #[inline]
    pub fn push_row(&mut self, row: LogRow) {
        self.time.push(row.time);
        self.observed_time.push(row.observed_time);
        self.severity_number.push(row.severity_number);
        self.body_kind.push(row.body_kind as u8);
        self.trace_id.push(row.trace_id);
        self.span_id.push(row.span_id);
        self.flags.push(row.flags);
        self.dropped_attributes.push(row.dropped_attributes);
        self.severity_text.push(row.severity_text);
        self.body.push(row.body);
        self.event_name.push(row.event_name);
        self.attributes.end_row();
    }
}
