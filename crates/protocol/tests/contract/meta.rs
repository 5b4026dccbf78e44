//! What holds for every meta client.

use bonghwa_protocol::{MetaClient, RpcErrorKind, v1};
use futures::StreamExt;
use v1::command::Kind;
use v1::command_result::Outcome;

use crate::memory::{MemoryMeta, remote_meta};

#[tokio::test]
async fn local() {
    check(&MemoryMeta::default()).await;
}

#[tokio::test]
async fn remote() {
    check(&remote_meta().await).await;
}

fn register(name: &str) -> v1::Command {
    let node = v1::Node { name: name.into(), ..Default::default() };
    v1::Command { kind: Some(Kind::RegisterNode(v1::RegisterNode { node: Some(node), previous_incarnation: 0 })) }
}

async fn check(client: &dyn MetaClient) {
    for (version, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let result = client.execute(register(name)).await.unwrap();
        assert_eq!(result.version, version);
        assert!(matches!(result.outcome, Some(Outcome::Node(node)) if node.name == name));
    }

    let events = client.watch(1).await.unwrap();
    let versions: Vec<u64> = events.take(2).map(|event| event.unwrap().version).collect().await;
    assert_eq!(versions, [2, 3]);
    assert_eq!(client.watch(2_000).await.err().unwrap().kind, RpcErrorKind::Unavailable);

    let refused = v1::Command { kind: Some(Kind::SealPartition(v1::SealPartition { partition: "x".into() })) };
    let result = client.execute(refused).await.unwrap();
    assert!(matches!(result.outcome, Some(Outcome::Rejection(r)) if r.watermark == 7 && r.message == "from is 3"));

    let error = client.execute(register("wrong")).await.unwrap_err();
    assert_eq!(error.kind, RpcErrorKind::NotLeader { leader: Some("meta-1:7801".into()) });
}
