//! The state of the cluster at one version.

use std::fmt;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1::{self, NodeState};
use bonghwa_ring::{Place, Ring};
use imbl::OrdMap;

use crate::ClusterError;
use crate::time_index::{TenantBlock, TimeIndex};

/// The cluster at one version: immutable, cheap to clone, and sharing with the
/// version before it all that did not change. Whoever holds one reads nodes,
/// partitions and blocks that belong together.
#[derive(Clone)]
pub struct Catalog {
    version: u64,
    nodes: OrdMap<u64, Arc<v1::Node>>,
    partitions: OrdMap<String, Arc<v1::Partition>>,
    blocks: OrdMap<String, Arc<v1::Block>>,
    deletes: OrdMap<u64, Arc<v1::Delete>>,
    /// Objects that are no blocks any more, and when they ceased to be (Unix nanoseconds).
    garbage: OrdMap<String, i64>,
    index: OrdMap<(TenantId, Signal), TimeIndex>,
    tenant_limits: OrdMap<String, v1::TenantRates>,
    /// By tenant and cluster.
    elected_replicas: OrdMap<(String, String), v1::ElectedReplica>,
    rings: [Arc<Ring>; 3],
}

impl Default for Catalog {
    fn default() -> Self {
        let none = Arc::new(Ring::new([]));
        Catalog {
            version: 0,
            nodes: OrdMap::new(),
            partitions: OrdMap::new(),
            blocks: OrdMap::new(),
            deletes: OrdMap::new(),
            garbage: OrdMap::new(),
            index: OrdMap::new(),
            tenant_limits: OrdMap::new(),
            elected_replicas: OrdMap::new(),
            rings: [none.clone(), none.clone(), none],
        }
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Catalog { version, nodes, partitions, blocks, .. } = self;
        let (nodes, partitions, blocks) = (nodes.len(), partitions.len(), blocks.len());
        write!(f, "Catalog(version {version}, {nodes} nodes, {partitions} partitions, {blocks} blocks)")
    }
}

