//! Making deletes. What a delete takes out lies in blocks when it is made: whatever comes later is no row of it, and is
//! seen, whatever its time is.

use std::collections::BTreeMap;
use std::time::Duration;

use bonghwa_model::Signal;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::{IngesterClient, MetaClient, RpcError, RpcErrorKind, v1};
use futures::future::try_join_all;

use crate::{ClusterView, seam};

/// How long tails may take to become blocks.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for a newer catalog before leaders are asked again with the same.
const NEWER_WITHIN: Duration = Duration::from_secs(1);

/// Makes a delete: what the tenant has that is in no block yet is flushed by all `ingesters`, then meta is told. An
/// error says that nothing is deleted, unless it is meta's. The result may carry a rejection.
pub async fn create_delete(
    view: &ClusterView,
    ingesters: &dyn IngesterClient,
    meta: &dyn MetaClient,
    delete: v1::Delete,
) -> Result<v1::CommandResult, RpcError> {
    if let Ok(signal) = delete.model_signal() {
        let flushed = flush(view, ingesters, &delete.tenant, signal).await;
        flushed.map_err(|error| RpcError::new(error.kind, format!("nothing was deleted: {}", error.message)))?;
    }
    let kind = Kind::CreateDelete(v1::CreateDelete { delete: Some(delete) });
    meta.execute(v1::Command { kind: Some(kind) }).await
}

/// Has what the tenant has in tails now written to blocks.
async fn flush(
    view: &ClusterView,
    ingesters: &dyn IngesterClient,
    tenant: &str,
    signal: Signal,
) -> Result<(), RpcError> {
    let started = seam::now();
    let tails = loop {
        let version = view.current().version();
        match tails(view, ingesters, tenant, signal).await {
            // The leader has flushed what this copy of the catalog still counts on.
            Err(RpcError { kind: RpcErrorKind::StaleWatermark | RpcErrorKind::NotFound, .. })
                if started.elapsed() < PATIENCE =>
            {
                let _ = view.wait_for_version(version + 1, NEWER_WITHIN).await;
            }
            tails => break tails?,
        }
    };
    if tails.is_empty() {
        return Ok(());
    }
    let flushed = seam::timeout(PATIENCE, ingesters.flush()).await;
    flushed.unwrap_or_else(|_| Err(RpcError::timeout(format!("a flush takes longer than {PATIENCE:?}"))))?;
    let in_blocks = view.wait_for(PATIENCE, |catalog| {
        let is_flushed = |name: &str, through| catalog.partition(name).is_none_or(|p| p.watermark >= through);
        tails.iter().all(|(name, through)| is_flushed(name, *through))
    });
    let in_blocks = in_blocks.await.map(drop);
    in_blocks.map_err(|error| RpcError::unavailable(format!("what is in no block yet cannot be flushed ({error})")))
}

/// The partitions whose tails have rows of the tenant, and where those end.
async fn tails(
    view: &ClusterView,
    ingesters: &dyn IngesterClient,
    tenant: &str,
    signal: Signal,
) -> Result<BTreeMap<String, u64>, RpcError> {
    let catalog = view.current();
    let described = catalog.partitions(signal).map(|partition| async {
        let (name, watermark) = (partition.name.clone(), partition.watermark);
        let request = v1::DescribeTailRequest { partition: name.clone(), tenant: tenant.to_owned(), watermark };
        let tail = ingesters.describe_tail(request).await?;
        Ok::<_, RpcError>(tail.rows.is_some_and(|rows| rows.items > 0).then_some((name, tail.through)))
    });
    Ok(try_join_all(described).await?.into_iter().flatten().collect())
}
