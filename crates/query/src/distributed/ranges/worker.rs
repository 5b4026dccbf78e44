//! Evaluating steps, or series, for other queriers.

use std::sync::Arc;

use bonghwa_cluster::seam;
use bonghwa_promql::{Encoder, Evaluation, Params};
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::range_queries_server::{RangeQueries, RangeQueriesServer};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tonic::{Request, Response, Status};

use super::message::{self, Share};
use super::{MOST_BYTES, told};
use crate::distributed::{Visit, WorkerDoor};
use crate::evaluate::{Canceled, Job, Stop};
use crate::fold::Folded;
use crate::series::Slice;
use crate::{Engine, QueryError};

/// Serves the shares of other queriers.
pub(in crate::distributed) struct RangeWorker(Arc<WorkerDoor>);

type Chunks = BoxStream<'static, Result<v1::RangeChunk, Status>>;

impl RangeWorker {
    /// The tonic service, behind a door.
    pub(in crate::distributed) fn service(door: &Arc<WorkerDoor>) -> RangeQueriesServer<Self> {
        let service = RangeQueriesServer::new(RangeWorker(door.clone()));
        service.max_decoding_message_size(MOST_BYTES).max_encoding_message_size(MOST_BYTES)
    }
}

#[tonic::async_trait]
impl RangeQueries for RangeWorker {
    type EvaluateStream = Chunks;

    async fn evaluate(&self, request: Request<v1::RangeShare>) -> Result<Response<Chunks>, Status> {
        let refused = |error: QueryError| Status::unavailable(error.to_string());
        let engine = self.0.engine().ok_or_else(|| Status::unavailable("a querier is starting or stopping"))?;
        let distribution = engine.distribution().ok_or_else(|| Status::unavailable("a querier works alone"))?;
        let (metadata, _, share) = request.into_parts();
        let visit = distribution.visits.enter(&metadata.into_headers()).map_err(refused)?;
        let share = message::read(share, &visit.tenants, &engine).map_err(refused)?;
        // All of it ends when the stream is dropped.
        Ok(Response::new(answer(engine, visit, share).flatten_stream().boxed()))
    }
}

/// Evaluates a share within the time of its query, and gives what comes of it.
async fn answer(engine: Arc<Engine>, visit: Arc<Visit>, share: Share) -> Chunks {
    let canceled = Canceled::default();
    let Share { tenants, query, params, caching, views, slice } = share;
    let (limits, cancel) = (engine.evaluation_limits(), Some(canceled.0.clone()));
    let params = Params { limits, cancel, memory: Some(visit.alive.memory.clone()), ..params };
    let (tenants, query, views, alive) = (&tenants, &query, &views, &visit.alive);
    let job = Job { tenants, query, params: &params, caching, views, alive, queriers: &[] };
    let evaluated = seam::timeout(alive.left(), evaluate(&engine, &job, slice)).await;
    match evaluated.unwrap_or(Err(Stop::Failed(QueryError::Canceled))) {
        Ok((parts, whole)) => {
            let part = move |part: Vec<u8>| {
                // The query is at work here until the last of it is sent.
                let _ = &visit;
                Ok(v1::RangeChunk { kind: Some(v1::range_chunk::Kind::Part(part.into())), whole })
            };
            stream::iter(parts.map(part)).boxed()
        }
        Err(stop) => {
            let error = v1::range_chunk::Kind::Error(told::write(stop));
            stream::iter([Ok(v1::RangeChunk { kind: Some(error), whole: false })]).boxed()
        }
    }
}

/// Pieces of what comes of a share.
type Parts = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// The answer, or folds of a slice of the series; and whether steps are not to be evaluated apart.
async fn evaluate(engine: &Engine, job: &Job<'_>, slice: Option<Slice>) -> Result<(Parts, bool), Stop> {
    let Some(slice) = slice else {
        let answer = engine.evaluate_share(job).await?;
        let none = || QueryError::Internal("the answer of a range query is no matrix".to_owned());
        let encoder = Encoder::new(answer, job.params.start_ms, job.params.step_ms).ok_or_else(none)?;
        return Ok((Box::new(encoder), false));
    };
    let evaluation = Evaluation::new(job.query, job.params.clone())?;
    let Folded { folds, divisible, .. } = engine.folded(&evaluation, job, slice, false).await?;
    Ok((Box::new(evaluation.encode(folds)?), !divisible))
}
