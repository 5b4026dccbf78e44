//! What holds for every ingester client.

use std::time::Duration;

use bonghwa_model::TenantId;
use bonghwa_protocol::{EncodedBatch, IngesterClient, RpcErrorKind, v1};
use futures::{StreamExt, TryStreamExt};

use crate::memory::{MemoryIngester, remote_ingester};

#[tokio::test]
async fn local() {
    check(&MemoryIngester::trimmed(0)).await;
    check_stale(&MemoryIngester::trimmed(5)).await;
}

#[tokio::test]
async fn remote() {
    check(&remote_ingester(MemoryIngester::trimmed(0)).await).await;
    check_stale(&remote_ingester(MemoryIngester::trimmed(5)).await).await;
}

async fn check(client: &dyn IngesterClient) {
    appends_are_seen_by_the_tail(client).await;
    errors_keep_their_kind(client).await;
    large_batches_pass(client).await;
    assert_eq!(client.flush().await.unwrap(), ["logs/a.parquet", "logs/b.parquet"]);
}

fn batch(size: usize) -> EncodedBatch {
    EncodedBatch::from_bytes(vec![7; size].into())
}

fn tail(watermark: u64, through: u64, service: &str) -> v1::TailRequest {
    let services = (!service.is_empty()).then(|| service.to_owned()).into_iter().collect();
    let (partition, tenant) = ("logs-0001".to_owned(), "a".to_owned());
    v1::TailRequest { partition, tenant, watermark, through, services, ..Default::default() }
}

async fn appends_are_seen_by_the_tail(client: &dyn IngesterClient) {
    let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
    for (position, tenant) in [(1, &a), (2, &b), (3, &a), (4, &a)] {
        assert_eq!(client.append("logs-0001", tenant, batch(10)).await, Ok(position));
    }
    let describe =
        |tenant: &str| v1::DescribeTailRequest { partition: "logs-0001".into(), tenant: tenant.into(), watermark: 1 };
    let described = client.describe_tail(describe("a")).await.unwrap();
    assert_eq!((described.through, described.rows.unwrap().items), (4, 2));
    assert_eq!(client.describe_tail(describe("c")).await.unwrap().rows, None);

    let batches: Vec<_> = client.tail(tail(1, 4, "")).await.unwrap().try_collect().await.unwrap();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[0].schema(), batches[1].schema());
    let empty: Vec<_> = client.tail(tail(4, 4, "")).await.unwrap().try_collect().await.unwrap();
    assert!(empty.is_empty());

    let broken: Vec<_> = client.tail(tail(0, 4, "broken")).await.unwrap().collect().await;
    assert_eq!(broken.len(), 4, "three rows, then the error");
    let error = broken.into_iter().next_back().unwrap().unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (RpcErrorKind::StaleWatermark, "flushed meanwhile"));
}

async fn errors_keep_their_kind(client: &dyn IngesterClient) {
    let retry_after = Some(Duration::from_millis(250));
    for (partition, kind) in [
        ("logs-0002", RpcErrorKind::Overloaded { retry_after }),
        ("logs-0003", RpcErrorKind::NotLeader { leader: Some("10.0.0.2:7801".into()) }),
        ("logs-0004", RpcErrorKind::NotLeader { leader: None }),
        ("logs-0005", RpcErrorKind::Internal),
        ("logs-0006", RpcErrorKind::NotFound),
    ] {
        let error = client.append(partition, &TenantId::default_tenant(), batch(1)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{partition}");
        assert_eq!(error.message, format!("partition is {partition:?} (봉화): name another"));
    }
}

async fn large_batches_pass(client: &dyn IngesterClient) {
    client.append("logs-0001", &TenantId::default_tenant(), batch(32 << 20)).await.unwrap();
}

async fn check_stale(client: &dyn IngesterClient) {
    let request = v1::DescribeTailRequest { partition: "logs-0001".into(), tenant: "a".into(), watermark: 1 };
    assert_eq!(client.describe_tail(request).await.unwrap_err().kind, RpcErrorKind::StaleWatermark);
}
