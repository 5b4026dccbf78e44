//! A meta and an object store that stop working at a step that a test chooses.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bonghwa_meta::State;
use bonghwa_protocol::{MetaClient, RpcError, v1};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::sync::broadcast;

/// Counts the steps of whatever is tested, and fails from one of them on.
#[derive(Debug, Default)]
pub struct Faults {
    step: AtomicU64,
    /// 0: never.
    fail_at: AtomicU64,
    /// Whether the step at which it fails still takes effect: its answer is lost.
    takes_effect: AtomicBool,
    dead: AtomicBool,
}

pub enum Turn {
    Go,
    Fail,
    /// It happens, and nobody hears of it.
    Lose,
}

impl Faults {
    /// Fails at the step of this number from now on, and at all later ones.
    pub fn at(&self, step: u64, takes_effect: bool) {
        self.step.store(0, Ordering::SeqCst);
        self.fail_at.store(step, Ordering::SeqCst);
        self.takes_effect.store(takes_effect, Ordering::SeqCst);
        self.dead.store(false, Ordering::SeqCst);
    }

    pub fn heal(&self) {
        self.at(0, false);
    }

    /// Whether the step was reached.
    pub fn struck(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn turn(&self) -> Turn {
        if self.dead.load(Ordering::SeqCst) {
            return Turn::Fail;
        }
        let step = self.step.fetch_add(1, Ordering::SeqCst) + 1;
        if step != self.fail_at.load(Ordering::SeqCst) {
            return Turn::Go;
        }
        self.dead.store(true, Ordering::SeqCst);
        if self.takes_effect.load(Ordering::SeqCst) { Turn::Lose } else { Turn::Fail }
    }
}

/// Meta without a log.
pub struct TestMeta {
    state: Mutex<State>,
    events: broadcast::Sender<v1::Event>,
    faults: Arc<Faults>,
}

impl TestMeta {
    pub fn new(faults: Arc<Faults>) -> Arc<Self> {
        Arc::new(TestMeta { state: Mutex::default(), events: broadcast::channel(100_000).0, faults })
    }

    /// A command that must be accepted.
    pub fn accept(&self, kind: v1::command::Kind) -> v1::CommandResult {
        let result = self.apply(v1::Command { kind: Some(kind) });
        if let Some(v1::command_result::Outcome::Rejection(rejection)) = &result.outcome {
            panic!("{}", rejection.message);
        }
        result
    }

    pub fn catalog(&self) -> bonghwa_cluster::Catalog {
        self.state.lock().catalog().clone()
    }

    fn apply(&self, command: v1::Command) -> v1::CommandResult {
        let mut state = self.state.lock();
        let applied = state.apply(&command);
        if let Some(change) = applied.change {
            let kind = Some(v1::event::Kind::Change(change));
            let _ = self.events.send(v1::Event { version: applied.result.version, kind });
        }
        applied.result
    }
}

#[async_trait]
impl MetaClient for TestMeta {
    async fn execute(&self, command: v1::Command) -> std::result::Result<v1::CommandResult, RpcError> {
        let away = || RpcError::unavailable("meta is away");
        match self.faults.turn() {
            Turn::Go => Ok(self.apply(command)),
            Turn::Fail => Err(away()),
            Turn::Lose => {
                self.apply(command);
                Err(away())
            }
        }
    }

    async fn heartbeat(&self, _: u64, _: u64) -> std::result::Result<v1::HeartbeatResponse, RpcError> {
        Err(RpcError::internal("not here"))
    }

    async fn watch(
        &self,
        _: u64,
    ) -> std::result::Result<BoxStream<'static, std::result::Result<v1::Event, RpcError>>, RpcError> {
        let (snapshot, events) = {
            let state = self.state.lock();
            (state.catalog().snapshot(), self.events.subscribe())
        };
        let first = v1::Event { version: snapshot.version, kind: Some(v1::event::Kind::Snapshot(snapshot)) };
        let later =
            stream::unfold(
                events,
                |mut events| async move { events.recv().await.ok().map(|event| (Ok(event), events)) },
            );
        Ok(stream::iter([Ok(first)]).chain(later).boxed())
    }
}

/// An object store in memory.
#[derive(Debug)]
pub struct TestStore {
    pub inner: Arc<InMemory>,
    faults: Arc<Faults>,
}

impl TestStore {
    pub fn new(faults: Arc<Faults>) -> Arc<Self> {
        Arc::new(TestStore { inner: Arc::new(InMemory::new()), faults })
    }

    /// All paths there are.
    pub async fn paths(&self) -> Vec<String> {
        let objects: Vec<ObjectMeta> = self.inner.list(None).try_collect().await.unwrap();
        let mut paths: Vec<String> = objects.into_iter().map(|object| object.location.to_string()).collect();
        paths.sort();
        paths
    }
}

impl fmt::Display for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestStore")
    }
}

fn broken<T>() -> Result<T> {
    Err(object_store::Error::Generic { store: "test", source: "the store is broken".into() })
}

#[async_trait]
impl ObjectStore for TestStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.faults.turn() {
            Turn::Go => self.inner.put_opts(location, payload, opts).await,
            Turn::Fail => broken(),
            Turn::Lose => {
                self.inner.put_opts(location, payload, opts).await?;
                broken()
            }
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        broken()
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.faults.turn() {
            Turn::Go => self.inner.get_opts(location, options).await,
            Turn::Fail | Turn::Lose => broken(),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.faults.turn() {
            Turn::Go => self.inner.get_ranges(location, ranges).await,
            Turn::Fail | Turn::Lose => broken(),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.faults.turn() {
            Turn::Go => self.inner.delete_stream(locations),
            Turn::Fail => stream::once(async { broken() }).boxed(),
            Turn::Lose => {
                let deleted = self.inner.delete_stream(locations);
                deleted.then(|_| async { broken() }).boxed()
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.faults.turn() {
            Turn::Go => self.inner.list(prefix),
            Turn::Fail | Turn::Lose => stream::once(async { broken() }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
