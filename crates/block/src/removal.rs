//! Rows that are to go: by a delete, or because they are past their retention. Queries
//! and compaction ask the same code, so that what a query no longer shows is what a
//! compaction takes out.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use bonghwa_model::Signal;
use bonghwa_protocol::v1;

use crate::BlockError;
use crate::column::{AttributeScope, Column, ValueType, time_column};

/// Rows of a tenant that are to go.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    /// Of a delete: its id. It concerns blocks on which deletes up to an earlier one were carried out. Else
    /// [`Removal::OF_ALL`].
    pub id: u64,
    /// Which of them.
    pub selector: v1::Selector,
    /// Unix nanoseconds, inclusive; of spans the start counts.
    pub min_time: i64,
    /// Unix nanoseconds, inclusive.
    pub max_time: i64,
    /// Rows that one of these selects stay.
    pub unless: Vec<v1::Selector>,
}

impl Removal {
    /// The id of what concerns all blocks.
    pub const OF_ALL: u64 = u64::MAX;

    /// What a delete takes out.
    pub fn of_delete(delete: &v1::Delete) -> Self {
        let selector = delete.selector.clone().unwrap_or_default();
        let v1::Delete { id, min_time, max_time, .. } = *delete;
        Removal { id, selector, min_time, max_time, unless: Vec::new() }
    }

    /// Whether some of these rows may have to go, by what the catalog says of them.
    pub fn may_match(&self, rows: &v1::TenantRows) -> bool {
        let Removal { selector, min_time, max_time, .. } = self;
        let service = &selector.service;
        rows.min_time <= *max_time
            && rows.max_time >= *min_time
            // An empty list in the catalog means that it was too long to keep.
            && (service.is_empty() || rows.services.is_empty() || rows.services.binary_search(service).is_ok())
    }
}

/// Removals, ready to look at rows.
#[derive(Clone, Debug)]
pub struct Removals {
    signal: Signal,
    removals: Vec<Removal>,
    columns: Vec<Column>,
}

impl Removals {
    /// Of rows of this signal.
    pub fn new(signal: Signal, removals: Vec<Removal>) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for removal in &removals {
            let selectors = std::iter::once(&removal.selector).chain(&removal.unless);
            for column in selectors.flat_map(|selector| needs(signal, selector)) {
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
        Removals { signal, removals, columns }
    }

    /// Whether nothing is to go.
    pub fn is_empty(&self) -> bool {
        self.removals.is_empty()
    }

    /// The columns that [`Removals::stays`] needs, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Which rows of a block stay, by the columns asked for. Deletes up to an id were carried out on the block, or do
    /// not concern it.
    pub fn stays(&self, columns: &[ArrayRef], rows: usize, carried_out: u64) -> Result<BooleanArray, BlockError> {
        let mut stays = vec![true; rows];
        for removal in self.removals.iter().filter(|removal| removal.id > carried_out) {
            let mut goes = vec![true; rows];
            let times = self.find(columns, &Column::Base(time_column(self.signal)))?;
            let times = times.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| wrong("time"))?;
            and(&mut goes, |row| (removal.min_time..=removal.max_time).contains(&times.value(row)));
            self.select(&removal.selector, columns, &mut goes)?;
            for selector in &removal.unless {
                let mut spared = goes.clone();
                self.select(selector, columns, &mut spared)?;
                goes.iter_mut().zip(spared).for_each(|(goes, spared)| *goes &= !spared);
            }
            stays.iter_mut().zip(goes).for_each(|(stays, goes)| *stays &= !goes);
        }
        Ok(BooleanArray::from(stays))
    }

    /// The rows of a batch that stay. Its last columns must be those asked for, which are
    /// cut off.
    pub fn apply(&self, batch: &RecordBatch, carried_out: u64) -> Result<RecordBatch, BlockError> {
        let own = batch.num_columns().saturating_sub(self.columns.len());
        let stays = self.stays(&batch.columns()[own..], batch.num_rows(), carried_out)?;
        let shown = batch.project(&(0..own).collect::<Vec<_>>()).map_err(|e| BlockError::damaged("", e))?;
        arrow_select::filter::filter_record_batch(&shown, &stays).map_err(|e| BlockError::damaged("", e))
    }

