//! Working for other queriers: their plans come in, run within the limits of their
//! query, and end when the asker leaves.

use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion_distributed::{
    DistributedConfig, DistributedExt, Worker, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse,
    WorkerQueryContext,
};
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use super::ranges::RangeWorker;
use super::visit::QUERY;
use super::{Distribution, Told, Visit};
use crate::{Engine, QueryError, alive, session};

/// The call that stays open for as long as the asker waits for a query.
const ASKER: &str = "/CoordinatorChannel";

/// Where other queriers' calls come in. Open once there is an engine to do the work.
pub struct WorkerDoor {
    worker: Worker,
    engine: OnceLock<Weak<Engine>>,
}

impl WorkerDoor {
    /// Closed.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|door: &Weak<WorkerDoor>| {
            let door = door.clone();
            let worker = Worker::from_session_builder(move |context: WorkerQueryContext| {
                let door = door.clone();
                async move { task_session(&door, context) }
            });
            WorkerDoor { worker: worker.with_version(env!("CARGO_PKG_VERSION")), engine: OnceLock::new() }
        })
    }

    /// Lets an engine do the work, for as long as it lives.
    pub fn open(&self, engine: &Arc<Engine>) {
        // The first engine stays.
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    /// Adds the services to those that other nodes call.
    pub fn add_to(self: &Arc<Self>, routes: Routes) -> Routes {
        let tasks = Attended { service: self.worker.clone().into_worker_server(), door: self.clone() };
        routes.add_service(tasks).add_service(RangeWorker::service(self))
    }

    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }

    pub(super) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }

    fn abandon(&self, query: &str) {
        if let Some(engine) = self.engine()
            && let Some(distribution) = engine.distribution()
        {
            distribution.visits.abandon(query);
        }
    }
}

/// The session that a task runs in: our functions and settings, and its query's limits.
fn task_session(door: &Weak<WorkerDoor>, mut context: WorkerQueryContext) -> Result<SessionState> {
    let starting = || Told(QueryError::Unavailable("a querier is starting or stopping: try again".into()));
    let engine = door.upgrade().and_then(|door| door.engine()).ok_or_else(starting)?;
    let distribution: &Distribution = engine.distribution().ok_or_else(starting)?;
    let visit = distribution.visits.join(&context.headers)?;
    let config = context.builder.config().take().unwrap_or_default().with_extension(visit.clone());
    let builder = session::of_task(engine.base(), config, &visit.runtime);
    let builder = builder
        .with_distributed_user_codec_arc(distribution.codec.clone())
        .with_distributed_channel_resolver(distribution.channels.clone())
        .with_distributed_passthrough_headers(visit.headers())?
        .with_distributed_worker_plan_rewrite_handler(move |event: WorkerPlanRewriteEvent<'_>| guarded(event, &visit));
    Ok(builder.build())
}

/// A task's plan ends when nobody waits for it any more.
fn guarded(event: WorkerPlanRewriteEvent<'_>, visit: &Visit) -> Result<WorkerPlanRewriteEventResponse> {
    // What operators did is matched by their places in the plan: none may be added then.
    let measured = DistributedConfig::from_session_config(event.session_config)?.collect_metrics;
    let plan = alive::guard_task(event.plan, &visit.alive, measured)?;
    Ok(WorkerPlanRewriteEventResponse::new(plan))
}

/// A service that notices when an asker leaves.
#[derive(Clone)]
struct Attended<S> {
    service: S,
    door: Arc<WorkerDoor>,
}

impl<S: NamedService> NamedService for Attended<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Attended<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let query = request.headers().get(QUERY).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let request = match query {
            Some(query) if request.uri().path().ends_with(ASKER) => {
                let door = self.door.clone();
                request.map(|body| Body::new(Asked { body, query, door }))
            }
            _ => request,
        };
        self.service.call(request)
    }
}

/// What an asker says. It ends with the asker, however that ends.
struct Asked {
    body: Body,
    query: String,
    door: Arc<WorkerDoor>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.door.abandon(&self.query);
    }
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
