//! Log records and spans.

use bonghwa_model::Kind;
use bonghwa_model::logs::{LogBatch, LogRow};
use bonghwa_model::spans::{SPAN_KINDS, STATUS_CODES, SpanBatch, SpanRow};

use super::attributes::AttributeCells;
use super::cells::Cells;
use super::sources::{SourceCells, Sources};
use crate::BlockError;
use crate::layout::{Layout, Owner};
use crate::logical::Arrays;
use crate::rows::kind_name;

/// The number of a name; names that are not known are those of 0.
fn number(names: &[&str], name: &str) -> u8 {
    names.iter().position(|n| *n == name).unwrap_or(0) as u8
}

/// The kind of this name.
fn kind(name: &str) -> Kind {
    let kinds = (0..=u8::MAX).map_while(Kind::from_u8);
    kinds.into_iter().find(|kind| kind_name(*kind as u8) == name).unwrap_or(Kind::Null)
}

pub(super) fn logs(
    batch: &mut LogBatch,
    sources: &mut Sources,
    layout: &Layout,
    arrays: &Arrays,
    kept: &[bool],
) -> Result<(), BlockError> {
    let cells = Cells { layout, arrays };
    let (time, observed) = (cells.times("time")?, cells.times("observed_time")?);
    let (number, severity, event) =
        (cells.ints("severity_number")?, cells.texts("severity_text")?, cells.texts("event_name")?);
    let (body, body_type) = (cells.texts("body")?, cells.texts("body_type")?);
    let (trace_id, span_id) = (cells.ids("trace_id")?, cells.ids("span_id")?);
    let (flags, dropped) = (cells.ints("flags")?, cells.ints("dropped_attributes_count")?);
    let of_source = SourceCells::new(cells)?;
    let mut attributes = AttributeCells::new(cells, Owner::Record)?;
    for row in (0..kept.len()).filter(|row| kept[*row]) {
        let (resource, scope) = of_source.ids(row, sources, &mut batch.common);
        attributes.push(row, &mut batch.common, &mut batch.attributes);
        let arena = &mut batch.common.arena;
        let record = LogRow {
            time: time.get(row),
            observed_time: observed.get(row),
            severity_number: number.get(row) as u8,
            body_kind: kind(body_type.get(row)),
            trace_id: trace_id.get(row),
            span_id: span_id.get(row),
            flags: flags.get(row),
            dropped_attributes: dropped.get(row),
            severity_text: arena.push(severity.get(row).as_bytes()),
            body: arena.push(body.get(row).as_bytes()),
            event_name: arena.push(event.get(row).as_bytes()),
        };
        batch.push_row(record);
        let rows = batch.rows() as u32;
        batch.common.close_group(resource, scope, rows);
    }
    Ok(())
}

pub(super) fn spans(
    batch: &mut SpanBatch,
    sources: &mut Sources,
    layout: &Layout,
    arrays: &Arrays,
    kept: &[bool],
) -> Result<(), BlockError> {
    let cells = Cells { layout, arrays };
    let (trace_id, span_id, parent) = (cells.ids("trace_id")?, cells.ids("span_id")?, cells.ids("parent_span_id")?);
    let (start, duration) = (cells.times("start_time")?, cells.longs("duration_ns")?);
    let (name, kind, status) = (cells.texts("name")?, cells.texts("kind")?, cells.texts("status_code")?);
    let (state, message) = (cells.texts("trace_state")?, cells.texts("status_message")?);
    let (events, links, flags) = (cells.texts("events")?, cells.texts("links")?, cells.ints("flags")?);
    let dropped = [
        cells.ints("dropped_attributes_count")?,
        cells.ints("dropped_events_count")?,
        cells.ints("dropped_links_count")?,
    ];
    let of_source = SourceCells::new(cells)?;
    let mut attributes = AttributeCells::new(cells, Owner::Record)?;
    for row in (0..kept.len()).filter(|row| kept[*row]) {
        let (resource, scope) = of_source.ids(row, sources, &mut batch.common);
        attributes.push(row, &mut batch.common, &mut batch.attributes);
        let arena = &mut batch.common.arena;
        let span = SpanRow {
            trace_id: trace_id.get(row),
            span_id: span_id.get(row),
            parent_span_id: parent.get(row),
            flags: flags.get(row),
            kind: number(&SPAN_KINDS, kind.get(row)),
            start_time: start.get(row),
            end_time: start.get(row).wrapping_add(duration.get(row)),
            status_code: number(&STATUS_CODES, status.get(row)),
            dropped_attributes: dropped[0].get(row),
            dropped_events: dropped[1].get(row),
            dropped_links: dropped[2].get(row),
            trace_state: arena.push(state.get(row).as_bytes()),
            name: arena.push(name.get(row).as_bytes()),
            status_message: arena.push(message.get(row).as_bytes()),
            events: arena.push(events.get(row).as_bytes()),
            links: arena.push(links.get(row).as_bytes()),
        };
        batch.push_row(span);
        let rows = batch.rows() as u32;
        batch.common.close_group(resource, scope, rows);
    }
    Ok(())
}