    fn find<'a>(&self, columns: &'a [ArrayRef], column: &Column) -> Result<&'a ArrayRef, BlockError> {
        let at = self.columns.iter().position(|c| c == column);
        at.and_then(|at| columns.get(at)).ok_or_else(|| BlockError::Request(format!("{column:?} was not read")))
    }

    /// Leaves only those rows marked that a selector selects.
    fn select(&self, selector: &v1::Selector, columns: &[ArrayRef], goes: &mut [bool]) -> Result<(), BlockError> {
        let text = |column: &Column, passes: &dyn Fn(&str) -> bool, goes: &mut [bool]| {
            let texts = self.find(columns, column)?.as_string_opt::<i32>().ok_or_else(|| wrong("a text"))?;
            and(goes, |row| texts.is_valid(row) && passes(texts.value(row)));
            Ok::<_, BlockError>(())
        };
        if !selector.service.is_empty() {
            text(&Column::Base("service_name"), &|v| v == selector.service, goes)?;
        }
        if !selector.series.is_empty() {
            let of_series = |id: &str| {
                let id = u128::from_str_radix(id, 16).map(u128::to_be_bytes);
                id.is_ok_and(|id| selector.series.binary_search_by(|series| series[..].cmp(&id[..])).is_ok())
            };
            return text(&Column::Base("series_id"), &of_series, goes);
        }
        for attribute in &selector.attributes {
            text(&attribute_column(attribute), &|v| v == attribute.value, goes)?;
        }
        if self.signal == Signal::Logs && !selector.body_contains.is_empty() {
            text(&Column::Base("body"), &|v| v.contains(&selector.body_contains), goes)?;
        }
        if self.signal == Signal::Logs && (selector.min_severity, selector.max_severity) != (0, 0) {
            let severities = self.find(columns, &Column::Base("severity_number"))?;
            let severities = severities.as_primitive_opt::<Int32Type>().ok_or_else(|| wrong("severity_number"))?;
            let most = if selector.max_severity == 0 { u32::MAX } else { selector.max_severity };
            let range = selector.min_severity.max(1)..=most;
            and(goes, |row| range.contains(&(severities.value(row) as u32)));
        }
        Ok(())
    }
}

fn wrong(column: &str) -> BlockError {
    BlockError::Request(format!("{column} came with another type"))
}

fn and(rows: &mut [bool], passes: impl Fn(usize) -> bool) {
    for (row, kept) in rows.iter_mut().enumerate() {
        *kept = *kept && passes(row);
    }
}

fn attribute_column(attribute: &v1::AttributeMatch) -> Column {
    Column::Attribute {
        scope: match attribute.scope() {
            v1::AttributeScope::Unspecified => AttributeScope::Any,
            v1::AttributeScope::Resource => AttributeScope::Resource,
            v1::AttributeScope::Record => AttributeScope::Record,
        },
        key: attribute.key.as_str().into(),
        value_type: ValueType::String,
    }
}

