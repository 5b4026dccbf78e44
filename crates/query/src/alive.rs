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
use datafusion::physical_plan::replace_children_if_necessary;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion_distributed::NetworkBoundaryExt;

use crate::pool::{Lease, Pool};
use crate::{QueryError, distributed};

/// Whether a query is still waited for, and what it holds.
#[derive(Debug)]
pub(crate) struct Alive {
    pub(crate) deadline: Instant,
    timeout: Duration,
    abandoned: AtomicBool,
    /// Other queriers take part.
    shared: AtomicBool,
    /// No other querier may take part.
    stays: AtomicBool,
    /// What it holds of the memory of all queries.
    pub(crate) memory: Arc<Lease>,
}

impl Alive {
    /// From now on, for this long.
    pub(crate) fn new(timeout: Duration, pool: &Arc<Pool>) -> Arc<Self> {
        let [abandoned, shared, stays] = [(); 3].map(|()| AtomicBool::new(false));
        let (deadline, memory) = (seam::now() + timeout, Lease::new(pool));
        Arc::new(Alive { deadline, timeout, abandoned, shared, stays, memory })
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(seam::now())
    }

    /// Nobody waits any more.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Other queriers take part in the query.
    pub(crate) fn share(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    /// Whether other queriers took part in the query.
    pub(crate) fn shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Whether the query is to be answered without other queriers.
    pub(crate) fn stays(&self) -> bool {
        self.stays.load(Ordering::Relaxed)
    }

    /// Whether a query that failed like this, before it gave a row, is worth beginning once
    /// more: a leader went away, or another querier did or did not understand what it was
    /// sent. From then on it stays here.
    pub(crate) fn may_stay(&self, error: &QueryError) -> bool {
        let worth = match error {
            QueryError::Unavailable(_) => true,
            QueryError::Internal(_) | QueryError::Invalid(_) | QueryError::NoColumn { .. } => self.shared(),
            _ => false,
        };
        worth && !self.stays.swap(true, Ordering::Relaxed)
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
        self.0.abandon();
    }
}

/// The same plan, but one that ends. Parts that other queriers run are guarded there.
pub(crate) fn guard(plan: Arc<dyn ExecutionPlan>, alive: &Arc<Alive>) -> Result<Arc<dyn ExecutionPlan>> {
    if !distributed::is_distributed(&plan) {
        return guard_task(plan, alive, false);
    }
    alive.share();
    distributed::count();
    guard_head(plan, alive)
}

/// Guards what lies above the parts that are sent away: few nodes, so it may recur.
fn guard_head(plan: Arc<dyn ExecutionPlan>, alive: &Arc<Alive>) -> Result<Arc<dyn ExecutionPlan>> {
    if plan.is_network_boundary() {
        return Ok(plan);
    }
    let children = plan.children().into_iter().cloned().map(|child| guard_head(child, alive));
    let children = children.collect::<Result<Vec<_>>>()?;
    guard_node(replace_children_if_necessary(plan, children)?, alive, false).map(|node| node.data)
}

/// The same plan, all of which runs here. With `in_place`, no node is added: then joins do
/// not yield, and end when their filters or the scans below them are asked again.
pub(crate) fn guard_task(
    plan: Arc<dyn ExecutionPlan>,
    alive: &Arc<Alive>,
    in_place: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| guard_node(node, alive, in_place)).map(|transformed| transformed.data)
}

fn guard_node(
    node: Arc<dyn ExecutionPlan>,
    alive: &Arc<Alive>,
    in_place: bool,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
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
    Ok(Transformed::yes(if in_place { node } else { Arc::new(CooperativeExec::new(node)) }))
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
