//! Spans as physical columns.

use bonghwa_model::batch::Batch;
use bonghwa_model::spans::{SPAN_KINDS, STATUS_CODES};

use super::attributes::attributes;
use super::records::Records;
use super::tables::resource_and_scope;
use super::{Builder, Built, Row, of_signal};
use crate::BlockError;
use crate::physical::PhysicalColumn;

/// The name of a number; numbers that OTLP does not define are named like 0.
fn name(names: &'static [&'static str], number: u8) -> &'static str {
    names.get(number as usize).unwrap_or(&names[0])
}

pub(super) fn build(builder: &Builder<'_>, rows: &[Row], tenant: &str) -> Result<Built, BlockError> {
    let spans = Records::new(builder.input, rows, |b| of_signal!(b, Traces))?;
    let mut built = builder.start(rows.len());
    let mut set =
        |name: &str, build: &dyn Fn() -> Result<PhysicalColumn, BlockError>| builder.set(&mut built, name, build);
    set("tenant", &|| Ok(PhysicalColumn::constant_text(tenant, rows.len())))?;
    set("trace_id", &|| spans.id(|b, i| b.trace_id[i], true))?;
    set("span_id", &|| spans.id(|b, i| b.span_id[i], false))?;
    set("parent_span_id", &|| spans.id(|b, i| b.parent_span_id[i], true))?;
    set("trace_state", &|| spans.text(|b, i| (&b.common.arena, b.trace_state[i]), true))?;
    set("name", &|| spans.text(|b, i| (&b.common.arena, b.name[i]), false))?;
    set("kind", &|| Ok(spans.name(|b, i| b.kind[i], |n| name(&SPAN_KINDS, n))))?;
    set("start_time", &|| Ok(spans.time(|b, i| b.start_time[i])))?;
    set("duration_ns", &|| Ok(spans.long(|b, i| b.end_time[i].wrapping_sub(b.start_time[i]))))?;
    set("status_code", &|| Ok(spans.name(|b, i| b.status_code[i], |n| name(&STATUS_CODES, n))))?;
    set("status_message", &|| spans.text(|b, i| (&b.common.arena, b.status_message[i]), true))?;
    set("flags", &|| Ok(spans.int(|b, i| b.flags[i])))?;
    set("dropped_attributes_count", &|| Ok(spans.int(|b, i| b.dropped_attributes[i])))?;
    set("dropped_events_count", &|| Ok(spans.int(|b, i| b.dropped_events[i])))?;
    set("dropped_links_count", &|| Ok(spans.int(|b, i| b.dropped_links[i])))?;
    set("events", &|| spans.text(|b, i| (&b.common.arena, b.events[i]), true))?;
    set("links", &|| spans.text(|b, i| (&b.common.arena, b.links[i]), true))?;
    resource_and_scope(builder, &mut built, rows)?;
    attributes(builder, &mut built, rows)?;
    Ok(built)
}
