//! Log records: from protobuf into a [`LogBatch`].

use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::Common;
use bonghwa_model::logs::{LogBatch, LogRow};
use bonghwa_model::refs::Ref;
use bonghwa_model::{Kind, Signal, json};

use crate::any::{self, Any};
use crate::cursor::Cursor;
use crate::decoded::Reason;
use crate::envelope::{Sink, Walk, any_time};
use crate::fault::{Fault, Result};
use crate::schema::log_record;

impl<'a> Sink<'a> for LogBatch {
    const SIGNAL: Signal = Signal::Logs;

    fn parts(&mut self) -> (&mut Attributes, &mut Common) {
        (&mut self.attributes, &mut self.common)
    }

    fn reserve(&mut self, records: usize) {
        LogBatch::reserve(self, records);
    }

    #[inline(always)]
    fn record(&mut self, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()> {
        let mut row = LogRow::default();
        let (mut time, mut observed) = (0, 0);
        let mut c = Cursor::new(bytes, &log_record::MESSAGE);
        while c.more() {
            match c.tag()? {
                log_record::time_unix_nano => time = c.fixed64()?,
                log_record::observed_time_unix_nano => observed = c.fixed64()?,
                log_record::severity_number => row.severity_number = c.enumeration(24)?,
                log_record::severity_text => {
                    row.severity_text =
                        walk.rows.text(c.bytes()?, &mut self.common).map_err(|f| f.under("severity_text"))?;
                }
                log_record::body => {
                    let value = any::any(c.bytes()?).map_err(|f| f.under("body"))?;
                    row.body_kind = value.kind();
                    row.body = body(value, &mut self.common, walk).map_err(|f| f.under("body"))?;
                }
                log_record::attributes => {
                    let pair = c.bytes()?;
                    walk.rows.add(pair, &mut self.attributes, &mut self.common).map_err(|f| f.under("attributes"))?;
                }
                log_record::dropped_attributes_count => row.dropped_attributes = c.varint()? as u32,
                log_record::flags => row.flags = c.fixed32()?,
                log_record::trace_id => row.trace_id = c.id_or_none(&mut walk.rows.dropped_ids)?,
                log_record::span_id => row.span_id = c.id_or_none(&mut walk.rows.dropped_ids)?,
                log_record::event_name => {
                    row.event_name = walk.rows.text(c.bytes()?, &mut self.common).map_err(|f| f.under("event_name"))?;
                }
                _ => c.skip()?,
            }
        }
        row.observed_time = any_time(observed, "observed_time_unix_nano")?;
        row.time = match (time, observed) {
            (0, 0) => walk.options.now_ns,
            (0, observed) => walk.times.check(observed, "observed_time_unix_nano")?,
            (time, _) => walk.times.check(time, "time_unix_nano")?,
        };
        self.push_row(row);
        Ok(())
    }
}

/// Writes a body: text as it is, all else as JSON text.
#[inline(always)]
fn body(value: Any<'_>, common: &mut Common, walk: &Walk<'_>) -> Result<Ref> {
    match value {
        Any::Str(text) if text.len() <= walk.options.max_line_bytes => walk.rows.text(text, common),
        other => rare_body(other, common, walk),
    }
}

#[inline(never)]
fn rare_body(value: Any<'_>, common: &mut Common, walk: &Walk<'_>) -> Result<Ref> {
    if let Any::Str(v) | Any::Bytes(v) | Any::Array(v) | Any::Map(v) = value
        && v.len() > walk.options.max_line_bytes
    {
        let text = format!(
            "has {} bytes: at most {} are allowed; split the record, or raise max_line_bytes",
            v.len(),
            walk.options.max_line_bytes
        );
        return Err(Fault::rejected(Reason::LineTooLong, "", text));
    }
    if value.kind() == Kind::Null {
        return Ok(Ref::EMPTY);
    }
    let value = any::owned(value, 0, walk.options)?;
    Ok(common.arena.push_with(|out| json::write_value(out, &value)))
}
