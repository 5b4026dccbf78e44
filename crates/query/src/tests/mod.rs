//! The engine over a cluster in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod cluster;
mod counting;
mod data;
mod deletes;
mod distributed;
mod filters;
mod flush;
mod heartbeats;
mod limits;
mod metrics;
mod names;
mod partial;
mod past;
mod pruning;
mod ranges;
mod series;
mod slices;
mod tenants;
mod traces;

use arrow_array::RecordBatch;
use bonghwa_model::{TenantId, TenantSet};
use datafusion::arrow::util::display::array_value_to_string;
use futures::TryStreamExt;

use crate::QueryError;
use cluster::Cluster;

/// The rows of an answer as text, cells apart by " | ", and the header.
pub(crate) async fn table(cluster: &Cluster, query: &str) -> Result<(String, Vec<String>), QueryError> {
    table_of(cluster, &(&TenantId::default_tenant()).into(), query).await
}

/// The same for these tenants.
pub(crate) async fn table_of(
    cluster: &Cluster,
    tenants: &TenantSet,
    query: &str,
) -> Result<(String, Vec<String>), QueryError> {
    let answer = cluster.engine.sql(tenants, query).await?;
    let header = answer.schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(" | ");
    let batches: Vec<RecordBatch> = answer.stream.try_collect().await.map_err(|error| QueryError::of_stream(&error))?;
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cell = |column: &arrow_array::ArrayRef| {
                if column.is_null(row) { "NULL".to_owned() } else { array_value_to_string(column, row).unwrap() }
            };
            rows.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join(" | "));
        }
    }
    Ok((header, rows))
}

/// The rows alone, of a query that must succeed.
pub(crate) async fn rows(cluster: &Cluster, query: &str) -> Vec<String> {
    table(cluster, query).await.unwrap_or_else(|error| panic!("{query}: {error}")).1
}

/// The error of a query that must fail.
pub(crate) async fn error(cluster: &Cluster, query: &str) -> QueryError {
    match table(cluster, query).await {
        Ok((_, rows)) => panic!("{query}: {rows:?}"),
        Err(error) => error,
    }
}
