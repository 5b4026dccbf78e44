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
use bonghwa_protocol::{GraphServer, IngesterServer, MetaServer, ServerTls};
use bonghwa_querier::Querier;
use futures::future::join_all;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tower::ServiceExt;

use crate::auth::{Gate, Speaks};
use crate::compression::compressed;
use crate::config::Config;
use crate::identity::host_name;
use crate::membership::{self, Member};
use crate::node::{self, Doors, Node};
use crate::peer::PeerService;
use crate::{limits, pages, prometheus, selfotel};

/// How long requests under way may take after a signal.
const DRAIN: Duration = Duration::from_secs(10);
/// How long other nodes' calls under way may take once this one's logs are closed.
const PEERS_DRAIN: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT, or until a log fails for good.
pub async fn serve(config: Config) -> Result<()> {
    let telemetry = selfotel::start(&config.telemetry)?;
    let roles = config.roles()?;
    let (remote, tls) = node::remote_options(&config)?;
    let gate = Gate::open(&config.auth)?;
    let others_reach = !config.grpc_listen.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    if config.auth.enabled && tls.is_none() && others_reach {
        tracing::warn!(
            "auth is on, but anybody who reaches grpc_listen, {}, is taken for a node of the cluster: set tls.cert, \
             tls.key and tls.ca, or let only nodes reach it",
            config.grpc_listen
        );
    }
    let (stop, stopped) = watch::channel(false);
    let (hang_up, hung_up) = watch::channel(false);
    let http = bind("http", &config.http_listen).await?;
    let grpc = bind("grpc", &config.grpc_listen).await?;
    let otlp = match roles.has("distributor") {
        true => Some((
            bind("otlp_grpc", &config.otlp_grpc_listen).await?,
            bind("otlp_http", &config.otlp_http_listen).await?,
        )),
        false => None,
    };

    // The API port answers health checks while the logs are replayed.
    let api: Arc<OnceLock<Router>> = Arc::default();
    let starting = Router::new().fallback(dispatch).with_state(api.clone());
    let mut servers = vec![listen("http", http, starting, stopped.clone())?];

    let identity = node::identity(&config, &roles)?;
    let address = advertised(&config, grpc.local_addr()?);
    let member = Member { identity, address, zone: config.zone.clone(), roles: roles.names() };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), node = member.identity.name, roles = member.roles.join(","),
        advertise = member.address, data_dir = %config.data_dir.display(), object_store = config.object_store_url(),
        "starting"
    );
    // Other nodes are answered from here on: meta's first election needs it.
    let doors = Doors::new();
    let internal = tonic::service::Routes::new(MetaServer::service(doors.meta.clone()))
        .add_service(IngesterServer::service(doors.ingester.clone()))
        .add_service(GraphServer::service(doors.graph.clone()))
        .add_service(PeerService::service(member.introduction(), doors.host.clone()));
    let internal = doors.worker.add_to(internal);
    let peers = listen_grpc(grpc, internal, tls, hung_up)?;

    let started = seam::now();
    let opening = async {
        let node = Arc::new(Node::open(&config, member, &doors, remote).await?);
        node.wait_for_rings().await;
        anyhow::Ok(node)
    };
    let node = tokio::select! {
        node = opening => node?,
        signalled = signal() => {
            signalled?;
            tracing::info!("told to stop while starting");
            return Ok(());
        }
    };
    tracing::info!(took = ?started.elapsed(), "all roles are open");

    let mut router = pages::router(node.clone(), &config).fallback(not_found);
    router = router.merge(prometheus::router(node.clone(), &config));
    router = router.merge(limits::router(node.clone(), config.limits.clone()));
    if let Some(receiver) = &node.receiver {
        router = router.merge(bonghwa_distributor::http::router(receiver.clone()));
    }
    if let Some(engine) = &node.engine {
        router = router.merge(bonghwa_querier::router(Querier {
            engine: engine.clone(),
            meta: node.meta.clone(),
            ingesters: node.ingesters.clone(),
            view: node.view.clone(),
            stale_after: membership::stale_after(config.cluster.heartbeat.0),
        }));
    }
    if let Some(compactor) = &node.compactor {
        router = router.merge(bonghwa_compactor::router(compactor.clone(), node.ingesters.clone()));
    }
    router = router.merge(match &node.scraper {
        Some(scraper) => bonghwa_scraper::router(scraper.clone()),
        None => bonghwa_scraper::elsewhere(node.view.clone()),
    });
    if let (Some(receiver), Some((grpc, http))) = (&node.receiver, otlp) {
        let routers = [
            ("otlp_grpc", grpc, bonghwa_distributor::grpc::router(receiver.clone()), Speaks::Grpc),
            ("otlp_http", http, bonghwa_distributor::http::router(receiver.clone()), Speaks::Http),
        ];
        for (name, listener, router, speaks) in routers {
            servers.push(listen(name, listener, gate.guard(router, speaks), stopped.clone())?);
        }
    }
    // Set once, here.
    let _ = api.set(compressed(gate.guard(router, Speaks::Http)));
    tracing::info!("ready");
    telemetry.begin();

    tokio::select! {
        signalled = signal() => signalled?,
        // Nothing more can be acked; a restart replays what the disk holds, and sees whether it works again.
        error = node.failed() => return Err(error),
    }
    node.stop_writing().await;
    node.drain().await;
    tracing::info!("stopping: requests under way are finished, leaderships handed over, heads of a lone node flushed");
    stop.send_replace(true);
    let ended = join_all(servers.into_iter().map(seam::Task::join));
    if seam::timeout(DRAIN, ended).await.is_err() {
        tracing::warn!("a request, or a connection that sent none, did not end within {DRAIN:?} and was cut");
    }
    telemetry.end().await;
    node.close().await;
    hang_up.send_replace(true);
    // Streams of other nodes end with the process.
    let _ = seam::timeout(PEERS_DRAIN, peers.join()).await;
    tracing::info!("stopped");
    Ok(())
}

