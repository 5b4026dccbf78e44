//! Finding the leader among the meta nodes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bonghwa_cluster::MetaRouter;
use bonghwa_protocol::{MetaClient, RpcError, RpcErrorKind, v1};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use v1::command::Kind;

type Asked = Arc<Mutex<Vec<u64>>>;

struct MetaNode {
    id: u64,
    asked: Asked,
    answers: Mutex<Vec<Option<RpcErrorKind>>>,
}

impl MetaNode {
    fn answer(&self) -> Result<u64, RpcError> {
        self.asked.lock().push(self.id);
        let mut answers = self.answers.lock();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        answer.map_or(Ok(self.id), |kind| Err(RpcError::new(kind, "no")))
    }
}

#[async_trait]
impl MetaClient for MetaNode {
    async fn execute(&self, _: v1::Command) -> Result<v1::CommandResult, RpcError> {
        self.answer().map(|version| v1::CommandResult { version, outcome: None })
    }

    async fn heartbeat(&self, _: u64, _: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        self.answer().map(|version| v1::HeartbeatResponse { known: true, version })
    }

    async fn watch(&self, _: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        self.answer().map(|_| futures::stream::empty().boxed())
    }
}

fn router(answers: [Vec<Option<RpcErrorKind>>; 3]) -> (MetaRouter, Asked) {
    let asked = Asked::default();
    let node = |(id, answers)| -> (String, Arc<dyn MetaClient>) {
        (format!("m{id}:7801"), Arc::new(MetaNode { id, asked: asked.clone(), answers: Mutex::new(answers) }))
    };
    (MetaRouter::new((1..).zip(answers).map(node).collect()).with_patience(Duration::from_secs(3)), asked)
}

fn not_leader(leader: u64) -> Option<RpcErrorKind> {
    Some(RpcErrorKind::NotLeader { leader: (leader > 0).then(|| format!("m{leader}:7801")) })
}

async fn run(router: &MetaRouter, kind: Kind) -> Result<u64, RpcErrorKind> {
    router.execute(v1::Command { kind: Some(kind) }).await.map(|r| r.version).map_err(|e| e.kind)
}

fn seal() -> Kind {
    Kind::SealPartition(v1::SealPartition::default())
}

fn create() -> Kind {
    Kind::CreatePartition(v1::CreatePartition::default())
}

#[tokio::test(start_paused = true)]
async fn commands_go_to_the_leader() {
    let (router, asked) = router([vec![not_leader(3)], vec![None], vec![None]]);
    assert_eq!(run(&router, seal()).await, Ok(3));
    assert_eq!(run(&router, create()).await, Ok(3));
    assert!(router.watch(0).await.is_ok());
    assert_eq!(*asked.lock(), [1, 3, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn only_commands_that_bear_it_are_repeated() {
    let answers = || [vec![Some(RpcErrorKind::Timeout)], vec![None], vec![None]];
    let (first, _) = router(answers());
    assert_eq!(run(&first, seal()).await, Ok(2));
    let (second, asked) = router(answers());
    assert_eq!(run(&second, create()).await, Err(RpcErrorKind::Timeout));
    assert_eq!(*asked.lock(), [1]);
    let (third, _) = router([vec![Some(RpcErrorKind::Unreachable)], vec![not_leader(0), None], vec![not_leader(0)]]);
    assert_eq!(run(&third, create()).await, Ok(2), "an election passed");
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_it_gives_up() {
    let (none, _) = router([vec![not_leader(0)], vec![not_leader(0)], vec![not_leader(0)]]);
    assert_eq!(run(&none, seal()).await, Err(RpcErrorKind::NotLeader { leader: None }));
    let empty = MetaRouter::new(vec![]).with_patience(Duration::from_secs(1));
    assert_eq!(run(&empty, seal()).await, Err(RpcErrorKind::Unavailable));
    assert!(empty.watch(0).await.is_err());
}
