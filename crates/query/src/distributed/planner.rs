//! Shares plans out where that can be done, and shows how it was.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::{Explain, ExplainFormat, LogicalPlan, PlanType, StringifiedPlan, ToStringifiedPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::explain::ExplainExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion_distributed::{
    DistributedCodec, DistributedExec, DistributedLeafExec, NetworkBoundaryExt, display_plan_ascii,
};
use datafusion_proto::bytes::physical_plan_to_bytes_with_proto_converter;
use datafusion_proto::physical_plan::DeduplicatingProtoConverter;

/// Puts our planner before the one that shares out.
pub(super) fn install(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    match builder.query_planner().take() {
        Some(distributed) => builder.with_query_planner(Arc::new(Planner { distributed })),
        None => builder,
    }
}

/// Whether other queriers take part in a plan.
pub(crate) fn is_distributed(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.exists(|node| Ok(node.is::<DistributedExec>())).unwrap_or(false)
}

#[derive(Debug)]
struct Planner {
    distributed: Arc<dyn QueryPlanner + Send + Sync>,
}

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match logical {
            LogicalPlan::Explain(explain) if explain.logical_optimization_succeeded => {
                match self.plan(&explain.plan, session).await {
                    Ok(plan) if plan.is::<DistributedExec>() && explain.explain_format == ExplainFormat::Indent => {
                        Ok(shown(explain, &plan))
                    }
                    // What is not shared out, and errors, DataFusion shows by itself.
                    _ => DefaultPhysicalPlanner::default().create_physical_plan(logical, session).await,
                }
            }
            _ => self.plan(logical, session).await,
        }
    }
}

impl Planner {
    async fn plan(&self, logical: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.distributed.create_physical_plan(logical, session).await?;
        match sent(&plan, session) {
            Ok(()) => Ok(plan),
            Err(error) => {
                tracing::debug!(%error, "a plan cannot be sent to other queriers");
                DefaultPhysicalPlanner::default().create_physical_plan(logical, session).await
            }
        }
    }
}

/// Encodes what would be sent. What fails only once the query runs would be waited for.
fn sent(plan: &Arc<dyn ExecutionPlan>, session: &dyn Session) -> Result<()> {
    let codec = DistributedCodec::new_combined_with_user(session.config());
    plan.apply(|node| {
        let Some(boundary) = node.as_network_boundary() else { return Ok(TreeNodeRecursion::Continue) };
        if let Some(stage) = boundary.input_stage().local_plan() {
            let stage = stage.clone().transform_up(|node| {
                let first = node.downcast_ref::<DistributedLeafExec>().and_then(|leaf| leaf.variants().first());
                Ok(first.cloned().map_or_else(|| Transformed::no(node.clone()), Transformed::yes))
            })?;
            physical_plan_to_bytes_with_proto_converter(stage.data, &codec, &DeduplicatingProtoConverter::default())?;
        }
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(())
}

fn shown(explain: &Explain, plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let mut plans = explain.stringified_plans.clone();
    plans.push(explain.plan.to_stringified(PlanType::FinalLogicalPlan));
    plans.push(StringifiedPlan::new(PlanType::FinalPhysicalPlan, display_plan_ascii(plan.as_ref(), false)));
    Arc::new(ExplainExec::new(explain.schema.inner().clone(), plans, explain.verbose))
}
