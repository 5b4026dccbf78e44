//! What the batches of all three signals share, and the batch of any signal.

use crate::attributes::{Attributes, Keys};
use crate::logs::LogBatch;
use crate::metrics::MetricBatch;
use crate::refs::Arena;
use crate::spans::SpanBatch;
use crate::{Signal, Value};

/// Who sent: OTLP's Resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// `service.name`, or the name that Loki's rules give it; see `wire`.
    pub service_name: String,
    /// All attributes, `service.name` among them if it was sent.
    pub attributes: Vec<(String, Value)>,
    /// How many attributes the sender dropped.
    pub dropped_attributes: u32,
    /// Schema of the attributes.
    pub schema_url: String,
}

/// Which library sent: OTLP's InstrumentationScope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Attributes.
    pub attributes: Vec<(String, Value)>,
    /// How many attributes the sender dropped.
    pub dropped_attributes: u32,
    /// Schema of the scope's records.
    pub schema_url: String,
}

/// Consecutive rows of one resource and scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Group {
    /// Index into [`Common::resources`].
    pub resource: u32,
    /// Index into [`Common::scopes`].
    pub scope: u32,
    /// The row after the group's last one.
    pub end: u32,
}

/// What a batch has beside its columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Common {
    /// Attribute keys of the rows.
    pub keys: Keys,
    /// All strings of the rows.
    pub arena: Arena,
    /// Distinct resources.
    pub resources: Vec<Resource>,
    /// Distinct scopes.
    pub scopes: Vec<Scope>,
    /// Rows by resource and scope; groups are never empty.
    pub groups: Vec<Group>,
}

impl Common {
    /// Extends the last group to `rows`, or opens one if resource or scope changed.
    pub fn close_group(&mut self, resource: u32, scope: u32, rows: u32) {
        let start = self.groups.last().map_or(0, |g| g.end);
        match self.groups.last_mut() {
            Some(last) if last.resource == resource && last.scope == scope => last.end = rows,
            _ if start < rows => self.groups.push(Group { resource, scope, end: rows }),
            _ => {}
        }
    }

    /// The groups with their first row.
    pub fn group_ranges(&self) -> impl Iterator<Item = (Group, std::ops::Range<usize>)> + Clone + '_ {
        let mut start = 0;
        self.groups.iter().map(move |group| {
            let range = start..group.end as usize;
            start = group.end as usize;
            (*group, range)
        })
    }

    /// Bytes allocated, roughly.
    pub fn heap_bytes(&self) -> usize {
        let resources: usize = self.resources.iter().map(|r| 100 + 80 * r.attributes.len()).sum();
        self.keys.heap_bytes() + self.arena.heap_bytes() + resources + self.groups.len() * 12 + self.scopes.len() * 160
    }
}

/// A batch of one signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Batch {
    /// Log records.
    Logs(LogBatch),
    /// Metric points.
    Metrics(MetricBatch),
    /// Spans.
    Traces(SpanBatch),
}

macro_rules! each {
    ($batch:expr, $b:ident => $body:expr) => {
        match $batch {
            Batch::Logs($b) => $body,
            Batch::Metrics($b) => $body,
            Batch::Traces($b) => $body,
        }
    };
}

impl Batch {
    /// Which signal.
    pub fn signal(&self) -> Signal {
        match self {
            Batch::Logs(_) => Signal::Logs,
            Batch::Metrics(_) => Signal::Metrics,
            Batch::Traces(_) => Signal::Traces,
        }
    }

    /// Log records, metric points or spans.
    pub fn rows(&self) -> usize {
        each!(self, b => b.rows())
    }

    /// Resources, scopes, keys and strings.
    pub fn common(&self) -> &Common {
        each!(self, b => &b.common)
    }

    /// The attributes of the rows.
    pub fn attributes(&self) -> &Attributes {
        each!(self, b => &b.attributes)
    }

    /// The time of each row, Unix nanoseconds; for spans the start.
    pub fn times(&self) -> &[i64] {
        match self {
            Batch::Logs(b) => &b.time,
            Batch::Metrics(b) => &b.time,
            Batch::Traces(b) => &b.start_time,
        }
    }

    /// Bytes that the batch holds in memory, roughly.
    pub fn heap_bytes(&self) -> usize {
        each!(self, b => b.heap_bytes())
    }

    /// A new batch of these rows, which must be ascending.
    pub fn take(&self, rows: &[u32]) -> Batch {
        match self {
            Batch::Logs(b) => Batch::Logs(b.take(rows)),
            Batch::Metrics(b) => Batch::Metrics(b.take(rows)),
            Batch::Traces(b) => Batch::Traces(b.take(rows)),
        }
    }
}

