//! Runs a query within its limits: a turn, a time, and an end when nobody reads on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::QueryError;

/// Batches that wait for a slow reader.
const BUFFERED: usize = 2;
/// How long past its time a query that does not yield is waited for.
const GRACE: Duration = Duration::from_millis(500);

/// Limits of queries, and the turns that they take.
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    pub(crate) memory_bytes: usize,
    concurrent: usize,
    turns: Arc<Semaphore>,
}

type Rows = Result<arrow_array::RecordBatch, QueryError>;

impl Limits {
    pub(crate) fn new(timeout: Duration, memory_bytes: usize, concurrent: usize) -> Self {
        let concurrent = concurrent.max(1);
        Limits { timeout, memory_bytes, concurrent, turns: Arc::new(Semaphore::new(concurrent)) }
    }

    /// Plans and runs a query in a task of its own; its rows, once it is planned. The
    /// task ends with the stream.
    pub(crate) async fn run<F>(self: Arc<Self>, plan: F) -> Result<SendableRecordBatchStream, QueryError>
    where
        F: Future<Output = Result<SendableRecordBatchStream, QueryError>> + Send + 'static,
    {
        let deadline = seam::now() + self.timeout;
        let Ok(turn) = seam::timeout(self.timeout, self.turns.clone().acquire_owned()).await else {
            return Err(QueryError::Busy(self.concurrent));
        };
        let (planned, schema) = oneshot::channel();
        let (rows, answer) = mpsc::channel::<Rows>(BUFFERED);
        let limits = self.clone();
        let task = seam::spawn(async move {
            let _turn = turn;
            let left = deadline.saturating_duration_since(seam::now());
            let delivered = seam::timeout(left, limits.deliver(plan, planned, &rows)).await;
            delivered.map_err(|_| QueryError::Timeout(limits.timeout))
        });
        let left = deadline.saturating_duration_since(seam::now()) + GRACE;
        let schema = match seam::timeout(left, schema).await {
            Ok(Ok(schema)) => schema?,
            Ok(Err(_)) => return Err(task.join().await.and_then(Result::err).unwrap_or_else(stopped)),
            Err(_) => return Err(QueryError::Timeout(self.timeout)),
        };
        let timeout = self.timeout;
        let state = Some((answer, task));
        let batches = stream::unfold(state, move |state| async move {
            let (mut answer, task) = state?;
            let left = deadline.saturating_duration_since(seam::now()) + GRACE;
            match seam::timeout(left, answer.recv()).await {
                Ok(Some(Ok(batch))) => Some((Ok(batch), Some((answer, task)))),
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

    async fn deliver<F>(
        &self,
        plan: F,
        planned: oneshot::Sender<Result<arrow_schema::SchemaRef, QueryError>>,
        rows: &mpsc::Sender<Rows>,
    ) where
        F: Future<Output = Result<SendableRecordBatchStream, QueryError>>,
    {
        let mut stream = match plan.await {
            Ok(stream) => {
                let _ = planned.send(Ok(stream.schema()));
                stream
            }
            Err(error) => {
                let _ = planned.send(Err(error));
                return;
            }
        };
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| QueryError::execution(&error, self.memory_bytes));
            let failed = batch.is_err();
            if rows.send(batch).await.is_err() || failed {
                return;
            }
        }
    }
}

fn stopped() -> QueryError {
    QueryError::Internal("the query stopped on a fault of Bonghwa, which its log tells of".into())
}
