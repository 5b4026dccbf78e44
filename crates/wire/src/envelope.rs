//! What the three signals' requests have in common: records by scope by resource.

use bonghwa_model::Signal;
use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::Common;

use crate::DecodeOptions;
use crate::cursor::Cursor;
use crate::decoded::{Reason, Tally};
use crate::fault::{Fault, Result};
use crate::resource::Senders;
use crate::rows::Rows;
use crate::schema::{self, Message};

// The envelopes of all signals number their fields alike; `tests::numbers` holds them to it.
const RESOURCE_RECORDS: u32 = schema::logs_request::resource_logs;
const RESOURCE: u32 = schema::resource_logs::resource;
const SCOPE_RECORDS: u32 = schema::resource_logs::scope_logs;
const SCOPE: u32 = schema::scope_logs::scope;
const RECORDS: u32 = schema::scope_logs::log_records;
const SCHEMA_URL: u32 = schema::resource_logs::schema_url;

/// The messages around a signal's records.
pub(crate) struct Envelope {
    request: &'static Message,
    resource: &'static Message,
    scope: &'static Message,
}

static LOGS: Envelope = Envelope {
    request: &schema::logs_request::MESSAGE,
    resource: &schema::resource_logs::MESSAGE,
    scope: &schema::scope_logs::MESSAGE,
};
static METRICS: Envelope = Envelope {
    request: &schema::metrics_request::MESSAGE,
    resource: &schema::resource_metrics::MESSAGE,
    scope: &schema::scope_metrics::MESSAGE,
};
static TRACES: Envelope = Envelope {
    request: &schema::traces_request::MESSAGE,
    resource: &schema::resource_spans::MESSAGE,
    scope: &schema::scope_spans::MESSAGE,
};

impl Envelope {
    /// The envelope of a signal.
    pub fn of(signal: Signal) -> &'static Envelope {
        match signal {
            Signal::Logs => &LOGS,
            Signal::Metrics => &METRICS,
            Signal::Traces => &TRACES,
        }
    }

    /// The request message.
    pub fn request(&self) -> &'static Message {
        self.request
    }

    fn name(message: &'static Message, tag: u32) -> &'static str {
        message.field(tag >> 3).map_or("", |f| f.name)
    }
}

/// A batch that takes the records of a request, each a span of its bytes.
pub(crate) trait Sink<'a> {
    /// Which request it reads.
    const SIGNAL: Signal;

    /// The batch's parts that records share.
    fn parts(&mut self) -> (&mut Attributes, &mut Common);

    /// Makes room for about so many records.
    fn reserve(&mut self, records: usize);

    /// Called before the first record of a resource and scope.
    fn enter(&mut self, _resource: u32, _scope: u32) {}

    /// Takes a record. On a rejection the caller undoes the attributes and the text.
    fn record(&mut self, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()>;

    /// How many rejections it makes if this record is rejected as a whole.
    fn count(&self, _bytes: &'a [u8]) -> Result<u64> {
        Ok(1)
    }
}

/// The state of a walk over one request.
pub(crate) struct Walk<'a> {
    pub options: &'a DecodeOptions,
    pub rows: Rows<'a>,
    pub tally: Tally,
    pub times: Times,
    senders: Senders<'a>,
    envelope: &'static Envelope,
    place: [usize; 3],
}

impl<'a> Walk<'a> {
    /// At the start of a request.
    pub fn new(signal: Signal, options: &'a DecodeOptions, strict: bool) -> Self {
        let rows = Rows::new(options, signal, strict);
        Walk {
            options,
            rows,
            tally: Tally::default(),
            times: Times::new(options),
            senders: Senders::default(),
            envelope: Envelope::of(signal),
            place: [0; 3],
        }
    }

    /// Puts the path of the current record before a fault's.
    #[cold]
    pub fn in_record(&self, fault: Box<Fault>) -> Box<Fault> {
        let envelope = self.envelope;
        let [resource, scope, record] = self.place;
        fault
            .under(format!("{}[{record}]", Envelope::name(envelope.scope, RECORDS)))
            .under(format!("{}[{scope}]", Envelope::name(envelope.resource, SCOPE_RECORDS)))
            .under(format!("{}[{resource}]", Envelope::name(envelope.request, RESOURCE_RECORDS)))
    }

    #[cold]
    fn in_scope(&self, fault: Box<Fault>) -> Box<Fault> {
        fault
            .under(format!("{}[{}]", Envelope::name(self.envelope.resource, SCOPE_RECORDS), self.place[1]))
            .under(format!("{}[{}]", Envelope::name(self.envelope.request, RESOURCE_RECORDS), self.place[0]))
    }

