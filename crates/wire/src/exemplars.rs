//! Exemplars of metric points, as the JSON text that the model documents.

use bonghwa_model::batch::Common;
use bonghwa_model::json;
use bonghwa_model::refs::Ref;

use crate::DecodeOptions;
use crate::any::Entries;
use crate::cursor::Cursor;
use crate::envelope::{any_time, check_text};
use crate::fault::Result;
use crate::schema::{Message, exemplar};

/// Writes all fields of a point with this tag as a JSON array.
#[inline(never)]
pub(crate) fn write(
    fields: &[u8],
    point: &'static Message,
    tag: u32,
    common: &mut Common,
    options: &DecodeOptions,
) -> Result<Ref> {
    let start = common.arena.len();
    let mut c = Cursor::new(fields, point);
    let mut at = 0;
    while c.more() {
        if c.tag()? != tag {
            c.skip()?;
            continue;
        }
        let item = c.bytes()?;
        let mut written = Ok(());
        common.arena.push_with(|out| {
            out.push(if at == 0 { b'[' } else { b',' });
            written = write_one(item, out, options);
        });
        written.map_err(|f| f.under(format!("exemplars[{at}]")))?;
        check_text(common, options)?;
        at += 1;
    }
    common.arena.push(b"]");
    Ok(common.arena.since(start))
}

enum Number {
    Missing,
    Int(i64),
    Double(f64),
}

fn write_one(bytes: &[u8], out: &mut Vec<u8>, options: &DecodeOptions) -> Result<()> {
    let (mut time, mut value) = (0, Number::Missing);
    let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
    let mut attributes = Entries::default();
    let mut c = Cursor::new(bytes, &exemplar::MESSAGE);
    while c.more() {
        match c.tag()? {
            exemplar::time_unix_nano => time = c.fixed64()?,
            exemplar::as_double => value = Number::Double(c.double()?),
            exemplar::as_int => value = Number::Int(c.fixed64()? as i64),
            exemplar::trace_id => trace_id = c.id::<16>()?,
            exemplar::span_id => span_id = c.id::<8>()?,
            exemplar::filtered_attributes => {
                attributes.add_attribute(c.bytes()?, options).map_err(|f| f.under("filtered_attributes"))?;
            }
            _ => c.skip()?,
        }
    }
    out.extend_from_slice(b"{\"time_unix_nano\":");
    json::write_i64(out, any_time(time, "time_unix_nano")?);
    out.extend_from_slice(b",\"value\":");
    match value {
        Number::Missing => out.extend_from_slice(b"null"),
        Number::Int(v) => json::write_i64(out, v),
        Number::Double(v) => json::write_f64(out, v),
    }
    out.extend_from_slice(b",\"trace_id\":\"");
    if trace_id != [0; 16] {
        out.extend_from_slice(hex::encode(trace_id).as_bytes());
    }
    out.extend_from_slice(b"\",\"span_id\":\"");
    if span_id != [0; 8] {
        out.extend_from_slice(hex::encode(span_id).as_bytes());
    }
    out.extend_from_slice(b"\",\"attributes\":");
    json::write_object(out, &attributes.list);
    out.push(b'}');
    Ok(())
}
