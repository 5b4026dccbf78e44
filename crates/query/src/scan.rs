//! The plan node that reads blocks and tails of one table.

use std::fmt;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use bonghwa_block::{Column, ScanRequest};
use bonghwa_protocol::v1;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use crate::distributed::{Told, Visit};
use crate::late::LateFilter;
use crate::plan::{self, TablePlan, Unit};
use crate::{QueryError, names};

/// Reads what a [`TablePlan`] says.
pub(crate) struct BlockScanExec {
    plan: Arc<TablePlan>,
    partitions: Arc<Vec<Vec<Arc<Unit>>>>,
    schema: SchemaRef,
    limit: Option<usize>,
    /// Filters whose bounds become known while the query runs.
    late: Vec<Arc<dyn PhysicalExpr>>,
    /// Reads a part of what the plan says, for one of several tasks.
    shared: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl BlockScanExec {
    /// Reads in at most `partitions` streams.
    pub(crate) fn new(plan: Arc<TablePlan>, schema: SchemaRef, partitions: usize, limit: Option<usize>) -> Self {
        let partitions = plan::share_out(&plan.units, partitions);
        let properties = Arc::new(properties(&schema, partitions.len()));
        let (partitions, metrics) = (Arc::new(partitions), ExecutionPlanMetricsSet::new());
        BlockScanExec { plan, partitions, schema, limit, late: Vec::new(), shared: false, properties, metrics }
    }

    /// Reads what another node planned.
    pub(crate) fn task(
        plan: Arc<TablePlan>,
        schema: SchemaRef,
        partitions: Vec<Vec<Arc<Unit>>>,
        limit: Option<usize>,
        late: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Self {
        let properties = Arc::new(properties(&schema, partitions.len()));
        let (partitions, metrics) = (Arc::new(partitions), ExecutionPlanMetricsSet::new());
        BlockScanExec { plan, partitions, schema, limit, late, shared: true, properties, metrics }
    }

    /// The same scan of these of its units.
    pub(crate) fn share(&self, partitions: Vec<Vec<Arc<Unit>>>) -> Self {
        Self::task(self.plan.clone(), self.schema.clone(), partitions, self.limit, self.late.clone())
    }

    /// What all tasks of the scan read together, and whose rows.
    pub(crate) fn plan(&self) -> &TablePlan {
        &self.plan
    }

    /// What it reads, by partition.
    pub(crate) fn partitions(&self) -> &[Vec<Arc<Unit>>] {
        &self.partitions
    }

    /// Rows that each partition returns at most.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Filters whose bounds become known while the query runs.
    pub(crate) fn late(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.late
    }

    fn with(&self, limit: Option<usize>, late: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        BlockScanExec {
            plan: self.plan.clone(),
            partitions: self.partitions.clone(),
            schema: self.schema.clone(),
            limit,
            late,
            shared: self.shared,
            properties: self.properties.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

fn properties(schema: &SchemaRef, partitions: usize) -> PlanProperties {
    PlanProperties::new(
        EquivalenceProperties::new(schema.clone()),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )
    .with_scheduling_type(SchedulingType::Cooperative)
}

impl fmt::Debug for BlockScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for BlockScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        if format == DisplayFormatType::TreeRender {
            return write!(f, "table={}\n{}", names::table(self.plan.signal), self.plan.pruned);
        }
        let (table, pruned) = (names::table(self.plan.signal), &self.plan.pruned);
        write!(f, "BlockScanExec: table={table}, ")?;
        if self.shared {
            let units = || self.partitions.iter().flatten();
            let blocks = units().filter(|unit| matches!(***unit, Unit::Block(_))).count();
            let rows = units().map(|unit| unit.rows()).fold(0, u64::saturating_add);
            write!(f, "share=(blocks={blocks}, tails={}, rows={rows}) of ", units().count() - blocks)?;
        }
        write!(f, "{pruned}, columns=[{}]", names.join(", "))?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        if !self.late.is_empty() {
            let late: Vec<String> = self.late.iter().map(ToString::to_string).collect();
            write!(f, ", late=[{}]", late.join(", "))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for BlockScanExec {
    fn name(&self) -> &str {
        "BlockScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for filter in &self.late {
            if f(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(units) = self.partitions.get(partition).cloned() else {
            return Err(QueryError::Internal(format!("the scan has no partition {partition}")).into());
        };
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let skipped = MetricBuilder::new(&self.metrics).counter("units_skipped_late", partition);
        let late = LateFilter::new(&self.late, &self.schema, self.plan.signal);
        let schema = self.schema.clone();
        // Whoever asked may be on another node, and must be told by an error's kind what to do.
        let visit = context.session_config().get_extension::<Visit>();
        let batches = read(self.plan.clone(), units, late, skipped);
        let mut batches = batches
            .map(move |batch| {
                if let Some(visit) = &visit {
                    visit.alive.check().map_err(Told)?;
                    return named(batch.map_err(told)?, &schema);
                }
                named(batch?, &schema)
            })
            .boxed();
        let measured = stream::poll_fn(move |context| {
            let _timer = baseline.elapsed_compute().timer();
            baseline.record_poll(batches.poll_next_unpin(context))
        });
        let limited = limited(measured.boxed(), self.limit);
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(self.schema.clone(), limited))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if self.shared {
            // The plan counts what all shares read together.
            let rows = self.partitions.iter().flatten().map(|unit| unit.rows()).fold(0, u64::saturating_add);
            statistics.num_rows = usize::try_from(rows).map_or(Precision::Absent, Precision::Inexact);
        } else if args.partition().is_none() && self.limit.is_none() {
            let rows = self.plan.exact_rows.and_then(|rows| usize::try_from(rows).ok());
            let selected = self.plan.pruned.inside.rows_selected;
            statistics.num_rows = rows.map_or(Precision::Inexact(selected), Precision::Exact);
        }
        Ok(Arc::new(statistics))
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.with(limit, self.late.clone())))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters = result.parent_filters;
        // Whoever pushes a filter down keeps applying it: this only skips what it rules out.
        let answer = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; filters.len()]);
        let late: Vec<_> = filters.into_iter().map(|f| f.filter).filter(LateFilter::is_late).collect();
        if phase == FilterPushdownPhase::Pre || late.is_empty() {
            return Ok(answer);
        }
        let late = self.late.iter().cloned().chain(late).collect();
        Ok(answer.with_updated_node(Arc::new(self.with(self.limit, late))))
    }
}

/// Reads the units one after another, those that late filters rule out excepted.
fn read(
    plan: Arc<TablePlan>,
    units: Vec<Arc<Unit>>,
    late: LateFilter,
    skipped: Count,
) -> impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static {
    let state = (plan, units.into_iter(), late, skipped);
    let streams = stream::try_unfold(state, |(plan, mut units, mut late, skipped)| async move {
        for unit in units.by_ref() {
            if late.rules_out(unit.time()) {
                skipped.add(1);
                continue;
            }
            let batches = open(&plan, &unit).await?;
            return Ok::<_, DataFusionError>(Some((batches, (plan, units, late, skipped))));
        }
        Ok(None)
    });
    streams.try_flatten()
}

/// The rows of a unit, without deleted ones.
pub(crate) async fn open(plan: &Arc<TablePlan>, unit: &Unit) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let block = match unit {
        Unit::Block(block) if unit.may_hold_deleted() => block,
        _ => return rows(plan, unit, &plan.request).await,
    };
    let batches = rows(plan, unit, &plan.with_deleted).await?;
    let (plan, carried_out) = (plan.clone(), block.deletes_through());
    let seen = batches.and_then(move |batch| {
        let seen = plan.deleted.removals.apply(&batch, carried_out).map_err(|error| QueryError::from(error).into());
        futures::future::ready(seen)
    });
    Ok(seen.boxed())
}

async fn rows(plan: &TablePlan, unit: &Unit, request: &ScanRequest) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    match unit {
        Unit::Block(block) => {
            let batches = block.scan(request).await?;
            Ok(batches.map_err(|error| QueryError::from(error).into()).boxed())
        }
        Unit::Tail(tail) => {
            let request = v1::TailRequest {
                partition: tail.partition.clone(),
                tenant: request.tenant.as_str().to_owned(),
                watermark: tail.watermark,
                through: tail.through,
                min_time: plan.request.predicate.min_time,
                max_time: plan.request.predicate.max_time,
                services: plan.request.predicate.services.clone().unwrap_or_default(),
                metric_names: plan.request.predicate.metric_names.clone().unwrap_or_default(),
                columns: request.columns.iter().map(Column::to_proto).collect(),
                ..Default::default()
            };
            let batches = tail.leader.tail(request).await.map_err(QueryError::from)?;
            Ok(batches.map_err(|error| QueryError::from(error).into()).boxed())
        }
    }
}

/// The same error, but one that keeps its kind when it is sent.
fn told(error: DataFusionError) -> DataFusionError {
    Told(QueryError::of_stream(&error)).into()
}

/// The same columns under the names that the query uses.
fn named(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)?)
}

fn limited(
    batches: BoxStream<'static, Result<RecordBatch>>,
    limit: Option<usize>,
) -> BoxStream<'static, Result<RecordBatch>> {
    let Some(limit) = limit else { return batches };
    let state = (batches, limit);
    let cut = stream::try_unfold(state, |(mut batches, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(batch) = batches.try_next().await? else { return Ok(None) };
        let batch = if batch.num_rows() > left { batch.slice(0, left) } else { batch };
        let left = left - batch.num_rows();
        Ok(Some((batch, (batches, left))))
    });
    cut.boxed()
}
