//! A web server whose pages a test writes: what is scraped, or asked for targets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server; it ends when dropped.
pub struct Pages {
    address: String,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Path -> Content-Type and body.
    pages: BTreeMap<String, (String, Bytes)>,
    asked: Vec<Asked>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Path and query.
    pub target: String,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Pages {
    /// Starts one without pages.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let task = tokio::spawn(serve(listener, shared.clone()));
        Ok(Pages { address, shared, task })
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The URL of a path of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sets a page. Without one a path answers 404.
    pub fn set(&self, path: &str, content_type: &str, body: impl Into<Bytes>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.pages.insert(path.into(), (content_type.into(), body.into()));
    }

    /// Takes a page away.
    pub fn remove(&self, path: &str) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).pages.remove(path);
    }

    /// All requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner).asked)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&shared, &request))));
        tokio::spawn(async move {
            // A client that hangs up is none of the test's business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(shared: &Mutex<Shared>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    shared.asked.push(Asked { target: request.uri().to_string(), headers: request.headers().clone() });
    let mut response = Response::default();
    match shared.pages.get(request.uri().path()) {
        Some((content_type, body)) => {
            if let Ok(value) = content_type.parse() {
                response.headers_mut().insert(http::header::CONTENT_TYPE, value);
            }
            *response.body_mut() = Full::new(body.clone());
        }
        None => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
