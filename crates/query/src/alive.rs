//! Makes a plan end when nobody waits for it any more.
//!
//! A task ends where it yields, and joins of DataFusion may go on for hours without:
//! a nested loop that finds no match, a cross product under an aggregation. So joins
//! are made to yield between batches, and their filters to fail once the time is up.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, FieldRef, Schema};
use bonghwa_cluster::seam::{self, Instant};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::unnest::UnnestExec;

use crate::QueryError;

/// Whether a query is still waited for.
#[derive(Debug)]
pub(crate) struct Alive {
    pub(crate) deadline: Instant,
    timeout: Duration,
    abandoned: AtomicBool,
}

impl Alive {
    /// From now on, for this long.
    pub(crate) fn new(timeout: Duration) -> Arc<Self> {
        Arc::new(Alive { deadline: seam::now() + timeout, timeout, abandoned: AtomicBool::new(false) })
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(seam::now())
    }

    /// Fails once the time is up or nobody waits.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.abandoned.load(Ordering::Relaxed) || self.left().is_zero() {
            return Err(QueryError::Timeout(self.timeout));
        }
        Ok(())
    }
}

/// Held by whoever waits: lets go of the query when dropped.
pub(crate) struct Waiting(pub(crate) Arc<Alive>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
    }
}

/// The same plan, but one that ends.
pub(crate) fn guard(plan: Arc<dyn ExecutionPlan>, alive: &Arc<Alive>) -> Result<Arc<dyn ExecutionPlan>> {
    let guarded = plan.transform_up(|node| {
        let node = match (node.downcast_ref::<NestedLoopJoinExec>(), node.downcast_ref::<HashJoinExec>()) {
            (Some(join), _) => match join.filter() {
                Some(filter) => {
                    let (left, right) = (join.left().clone(), join.right().clone());
                    let builder = NestedLoopJoinExecBuilder::new(left, right, *join.join_type());
                    let builder = builder.with_filter(Some(guarded_filter(filter, alive)));
                    Arc::new(builder.with_projection_ref(join.projection().clone()).build()?)
                }
                None => node,
            },
            (_, Some(join)) => match join.filter() {
                Some(filter) => join.builder().with_filter(Some(guarded_filter(filter, alive))).build_exec()?,
                None => node,
            },
            _ if node.is::<CrossJoinExec>() || node.is::<UnnestExec>() => node,
            _ => return Ok(Transformed::no(node)),
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    });
    guarded.map(|transformed| transformed.data)
}

fn guarded_filter(filter: &JoinFilter, alive: &Arc<Alive>) -> JoinFilter {
    let expression = WhileAlive { inner: filter.expression().clone(), alive: alive.clone() };
    JoinFilter::new(Arc::new(expression), filter.column_indices().to_vec(), filter.schema().clone())
}

/// An expression that fails once nobody waits.
#[derive(Debug)]
struct WhileAlive {
    inner: Arc<dyn PhysicalExpr>,
    alive: Arc<Alive>,
}

impl PartialEq for WhileAlive {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && Arc::ptr_eq(&self.alive, &other.alive)
    }
}

impl Eq for WhileAlive {}

impl Hash for WhileAlive {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for WhileAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for WhileAlive {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.alive.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| self.inner.clone());
        Ok(Arc::new(WhileAlive { inner, alive: self.alive.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
