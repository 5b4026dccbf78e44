//! An S3 server with credentials, a directory and faults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::faults::{Fault, Faults, SLOW};

const BUCKET: &str = "bonghwa";
const PREFIX: &str = "telemetry";
const ACCESS_KEY: &str = "testkit-access-key";
const SECRET_KEY: &str = "testkit-secret-key";

/// The server. It ends when dropped.
pub struct S3 {
    dir: PathBuf,
    /// Goes with the server.
    _temporary: Option<TempDir>,
    address: SocketAddr,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

impl S3 {
    /// Starts a server with an empty bucket on a loopback port; its faults follow `seed`.
    pub async fn start(seed: u64) -> Result<Arc<Self>> {
        let dir = tempfile::Builder::new().prefix("bonghwa-s3-").tempdir()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Self::serve(listener, dir.path().to_owned(), Some(dir), seed)
    }

    /// Starts a server on an address, over a directory that stays.
    pub async fn start_on(address: SocketAddr, dir: PathBuf, seed: u64) -> Result<Arc<Self>> {
        Self::serve(TcpListener::bind(address).await?, dir, None, seed)
    }

    fn serve(listener: TcpListener, dir: PathBuf, temporary: Option<TempDir>, seed: u64) -> Result<Arc<Self>> {
        std::fs::create_dir_all(dir.join(BUCKET))?;
        let files = s3s_fs::FileSystem::new(&dir).map_err(|e| anyhow!("s3s-fs: {e:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let faults = Arc::new(Faults::new(seed));
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, service, faults.clone()));
        Ok(Arc::new(S3 { dir, _temporary: temporary, address, faults, task }))
    }

    /// The value of `--object-store`.
    pub fn url(&self) -> String {
        format!("s3://{BUCKET}/{PREFIX}")
    }

    /// The value of `--s3-endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The AWS environment.
    pub fn env(&self) -> Vec<(String, String)> {
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY), ("AWS_REGION", "us-east-1")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .to_vec()
    }

    /// The directory in which the objects lie as files.
    pub fn objects(&self) -> PathBuf {
        self.dir.join(BUCKET).join(PREFIX)
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, service: S3Service, faults: Arc<Faults>) {
    // Dropped with this task, and all connections with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (service, faults) = (service.clone(), faults.clone());
        connections.spawn(async move {
            let handler = service_fn(move |request| handle(request, service.clone(), faults.clone()));
            // An error is a broken connection: the client's or a fault's.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), handler).await;
        });
    }
}

/// A handler that fails makes hyper cut the connection.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut")
    }
}

impl std::error::Error for Cut {}

async fn handle(
    request: Request<Incoming>,
    service: S3Service,
    faults: Arc<Faults>,
) -> Result<Response<s3s::Body>, Cut> {
    let upload = matches!(*request.method(), Method::PUT | Method::POST);
    let (delay, fault) = faults.draw(upload);
    if !delay.is_zero() {
        crate::wait::moment(delay).await;
    }
    match fault {
        None => respond(request, &service).await,
        Some(Fault::Error) => refuse(request, StatusCode::INTERNAL_SERVER_ERROR, "InternalError").await,
        Some(Fault::SlowDown) => refuse(request, StatusCode::SERVICE_UNAVAILABLE, "SlowDown").await,
        Some(Fault::Hang) => {
            faults.changed().await;
            Err(Cut)
        }
        Some(Fault::Torn) => {
            read_part(request, &faults).await;
            Err(Cut)
        }
        Some(Fault::Slow) => {
            crate::wait::moment(SLOW).await;
            respond(request, &service).await
        }
        Some(Fault::LostAnswer) => {
            respond(request, &service).await?;
            Err(Cut)
        }
    }
}

async fn respond(request: Request<Incoming>, service: &S3Service) -> Result<Response<s3s::Body>, Cut> {
    let request = request.map(s3s::Body::from);
    service.call(request).await.map_err(|_| Cut)
}

/// Answers with S3's error body; the request's body is read first, as a real store would.
async fn refuse(request: Request<Incoming>, status: StatusCode, code: &str) -> Result<Response<s3s::Body>, Cut> {
    request.into_body().collect().await.map_err(|_| Cut)?;
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
    Response::builder()
        .status(status)
        .header("content-type", "application/xml")
        .body(s3s::Body::from(body))
        .map_err(|_| Cut)
}

/// Takes a part of the body.
async fn read_part(request: Request<Incoming>, faults: &Faults) {
    let length = request.headers().get("content-length").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let wanted = faults.below(length.unwrap_or(4096));
    let mut body = request.into_body();
    let mut taken = 0;
    while taken < wanted {
        match body.frame().await {
            Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
            _ => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;
    use crate::faults::FaultMix;

    #[tokio::test]
    async fn wants_credentials_and_fails_when_told() -> Result<()> {
        let s3 = S3::start(1).await?;
        let object = format!("{}/{BUCKET}/{PREFIX}/x", s3.endpoint());
        let http = reqwest::Client::builder().no_proxy().build()?;
        let put = || http.put(&object).body(vec![b'x'; 100_000]).send();
        ensure!(put().await?.status() == StatusCode::FORBIDDEN, "an unsigned request was not refused");

        s3.faults().set(FaultMix::outage());
        ensure!(put().await?.status() == StatusCode::INTERNAL_SERVER_ERROR, "no 500 in an outage");
        s3.faults().set(FaultMix { slow_down: 1.0, ..Default::default() });
        ensure!(put().await?.status() == StatusCode::SERVICE_UNAVAILABLE, "no SlowDown");
        s3.faults().set(FaultMix { torn: 1.0, ..Default::default() });
        ensure!(put().await.is_err(), "the upload was not torn");
        s3.faults().set(FaultMix { lost_answer: 1.0, ..Default::default() });
        ensure!(put().await.is_err(), "the answer was not lost");

        s3.faults().set(FaultMix { hang: 1.0, ..Default::default() });
        let hanging = tokio::spawn(put());
        crate::wait::until("the request hangs", std::time::Duration::from_secs(10), || {
            let struck = s3.faults().struck(Fault::Hang);
            async move { if struck == 1 { Ok(()) } else { Err("not yet".into()) } }
        })
        .await?;
        ensure!(!hanging.is_finished(), "it did not hang");
        s3.faults().clear();
        ensure!(hanging.await?.is_err(), "a hanging request does not end well");
        ensure!(put().await?.status() == StatusCode::FORBIDDEN, "the faults did not end");
        Ok(())
    }
}
