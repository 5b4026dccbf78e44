//! How a scan is shared out: to how many tasks, and what each of them reads.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DesiredTaskCountHandler, DistributedLeafExec,
    ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse, ScaleUpLeafNodeHandler,
};

use crate::plan::{Unit, share_out};
use crate::scan::BlockScanExec;

/// As many tasks as there are multiples of so many bytes to read; one for less.
pub(super) fn desired_tasks(bytes: usize) -> impl DesiredTaskCountHandler {
    move |event: DesiredTaskCountEvent<'_>| -> Option<Result<DesiredTaskCountEventResponse>> {
        let scan = event.plan.downcast_ref::<BlockScanExec>()?;
        let units = &scan.plan().units;
        let read = units.iter().map(|unit| unit.bytes()).fold(0, u64::saturating_add);
        let wanted = usize::try_from(read / (bytes as u64).max(1)).unwrap_or(usize::MAX);
        Some(Ok(DesiredTaskCountEventResponse::desired(wanted.min(units.len()).max(1))))
    }
}

/// To each task units with about as many rows. All have as many partitions as the greatest needs.
pub(super) fn shares() -> impl ScaleUpLeafNodeHandler {
    move |event: ScaleUpLeafNodeEvent<'_>| -> Option<Result<ScaleUpLeafNodeEventResponse>> {
        let scan = event.plan.downcast_ref::<BlockScanExec>()?;
        if event.task_count < 2 {
            return None;
        }
        let shares = share_out(&scan.plan().units, event.task_count);
        let greatest = shares.iter().map(Vec::len).max().unwrap_or(0);
        let partitions = event.session_config.target_partitions().min(greatest).max(1);
        let shares = padded(shares, event.task_count);
        let variants = shares.into_iter().map(|units| {
            let units = padded(share_out(&units, partitions), partitions);
            Arc::new(scan.share(units)) as Arc<dyn ExecutionPlan>
        });
        let leaf = DistributedLeafExec::try_new(event.plan.clone(), variants);
        Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
    }
}

/// The same with empty ones behind, up to so many.
fn padded(mut shares: Vec<Vec<Arc<Unit>>>, count: usize) -> Vec<Vec<Arc<Unit>>> {
    shares.resize_with(count.max(shares.len()), Vec::new);
    shares
}
