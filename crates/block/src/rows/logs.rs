//! Log records as physical columns.

use bonghwa_model::Kind;
use bonghwa_model::batch::Batch;

use super::attributes::{attributes, kind_name};
use super::records::Records;
use super::tables::resource_and_scope;
use super::{Builder, Built, Row, of_signal};
use crate::BlockError;
use crate::physical::PhysicalColumn;

pub(super) fn build(builder: &Builder<'_>, rows: &[Row], tenant: &str) -> Result<Built, BlockError> {
    let records = Records::new(builder.input, rows, |b| of_signal!(b, Logs))?;
    let mut built = builder.start(rows.len());
    let mut set =
        |name: &str, build: &dyn Fn() -> Result<PhysicalColumn, BlockError>| builder.set(&mut built, name, build);
    set("tenant", &|| Ok(PhysicalColumn::constant_text(tenant, rows.len())))?;
    set("time", &|| Ok(records.time(|b, i| b.time[i])))?;
    set("observed_time", &|| Ok(records.optional_time(|b, i| b.observed_time[i])))?;
    set("severity_number", &|| Ok(records.int(|b, i| b.severity_number[i].into())))?;
    set("severity_text", &|| records.text(|b, i| (&b.common.arena, b.severity_text[i]), true))?;
    set("body", &|| {
        records.long_text(|b, i| (b.body_kind[i] != Kind::Null as u8).then(|| b.common.arena.bytes(b.body[i])))
    })?;
    set("body_type", &|| Ok(records.name(|b, i| b.body_kind[i], kind_name)))?;
    set("event_name", &|| records.text(|b, i| (&b.common.arena, b.event_name[i]), true))?;
    set("trace_id", &|| records.id(|b, i| b.trace_id[i], true))?;
    set("span_id", &|| records.id(|b, i| b.span_id[i], false))?;
    set("flags", &|| Ok(records.int(|b, i| b.flags[i])))?;
    set("dropped_attributes_count", &|| Ok(records.int(|b, i| b.dropped_attributes[i])))?;
    resource_and_scope(builder, &mut built, rows)?;
    attributes(builder, &mut built, rows)?;
    Ok(built)
}
