//! A batch's rows as texts, field by field.

use bonghwa_model::Kind;
use bonghwa_model::batch::Batch;
use bonghwa_model::metrics::PointKind;
use bonghwa_model::refs::Ref;

/// One row: its fields and its attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub fields: Vec<(&'static str, String)>,
    pub attributes: Vec<(String, Kind, String)>,
}

impl Row {
    pub fn set(&mut self, name: &'static str, value: impl ToString) {
        self.fields.push((name, value.to_string()));
    }
}

fn id(bytes: &[u8]) -> String {
    if bytes.iter().all(|b| *b == 0) { String::new() } else { hex::encode(bytes) }
}

pub fn of(batch: &Batch) -> Vec<Row> {
    let common = batch.common();
    let text = |r: Ref| common.arena.str(r).to_owned();
    let mut rows = Vec::new();
    for (group, range) in common.group_ranges() {
        let (resource, scope) = (&common.resources[group.resource as usize], &common.scopes[group.scope as usize]);
        for i in range {
            let mut row = Row::default();
            row.set("resource", format!("{:?}", resource.attributes));
            row.set("resource.dropped", resource.dropped_attributes);
            row.set("resource.schema_url", &resource.schema_url);
            row.set("scope", format!("{} {} {:?}", scope.name, scope.version, scope.attributes));
            row.set("scope.dropped", scope.dropped_attributes);
            row.set("scope.schema_url", &scope.schema_url);
            match batch {
                Batch::Logs(b) => {
                    row.set("time", b.time[i]);
                    row.set("observed", b.observed_time[i]);
                    row.set("severity", b.severity_number[i]);
                    row.set("severity_text", text(b.severity_text[i]));
                    row.set("body_kind", format!("{:?}", super::kind_of(b.body_kind[i])));
                    row.set("body", text(b.body[i]));
                    row.set("trace_id", id(&b.trace_id[i]));
                    row.set("span_id", id(&b.span_id[i]));
                    row.set("flags", b.flags[i]);
                    row.set("dropped", b.dropped_attributes[i]);
                    row.set("event_name", text(b.event_name[i]));
                }
                Batch::Traces(b) => {
                    row.set("trace_id", id(&b.trace_id[i]));
                    row.set("span_id", id(&b.span_id[i]));
                    row.set("parent", id(&b.parent_span_id[i]));
                    row.set("flags", b.flags[i]);
                    row.set("kind", b.kind[i]);
                    row.set("start", b.start_time[i]);
                    row.set("end", b.end_time[i]);
                    row.set("status", b.status_code[i]);
                    row.set("status_message", text(b.status_message[i]));
                    row.set("dropped", b.dropped_attributes[i]);
                    row.set("dropped_events", b.dropped_events[i]);
                    row.set("dropped_links", b.dropped_links[i]);
                    row.set("trace_state", text(b.trace_state[i]));
                    row.set("name", text(b.name[i]));
                    row.set("events", text(b.events[i]));
                    row.set("links", text(b.links[i]));
                }
                Batch::Metrics(b) => {
                    let m = &b.metrics[b.metric[i] as usize];
                    let kind = PointKind::from_u8(b.point_kind[i]).unwrap();
                    row.set("metric", format!("{} {} {} {}", m.name, m.unit, m.description, m.metric_type.as_str()));
                    row.set("temporality", m.temporality);
                    row.set("monotonic", m.monotonic);
                    row.set("metadata", &m.metadata);
                    row.set("time", b.time[i]);
                    row.set("start", b.start_time[i]);
                    row.set(
                        "value",
                        match kind {
                            PointKind::Int => format!("Int {}", b.value[i] as i64),
                            PointKind::Double => format!("Double {:?}", f64::from_bits(b.value[i])),
                            other => format!("{other:?} {}", b.value[i]),
                        },
                    );
                    row.set("count", b.count[i]);
                    row.set("sum", format!("{:?}", b.sum[i]));
                    row.set("flags", b.flags[i]);
                    row.set("buckets", text(b.buckets[i]));
                    row.set("exemplars", text(b.exemplars[i]));
                }
            }
            for (key, value) in batch.attributes().row(i, &common.arena) {
                let mut json = Vec::new();
                value.write_json(&mut json);
                let name = common.keys.names()[key as usize].clone();
                row.attributes.push((name, value.kind(), String::from_utf8(json).unwrap()));
            }
            rows.push(row);
        }
    }
    rows
}
