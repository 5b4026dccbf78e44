//! Pieces of catalogs, and a meta that says what it is told to.

use std::sync::Arc;

use async_trait::async_trait;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1::event::Kind;
use bonghwa_protocol::{MetaClient, RpcError, v1};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

pub fn node(id: u64) -> v1::Node {
    v1::Node { id, name: format!("n{id}"), address: format!("n{id}:7801"), ..Default::default() }
}

pub fn partition(name: &str, state: v1::PartitionState, replicas: &[u64]) -> v1::Partition {
    let signal = if name.starts_with("logs") { v1::Signal::Logs } else { v1::Signal::Traces };
    let (signal, state, replicas) = (signal.into(), state.into(), replicas.to_vec());
    v1::Partition { name: name.into(), signal, state, replicas, watermark: 0 }
}

pub fn active(name: &str, replicas: &[u64]) -> v1::Partition {
    partition(name, v1::PartitionState::Active, replicas)
}

pub fn block(path: &str, tenants: &[(&str, i64, i64)]) -> v1::Block {
    let rows = |(tenant, min_time, max_time): &(&str, i64, i64)| v1::TenantRows {
        tenant: (*tenant).into(),
        min_time: *min_time,
        max_time: *max_time,
        services: vec![format!("{tenant}-cart"), format!("{tenant}-web")],
        ..Default::default()
    };
    let signal = v1::Signal::from(Signal::Logs).into();
    v1::Block { path: path.into(), signal, tenants: tenants.iter().map(rows).collect(), ..Default::default() }
}

pub fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub fn snapshot(snapshot: v1::Snapshot) -> v1::Event {
    v1::Event { version: snapshot.version, kind: Some(Kind::Snapshot(snapshot)) }
}

pub fn change(version: u64, change: v1::Change) -> v1::Event {
    v1::Event { version, kind: Some(Kind::Change(change)) }
}

/// The sending end of one watch.
pub struct Watch {
    pub from_version: u64,
    events: mpsc::UnboundedSender<Result<v1::Event, RpcError>>,
}

impl Watch {
    pub fn send(&self, event: v1::Event) {
        self.events.send(Ok(event)).unwrap();
    }

    pub fn fail(self) {
        self.events.send(Err(RpcError::unavailable("gone"))).unwrap();
    }
}

/// A meta whose watches are played by the test.
pub struct ScriptedMeta {
    watches: mpsc::UnboundedSender<Watch>,
    refuse: Mutex<usize>,
}

impl ScriptedMeta {
    /// Refuses the first watches with an error.
    pub fn new(refuse: usize) -> (Arc<Self>, mpsc::UnboundedReceiver<Watch>) {
        let (watches, receiver) = mpsc::unbounded_channel();
        (Arc::new(ScriptedMeta { watches, refuse: Mutex::new(refuse) }), receiver)
    }
}

#[async_trait]
impl MetaClient for ScriptedMeta {
    async fn execute(&self, _: v1::Command) -> Result<v1::CommandResult, RpcError> {
        Err(RpcError::internal("only watches here"))
    }

    async fn heartbeat(&self, _: u64, _: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        Err(RpcError::internal("not here"))
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        let refuse = {
            let mut left = self.refuse.lock();
            let refuse = *left > 0;
            *left = left.saturating_sub(1);
            refuse
        };
        if refuse {
            return Err(RpcError::unavailable("starting"));
        }
        let (events, receiver) = mpsc::unbounded_channel();
        let _ = self.watches.send(Watch { from_version, events });
        Ok(UnboundedReceiverStream::new(receiver).boxed())
    }
}