fn needs(signal: Signal, selector: &v1::Selector) -> Vec<Column> {
    let mut columns = vec![Column::Base(time_column(signal))];
    if !selector.service.is_empty() {
        columns.push(Column::Base("service_name"));
    }
    if !selector.series.is_empty() {
        columns.push(Column::Base("series_id"));
        return columns;
    }
    columns.extend(selector.attributes.iter().map(attribute_column));
    if signal == Signal::Logs {
        if !selector.body_contains.is_empty() {
            columns.push(Column::Base("body"));
        }
        if (selector.min_severity, selector.max_severity) != (0, 0) {
            columns.push(Column::Base("severity_number"));
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::{Int32Array, StringArray, TimestampNanosecondArray};

    use super::*;

    #[test]
    fn all_conditions_must_hold() {
        let columns = |removals: &Removals| -> Vec<ArrayRef> {
            let column = |column: &Column| -> ArrayRef {
                match column {
                    Column::Base("time") => {
                        Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC"))
                    }
                    Column::Base("service_name") => Arc::new(StringArray::from(vec!["a", "a", "b", "b"])),
                    Column::Base("body") => {
                        Arc::new(StringArray::from(vec![Some("x secret"), None, Some("y"), Some("secret")]))
                    }
                    Column::Base("severity_number") => Arc::new(Int32Array::from(vec![0, 5, 9, 17])),
                    _ => Arc::new(StringArray::from(vec![Some("1"), Some("2"), None, Some("1")])),
                }
            };
            removals.columns().iter().map(column).collect()
        };
        let selector = v1::Selector::default;
        let attribute = || v1::AttributeMatch { key: "k".into(), value: "1".into(), ..Default::default() };
        for (what, selector, times, expected) in [
            ("all", selector(), (i64::MIN, i64::MAX), ""),
            ("times are inclusive", selector(), (2, 3), "14"),
            ("service", v1::Selector { service: "b".into(), ..selector() }, (1, 3), "124"),
            ("body", v1::Selector { body_contains: "secret".into(), ..selector() }, (1, 4), "23"),
            ("attribute", v1::Selector { attributes: vec![attribute()], ..selector() }, (1, 4), "23"),
            ("no severity is no severity", v1::Selector { max_severity: 9, ..selector() }, (1, 4), "14"),
            ("severity", v1::Selector { min_severity: 9, ..selector() }, (1, 4), "12"),
            ("both", v1::Selector { body_contains: "secret".into(), service: "b".into(), ..selector() }, (1, 4), "123"),
        ] {
            let removal = Removal { id: 1, selector, min_time: times.0, max_time: times.1, unless: Vec::new() };
            let removals = Removals::new(Signal::Logs, vec![removal]);
            let stays = removals.stays(&columns(&removals), 4, 0).unwrap();
            let left: String = (0..4).filter(|row| stays.value(*row)).map(|row| (row + 1).to_string()).collect();
            assert_eq!(left, expected, "{what}");
        }
    }

    #[test]
    fn series_go_by_their_identity() {
        let selector = v1::Selector::of_series([7, 1 << 100]);
        let removal = Removal { id: 1, selector, min_time: 0, max_time: 3, unless: Vec::new() };
        let removals = Removals::new(Signal::Metrics, vec![removal]);
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC"));
        let ids = [7u128, 8, 1 << 100, 7].map(|id| format!("{id:032x}"));
        let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
        let stays = removals.stays(&[times, ids], 4, 0).unwrap();
        assert_eq!(stays, BooleanArray::from(vec![false, true, false, true]));
    }

    #[test]
    fn what_is_spared_stays() {
        let service = |name: &str| v1::Selector { service: name.to_owned(), ..Default::default() };
        let unless = vec![service("audit"), service("b")];
        let removal = Removal { id: 1, selector: v1::Selector::default(), min_time: 0, max_time: 3, unless };
        let removals = Removals::new(Signal::Logs, vec![removal]);
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC"));
        let services: ArrayRef = Arc::new(StringArray::from(vec!["a", "audit", "b", "a"]));
        let stays = removals.stays(&[times, services], 4, 0).unwrap();
        assert_eq!(stays, BooleanArray::from(vec![false, true, true, true]));
    }

    #[test]
    fn a_delete_concerns_only_blocks_on_which_it_was_not_carried_out() {
        let of = |id: u64, min_time, max_time| {
            let delete = v1::Delete { id, min_time, max_time, ..Default::default() };
            Removal::of_delete(&delete)
        };
        let rule = Removal { id: Removal::OF_ALL, ..of(0, 4, 4) };
        let removals = Removals::new(Signal::Logs, vec![of(1, 1, 1), of(2, 2, 2), rule]);
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC"));
        for (carried_out, expected) in [(0, "3"), (1, "13"), (2, "123")] {
            let stays = removals.stays(std::slice::from_ref(&times), 4, carried_out).unwrap();
            let left: String = (0..4).filter(|row| stays.value(*row)).map(|row| (row + 1).to_string()).collect();
            assert_eq!(left, expected, "{carried_out}");
        }
    }
}
