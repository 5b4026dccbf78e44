//! Deciding by bounds: of row groups, and of pages.

use std::cmp::Ordering;

use bonghwa_model::Signal;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use super::Footer;
use super::plan::PlannedRowGroup;
use super::predicate::{Comparison, Op, Scalar};
use crate::column::{AttributeScope, Column, ValueType};
use crate::layout::{Layout, Owner};

/// A condition on one physical column.
pub(super) enum Test {
    /// Compared with a constant.
    Compare { column: String, op: Op, value: Scalar },
    /// One of these texts.
    OneOf { column: &'static str, values: Vec<String> },
    /// No row can meet it.
    Never,
}

/// Least or greatest value of a column.
#[derive(Clone, Debug)]
enum Bound {
    Int(i64),
    Double(f64),
    Bool(bool),
    Bytes(Vec<u8>),
}

/// What bounds say of some rows.
enum Bounds {
    /// Nothing.
    Unknown,
    /// No row has a value.
    Empty,
    /// All values lie between; `exact` if the bounds are values themselves.
    Between { min: Bound, max: Bound, exact: bool },
}

/// Where the values of a logical column lie in this block.
pub(super) enum Resolved {
    /// In this physical column, as they are.
    Column(String),
    /// No row has a value.
    Nowhere,
    /// Attributes in several places; whether each is in the token filter.
    Places { indexed: bool },
    /// Made from other columns.
    Derived,
}

impl Resolved {
    pub fn new(layout: &Layout, column: &Column, rest_holds: &dyn Fn(Owner, &str) -> bool) -> Self {
        let (scope, key, value_type) = match column {
            Column::Base(name) => {
                let own = match layout.signal {
                    Signal::Metrics => !matches!(*name, "time" | "start_time" | "flags" | "exemplars" | "buckets"),
                    _ => !matches!(*name, "events" | "links"),
                };
                let plain = own && !matches!(*name, "trace_id" | "span_id" | "parent_span_id" | "series_id");
                return match layout.index(name).filter(|_| plain) {
                    Some(_) => Resolved::Column((*name).to_owned()),
                    None => Resolved::Derived,
                };
            }
            Column::List(_) => return Resolved::Derived,
            Column::Attribute { scope, key, value_type } => (scope, key, value_type),
        };
        let owners: &[Owner] = match scope {
            AttributeScope::Any => &[Owner::Record, Owner::Resource],
            AttributeScope::Resource => &[Owner::Resource],
            AttributeScope::Record => &[Owner::Record],
        };
        let mut columns = Vec::new();
        let mut in_rest = false;
        for owner in owners {
            match layout.find(*owner, key) {
                Some(promoted) => columns.push(promoted),
                None => in_rest |= rest_holds(*owner, key),
            }
        }
        let as_is = |t: ValueType| t == *value_type || (t, *value_type) == (ValueType::Int64, ValueType::Float64);
        match &columns[..] {
            [] if !in_rest => Resolved::Nowhere,
            [one] if !in_rest && as_is(one.value_type) => {
                Resolved::Column(layout.schema.field(one.index).name().clone())
            }
            _ => Resolved::Places { indexed: columns.iter().all(|c| c.value_type == ValueType::String) },
        }
    }

    /// Whether the tokens of every value are in the token filter.
    pub fn is_indexed(&self, indexed: impl Fn(&str) -> bool) -> bool {
        match self {
            Resolved::Column(name) => indexed(name),
            Resolved::Places { indexed } => *indexed,
            Resolved::Nowhere | Resolved::Derived => false,
        }
    }

    /// The test that a comparison amounts to.
    pub fn test(self, comparison: &Comparison) -> Option<Test> {
        match self {
            Resolved::Column(column) => {
                Some(Test::Compare { column, op: comparison.op, value: comparison.value.clone() })
            }
            Resolved::Nowhere => Some(Test::Never),
            Resolved::Places { .. } | Resolved::Derived => None,
        }
    }
}

impl Test {
    fn column(&self) -> Option<&str> {
        match self {
            Test::Compare { column, .. } => Some(column),
            Test::OneOf { column, .. } => Some(column),
            Test::Never => None,
        }
    }