/// Defines a batch: plain columns, columns of references into the arena, and what
/// both need to be copied row by row, measured and encoded.
macro_rules! batch {
    (
        $(#[$doc:meta])* $name:ident {
            plain { $($(#[$pdoc:meta])* $plain:ident: $pcolumn:ident<$ptype:ty>,)* }
            refs { $($(#[$rdoc:meta])* $reference:ident: $rcolumn:ident,)* }
            tables { $($(#[$tdoc:meta])* $table:ident: $ttype:ty,)* }
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            /// Resources, scopes, keys, strings.
            pub common: $crate::batch::Common,
            /// Attributes of the rows.
            pub attributes: $crate::attributes::Attributes,
            $($(#[$pdoc])* pub $plain: $pcolumn<$ptype>,)*
            $($(#[$rdoc])* pub $reference: $rcolumn<$crate::refs::Ref>,)*
            $($(#[$tdoc])* pub $table: Vec<$ttype>,)*
        }

        impl $name {
            /// Rows.
            pub fn rows(&self) -> usize {
                self.attributes.rows()
            }

            /// Makes room for so many more rows.
            pub fn reserve(&mut self, rows: usize) {
                self.attributes.ends.reserve(rows);
                $($crate::column::Column::reserve(&mut self.$plain, rows);)*
                $($crate::column::Column::reserve(&mut self.$reference, rows);)*
            }

            /// Lets go of room for more rows.
            pub fn shrink_to_fit(&mut self) {
                self.common.arena.shrink_to_fit();
                self.attributes.shrink_to_fit();
                $($crate::column::Column::shrink_to_fit(&mut self.$plain);)*
                $($crate::column::Column::shrink_to_fit(&mut self.$reference);)*
            }

            /// Bytes that the batch holds in memory, roughly.
            pub fn heap_bytes(&self) -> usize {
                self.common.heap_bytes() + self.attributes.heap_bytes()
                    $(+ $crate::column::Column::heap_bytes(&self.$plain))*
                    $(+ $crate::column::Column::heap_bytes(&self.$reference))*
                    $(+ self.$table.capacity() * std::mem::size_of::<$ttype>())*
            }

            /// A new batch of these rows, which must be ascending.
            pub fn take(&self, rows: &[u32]) -> Self {
                let mut out = Self::default();
                out.common.resources = self.common.resources.clone();
                out.common.scopes = self.common.scopes.clone();
                $(out.$table = self.$table.clone();)*
                let mut key_map = vec![u32::MAX; self.common.keys.names().len()];
                let mut groups = self.common.groups.iter();
                let mut group = groups.next();
                for (i, &row) in rows.iter().enumerate() {
                    while group.is_some_and(|g| g.end <= row) {
                        group = groups.next();
                    }
                    if let Some(g) = group {
                        out.common.close_group(g.resource, g.scope, i as u32 + 1);
                    }
                    let row = row as usize;
                    $(out.$plain.push(self.$plain[row]);)*
                    $(out.$reference.push(out.common.arena.push(self.common.arena.bytes(self.$reference[row])));)*
                    out.attributes.copy_row(
                        &self.attributes,
                        row,
                        (&self.common.keys, &self.common.arena),
                        (&mut out.common.keys, &mut out.common.arena),
                        &mut key_map,
                    );
                }
                out
            }

            /// Bytes of its columns once they are encoded.
            pub(crate) fn encoded_bytes(&self) -> usize {
                0 $(+ $crate::column::Column::bytes(&self.$plain))* $(+ $crate::column::Column::bytes(&self.$reference))*
            }

            pub(crate) fn encode_columns(&self, out: &mut Vec<u8>) {
                $($crate::codec::put_column(out, &self.$plain);)*
                $($crate::codec::put_column(out, &self.$reference);)*
            }

            pub(crate) fn decode_columns(&mut self, input: &mut $crate::codec::Reader<'_>) -> Result<(), $crate::codec::CodecError> {
                let rows = self.attributes.rows();
                $(self.$plain = input.column(stringify!($plain), rows)?;)*
                $(
                    self.$reference = input.column(stringify!($reference), rows)?;
                    if let Some(r) = self.$reference.iter().find(|r| !self.common.arena.contains(**r)) {
                        return Err($crate::codec::CodecError::Reference { column: stringify!($reference), reference: r.0 });
                    }
                )*
                Ok(())
            }
        }
    };
}
pub(crate) use batch;

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use crate::Kind;

    #[test]
    fn take_keeps_rows_groups_and_strings() {
        let mut batch = LogBatch::default();
        for name in ["a", "b"] {
            batch.common.resources.push(Resource { service_name: name.into(), ..Default::default() });
        }
        batch.common.scopes.push(Scope::default());
        for row in 0..6i64 {
            let text = format!("body {row}");
            let key = batch.common.keys.id(if row % 2 == 0 { "even" } else { "odd" });
            let value = batch.common.arena.push(text.as_bytes());
            batch.attributes.push(key, Kind::Str, value.0);
            batch.push_row(crate::logs::LogRow { time: row, body: value, ..Default::default() });
            batch.common.close_group(u32::from(row >= 3), 0, row as u32 + 1);
        }
        let taken = batch.take(&[1, 4, 5]);
        assert_eq!(taken.time, [1, 4, 5]);
        assert_eq!(
            taken.common.groups,
            [Group { resource: 0, scope: 0, end: 1 }, Group { resource: 1, scope: 0, end: 3 }]
        );
        assert_eq!(taken.common.keys.names(), ["odd", "even"]);
        let texts: Vec<&str> = taken.body.iter().map(|r| taken.common.arena.str(*r)).collect();
        assert_eq!(texts, ["body 1", "body 4", "body 5"]);
    }
}
