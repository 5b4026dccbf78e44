//! A cluster of a catalog, an object store, and compactors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bonghwa_block::{
    BlockReader, Column, FooterCache, Predicate, Removal, Removals, ScanRequest, WriteOptions, read_footer, write_l0,
};
use bonghwa_cluster::{Catalog, ClusterView, node_id};
use bonghwa_compactor::{Compactor, CompactorOptions, RunReport, Storage};
use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command::Kind;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::faults::{Faults, TestMeta, TestStore};
use crate::support;

pub const HOUR: i64 = 3_600_000_000_000;

pub struct World {
    pub faults: Arc<Faults>,
    pub meta: Arc<TestMeta>,
    pub store: Arc<TestStore>,
    pub view: Arc<ClusterView>,
    /// Per signal: where its partition's log ends.
    ends: BTreeMap<Signal, u64>,
}

impl World {
    pub async fn new() -> Self {
        let faults = Arc::new(Faults::default());
        let meta = TestMeta::new(faults.clone());
        for name in ["n1", "n2"] {
            let node = v1::Node { name: name.into(), address: format!("{name}:7801"), ..Default::default() };
            meta.accept(Kind::RegisterNode(v1::RegisterNode { node: Some(node), ..Default::default() }));
        }
        for signal in Signal::ALL {
            let signal = v1::Signal::from(signal).into();
            let create = v1::CreatePartition { signal, replicas: vec![node_id("n1")] };
            meta.accept(Kind::CreatePartition(create));
        }
        let view = ClusterView::follow(meta.clone());
        World { store: TestStore::new(faults.clone()), faults, meta, view, ends: BTreeMap::new() }
    }

    pub fn compactor(&self, node: &str, options: CompactorOptions) -> Arc<Compactor> {
        let storage = Storage { store: self.store.clone(), local_root: None };
        Compactor::new(node_id(node), self.meta.clone(), self.view.clone(), storage, options).unwrap()
    }

    /// Writes a block of these batches, and commits it.
    pub async fn flush(&mut self, signal: Signal, batches: &[(TenantId, Arc<Batch>)], options: &WriteOptions) {
        let block = self.upload(signal, batches, options).await;
        let (partition, from, to) = (block.partition.clone(), block.from, block.to);
        let commit = v1::CommitFlush { partition, from, to, blocks: vec![block] };
        let version = self.meta.accept(Kind::CommitFlush(commit)).version;
        self.ends.insert(signal, to);
        self.view.wait_for_version(version, Duration::from_secs(10)).await.unwrap();
    }

    /// Writes a block and does not commit it.
    pub async fn upload(
        &self,
        signal: Signal,
        batches: &[(TenantId, Arc<Batch>)],
        options: &WriteOptions,
    ) -> v1::Block {
        let from = self.ends.get(&signal).copied().unwrap_or(0);
        let to = from + 1 + batches.len() as u64;
        let partition = format!("{signal}-0001");
        let path = format!("{signal}/l0/{partition}/{from:020}-{to:020}-{:08x}.parquet", rand::random::<u32>());
        let block = write_l0(signal, &partition, from, to, path.clone(), batches, options).unwrap();
        self.store.inner.put(&Path::from(path), block.bytes.into()).await.unwrap();
        block.block
    }

    pub fn catalog(&self) -> Catalog {
        self.meta.catalog()
    }

    /// Makes a delete, and waits until the view has it.
    pub async fn delete(&self, delete: v1::Delete) -> u64 {
        let result = self.meta.accept(Kind::CreateDelete(v1::CreateDelete { delete: Some(delete) }));
        self.view.wait_for_version(result.version, Duration::from_secs(10)).await.unwrap();
        match result.outcome {
            Some(v1::command_result::Outcome::Delete(delete)) => delete.id,
            other => panic!("{other:?}"),
        }
    }

    /// All rows of all tenants in these blocks, as text; deleted ones left out as queries do.
    pub async fn rows(&self, blocks: &[v1::Block], deletes: &[v1::Delete]) -> Vec<String> {
        let store: Arc<dyn ObjectStore> = self.store.inner.clone();
        let mut rows = Vec::new();
        for block in blocks {
            let signal = block.model_signal().unwrap();
            let columns: Vec<Column> =
                bonghwa_block::base_columns(signal).iter().map(|c| Column::Base(c.name)).collect();
            for tenant in &block.tenants {
                let own = deletes.iter().filter(|d| d.tenant == tenant.tenant && d.model_signal() == Ok(signal));
                let removals = Removals::new(signal, own.map(Removal::of_delete).collect());
                let asked = columns.iter().chain(removals.columns()).cloned().collect();
                let id = TenantId::new(&tenant.tenant).unwrap();
                let request = ScanRequest { tenant: id, columns: asked, predicate: Predicate::default() };
                let footers = FooterCache::new(0);
                let reader = BlockReader::open(store.clone(), Arc::new(block.clone()), &footers).await.unwrap();
                let plan = reader.plan(&request).await.unwrap();
                let batches: Vec<_> = reader.scan(plan).try_collect().await.unwrap();
                let seen: Vec<_> =
                    batches.iter().map(|batch| removals.apply(batch, block.deletes_through).unwrap()).collect();
                rows.extend(support::rows(&seen).into_iter().map(|row| format!("{signal} {}: {row}", tenant.tenant)));
            }
        }
        rows.sort();
        rows
    }

    /// All rows that the catalog shows.
    pub async fn seen(&self) -> Vec<String> {
        let catalog = self.catalog();
        let blocks: Vec<v1::Block> = catalog.blocks().map(|block| (**block).clone()).collect();
        let deletes: Vec<v1::Delete> = catalog.deletes().map(|delete| (**delete).clone()).collect();
        self.rows(&blocks, &deletes).await
    }

    /// The catalog that would be rebuilt from what lies in the store.
    pub async fn rebuilt(&self) -> bonghwa_meta::Rebuilt {
        let store: Arc<dyn ObjectStore> = self.store.inner.clone();
        let mut footers = Vec::new();
        for path in self.store.paths().await {
            footers.push(read_footer(&store, &path).await.unwrap());
        }
        bonghwa_meta::rebuild(footers)
    }

    /// Objects that the catalog neither lists nor waits to delete.
    pub async fn unlisted(&self) -> BTreeSet<String> {
        let catalog = self.catalog();
        let paths = self.store.paths().await.into_iter();
        paths.filter(|path| catalog.block(path).is_none() && !catalog.is_garbage(path)).collect()
    }
}

/// What a run must not have met.
pub fn without_errors(report: RunReport) -> RunReport {
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    report
}