    fn may_match(&self, bounds: &Bounds) -> bool {
        let (min, max, exact) = match bounds {
            Bounds::Unknown => return !matches!(self, Test::Never),
            Bounds::Empty => return false,
            Bounds::Between { min, max, exact } => (min, max, *exact),
        };
        // Values that cannot be compared decide nothing.
        let between = |value: &Scalar| {
            !matches!(min.compare(value), Some(Ordering::Greater))
                && !matches!(max.compare(value), Some(Ordering::Less))
        };
        match self {
            Test::Never => false,
            Test::OneOf { values, .. } => values.iter().any(|v| between(&Scalar::String(v.clone()))),
            Test::Compare { op, value, .. } => match op {
                Op::Eq => between(value),
                Op::NotEq => {
                    let both = (min.compare(value), max.compare(value));
                    !exact || both != (Some(Ordering::Equal), Some(Ordering::Equal)) || matches!(min, Bound::Double(_))
                }
                Op::Lt => !matches!(min.compare(value), Some(Ordering::Greater | Ordering::Equal)) || is_zero(value),
                Op::Le => !matches!(min.compare(value), Some(Ordering::Greater)),
                Op::Gt => !matches!(max.compare(value), Some(Ordering::Less | Ordering::Equal)) || is_zero(value),
                Op::Ge => !matches!(max.compare(value), Some(Ordering::Less)),
            },
        }
    }
}

impl Test {
    /// Whether all values meet it; never wrongly true.
    fn all_match(&self, bounds: &Bounds) -> bool {
        match (self, bounds) {
            (Test::Compare { op, value, .. }, Bounds::Between { min: min @ Bound::Int(_), max, .. }) => match op {
                Op::Le => matches!(max.compare(value), Some(Ordering::Less | Ordering::Equal)),
                Op::Ge => matches!(min.compare(value), Some(Ordering::Greater | Ordering::Equal)),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Zero has two signs, and engines disagree whether -0.0 is less than 0.0.
fn is_zero(value: &Scalar) -> bool {
    matches!(value, Scalar::Float64(v) if *v == 0.0)
}

impl Bound {
    fn compare(&self, value: &Scalar) -> Option<Ordering> {
        match (self, value) {
            (Bound::Int(a), Scalar::Int64(b)) => Some(a.cmp(b)),
            (Bound::Int(a), Scalar::Float64(b)) => (*a as f64).partial_cmp(b),
            (Bound::Double(a), Scalar::Float64(b)) => a.partial_cmp(b),
            (Bound::Double(a), Scalar::Int64(b)) => a.partial_cmp(&(*b as f64)),
            (Bound::Bool(a), Scalar::Boolean(b)) => Some(a.cmp(b)),
            (Bound::Bytes(a), Scalar::String(b)) => Some(a.as_slice().cmp(b.as_bytes())),
            _ => None,
        }
    }
}

fn chunk_bounds(statistics: &Statistics, rows: i64) -> Bounds {
    let ends = match statistics {
        Statistics::Boolean(s) => s.min_opt().copied().map(Bound::Bool).zip(s.max_opt().copied().map(Bound::Bool)),
        Statistics::Int32(s) => {
            let bound = |v: &i32| Bound::Int(i64::from(*v));
            s.min_opt().map(bound).zip(s.max_opt().map(bound))
        }
        Statistics::Int64(s) => s.min_opt().copied().map(Bound::Int).zip(s.max_opt().copied().map(Bound::Int)),
        Statistics::Double(s) => s.min_opt().copied().map(Bound::Double).zip(s.max_opt().copied().map(Bound::Double)),
        Statistics::ByteArray(_) => {
            let bound = |v: &[u8]| Bound::Bytes(v.to_vec());
            statistics.min_bytes_opt().map(bound).zip(statistics.max_bytes_opt().map(bound))
        }
        _ => None,
    };
    match ends {
        Some((min, max)) => Bounds::Between { min, max, exact: statistics.min_is_exact() && statistics.max_is_exact() },
        None if rows > 0 && statistics.null_count_opt() == Some(rows as u64) => Bounds::Empty,
        None => Bounds::Unknown,
    }
}

fn page_bounds(index: &ColumnIndexMetaData, page: usize) -> Bounds {
    if matches!(index, ColumnIndexMetaData::NONE) || page as u64 >= index.num_pages() {
        return Bounds::Unknown;
    }
    if index.is_null_page(page) {
        return Bounds::Empty;
    }
    let ends = match index {
        ColumnIndexMetaData::BOOLEAN(i) => {
            i.min_value(page).copied().map(Bound::Bool).zip(i.max_value(page).copied().map(Bound::Bool))
        }
        ColumnIndexMetaData::INT32(i) => {
            let bound = |v: &i32| Bound::Int(i64::from(*v));
            i.min_value(page).map(bound).zip(i.max_value(page).map(bound))
        }
        ColumnIndexMetaData::INT64(i) => {
            i.min_value(page).copied().map(Bound::Int).zip(i.max_value(page).copied().map(Bound::Int))
        }
        ColumnIndexMetaData::DOUBLE(i) => {
            i.min_value(page).copied().map(Bound::Double).zip(i.max_value(page).copied().map(Bound::Double))
        }
        ColumnIndexMetaData::BYTE_ARRAY(i) => {
            let bound = |v: &[u8]| Bound::Bytes(v.to_vec());
            i.min_value(page).map(bound).zip(i.max_value(page).map(bound))
        }
        _ => None,
    };
    match ends {
        // Bounds of pages may be cut without saying so.
        Some((min, max)) => Bounds::Between { min, max, exact: false },
        None => Bounds::Unknown,
    }
}

/// The column chunk of a test's column. Lists have no bounds, so a field's leaf is its own.
pub(super) fn leaf(footer: &Footer, test: &Test) -> Option<usize> {
    footer.leaf(footer.layout.index(test.column()?)?)
}

/// Which rows of a row group meet a test.
pub(super) enum Meet {
    None,
    Some,
    All,
}

/// Which rows of a row group meet a test of this leaf: `Some` where it is not known.
pub(super) fn meet(footer: &Footer, row_group: usize, leaf: Option<usize>, test: &Test) -> Meet {
    let metadata = footer.metadata().row_group(row_group);
    let statistics = leaf.and_then(|leaf| metadata.column(leaf).statistics());
    let bounds = statistics.map_or(Bounds::Unknown, |s| chunk_bounds(s, metadata.num_rows()));
    match test.may_match(&bounds) {
        false => Meet::None,
        true if test.all_match(&bounds) => Meet::All,
        true => Meet::Some,
    }
}

/// Drops the granules of a row group whose pages cannot hold rows that meet a test of this leaf.
pub(super) fn keep_granules(
    metadata: &ParquetMetaData,
    leaf: usize,
    row_group: &mut PlannedRowGroup,
    granule_rows: usize,
    test: &Test,
) {
    let index = metadata.column_index().and_then(|i| i.get(row_group.index)?.get(leaf));
    let offsets = metadata.offset_index().and_then(|i| i.get(row_group.index)?.get(leaf));
    let (Some(index), Some(offsets)) = (index, offsets) else { return };
    let pages = offsets.page_locations();
    if pages.is_empty() || matches!(index, ColumnIndexMetaData::NONE) || index.num_pages() != pages.len() as u64 {
        return;
    }
    let mut kept = vec![false; row_group.granules.len()];
    for (number, page) in pages.iter().enumerate() {
        if !test.may_match(&page_bounds(index, number)) {
            continue;
        }
        let end = pages.get(number + 1).map_or(row_group.rows as i64, |next| next.first_row_index);
        let (Ok(start), Ok(end)) = (usize::try_from(page.first_row_index), usize::try_from(end)) else { return };
        for granule in start / granule_rows..end.div_ceil(granule_rows).min(kept.len()) {
            kept[granule] = true;
        }
    }
    row_group.granules.iter_mut().zip(kept).for_each(|(granule, kept)| *granule &= kept);
}
