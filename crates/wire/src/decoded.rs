//! What a request gave: the batch, and what was rejected or cut.

use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;

use crate::fault::{Fault, FaultKind};

/// A decoded request.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The valid records.
    pub batch: Batch,
    /// Rejected log records, metric points or spans.
    pub rejected: u64,
    /// Why, by reason, in order of first appearance.
    pub reasons: Vec<Rejection>,
    /// Attribute values that were cut to [`crate::AttributeLimits::value_bytes`].
    pub cut_values: u64,
    /// Trace and span ids of log records that were left out: they have the wrong length.
    pub dropped_ids: u64,
}

/// Records rejected for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason.
    pub reason: Reason,
    /// How many.
    pub count: u64,
    /// A sentence about the first of them: field, value, remedy.
    pub message: String,
}

/// Why a record was rejected. A closed set, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A trace or span id of the wrong length, or missing where one is needed.
    InvalidId,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A time of 0 where one is needed, or out of range.
    InvalidTimestamp,
    /// Older than the tenant keeps.
    TooOld,
    /// Too far ahead of the server's clock.
    TooFarInFuture,
    /// More attributes than a record may have.
    TooManyAttributes,
    /// More distinct keys than a request may have.
    TooManyKeys,
    /// An attribute key that is too long.
    KeyTooLong,
    /// An attribute value that is too long and can't be cut.
    ValueTooLong,
    /// A log body that is too long.
    LineTooLong,
    /// A value nested too deep.
    TooDeep,
    /// A metric without a name.
    MissingName,
    /// A metric whose name has nothing that PromQL can call it by.
    InvalidName,
    /// Sums and histograms that do not say since when they count.
    InvalidTemporality,
    /// A point without a value.
    MissingValue,
    /// A histogram, exponential histogram or summary that contradicts itself.
    InvalidDistribution,
    /// A label without a name, a reference to no label, or a label that is kept for heartbeats.
    InvalidLabel,
    /// Two labels of one name.
    DuplicateLabel,
    /// A series beyond those that the tenant may have.
    TooManySeries,
}

impl Reason {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::InvalidId => "invalid_id",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::InvalidTimestamp => "invalid_timestamp",
            Reason::TooOld => "too_old",
            Reason::TooFarInFuture => "too_far_in_future",
            Reason::TooManyAttributes => "too_many_attributes",
            Reason::TooManyKeys => "too_many_keys",
            Reason::KeyTooLong => "key_too_long",
            Reason::ValueTooLong => "value_too_long",
            Reason::LineTooLong => "line_too_long",
            Reason::TooDeep => "too_deep",
            Reason::MissingName => "missing_name",
            Reason::InvalidName => "invalid_name",
            Reason::InvalidTemporality => "invalid_temporality",
            Reason::MissingValue => "missing_value",
            Reason::InvalidDistribution => "invalid_distribution",
            Reason::InvalidLabel => "invalid_label",
            Reason::DuplicateLabel => "duplicate_label",
            Reason::TooManySeries => "too_many_series",
        }
    }
}

impl Decoded {
    /// What `partial_success.error_message` says; empty if all was taken as it came.
    pub fn message(&self) -> String {
        let unit = match self.batch.signal() {
            Signal::Logs => "log records",
            Signal::Metrics => "data points",
            Signal::Traces => "spans",
        };
        let mut text = String::new();
        if self.rejected > 0 {
            let all = self.rejected + self.batch.rows() as u64;
            text = format!("{} of {all} {unit} were rejected. ", self.rejected);
        }
        for rejection in &self.reasons {
            text.push_str(&rejection.message);
            if rejection.count > 1 {
                text.push_str(&format!(" (and {} more like it)", rejection.count - 1));
            }
            text.push_str(". ");
        }
        if self.cut_values > 0 {
            text.push_str(&format!("{} attribute values were cut to the length that is allowed. ", self.cut_values));
        }
        if self.dropped_ids > 0 {
            text.push_str(&format!(
                "{} values of trace_id or span_id were left out of log records that are kept: \
                 send 16 bytes and 8 bytes, or none. ",
                self.dropped_ids
            ));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// Counts what is rejected while a request is walked.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// All rejected records.
    pub rejected: u64,
    /// By reason.
    pub reasons: Vec<Rejection>,
}

impl Tally {
    /// Counts a rejection of `count` records; gives anything else back.
    #[cold]
    pub fn reject(&mut self, fault: Box<Fault>, count: u64) -> crate::fault::Result<()> {
        let FaultKind::Rejected(reason) = fault.kind else {
            return Err(fault);
        };
        if count == 0 {
            return Ok(());
        }
        self.rejected += count;
        match self.reasons.iter_mut().find(|r| r.reason == reason) {
            Some(known) => known.count += count,
            None => self.reasons.push(Rejection { reason, count, message: format!("{} {}", fault.path, fault.text) }),
        }
        Ok(())
    }
}
