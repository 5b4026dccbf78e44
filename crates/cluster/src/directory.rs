//! Reaching other nodes: who is behind a node id, an address, a partition.

use std::collections::HashMap;
use std::sync::Arc;

use bonghwa_protocol::{IngesterClient, RemoteIngester, RemoteOptions, RpcError};
use parking_lot::Mutex;

use crate::leader::{LeaderClient, LeaderOptions};
use crate::{Catalog, ClusterView};

/// Who is behind the names of the catalog.
pub trait Directory: Send + Sync {
    /// The ingester on this node: the local one, or a client of the remote one.
    fn ingester(&self, node: u64) -> Result<Arc<dyn IngesterClient>, RpcError>;

    /// A client of the partition's leader, that finds it and follows it when it moves.
    fn leader_of(&self, partition: &str) -> Result<Arc<dyn IngesterClient>, RpcError>;
}

/// Makes a client of the ingester at HOST:PORT.
pub type Connect = dyn Fn(&str) -> Result<Arc<dyn IngesterClient>, RpcError> + Send + Sync;

/// The usual way to connect: over gRPC, lazily. Needs a Tokio runtime.
pub fn connect_ingester(options: RemoteOptions) -> Box<Connect> {
    Box::new(move |address| Ok(Arc::new(RemoteIngester::connect(address, options.clone())?)))
}

/// The directory of a process: the catalog's nodes, one client per address.
pub struct ClusterDirectory {
    clients: Arc<Clients>,
    leaders: Arc<LeaderClient>,
}

impl ClusterDirectory {
    /// Over a view of the catalog. `local` is this process's ingester and its node
    /// id, so that no socket lies before it.
    pub fn new(view: Arc<ClusterView>, local: Option<(u64, Arc<dyn IngesterClient>)>, connect: Box<Connect>) -> Self {
        let clients = Arc::new(Clients { view, local, connect, remotes: Mutex::default() });
        let leaders = Arc::new(LeaderClient::new(clients.clone(), LeaderOptions::default()));
        ClusterDirectory { clients, leaders }
    }

    /// One client for all partitions: it sends each call to the leader of the
    /// partition that the call names, and a flush to every ingester.
    pub fn leaders(&self) -> Arc<LeaderClient> {
        self.leaders.clone()
    }
}

impl Directory for ClusterDirectory {
    fn ingester(&self, node: u64) -> Result<Arc<dyn IngesterClient>, RpcError> {
        self.clients.of_node(node)
    }

    fn leader_of(&self, partition: &str) -> Result<Arc<dyn IngesterClient>, RpcError> {
        match self.clients.catalog().partition(partition) {
            Some(_) => Ok(self.leaders.clone()),
            None => Err(unknown_partition(partition)),
        }
    }
}

pub(crate) fn unknown_partition(partition: &str) -> RpcError {
    RpcError::not_found(format!("partition is {partition:?}, which is not in the catalog: take a newer catalog"))
}

/// The clients themselves.
pub(crate) struct Clients {
    view: Arc<ClusterView>,
    local: Option<(u64, Arc<dyn IngesterClient>)>,
    connect: Box<Connect>,
    remotes: Mutex<HashMap<String, Arc<dyn IngesterClient>>>,
}

impl Clients {
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.view.current()
    }

    pub(crate) fn of_node(&self, id: u64) -> Result<Arc<dyn IngesterClient>, RpcError> {
        if let Some((local, client)) = &self.local
            && *local == id
        {
            return Ok(client.clone());
        }
        let catalog = self.catalog();
        let node = catalog.node(id).ok_or_else(|| {
            RpcError::not_found(format!("node is {id}, which is not in the catalog: take a newer catalog"))
        })?;
        self.at_address(&node.address, &catalog)
    }

    fn at_address(&self, address: &str, catalog: &Catalog) -> Result<Arc<dyn IngesterClient>, RpcError> {
        let mut remotes = self.remotes.lock();
        if let Some(client) = remotes.get(address) {
            return Ok(client.clone());
        }
        // Addresses come and go with pods: those of no node any more are closed
        // when the next is opened.
        remotes.retain(|known, _| catalog.nodes().any(|node| node.address == *known));
        let client = (self.connect)(address)?;
        remotes.insert(address.to_owned(), client.clone());
        Ok(client)
    }
}
