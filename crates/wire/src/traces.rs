//! Spans: from protobuf into a [`SpanBatch`].

use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::Common;
use bonghwa_model::refs::Ref;
use bonghwa_model::spans::{SpanBatch, SpanRow};
use bonghwa_model::{Signal, json};

use crate::DecodeOptions;
use crate::any::Entries;
use crate::cursor::Cursor;
use crate::decoded::Reason;
use crate::envelope::{Sink, Walk, any_time, check_text, no_time};
use crate::fault::{Fault, Result};
use crate::schema::{event, link, span, status};

impl<'a> Sink<'a> for SpanBatch {
    const SIGNAL: Signal = Signal::Traces;

    fn parts(&mut self) -> (&mut Attributes, &mut Common) {
        (&mut self.attributes, &mut self.common)
    }

    fn reserve(&mut self, records: usize) {
        SpanBatch::reserve(self, records);
    }

    #[inline(always)]
    fn record(&mut self, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()> {
        let mut row = SpanRow::default();
        let (mut start, mut end) = (0, 0);
        // Events and links may lie between other fields; each kind becomes one text.
        let (mut events, mut links): (&[u8], &[u8]) = (b"", b"");
        let mut c = Cursor::new(bytes, &span::MESSAGE);
        while c.more() {
            let before = c.rest();
            match c.tag()? {
                span::trace_id => row.trace_id = c.id()?,
                span::span_id => row.span_id = c.id()?,
                span::parent_span_id => row.parent_span_id = c.id()?,
                span::flags => row.flags = c.fixed32()?,
                span::trace_state => {
                    row.trace_state =
                        walk.rows.text(c.bytes()?, &mut self.common).map_err(|f| f.under("trace_state"))?;
                }
                span::name => {
                    row.name = walk.rows.text(c.bytes()?, &mut self.common).map_err(|f| f.under("name"))?;
                }
                span::kind => row.kind = c.enumeration(5)?,
                span::start_time_unix_nano => start = c.fixed64()?,
                span::end_time_unix_nano => end = c.fixed64()?,
                span::attributes => {
                    let pair = c.bytes()?;
                    walk.rows.add(pair, &mut self.attributes, &mut self.common).map_err(|f| f.under("attributes"))?;
                }
                span::dropped_attributes_count => row.dropped_attributes = c.varint()? as u32,
                span::dropped_events_count => row.dropped_events = c.varint()? as u32,
                span::dropped_links_count => row.dropped_links = c.varint()? as u32,
                span::events => {
                    c.bytes()?;
                    if events.is_empty() {
                        events = before;
                    }
                }
                span::links => {
                    c.bytes()?;
                    if links.is_empty() {
                        links = before;
                    }
                }
                span::status => {
                    let fault = |f: Box<Fault>| f.under("status");
                    (row.status_code, row.status_message) =
                        read_status(c.bytes()?, &mut self.common, walk).map_err(fault)?;
                }
                _ => c.skip()?,
            }
        }
        if row.trace_id == [0; 16] {
            return Err(no_id("trace_id", 16));
        }
        if row.span_id == [0; 8] {
            return Err(no_id("span_id", 8));
        }
        if start == 0 {
            return Err(no_time("start_time_unix_nano"));
        }
        row.start_time = walk.times.check(start, "start_time_unix_nano")?;
        // An end before the start is the sender's clock at work: it is kept as sent.
        row.end_time = match end {
            0 => 0,
            end => walk.times.check_ahead(end, "end_time_unix_nano")?,
        };
        if !events.is_empty() {
            row.events = list(events, span::events, "events", &mut self.common, walk.options, write_event)?;
        }
        if !links.is_empty() {
            row.links = list(links, span::links, "links", &mut self.common, walk.options, write_link)?;
        }
        self.push_row(row);
        Ok(())
    }
}

#[cold]
fn no_id(field: &str, bytes: usize) -> Box<Fault> {
    let text = format!("is missing or all zero: {bytes} bytes are needed, not all of them zero");
    Fault::rejected(Reason::InvalidId, field, text)
}

fn read_status<'a>(bytes: &'a [u8], common: &mut Common, walk: &Walk<'a>) -> Result<(u8, Ref)> {
    let (mut code, mut message) = (0, Ref::EMPTY);
    let mut c = Cursor::new(bytes, &status::MESSAGE);
    while c.more() {
        match c.tag()? {
            status::code => code = c.enumeration(2)?,
            status::message => message = walk.rows.text(c.bytes()?, common).map_err(|f| f.under("message"))?,
            _ => c.skip()?,
        }
    }
    Ok((code, message))
}