async fn bind(name: &str, address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{name}_listen: {address}"))
}

/// Where other nodes reach this one.
fn advertised(config: &Config, bound: SocketAddr) -> String {
    if !config.advertise.is_empty() {
        return config.advertise.clone();
    }
    if bound.ip().is_unspecified() { format!("{}:{}", host_name(), bound.port()) } else { bound.to_string() }
}

fn listen(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<seam::Task> {
    tracing::info!(listener = name, address = %listener.local_addr()?, "listening");
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    });
    let until = async move {
        // The sender lives as long as `serve`.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    Ok(seam::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
            tracing::error!(listener = name, %error, "the listener ended");
        }
    }))
}

/// The listener for other nodes; with TLS, where the configuration says so.
fn listen_grpc(
    listener: TcpListener,
    routes: tonic::service::Routes,
    tls: Option<ServerTls>,
    mut hung_up: watch::Receiver<bool>,
) -> Result<seam::Task> {
    tracing::info!(listener = "grpc", address = %listener.local_addr()?, tls = tls.is_some(), "listening");
    let mut server = bonghwa_protocol::server();
    if let Some(tls) = tls {
        server = server.tls_config(tls.config()).context("tls")?;
    }
    let until = async move {
        // The sender lives as long as `serve`.
        let _ = hung_up.wait_for(|hung_up| *hung_up).await;
    };
    // Without it a small answer waits for the other end's delayed acknowledgement, 40 ms.
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(seam::spawn(async move {
        let served = server.add_routes(routes).serve_with_incoming_shutdown(connections, until).await;
        if let Err(error) = served {
            tracing::error!(listener = "grpc", %error, "the listener ended");
        }
    }))
}

/// The API once it is there; health checks before.
async fn dispatch(State(http): State<Arc<OnceLock<Router>>>, request: Request) -> Response {
    match http.get() {
        Some(router) => router.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
        None if matches!(request.uri().path(), "/health" | "/-/healthy") => "ok\n".into_response(),
        None => {
            let body = "starting: the logs are being replayed, or the cluster is not complete; /ready turns to 200 \
                        when requests are taken\n";
            (StatusCode::SERVICE_UNAVAILABLE, [(http::header::RETRY_AFTER, "1")], body).into_response()
        }
    }
}

async fn not_found(request: Request) -> Response {
    let message = format!("{} {} is not served here\n", request.method(), request.uri().path());
    (StatusCode::NOT_FOUND, message).into_response()
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