impl Catalog {
    /// The version. 0 is the empty catalog; each change is one more.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<v1::Node>> {
        self.nodes.values()
    }

    /// The nodes with this role that are there and will stay.
    pub fn active_nodes(&self, role: &str) -> impl Iterator<Item = &Arc<v1::Node>> {
        self.nodes().filter(move |node| {
            let active = matches!(node.state(), NodeState::Active | NodeState::Unspecified);
            active && node.roles.iter().any(|name| name == role)
        })
    }

    /// The node of this id.
    pub fn node(&self, id: u64) -> Option<&Arc<v1::Node>> {
        self.nodes.get(&id)
    }

    /// The node of this name.
    pub fn node_named(&self, name: &str) -> Option<&Arc<v1::Node>> {
        self.nodes.values().find(|n| n.name == name)
    }

    /// The partitions of a signal, sealed ones included, by name.
    pub fn partitions(&self, signal: Signal) -> impl Iterator<Item = &Arc<v1::Partition>> {
        self.partitions.values().filter(move |p| p.model_signal() == Ok(signal))
    }

    /// The partitions of all signals, by name.
    pub fn all_partitions(&self) -> impl Iterator<Item = &Arc<v1::Partition>> {
        self.partitions.values()
    }

    /// The partition of this name.
    pub fn partition(&self, name: &str) -> Option<&Arc<v1::Partition>> {
        self.partitions.get(name)
    }

    /// The ring over a signal's active partitions.
    pub fn ring(&self, signal: Signal) -> &Arc<Ring> {
        &self.rings[signal as usize]
    }

    /// All blocks, by path.
    pub fn blocks(&self) -> impl Iterator<Item = &Arc<v1::Block>> {
        self.blocks.values()
    }

    /// The blocks whose path comes after this one, or all.
    pub(crate) fn blocks_after(&self, path: Option<&str>) -> impl Iterator<Item = &Arc<v1::Block>> {
        let start = path.map_or(Bound::Unbounded, Bound::Excluded);
        self.blocks.range::<_, str>((start, Bound::Unbounded)).map(|(_, block)| block)
    }

    /// The block of this path.
    pub fn block(&self, path: &str) -> Option<&Arc<v1::Block>> {
        self.blocks.get(path)
    }

    /// How many blocks there are.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Deletes that are not carried out on all blocks yet, by id.
    pub fn deletes(&self) -> impl Iterator<Item = &Arc<v1::Delete>> {
        self.deletes.values()
    }

    /// The delete of this id.
    pub fn delete(&self, id: u64) -> Option<&Arc<v1::Delete>> {
        self.deletes.get(&id)
    }

    /// Objects that are no blocks any more but may still be read, with the time since
    /// when (Unix nanoseconds); by path.
    pub fn garbage(&self) -> impl Iterator<Item = (&str, i64)> {
        self.garbage.iter().map(|(path, since)| (path.as_str(), *since))
    }

    /// Whether this object is no block any more, but may still be read.
    pub fn is_garbage(&self, path: &str) -> bool {
        self.garbage.contains_key(path)
    }

    /// The tenants with blocks of a signal, by name.
    pub fn tenants(&self, signal: Signal) -> impl Iterator<Item = &TenantId> {
        self.index.keys().filter(move |(_, s)| *s == signal).map(|(tenant, _)| tenant)
    }

    /// The blocks of a tenant that may hold records of these services (none named:
    /// of all) at these Unix nanoseconds, earliest first; and how many blocks of
    /// that signal the tenant has in all.
    pub fn blocks_for<S: AsRef<str>>(
        &self,
        signal: Signal,
        tenant: &TenantId,
        time: RangeInclusive<i64>,
        services: &[S],
    ) -> (Vec<TenantBlock>, usize) {
        let Some(index) = self.index.get(&(tenant.clone(), signal)) else {
            return (Vec::new(), 0);
        };
        let overlapping = index.overlapping(*time.start(), *time.end());
        let matching = overlapping.into_iter().filter(|b| b.may_hold_service(services)).cloned().collect();
        (matching, index.len())
    }

    /// All blocks of a tenant and signal, in no particular order.
    pub fn tenant_blocks(&self, signal: Signal, tenant: &TenantId) -> impl Iterator<Item = &TenantBlock> {
        self.index.get(&(tenant.clone(), signal)).into_iter().flat_map(TimeIndex::iter)
    }

    /// The limits that were set for a tenant while the cluster runs.
    pub fn tenant_limits(&self, tenant: &TenantId) -> Option<&v1::TenantRates> {
        self.tenant_limits.get(tenant.as_str())
    }

    /// The limits of all tenants for whom some were set, by name.
    pub fn all_tenant_limits(&self) -> impl ExactSizeIterator<Item = (&String, &v1::TenantRates)> {
        self.tenant_limits.iter()
    }

    /// The replica whose samples are taken of a tenant's cluster.
    pub fn elected_replica(&self, tenant: &TenantId, cluster: &str) -> Option<&v1::ElectedReplica> {
        self.elected_replicas.get(&(tenant.as_str().to_owned(), cluster.to_owned()))
    }

    /// All elected replicas, by tenant and cluster.
    pub fn elected_replicas(&self) -> impl ExactSizeIterator<Item = &v1::ElectedReplica> {
        self.elected_replicas.values()
    }

    /// The next version: this one with a change, which must be numbered by it.
    pub fn apply(&self, version: u64, change: &v1::Change) -> Result<Catalog, ClusterError> {
        if self.version.checked_add(1) != Some(version) {
            return Err(ClusterError::Gap { have: self.version, got: version });
        }
        let mut next = self.clone();
        next.version = version;
        for path in &change.removed_blocks {
            next.remove_block(path);
        }
        for id in &change.removed_nodes {
            next.nodes.remove(id);
        }
        for name in &change.removed_partitions {
            next.partitions.remove(name);
        }
        for id in &change.removed_deletes {
            next.deletes.remove(id);
        }
        for path in &change.collected_garbage {
            next.garbage.remove(path);
        }
        next.insert(&change.nodes, &change.partitions, &change.blocks);
        next.insert_removals(&change.deletes, &change.garbage);
        next.set_tenant_limits(&change.tenant_limits);
        next.set_elected_replicas(&change.elected_replicas);
        next.rebuild_rings(change);
        Ok(next)
    }

    /// The catalog that a whole snapshot describes.
    pub fn from_snapshot(snapshot: &v1::Snapshot) -> Catalog {
        let mut catalog = Catalog::default();
        catalog.add_piece(snapshot);
        catalog.complete();
        catalog
    }

    /// Adds one piece of a snapshot; [`complete`](Self::complete) after the last.
    pub(crate) fn add_piece(&mut self, piece: &v1::Snapshot) {
        self.version = piece.version;
        self.insert(&piece.nodes, &piece.partitions, &piece.blocks);
        self.insert_removals(&piece.deletes, &piece.garbage);
        self.set_tenant_limits(&piece.tenant_limits);
        self.set_elected_replicas(&piece.elected_replicas);
    }

    /// Builds what is derived from all pieces.
    pub(crate) fn complete(&mut self) {
        for signal in Signal::ALL {
            self.rings[signal as usize] = Arc::new(Ring::placed(self.active(signal)));
        }
    }

    fn insert(&mut self, nodes: &[v1::Node], partitions: &[v1::Partition], blocks: &[v1::Block]) {
        for node in nodes {
            self.nodes.insert(node.id, Arc::new(node.clone()));
        }
        for partition in partitions {
            self.partitions.insert(partition.name.clone(), Arc::new(partition.clone()));
        }
        for block in blocks {
            self.remove_block(&block.path);
            let block = Arc::new(block.clone());
            for (key, entry) in index_entries(&block) {
                self.index.entry(key).or_default().insert(entry);
            }
            self.blocks.insert(block.path.clone(), block);
        }
    }

    fn insert_removals(&mut self, deletes: &[v1::Delete], garbage: &[v1::Garbage]) {
        for delete in deletes {
            self.deletes.insert(delete.id, Arc::new(delete.clone()));
        }
        for object in garbage {
            self.garbage.insert(object.path.clone(), object.removed_at);
        }
    }

    fn set_tenant_limits(&mut self, limits: &[v1::TenantLimits]) {
        for v1::TenantLimits { tenant, rates } in limits {
            match rates {
                Some(rates) => self.tenant_limits.insert(tenant.clone(), *rates),
                None => self.tenant_limits.remove(tenant),
            };
        }
    }

    fn set_elected_replicas(&mut self, elected: &[v1::ElectedReplica]) {
        for elected in elected {
            let key = (elected.tenant.clone(), elected.cluster.clone());
            match elected.replica.is_empty() {
                false => self.elected_replicas.insert(key, elected.clone()),
                true => self.elected_replicas.remove(&key),
            };
        }
    }

    fn remove_block(&mut self, path: &str) {
        let Some(block) = self.blocks.remove(path) else { return };
        for (key, entry) in index_entries(&block) {
            if let Some(index) = self.index.get_mut(&key) {
                index.remove(&entry);
                if index.len() == 0 {
                    self.index.remove(&key);
                }
            }
        }
    }

    /// A signal's active partitions, by name, and where their homes are.
    fn active(&self, signal: Signal) -> impl Iterator<Item = (&str, Place)> {
        let place = |partition: &v1::Partition| {
            let ingester = partition.replicas.first().copied().unwrap_or_default();
            let zone = self.node(ingester).map(|node| node.zone.clone()).unwrap_or_default();
            Place { zone, ingester }
        };
        let active = self.partitions(signal).filter(|p| p.state() == v1::PartitionState::Active);
        active.map(move |p| (p.name.as_str(), place(p)))
    }

    /// A ring costs 128 points per partition to build, a flush changes none: only
    /// where the active partitions, or their places, differ from the ring's.
    fn rebuild_rings(&mut self, change: &v1::Change) {
        if change.partitions.is_empty() && change.removed_partitions.is_empty() && change.nodes.is_empty() {
            return;
        }
        for signal in Signal::ALL {
            let same = self.active(signal).eq(self.ring(signal).places().map(|(name, place)| (name, place.clone())));
            if !same {
                self.rings[signal as usize] = Arc::new(Ring::placed(self.active(signal)));
            }
        }
    }
}

/// Where a block is listed. A signal or tenant name of a newer release that this
/// build does not know is listed nowhere: no query of this build can ask for it.
fn index_entries(block: &Arc<v1::Block>) -> impl Iterator<Item = ((TenantId, Signal), TenantBlock)> {
    let signal = block.model_signal().ok();
    (0..block.tenants.len()).filter_map(move |slot| {
        let tenant = TenantId::new(&block.tenants[slot].tenant).ok()?;
        Some(((tenant, signal?), TenantBlock::new(block.clone(), slot)?))
    })
}
