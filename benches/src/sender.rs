//! The trivial sender: replays encoded requests over a few connections, each request after
//! the answer to the one before.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bonghwa_benches::sets::Set;
use bonghwa_testkit::{Signal, send};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Refused for now, a request is sent again after this time.
const PAUSE: Duration = Duration::from_millis(20);
/// No replay takes longer: the benchmark ends by itself.
const DEADLINE: Duration = Duration::from_secs(600);

/// Requests sent so far: the next one's name.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Where requests go, and in which dialect.
pub struct Target {
    pub port: u16,
    pub path: &'static str,
    pub dialect: Dialect,
}

/// What the bodies are.
#[derive(Clone, Copy, PartialEq)]
pub enum Dialect {
    /// OTLP over HTTP as protobuf, without compression.
    Otlp(Signal),
    /// Prometheus remote write 1.0.
    RemoteWrite,
}

impl Dialect {
    fn headers(self) -> &'static [(header::HeaderName, &'static str)] {
        const PROTOBUF: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/x-protobuf");
        match self {
            Dialect::Otlp(_) => &[PROTOBUF],
            Dialect::RemoteWrite => &[PROTOBUF, (header::CONTENT_ENCODING, "snappy")],
        }
    }
}

/// What a replay took.
pub struct Replay {
    /// Requests that the server asked to send again.
    pub repeated: u64,
}

/// Sends all requests and waits for all acks.
pub async fn replay(target: &Target, set: &Set) -> Result<Replay> {
    let lanes = (0..set.lanes).map(|lane| send_lane(target, set.requests.iter().skip(lane).step_by(set.lanes)));
    let repeated = tokio::time::timeout(DEADLINE, try_join_all(lanes)).await.context("the replay takes too long")??;
    Ok(Replay { repeated: repeated.iter().sum() })
}

async fn send_lane(target: &Target, requests: impl Iterator<Item = &Bytes>) -> Result<u64> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target.port))).await?;
    stream.set_nodelay(true)?;
    let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    let mut repeated = 0;
    for body in requests {
        // The same bytes are sent in every run, and each time they are records of their own.
        let name = REQUESTS.fetch_add(1, Ordering::Relaxed).to_string();
        while !send(&mut connection, target, body, &name).await? {
            repeated += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
    drop(connection);
    driver.await?.context("the connection broke")?;
    Ok(repeated)
}

/// Whether the request was acked; `false` asks to send it again.
async fn send(connection: &mut SendRequest<Full<Bytes>>, target: &Target, body: &Bytes, name: &str) -> Result<bool> {
    let mut request = Request::post(target.path).header(header::HOST, "127.0.0.1").header("idempotency-key", name);
    for (name, value) in target.dialect.headers() {
        request = request.header(name, *value);
    }
    connection.ready().await?;
    let answer = connection.send_request(request.body(Full::new(body.clone()))?).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return Ok(false);
    }
    ensure!(status.is_success(), "{} answers {status}: {}", target.path, String::from_utf8_lossy(&body));
    if let Dialect::Otlp(signal) = target.dialect {
        match send::rejected(signal, &body)? {
            (0, _) => {}
            (count, message) => bail!("{count} items were rejected: {message}"),
        }
    }
    Ok(true)
}
