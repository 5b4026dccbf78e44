//! Filters whose bounds become known while a query runs: `ORDER BY time DESC LIMIT
//! 100` soon knows that nothing older than its hundredth row is wanted.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, TimestampNanosecondArray, UInt64Array};
use arrow_schema::SchemaRef;
use bonghwa_block as block;
use bonghwa_model::Signal;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{DynamicFilterTracking, PhysicalExpr};
use datafusion::physical_expr_common::physical_expr::{snapshot_generation, snapshot_physical_expr};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};

/// Late filters on the time of rows.
pub(crate) struct LateFilter {
    filters: Vec<Seen>,
    schema: SchemaRef,
    time: &'static str,
}

struct Seen {
    filter: Arc<dyn PhysicalExpr>,
    generation: Option<u64>,
    predicate: Option<PruningPredicate>,
}

impl LateFilter {
    /// Whether a filter's bounds come late.
    pub(crate) fn is_late(filter: &Arc<dyn PhysicalExpr>) -> bool {
        DynamicFilterTracking::classify(filter).contains_dynamic_filter()
    }

    /// Keeps those filters that speak of the time of a signal's rows.
    pub(crate) fn new(filters: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef, signal: Signal) -> Self {
        let time = block::time_column(signal);
        let of_time = filters.iter().filter(|filter| collect_columns(filter).iter().any(|c| c.name() == time));
        let filters = of_time.map(|filter| Seen { filter: filter.clone(), generation: None, predicate: None });
        LateFilter { filters: filters.collect(), schema: schema.clone(), time }
    }

    /// Whether by what is known now no row of these times, Unix nanoseconds and both
    /// inclusive, can pass.
    pub(crate) fn rules_out(&mut self, time: (i64, i64)) -> bool {
        let LateFilter { filters, schema, time: name } = self;
        filters.iter_mut().any(|seen| {
            seen.refresh(schema);
            let Some(predicate) = &seen.predicate else { return false };
            let bounds = Bounds { column: name, time };
            // A predicate that cannot be evaluated rules nothing out.
            predicate.prune(&bounds).is_ok_and(|keep| keep == [false])
        })
    }
}

impl Seen {
    fn refresh(&mut self, schema: &SchemaRef) {
        let generation = snapshot_generation(&self.filter);
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let fixed = snapshot_physical_expr(self.filter.clone());
        let builder = PruningPredicateBuilder::new().with_file_schema(schema.clone());
        self.predicate = fixed.and_then(|fixed| builder.try_build(fixed)).ok();
    }
}

/// The times of one unit as the bounds of its time column.
struct Bounds<'a> {
    column: &'a str,
    time: (i64, i64),
}

impl Bounds<'_> {
    fn bound(&self, column: &Column, nanos: i64) -> Option<ArrayRef> {
        let array = || TimestampNanosecondArray::from(vec![nanos]).with_timezone("UTC");
        (column.name == self.column).then(|| Arc::new(array()) as ArrayRef)
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, self.time.0)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, self.time.1)
    }

    fn num_containers(&self) -> usize {
        1
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        (column.name == self.column).then(|| Arc::new(UInt64Array::from(vec![0])) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
