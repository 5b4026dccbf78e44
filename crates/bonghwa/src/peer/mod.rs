//! Between the nodes of a cluster: who is there, and the wires of the replicated log.

mod link;
mod service;
mod transport;

pub use service::PeerService;
pub use transport::PeerTransport;

use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_protocol::v1::peer_client::PeerClient;
use bonghwa_protocol::{MAX_MESSAGE_BYTES, RemoteOptions, RpcError, connect, v1};

/// How long a node may take to say who it is.
const IDENTIFY: Duration = Duration::from_secs(2);
/// Bytes of messages in one frame; a single larger message still goes.
const FRAME_BYTES: usize = 4 << 20;
/// Messages that wait for one link before their senders do.
const QUEUE: usize = 1024;

/// Asks who answers at HOST:PORT.
pub async fn identify(address: &str, options: &RemoteOptions) -> Result<v1::Identity, RpcError> {
    let mut client = PeerClient::new(connect(address, options)?);
    match seam::timeout(IDENTIFY, client.identify(v1::IdentifyRequest {})).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(RpcError::timeout(format!("{address} did not say who it is within {IDENTIFY:?}"))),
    }
}

fn client(channel: tonic::transport::Channel) -> PeerClient<tonic::transport::Channel> {
    PeerClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
}