/// Writes the span's fields with this tag as a JSON array.
fn list(
    fields: &[u8],
    tag: u32,
    name: &str,
    common: &mut Common,
    options: &DecodeOptions,
    write: fn(&[u8], &mut Vec<u8>, &DecodeOptions) -> Result<()>,
) -> Result<Ref> {
    let start = common.arena.len();
    let mut first = true;
    let mut c = Cursor::new(fields, &span::MESSAGE);
    let mut at = 0;
    while c.more() {
        if c.tag()? != tag {
            c.skip()?;
            continue;
        }
        let item = c.bytes()?;
        let mut written = Ok(());
        common.arena.push_with(|out| {
            out.push(if first { b'[' } else { b',' });
            written = write(item, out, options);
        });
        written.map_err(|f| f.under(format!("{name}[{at}]")))?;
        check_text(common, options)?;
        first = false;
        at += 1;
    }
    common.arena.push(b"]");
    Ok(common.arena.since(start))
}

fn write_event(bytes: &[u8], out: &mut Vec<u8>, options: &DecodeOptions) -> Result<()> {
    let (mut time, mut name, mut dropped) = (0, "", 0);
    let mut attributes = Entries::default();
    let mut c = Cursor::new(bytes, &event::MESSAGE);
    while c.more() {
        match c.tag()? {
            event::time_unix_nano => time = c.fixed64()?,
            event::name => name = c.str()?,
            event::attributes => {
                attributes.add_attribute(c.bytes()?, options).map_err(|f| f.under("attributes"))?;
            }
            event::dropped_attributes_count => dropped = c.varint()? as u32,
            _ => c.skip()?,
        }
    }
    out.extend_from_slice(b"{\"time_unix_nano\":");
    json::write_i64(out, any_time(time, "time_unix_nano")?);
    out.extend_from_slice(b",\"name\":");
    json::write_str(out, name);
    out.extend_from_slice(b",\"attributes\":");
    json::write_object(out, &attributes.list);
    out.extend_from_slice(b",\"dropped_attributes_count\":");
    json::write_u64(out, u64::from(dropped));
    out.push(b'}');
    Ok(())
}

fn write_link(bytes: &[u8], out: &mut Vec<u8>, options: &DecodeOptions) -> Result<()> {
    let (mut trace_id, mut span_id, mut trace_state) = ([0; 16], [0; 8], "");
    let (mut flags, mut dropped) = (0, 0);
    let mut attributes = Entries::default();
    let mut c = Cursor::new(bytes, &link::MESSAGE);
    while c.more() {
        match c.tag()? {
            link::trace_id => trace_id = c.id::<16>()?,
            link::span_id => span_id = c.id::<8>()?,
            link::trace_state => trace_state = c.str()?,
            link::attributes => {
                attributes.add_attribute(c.bytes()?, options).map_err(|f| f.under("attributes"))?;
            }
            link::dropped_attributes_count => dropped = c.varint()? as u32,
            link::flags => flags = c.fixed32()?,
            _ => c.skip()?,
        }
    }
    out.extend_from_slice(b"{\"trace_id\":\"");
    out.extend_from_slice(hex::encode(trace_id).as_bytes());
    out.extend_from_slice(b"\",\"span_id\":\"");
    out.extend_from_slice(hex::encode(span_id).as_bytes());
    out.extend_from_slice(b"\",\"trace_state\":");
    json::write_str(out, trace_state);
    out.extend_from_slice(b",\"flags\":");
    json::write_u64(out, u64::from(flags));
    out.extend_from_slice(b",\"attributes\":");
    json::write_object(out, &attributes.list);
    out.extend_from_slice(b",\"dropped_attributes_count\":");
    json::write_u64(out, u64::from(dropped));
    out.push(b'}');
    Ok(())
}
