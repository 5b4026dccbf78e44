//! Times in Unix milliseconds, as Prometheus has them.

use crate::DecodeOptions;
use crate::decoded::Reason;
use crate::fault::{Fault, Result};

/// Nanoseconds of a millisecond.
const MILLI: i64 = 1_000_000;

/// The range of times that samples may have.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    now: i64,
    max_future: i64,
    earliest: i64,
    latest: i64,
}

impl Times {
    /// By arrival and by what the tenant keeps.
    pub fn new(options: &DecodeOptions) -> Self {
        Times {
            now: options.now_ns,
            max_future: options.max_future_ns,
            earliest: options.max_age_ns.map_or(0, |age| options.now_ns.saturating_sub(age)).max(1),
            latest: options.now_ns.saturating_add(options.max_future_ns),
        }
    }

    /// A sample's time in nanoseconds.
    #[inline(always)]
    pub fn check(&self, millis: i64, field: &str) -> Result<i64> {
        match millis.checked_mul(MILLI) {
            Some(nanos) if (self.earliest..=self.latest).contains(&nanos) => Ok(nanos),
            _ => Err(self.outside(millis, field)),
        }
    }

    #[cold]
    fn outside(&self, millis: i64, field: &str) -> Box<Fault> {
        let nanos = match any(millis, field) {
            Ok(nanos) => nanos,
            Err(fault) => return fault,
        };
        let seconds = nanos.abs_diff(self.now) / 1_000_000_000;
        let (reason, text) = match nanos {
            0 => (Reason::InvalidTimestamp, "is 0 or missing: send Unix milliseconds".to_owned()),
            _ if nanos > self.latest => (
                Reason::TooFarInFuture,
                format!(
                    "is {millis}, {seconds} s ahead of this server's clock where {} s are allowed: \
                     send Unix milliseconds, and check the sender's clock",
                    self.max_future / 1_000_000_000
                ),
            ),
            _ => (
                Reason::TooOld,
                format!(
                    "is {millis}, {seconds} s ago, which is older than the tenant keeps: raise its retention to send it"
                ),
            ),
        };
        Fault::rejected(reason, field, text)
    }
}

/// A start time in nanoseconds; 0 is none. One that cannot be is none too: the sample says enough without it.
#[inline(always)]
pub(crate) fn start(millis: i64) -> i64 {
    millis.checked_mul(MILLI).unwrap_or(0).max(0)
}

fn any(millis: i64, field: &str) -> Result<i64> {
    match millis.checked_mul(MILLI) {
        Some(nanos) if nanos >= 0 => Ok(nanos),
        _ => Err(impossible(millis, field)),
    }
}

#[cold]
fn impossible(millis: i64, field: &str) -> Box<Fault> {
    let when = if millis < 0 { "before 1970" } else { "beyond the year 2262" };
    Fault::rejected(Reason::InvalidTimestamp, field, format!("is {millis}, {when}: send Unix milliseconds"))
}
