//! Who the workers are, and the connections to them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bonghwa_protocol::RemoteOptions;
use datafusion::common::Result;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, WorkerChannel, WorkerResolver};
use parking_lot::Mutex;
use tonic::transport::Channel;
use url::Url;

use super::Told;
use crate::QueryError;

/// Connections that are kept; addresses come and go with pods.
const MOST: usize = 256;

/// The workers of one query.
pub(super) struct Workers(pub(super) Vec<Url>);

impl WorkerResolver for Workers {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.0.clone())
    }
}

/// One connection per worker, made on first use and again after each loss.
#[derive(Clone)]
pub(super) struct Channels {
    remote: RemoteOptions,
    known: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Channels {
    pub(super) fn new(remote: RemoteOptions) -> Self {
        Channels { remote, known: Arc::default() }
    }

    /// The connection to HOST:PORT.
    pub(super) fn channel(&self, address: &str) -> Result<Channel, QueryError> {
        let mut known = self.known.lock();
        if let Some(channel) = known.get(address) {
            return Ok(channel.clone());
        }
        let channel = bonghwa_protocol::connect(address, &self.remote)
            .map_err(|error| QueryError::Unavailable(format!("querier {address}: {error}")))?;
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        let channel = self.channel(&format!("{host}:{port}")).map_err(Told)?;
        Ok(create_worker_client(BoxCloneSyncChannel::new(channel)))
    }
}