    #[cold]
    fn in_resource(&self, fault: Box<Fault>) -> Box<Fault> {
        fault.under(format!("{}[{}]", Envelope::name(self.envelope.request, RESOURCE_RECORDS), self.place[0]))
    }

    /// Walks a request.
    pub fn request<S: Sink<'a>>(&mut self, bytes: &'a [u8], sink: &mut S) -> Result<()> {
        let mut c = Cursor::new(bytes, self.envelope.request);
        while c.more() {
            match c.tag()? {
                RESOURCE_RECORDS => {
                    self.resource(c.bytes()?, sink)?;
                    self.place[0] += 1;
                }
                _ => c.skip()?,
            }
        }
        Ok(())
    }

    fn resource<S: Sink<'a>>(&mut self, bytes: &'a [u8], sink: &mut S) -> Result<()> {
        // The resource may follow its records.
        let (mut resource, mut schema_url): (&[u8], &[u8]) = (b"", b"");
        let mut scan = || {
            let mut c = Cursor::new(bytes, self.envelope.resource);
            while c.more() {
                match c.tag()? {
                    RESOURCE => resource = c.bytes()?,
                    SCHEMA_URL => schema_url = c.bytes()?,
                    _ => c.skip()?,
                }
            }
            Ok(())
        };
        scan().map_err(|f| self.in_resource(f))?;
        let known = self.senders.resource(resource, schema_url, sink.parts().1, self.options);
        let (number, mut rejected) = match known {
            Ok(number) => (number, None),
            Err(fault) => (0, Some(fault)),
        };
        self.place[1] = 0;
        let mut count = 0;
        let mut c = Cursor::new(bytes, self.envelope.resource);
        while c.more() {
            match c.tag()? {
                SCOPE_RECORDS => {
                    let scope = c.bytes()?;
                    match &rejected {
                        Some(_) => count += self.count_scope(scope, sink).map_err(|f| self.in_scope(f))?,
                        None => self.scope(number, scope, sink)?,
                    }
                    self.place[1] += 1;
                }
                _ => c.skip()?,
            }
        }
        match rejected.take() {
            Some(fault) => {
                let fault = self.in_resource(fault);
                self.tally.reject(fault, count)
            }
            None => Ok(()),
        }
    }

    /// Passes over the records of a scope whose resource or scope is invalid.
    fn count_scope<S: Sink<'a>>(&self, bytes: &'a [u8], sink: &S) -> Result<u64> {
        let mut count = 0;
        let mut c = Cursor::new(bytes, self.envelope.scope);
        while c.more() {
            match c.tag()? {
                RECORDS => count += sink.count(c.bytes()?)?,
                _ => c.skip()?,
            }
        }
        Ok(count)
    }

    fn scope<S: Sink<'a>>(&mut self, resource: u32, bytes: &'a [u8], sink: &mut S) -> Result<()> {
        let (mut scope, mut schema_url): (&[u8], &[u8]) = (b"", b"");
        let mut records = 0;
        let mut scan = || {
            let mut c = Cursor::new(bytes, self.envelope.scope);
            while c.more() {
                match c.tag()? {
                    RECORDS => {
                        c.bytes()?;
                        records += 1;
                    }
                    SCOPE => scope = c.bytes()?,
                    SCHEMA_URL => schema_url = c.bytes()?,
                    _ => c.skip()?,
                }
            }
            Ok(())
        };
        scan().map_err(|f| self.in_scope(f))?;
        if records == 0 {
            return Ok(());
        }
        self.check_records(sink, records)?;
        let number = match self.senders.scope(scope, schema_url, sink.parts().1, self.options) {
            Ok(number) => number,
            Err(fault) => {
                let count = self.count_scope(bytes, sink).map_err(|f| self.in_scope(f))?;
                let fault = self.in_scope(fault);
                return self.tally.reject(fault, count);
            }
        };
        sink.reserve(records);
        sink.enter(resource, number);
        self.place[2] = 0;
        let mut c = Cursor::new(bytes, self.envelope.scope);
        while c.more() {
            match c.tag()? {
                RECORDS => {
                    let record = c.bytes()?;
                    self.record(record, sink)?;
                    self.place[2] += 1;
                }
                _ => c.skip()?,
            }
        }
        let (attributes, common) = sink.parts();
        common.close_group(resource, number, attributes.rows() as u32);
        Ok(())
    }

    #[inline(always)]
    fn record<S: Sink<'a>>(&mut self, bytes: &'a [u8], sink: &mut S) -> Result<()> {
        let mark = self.rows.begin(sink.parts().1);
        if let Err(fault) = sink.record(bytes, self) {
            let (attributes, common) = sink.parts();
            self.rows.undo(mark, attributes, common);
            let fault = self.in_record(fault);
            self.tally.reject(fault, sink.count(bytes)?)?;
        }
        check_text(sink.parts().1, self.options)
    }

    /// Refuses a request of too many records.
    pub fn check_records<S: Sink<'a>>(&self, sink: &mut S, more: usize) -> Result<()> {
        let records = sink.parts().0.rows() + more;
        if records > self.options.max_records {
            let what = format!("a request with {records} or more records");
            return Err(Fault::too_large(what, self.options.max_records, "max_records"));
        }
        Ok(())
    }
}

