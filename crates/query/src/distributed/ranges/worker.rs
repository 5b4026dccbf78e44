//! Evaluating steps for other queriers.

use std::sync::Arc;

use bonghwa_cluster::seam;
use bonghwa_promql::{Encoder, Params};
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::range_queries_server::{RangeQueries, RangeQueriesServer};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tonic::{Request, Response, Status};

use super::message::{self, Share};
use super::{MOST_BYTES, told};
use crate::distributed::{Visit, WorkerDoor};
use crate::evaluate::{Canceled, Job, Stop};
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
    let Share { tenants, query, params, caching, views } = share;
    let (limits, cancel) = (engine.evaluation_limits(), Some(canceled.0.clone()));
    let params = Params { limits, cancel, ..params };
    let (tenants, query, views, alive) = (&tenants, &query, &views, &visit.alive);
    let job = Job { tenants, query, params: &params, caching, views, alive };
    let evaluated = seam::timeout(alive.left(), engine.evaluate_share(&job)).await;
    let evaluated = evaluated.unwrap_or(Err(Stop::Failed(QueryError::Canceled)));
    let encoder = evaluated.and_then(|answer| {
        let none = || QueryError::Internal("the answer of a range query is no matrix".to_owned());
        Encoder::new(answer, params.start_ms, params.step_ms).ok_or_else(|| none().into())
    });
    match encoder {
        Ok(encoder) => {
            let part = move |part: Vec<u8>| {
                // The query is at work here until the last of it is sent.
                let _ = &visit;
                Ok(v1::RangeChunk { kind: Some(v1::range_chunk::Kind::Part(part.into())) })
            };
            stream::iter(encoder.map(part)).boxed()
        }
        Err(stop) => {
            let error = v1::range_chunk::Kind::Error(told::write(stop));
            stream::iter([Ok(v1::RangeChunk { kind: Some(error) })]).boxed()
        }
    }
}
