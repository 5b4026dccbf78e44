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
use crate::{BoxError, MemoryDisk, Payload, Snapshot, StateMachine, Store, StoreOptions};

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
    memory: bool,
}

type Guard = (Arc<Store>, TempDir);

impl StoreBuilder<TypeConfig, LogStorage, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStorage, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let store = if self.memory {
            Store::memory(&MemoryDisk::new(), StoreOptions::default())
        } else {
            Store::open(dir.path(), StoreOptions::default()).unwrap()
        };
        let log = store.open_log("suite", self.keep_tail).unwrap();
        let machine = Machine(Arc::new(Applier::new(log.clone(), Arc::new(NoState))));
        Ok(((store, dir), LogStorage::new(log, 2 << 20), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_pass_with_a_tail() {
    Suite::test_all(Builder { keep_tail: true, memory: false }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_pass_without_a_tail() {
    Suite::test_all(Builder { keep_tail: false, memory: false }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_disk_passes_with_a_tail() {
    Suite::test_all(Builder { keep_tail: true, memory: true }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_disk_passes_without_a_tail() {
    Suite::test_all(Builder { keep_tail: false, memory: true }).await.unwrap();
}
