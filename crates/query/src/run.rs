//! Runs a query within its limits: a turn, a time, and an end when nobody reads on.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bonghwa_cluster::seam;
use bonghwa_model::TenantId;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};

use crate::QueryError;
use crate::alive::{Alive, Waiting};
use crate::engine::EngineOptions;
use crate::pool::Pool;
use crate::turns::{Turn, Turns};

/// Batches that wait for a slow reader.
const BUFFERED: usize = 2;
/// How long past its time a query that does not yield is waited for.
const GRACE: Duration = Duration::from_millis(500);
/// How often a query begins again whose rows moved before it gave the first.
const ATTEMPTS: usize = 5;

/// Limits of queries, and the turns that they take.
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    pub(crate) memory_bytes: usize,
    pub(crate) pool: Arc<Pool>,
    turns: Arc<Turns>,
}

type Rows = Result<RecordBatch, QueryError>;

/// Plans a query and begins it; may be called again.
pub(crate) type Plan =
    Box<dyn Fn(Arc<Alive>) -> BoxFuture<'static, Result<SendableRecordBatchStream, QueryError>> + Send + Sync>;

impl Limits {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        let EngineOptions { timeout, memory_bytes, total_memory_bytes, concurrent, .. } = *options;
        // One query has no more than all have.
        let memory_bytes = memory_bytes.min(total_memory_bytes);
        Limits { timeout, memory_bytes, pool: Pool::new(total_memory_bytes), turns: Turns::new(concurrent) }
    }

    /// Queries that run at once.
    pub(crate) fn concurrent(&self) -> usize {
        self.turns.most()
    }

    /// Plans and runs a query of a tenant in a task of its own; its rows, once the first
    /// are there. The task ends with the stream.
    pub(crate) async fn run(
        self: Arc<Self>,
        tenant: &TenantId,
        plan: Plan,
    ) -> Result<SendableRecordBatchStream, QueryError> {
        let alive = Alive::new(self.timeout, &self.pool);
        let waiting = Waiting(alive.clone());
        let turn = seam::timeout(self.timeout, self.turns.take(tenant)).await;
        let turn = turn.unwrap_or_else(|_| Err(QueryError::Busy(self.turns.most())))?;
        let (planned, schema) = oneshot::channel();
        let (rows, answer) = mpsc::channel::<Rows>(BUFFERED);
        let limits = self.clone();
        let task = seam::spawn(async move {
            let _turn = turn;
            let delivered = seam::timeout(alive.left(), limits.deliver(plan, &alive, planned, &rows)).await;
            delivered.map_err(|_| QueryError::Timeout(limits.timeout))
        });
        let schema = match seam::timeout(waiting.0.left() + GRACE, schema).await {
            Ok(Ok(schema)) => schema?,
            Ok(Err(_)) => return Err(task.join().await.and_then(Result::err).unwrap_or_else(stopped)),
            Err(_) => return Err(QueryError::Timeout(self.timeout)),
        };
        let timeout = self.timeout;
        let batches = stream::unfold(Some((answer, task, waiting)), move |state| async move {
            let (mut answer, task, waiting) = state?;
            match seam::timeout(waiting.0.left() + GRACE, answer.recv()).await {
                Ok(Some(Ok(batch))) => Some((Ok(batch), Some((answer, task, waiting)))),
                Ok(Some(Err(error))) => Some((Err(error), None)),
                Ok(None) => match task.join().await {
                    Some(Ok(())) => None,
                    Some(Err(error)) => Some((Err(error), None)),
                    None => Some((Err(stopped()), None)),
                },
                Err(_) => Some((Err(QueryError::Timeout(timeout)), None)),
            }
        });
        let batches = batches.map(|batch| batch.map_err(DataFusionError::from));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed())))
    }

    /// Runs a question of a tenant that has one answer, as one of the first, and gives its turn with the answer. It
    /// ends when its future is dropped. It begins again as [`Limits::run`]'s do.
    pub(crate) async fn answer<T>(
        &self,
        tenant: &TenantId,
        timeout: Duration,
        ask: impl Fn(Arc<Alive>) -> BoxFuture<'static, Result<T, QueryError>>,
    ) -> Result<(T, Turn), QueryError> {
        let timeout = timeout.min(self.timeout);
        let alive = Alive::new(timeout, &self.pool);
        let _waiting = Waiting(alive.clone());
        let turn = seam::timeout(timeout, self.turns.take(tenant)).await;
        let turn = turn.unwrap_or_else(|_| Err(QueryError::Busy(self.turns.most())))?;
        let asking = async {
            let mut attempt = 1;
            loop {
                match ask(alive.clone()).await {
                    Err(QueryError::Moved(_)) if attempt < ATTEMPTS => attempt += 1,
                    Err(error) if alive.may_stay(&error) => tracing::debug!(%error, "a query is begun again"),
                    answer => return answer,
                }
            }
        };
        let answer = seam::timeout(alive.left(), asking).await.unwrap_or(Err(QueryError::Timeout(timeout)))?;
        Ok((answer, turn))
    }

    async fn deliver(
        &self,
        plan: Plan,
        alive: &Arc<Alive>,
        planned: oneshot::Sender<Result<SchemaRef, QueryError>>,
        rows: &mpsc::Sender<Rows>,
    ) {
        let (mut stream, mut next) = match self.begin(plan, alive).await {
            Ok(begun) => begun,
            Err(error) => {
                let _ = planned.send(Err(error));
                return;
            }
        };
        let _ = planned.send(Ok(stream.schema()));
        while let Some(batch) = next {
            let failed = batch.is_err();
            if rows.send(batch).await.is_err() || failed {
                return;
            }
            next = self.next(&mut stream, alive).await;
        }
    }

    /// The rows of a query and the first of them. While it has given none, it can
    /// begin again from a newer catalog, or once from other nodes where one of them
    /// went away, without anybody noticing.
    async fn begin(
        &self,
        plan: Plan,
        alive: &Arc<Alive>,
    ) -> Result<(SendableRecordBatchStream, Option<Rows>), QueryError> {
        let mut attempt = 1;
        loop {
            let mut stream = plan(alive.clone()).await?;
            match self.next(&mut stream, alive).await {
                Some(Err(QueryError::Moved(_))) if attempt < ATTEMPTS => attempt += 1,
                Some(Err(error)) if alive.may_stay(&error) => tracing::debug!(%error, "a query is begun again"),
                Some(Err(error)) => return Err(error),
                first => return Ok((stream, first)),
            }
        }
    }

    async fn next(&self, stream: &mut SendableRecordBatchStream, alive: &Alive) -> Option<Rows> {
        let batch = stream.next().await?;
        Some(batch.map_err(|error| alive.memory.explain(QueryError::execution(&error, self.memory_bytes))))
    }
}

fn stopped() -> QueryError {
    QueryError::Internal("the query stopped on a fault of Bonghwa, which its log tells of".into())
}
