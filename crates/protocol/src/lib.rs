//! How roles meet: the messages of `proto/`, one trait per role that others call,
//! and for each trait a gRPC client and a gRPC server. A role implements its trait;
//! whoever calls it holds an `Arc<dyn ...>` and cannot tell whether a socket lies between.

mod error;
mod graph;
mod ingester;
mod ipc;
mod meta;
mod remote;
mod serve;
mod signal;
mod tls;

pub use error::{RpcError, RpcErrorKind};
pub use graph::GraphClient;
pub use ingester::{BatchId, EncodedBatch, IngesterClient};
pub use meta::MetaClient;
pub use remote::{RemoteGraph, RemoteIngester, RemoteMeta, RemoteOptions, connect};
pub use serve::{GraphServer, IngesterServer, MetaServer, server};
pub use signal::UnknownSignal;
pub use tls::{ClientTls, ServerTls, TlsError, TlsFiles};

/// Messages and service stubs generated from `proto/bonghwa/v1`; documented there.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]
pub mod v1 {
    tonic::include_proto!("bonghwa.v1");
}

/// The largest message that either side sends or takes. Batches are far below it;
/// tails and snapshots are streamed in pieces.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
