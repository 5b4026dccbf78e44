//! Queries through the real engine, for what they say of the records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bonghwa_model::TenantId;
use bonghwa_seam as seam;
use bonghwa_testkit::generate::Signal;
use futures::StreamExt;

use crate::roles::Front;
use crate::world::World;

/// How long a query is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each record is found, by its id, as a querier answers.
pub async fn ids(world: &World, querier: &str, signal: Signal) -> Result<BTreeMap<u64, u64>, String> {
    let asked = world.network.call("client", querier, move |servers| async move {
        let Some(front) = servers.front() else { return Err("the querier is starting".to_owned()) };
        ask(front, signal).await
    });
    match seam::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Err(format!("{error:?}")),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

async fn ask(front: Front, signal: Signal) -> Result<BTreeMap<u64, u64>, String> {
    let (id, table, sent) = (signal.id_column(), signal.table(), signal.sent());
    let query = format!("SELECT {id} AS id, count(*) AS n FROM {table} WHERE {sent} GROUP BY 1");
    let engine: Arc<_> = front.engine;
    let mut answer = engine.sql(&TenantId::default_tenant(), &query).await.map_err(|e| e.to_string())?;
    if !answer.missing.is_empty() {
        return Err(format!("the answer says that it is partial, without {}", answer.missing.join(", ")));
    }
    let mut found = BTreeMap::new();
    while let Some(batch) = answer.stream.next().await {
        let batch = batch.map_err(|e| e.to_string())?;
        let (ids, counts) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
        found.extend(ids.values().iter().zip(counts.values()).map(|(id, n)| (*id as u64, *n as u64)));
    }
    Ok(found)
}