/// Refuses a request that unpacks to too much text.
#[inline(always)]
pub(crate) fn check_text(common: &Common, options: &DecodeOptions) -> Result<()> {
    if common.arena.len() > options.max_text_bytes {
        let what = format!("a request that unpacks to {} bytes of text", common.arena.len());
        return Err(Fault::too_large(what, options.max_text_bytes, "max_text_bytes"));
    }
    Ok(())
}

/// The range of times that records may have.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    now: i64,
    max_future: i64,
    earliest: u64,
    latest: u64,
}

impl Times {
    fn new(options: &DecodeOptions) -> Self {
        let earliest = options.max_age_ns.map_or(0, |age| options.now_ns.saturating_sub(age).max(0));
        let latest = options.now_ns.saturating_add(options.max_future_ns).max(0);
        let (earliest, latest) = (earliest as u64, latest as u64);
        Times { now: options.now_ns, max_future: options.max_future_ns, earliest, latest }
    }

    /// Checks a record's time, which may be 0.
    #[inline(always)]
    pub fn check(&self, nanos: u64, field: &str) -> Result<i64> {
        if (self.earliest..=self.latest).contains(&nanos) {
            return Ok(nanos as i64);
        }
        Err(self.outside(nanos, field))
    }

    /// Checks a time that may be of any age.
    #[inline(always)]
    pub fn check_ahead(&self, nanos: u64, field: &str) -> Result<i64> {
        if nanos <= self.latest {
            return Ok(nanos as i64);
        }
        Err(self.outside(nanos, field))
    }

    #[cold]
    fn outside(&self, nanos: u64, field: &str) -> Box<Fault> {
        let Ok(time) = i64::try_from(nanos) else {
            return out_of_range(nanos, field);
        };
        let seconds = (i128::from(time) - i128::from(self.now)).unsigned_abs() / 1_000_000_000;
        if nanos > self.latest {
            let text = format!(
                "is {nanos}, {seconds} s ahead of this server's clock where {} s are allowed: \
                 send Unix nanoseconds, and check the sender's clock",
                self.max_future / 1_000_000_000
            );
            return Fault::rejected(Reason::TooFarInFuture, field, text);
        }
        let text = format!(
            "is {nanos}, {seconds} s ago, which is older than the tenant keeps: raise its retention to send it"
        );
        Fault::rejected(Reason::TooOld, field, text)
    }
}

/// A time that is only kept, not judged.
#[inline(always)]
pub(crate) fn any_time(nanos: u64, field: &str) -> Result<i64> {
    i64::try_from(nanos).map_err(|_| out_of_range(nanos, field))
}

#[cold]
fn out_of_range(nanos: u64, field: &str) -> Box<Fault> {
    let text = format!("is {nanos}, beyond the year 2262: send Unix nanoseconds");
    Fault::rejected(Reason::InvalidTimestamp, field, text)
}

/// The rejection of a time of 0 where one is needed.
#[cold]
pub(crate) fn no_time(field: &str) -> Box<Fault> {
    Fault::rejected(Reason::InvalidTimestamp, field, "is 0 or missing: send Unix nanoseconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        use schema::{resource_metrics as rm, resource_spans as rs, scope_metrics as sm, scope_spans as ss};
        assert_eq!(schema::metrics_request::resource_metrics, RESOURCE_RECORDS);
        assert_eq!(schema::traces_request::resource_spans, RESOURCE_RECORDS);
        assert_eq!([rm::resource, rm::scope_metrics, rm::schema_url], [RESOURCE, SCOPE_RECORDS, SCHEMA_URL]);
        assert_eq!([rs::resource, rs::scope_spans, rs::schema_url], [RESOURCE, SCOPE_RECORDS, SCHEMA_URL]);
        assert_eq!([sm::scope, sm::metrics, sm::schema_url], [SCOPE, RECORDS, SCHEMA_URL]);
        assert_eq!([ss::scope, ss::spans, ss::schema_url], [SCOPE, RECORDS, SCHEMA_URL]);
        assert_eq!(schema::scope_logs::schema_url, SCHEMA_URL);
    }
}
