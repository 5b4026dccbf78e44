//! The watchers' side: a bounded history of changes that they read at their own
//! pace, and a new snapshot for those that fell out of it.

use std::collections::VecDeque;
use std::sync::Arc;

use bonghwa_cluster::Catalog;
use bonghwa_protocol::v1::event::Kind;
use bonghwa_protocol::{RpcError, v1};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;

/// Block bytes in one piece of a snapshot: far below the largest message.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Bounds of the history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryLimits {
    /// Changes kept.
    pub changes: usize,
    /// Their encoded bytes.
    pub bytes: usize,
}

/// The newest catalog and the last changes that led to it. Watchers hold only a
/// version and read from here, so that a slow one costs no memory.
pub(crate) struct Feed {
    limits: HistoryLimits,
    inner: Mutex<Inner>,
    pulse: watch::Sender<Pulse>,
}

struct Inner {
    catalog: Catalog,
    /// Versions up to the catalog's, without a gap.
    history: VecDeque<(Arc<v1::Event>, usize)>,
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Pulse {
    version: u64,
    open: bool,
}

/// What a watcher gets next.
enum Next {
    Event(Arc<v1::Event>),
    Snapshot(Box<Catalog>),
    Nothing,
}

impl Feed {
    pub(crate) fn new(limits: HistoryLimits) -> Self {
        let inner = Inner { catalog: Catalog::default(), history: VecDeque::new(), bytes: 0 };
        Feed { limits, inner: Mutex::new(inner), pulse: watch::Sender::new(Pulse { version: 0, open: true }) }
    }

    pub(crate) fn version(&self) -> u64 {
        self.pulse.borrow().version
    }

    pub(crate) fn catalog(&self) -> Catalog {
        self.inner.lock().catalog.clone()
    }

    /// Takes the change that led to this catalog.
    pub(crate) fn push(&self, catalog: Catalog, change: v1::Change) {
        let version = catalog.version();
        let event = Arc::new(v1::Event { version, kind: Some(Kind::Change(change)) });
        let size = event.encoded_len();
        let mut inner = self.inner.lock();
        inner.catalog = catalog;
        inner.bytes += size;
        inner.history.push_back((event, size));
        while inner.history.len() > self.limits.changes || inner.bytes > self.limits.bytes {
            let Some((_, size)) = inner.history.pop_front() else { break };
            inner.bytes -= size;
        }
        drop(inner);
        self.pulse.send_modify(|pulse| pulse.version = version);
    }

    /// Takes a catalog that came whole: its watchers get a snapshot.
    pub(crate) fn replace(&self, catalog: Catalog) {
        let version = catalog.version();
        let mut inner = self.inner.lock();
        inner.catalog = catalog;
        inner.history.clear();
        inner.bytes = 0;
        drop(inner);
        self.pulse.send_modify(|pulse| pulse.version = version);
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        self.pulse.send_modify(|pulse| pulse.open = false);
    }

    fn next(&self, seen: u64) -> Next {
        let inner = self.inner.lock();
        let version = inner.catalog.version();
        if seen == version {
            return Next::Nothing;
        }
        let first = version - inner.history.len() as u64 + 1;
        match seen.checked_add(1).and_then(|wanted| wanted.checked_sub(first)) {
            // `history` ends at `version`, so that an index within it is a change after `seen`.
            Some(at) if seen < version => match inner.history.get(at as usize) {
                Some((event, _)) => Next::Event(event.clone()),
                None => Next::Snapshot(Box::new(inner.catalog.clone())),
            },
            _ => Next::Snapshot(Box::new(inner.catalog.clone())),
        }
    }

    /// The events after `from_version`; 0 starts with a snapshot.
    pub(crate) fn watch(self: &Arc<Self>, from_version: u64) -> BoxStream<'static, Result<v1::Event, RpcError>> {
        let mut pulse = self.pulse.subscribe();
        pulse.mark_changed();
        let pieces = (from_version == 0).then(|| Pieces::of(self.inner.lock().catalog.clone()));
        let watcher = Watcher { feed: self.clone(), seen: from_version, pieces, pulse };
        stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(event) => Some((Ok(event), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

/// A snapshot on its way to one watcher.
struct Pieces {
    version: u64,
    pieces: Box<dyn Iterator<Item = v1::Snapshot> + Send>,
}

impl Pieces {
    fn of(catalog: Catalog) -> Self {
        Pieces { version: catalog.version(), pieces: Box::new(catalog.snapshot_pieces(PIECE_BYTES)) }
    }
}

struct Watcher {
    feed: Arc<Feed>,
    seen: u64,
    pieces: Option<Pieces>,
    pulse: watch::Receiver<Pulse>,
}

impl Watcher {
    async fn next(&mut self) -> Result<v1::Event, RpcError> {
        loop {
            if let Some(pieces) = &mut self.pieces {
                match pieces.pieces.next() {
                    Some(piece) => {
                        return Ok(v1::Event { version: pieces.version, kind: Some(Kind::Snapshot(piece)) });
                    }
                    None => {
                        self.seen = pieces.version;
                        self.pieces = None;
                    }
                }
            }
            if !self.pulse.borrow_and_update().open {
                return Err(closed());
            }
            match self.feed.next(self.seen) {
                Next::Event(event) => {
                    self.seen = event.version;
                    return Ok((*event).clone());
                }
                Next::Snapshot(catalog) => self.pieces = Some(Pieces::of(*catalog)),
                Next::Nothing => self.pulse.changed().await.map_err(|_| closed())?,
            }
        }
    }
}

fn closed() -> RpcError {
    RpcError::unavailable("this meta node is shutting down: watch another")
}
