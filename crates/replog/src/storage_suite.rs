//! openraft's own suite for storage, run on ours.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::log_storage::LogStorage;
use crate::machine::{Applier, Machine};
use crate::raft_types::TypeConfig;
use crate::{BoxError, Payload, Snapshot, StateMachine, Store, StoreOptions};

/// The suite applies blank and membership entries only.
struct NoState;

impl StateMachine for NoState {
    fn apply(&self, _position: u64, _payload: &Payload) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Result<Snapshot, BoxError> {
        Ok(Snapshot { position: 0, data: Bytes::new() })
    }

    fn restore(&self, _position: u64, _data: Bytes) -> Result<(), BoxError> {
        Ok(())
    }
}

struct Builder {
    keep_tail: bool,
}

impl StoreBuilder<TypeConfig, LogStorage, Machine, (Arc<Store>, TempDir)> for Builder {
    async fn build(&self) -> Result<((Arc<Store>, TempDir), LogStorage, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let log = store.open_log("suite", self.keep_tail).unwrap();
        let machine = Machine(Arc::new(Applier::new(log.clone(), Arc::new(NoState))));
        Ok(((store, dir), LogStorage::new(log, 2 << 20), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_with_a_tail() {
    Suite::test_all(Builder { keep_tail: true }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_without_a_tail() {
    Suite::test_all(Builder { keep_tail: false }).await.unwrap();
}
