//! openraft's type parameters, in one place, and short names for what they make.

use bytes::Bytes;

use crate::Payload;
use crate::runtime::Runtime;

openraft::declare_raft_types!(
    /// Entries carry a [`Payload`], answers are bytes, nodes are numbers with an address.
    pub(crate) TypeConfig:
        D = Payload,
        R = Bytes,
        AsyncRuntime = Runtime,
);

pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Node = openraft::BasicNode;
pub(crate) type Content = openraft::EntryPayload<Payload, u64, Node>;
pub(crate) type Entry = openraft::Entry<LeaderId, Content>;
pub(crate) type Membership = openraft::Membership<u64, Node>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, Node>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Node>;
pub(crate) type RaftSnapshot = openraft::Snapshot<LeaderId, u64, Node, Bytes>;
pub(crate) type Fatal = openraft::errors::Fatal<TypeConfig>;
