//! Finding the leader of a partition among its replicas.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bonghwa_cluster::{Catalog, ClusterDirectory, ClusterView, Directory};
use bonghwa_model::TenantId;
use bonghwa_protocol::{EncodedBatch, IngesterClient, RpcError, RpcErrorKind, v1};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use crate::fixtures::{active, node, tenant};

/// Who was asked, in order.
type Asked = Arc<Mutex<Vec<u64>>>;

/// Answers of one ingester: one by one, the last for ever. None: it did it.
struct Replica {
    id: u64,
    asked: Asked,
    answers: Mutex<Vec<Option<RpcErrorKind>>>,
}

impl Replica {
    fn answer(&self) -> Result<u64, RpcError> {
        self.asked.lock().push(self.id);
        let mut answers = self.answers.lock();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        answer.map_or(Ok(self.id), |kind| Err(RpcError::new(kind, "no")))
    }
}

#[async_trait]
impl IngesterClient for Replica {
    async fn append(&self, _: &str, _: &TenantId, _: EncodedBatch) -> Result<u64, RpcError> {
        self.answer()
    }

    async fn describe_tail(&self, _: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        Ok(v1::DescribeTailResponse { through: self.answer()?, rows: None })
    }

    async fn tail(
        &self,
        _: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<arrow_array::RecordBatch, RpcError>>, RpcError> {
        self.answer().map(|_| futures::stream::empty().boxed())
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        self.answer().map(|id| vec![format!("block-{id}")])
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        Ok(vec![v1::PartitionStatus { partition: "logs-0001".into(), leads: true, ..Default::default() }])
    }
}

/// A partition "logs-0001" on the nodes 1, 2 and 3 that answer so.
fn cluster(answers: [Vec<Option<RpcErrorKind>>; 3]) -> (ClusterDirectory, Asked) {
    let asked = Asked::default();
    let replicas: HashMap<String, Arc<Replica>> = (1..)
        .zip(answers)
        .map(|(id, answers)| {
            (format!("n{id}:7801"), Arc::new(Replica { id, asked: asked.clone(), answers: Mutex::new(answers) }))
        })
        .collect();
    let catalog = Catalog::default()
        .apply(
            1,
            &v1::Change {
                nodes: vec![node(1), node(2), node(3)],
                partitions: vec![active("logs-0001", &[1, 2, 3]), active("logs-0009", &[])],
                ..Default::default()
            },
        )
        .unwrap();
    let connect = move |address: &str| -> Result<Arc<dyn IngesterClient>, RpcError> { Ok(replicas[address].clone()) };
    (ClusterDirectory::new(ClusterView::fixed(catalog), None, Box::new(connect)), asked)
}

fn not_leader(leader: u64) -> Option<RpcErrorKind> {
    Some(RpcErrorKind::NotLeader { leader: (leader > 0).then(|| format!("n{leader}:7801")) })
}

async fn append(directory: &ClusterDirectory) -> Result<u64, RpcErrorKind> {
    let batch = EncodedBatch::from_bytes(vec![1].into());
    let client = directory.leader_of("logs-0001").unwrap();
    client.append("logs-0001", &tenant("a"), batch).await.map_err(|e| e.kind)
}

async fn describe(directory: &ClusterDirectory) -> Result<u64, RpcErrorKind> {
    let request = v1::DescribeTailRequest { partition: "logs-0001".into(), ..Default::default() };
    directory.leaders().describe_tail(request).await.map(|d| d.through).map_err(|e| e.kind)
}

#[tokio::test(start_paused = true)]
async fn it_finds_the_leader_and_remembers_it() {
    let (directory, asked) = cluster([vec![not_leader(3)], vec![not_leader(3)], vec![None]]);
    for _ in 0..3 {
        assert_eq!(append(&directory).await, Ok(3));
    }
    assert_eq!(*asked.lock(), [1, 3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_an_election_and_asks_the_others_when_one_is_away() {
    let away = Some(RpcErrorKind::Unreachable);
    let (directory, asked) =
        cluster([vec![None, away], vec![not_leader(0), not_leader(0), None], vec![not_leader(0), not_leader(2)]]);
    assert_eq!(append(&directory).await, Ok(1));
    assert_eq!(append(&directory).await, Ok(2));
    assert_eq!(append(&directory).await, Ok(2));
    // The silent one is left alone while the others elect.
    assert_eq!(*asked.lock(), [1, 1, 2, 3, 2, 3, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_is_repeated_only_for_reads() {
    for kind in [RpcErrorKind::Timeout, RpcErrorKind::Unavailable] {
        let answers = || [vec![Some(kind.clone())], vec![None], vec![None]];
        let (directory, asked) = cluster(answers());
        assert_eq!(append(&directory).await, Err(kind.clone()));
        assert_eq!(*asked.lock(), [1]);
        let (directory, asked) = cluster(answers());
        assert_eq!(describe(&directory).await, Ok(2));
        assert_eq!(*asked.lock(), [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn overload_and_faults_go_to_the_caller_at_once() {
    for kind in [
        RpcErrorKind::Overloaded { retry_after: None },
        RpcErrorKind::Invalid,
        RpcErrorKind::StaleWatermark,
        RpcErrorKind::Internal,
    ] {
        let (directory, asked) = cluster([vec![Some(kind.clone())], vec![None], vec![None]]);
        assert_eq!(append(&directory).await, Err(kind));
        assert_eq!(*asked.lock(), [1]);
    }
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_in_time() {
    let start = bonghwa_cluster::seam::now();
    let (directory, _) = cluster([vec![not_leader(2)], vec![not_leader(1)], vec![not_leader(0)]]);
    assert!(matches!(append(&directory).await, Err(RpcErrorKind::NotLeader { .. })));
    assert!(start.elapsed().as_secs() <= 8);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_not_in_the_catalog() {
    let (directory, _) = cluster([vec![None], vec![None], vec![None]]);
    assert_eq!(directory.leader_of("logs-0002").err().unwrap().kind, RpcErrorKind::NotFound);
    assert_eq!(directory.ingester(9).err().unwrap().kind, RpcErrorKind::NotFound);
    let mut blocks = directory.leaders().flush().await.unwrap();
    blocks.sort();
    assert_eq!(blocks, ["block-1", "block-2", "block-3"]);
}

/// As `bonghwa meta rebuild` brings partitions back.
#[tokio::test(start_paused = true)]
async fn a_partition_without_replicas_has_an_empty_tail() {
    let start = bonghwa_cluster::seam::now();
    let (directory, asked) = cluster([vec![None], vec![None], vec![None]]);
    let client = directory.leader_of("logs-0009").unwrap();
    let partition = "logs-0009".to_owned();
    let describe = v1::DescribeTailRequest { partition: partition.clone(), watermark: 7, ..Default::default() };
    let described = client.describe_tail(describe).await.unwrap();
    assert_eq!((described.through, described.rows), (7, None));
    let tail = v1::TailRequest { partition: partition.clone(), ..Default::default() };
    assert_eq!(client.tail(tail).await.unwrap().count().await, 0);
    let batch = EncodedBatch::from_bytes(vec![1].into());
    assert_eq!(client.append(&partition, &tenant("a"), batch).await.unwrap_err().kind, RpcErrorKind::NotFound);
    assert!(asked.lock().is_empty() && start.elapsed().is_zero());
}
