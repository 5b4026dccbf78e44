//! Who the workers are, and the connections to them.

use std::collections::HashMap;

use async_trait::async_trait;
use bonghwa_protocol::RemoteOptions;
use datafusion::common::Result;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, WorkerChannel, WorkerResolver};
use parking_lot::Mutex;
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
pub(super) struct Channels {
    remote: RemoteOptions,
    known: Mutex<HashMap<String, BoxCloneSyncChannel>>,
}

impl Channels {
    pub(super) fn new(remote: RemoteOptions) -> Self {
        Channels { remote, known: Mutex::default() }
    }

    fn channel(&self, address: String) -> Result<BoxCloneSyncChannel> {
        let mut known = self.known.lock();
        if let Some(channel) = known.get(&address) {
            return Ok(channel.clone());
        }
        let channel = bonghwa_protocol::connect(&address, &self.remote)
            .map_err(|error| Told(QueryError::Unavailable(format!("querier {address}: {error}"))))?;
        if known.len() >= MOST {
            known.clear();
        }
        let channel = BoxCloneSyncChannel::new(channel);
        known.insert(address, channel.clone());
        Ok(channel)
    }
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        Ok(create_worker_client(self.channel(format!("{host}:{port}"))?))
    }
}
