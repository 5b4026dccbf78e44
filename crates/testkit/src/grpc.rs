//! One gRPC call with whatever headers a test wants to send.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `grpc-status`: 0 is success.
    pub status: u16,
    /// `grpc-message`, percent-encoded as it came; empty where there is none.
    pub message: String,
}

/// Calls `path` at `address` (HOST:PORT) with one message.
pub async fn call(address: &str, path: &str, headers: &[(&str, &str)], message: &[u8]) -> Result<Outcome> {
    call_over(TcpStream::connect(address).await?, address, path, headers, message).await
}

/// Calls `path` over a connection to `address`, which may be one of TLS.
pub async fn call_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> Result<Outcome> {
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.extend_from_slice(message);
    let request = http::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = sender.send_request(request.body(Full::<Bytes>::from(framed.freeze()))?).await?;
    ensure!(answer.status() == 200, "{path} answers {} where gRPC has 200", answer.status());
    let (head, body) = answer.into_parts();
    let trailers = body.collect().await?.trailers().cloned().unwrap_or_default();
    connection.abort();
    let text = |name: &str| {
        let value = trailers.get(name).or(head.headers.get(name));
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let status = text("grpc-status").with_context(|| format!("{path} answers without grpc-status"))?;
    Ok(Outcome { status: status.parse()?, message: text("grpc-message").unwrap_or_default() })
}
