//! `bonghwa serve`: listeners first, so that a taken port is known at once; then the
//! roles; then requests, until a signal comes.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bonghwa_cluster::seam;
use bonghwa_protocol::{IngesterServer, MetaServer};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::config::Config;
use crate::node::Node;
use crate::{pages, selfotel};

/// How long requests under way may take after a signal.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT, or until a log fails for good.
pub async fn serve(config: Config) -> Result<()> {
    let telemetry = selfotel::start(&config.telemetry)?;
    let (stop, stopped) = watch::channel(false);
    let http: Arc<OnceLock<Router>> = Arc::default();
    let mut servers = Vec::new();
    let mut bound = Vec::new();
    for (name, address) in [
        ("http", &config.http_listen),
        ("grpc", &config.grpc_listen),
        ("otlp_grpc", &config.otlp_grpc_listen),
        ("otlp_http", &config.otlp_http_listen),
    ] {
        let listener = TcpListener::bind(address).await.with_context(|| format!("{name}_listen: {address}"))?;
        bound.push((name, listener.local_addr()?, listener));
    }
    let mut listeners = bound.into_iter();
    let mut next = || listeners.next().context("four listeners were bound");

    // The API port answers health checks while the logs are replayed.
    let (name, address, listener) = next()?;
    let starting = Router::new().fallback(dispatch).with_state(http.clone());
    servers.push(listen(name, address, listener, starting, stopped.clone()));

    tracing::info!(version = env!("CARGO_PKG_VERSION"), data_dir = %config.data_dir.display(), object_store = config.object_store_url(), "starting");
    let started = seam::now();
    let node = Arc::new(Node::open(&config).await?);
    tracing::info!(took = ?started.elapsed(), "all roles are open");

    let internal = tonic::service::Routes::new(MetaServer::service(node.meta.clone()))
        .add_service(IngesterServer::service(node.ingester.clone()))
        .prepare()
        .into_axum_router();
    for router in [
        internal,
        bonghwa_distributor::grpc::router(node.receiver.clone()),
        bonghwa_distributor::http::router(node.receiver.clone()),
    ] {
        let (name, address, listener) = next()?;
        servers.push(listen(name, address, listener, router, stopped.clone()));
    }
    let api = pages::router(node.clone(), &config)
        .merge(bonghwa_distributor::http::router(node.receiver.clone()))
        .merge(bonghwa_querier::router(node.engine.clone()))
        .fallback(not_found);
    // Set once, here.
    let _ = http.set(api);
    tracing::info!("ready");
    telemetry.begin();

    tokio::select! {
        signalled = signal() => signalled?,
        // Nothing more can be acked; a restart replays what the disk holds, and sees whether it works again.
        error = failed(&node) => return Err(error.context("a log failed for good")),
    }
    tracing::info!("stopping: requests under way are finished, heads flushed");
    stop.send_replace(true);
    for server in servers {
        if seam::timeout(DRAIN, server.join()).await.is_err() {
            tracing::warn!("a request did not end within {DRAIN:?} and was cut");
        }
    }
    telemetry.end().await;
    node.close().await;
    tracing::info!("stopped");
    Ok(())
}

fn listen(
    name: &'static str,
    address: SocketAddr,
    listener: TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> seam::Task {
    tracing::info!(listener = name, %address, "listening");
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    let until = async move {
        // The sender lives as long as `serve`.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    seam::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
            tracing::error!(listener = name, %error, "the listener ended");
        }
    })
}

/// The API once it is there; health checks before.
async fn dispatch(State(http): State<Arc<OnceLock<Router>>>, request: Request) -> Response {
    match http.get() {
        Some(router) => router.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
        None if request.uri().path() == "/health" => "ok\n".into_response(),
        None => {
            let body = "starting: the logs are being replayed; /ready turns to 200 when requests are taken\n";
            (StatusCode::SERVICE_UNAVAILABLE, [(http::header::RETRY_AFTER, "1")], body).into_response()
        }
    }
}

async fn not_found(request: Request) -> Response {
    let message = format!("{} {} is not served here\n", request.method(), request.uri().path());
    (StatusCode::NOT_FOUND, message).into_response()
}

/// Resolves when a log takes no more writes.
async fn failed(node: &Node) -> anyhow::Error {
    tokio::select! {
        error = node.ingester.failed() => error.into(),
        error = node.meta.failed() => error.into(),
    }
}

async fn signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
