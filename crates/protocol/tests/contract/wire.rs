//! What only a socket can do wrong.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_model::TenantId;
use bonghwa_protocol::{
    EncodedBatch, IngesterClient, MAX_MESSAGE_BYTES, RemoteIngester, RemoteOptions, RpcErrorKind, connect, v1,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::memory::{MemoryIngester, MemoryMeta, remote_ingester, serve};

#[tokio::test]
async fn nobody_listens() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = RemoteIngester::connect(&address.to_string(), RemoteOptions::default()).unwrap();
    let error = client.flush().await.unwrap_err();
    assert_eq!(error.kind, RpcErrorKind::Unreachable, "{error}");
    assert!(error.is_retryable() && error.had_no_effect());
}

#[tokio::test]
async fn nobody_answers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = RemoteOptions { append_timeout: Duration::from_millis(200), ..Default::default() };
    let client = RemoteIngester::connect(&address.to_string(), options).unwrap();
    let batch = EncodedBatch::from_bytes(vec![1].into());
    let error = client.append("logs-0001", &TenantId::default_tenant(), batch).await.unwrap_err();
    assert_eq!(error.kind, RpcErrorKind::Timeout, "{error}");
    assert!(error.is_retryable() && !error.had_no_effect());
}

#[tokio::test]
async fn the_connection_breaks() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client =
        RemoteIngester::connect(&listener.local_addr().unwrap().to_string(), RemoteOptions::default()).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // An HTTP/2 server's empty settings, then the request; then it dies.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        stream.read_exact(&mut [0; 200]).await.unwrap();
    });
    let batch = EncodedBatch::from_bytes(vec![1; 1000].into());
    let error = client.append("logs-0001", &TenantId::default_tenant(), batch).await.unwrap_err();
    assert_eq!(error.kind, RpcErrorKind::Unavailable, "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_message_over_the_limit_is_the_callers_fault() {
    let client = remote_ingester(MemoryIngester::default()).await;
    let batch = EncodedBatch::from_bytes(vec![0; MAX_MESSAGE_BYTES + 1].into());
    let error = client.append("logs-0001", &TenantId::default_tenant(), batch).await.unwrap_err();
    assert_eq!(error.kind, RpcErrorKind::Invalid, "{error}");
    assert!(error.message.contains("split it"), "{error}");
}

#[tokio::test]
async fn a_tenant_that_cannot_be_is_refused() {
    let address = serve(Arc::new(MemoryIngester::default()), Arc::new(MemoryMeta::default())).await;
    let channel = connect(&address.to_string(), &RemoteOptions::default()).unwrap();
    let mut stub = v1::ingester_client::IngesterClient::new(channel);
    let request = v1::AppendRequest { partition: "logs-0001".into(), tenant: "a/b".into(), ..Default::default() };
    let error = bonghwa_protocol::RpcError::from(stub.append(request).await.unwrap_err());
    assert_eq!(error.kind, RpcErrorKind::Invalid);
    assert!(error.message.contains('/'), "{error}");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    let error = connect("not an address", &RemoteOptions::default()).err().unwrap();
    assert_eq!(error.kind, RpcErrorKind::Invalid);
}
