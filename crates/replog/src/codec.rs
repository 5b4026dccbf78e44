//! The primitives of everything this crate stores or sends: little-endian numbers, lengths before
//! bytes, and openraft's identifiers built from them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};

use crate::raft_types::{LeaderId, LogId, Membership, Node, StoredMembership, Vote};

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it ends too early")]
    Short,
    #[error("it has {0} bytes too many")]
    Trailing(usize),
    #[error("its version is {0}, this build reads up to {1}")]
    Version(u8, u8),
    #[error("its checksum does not match")]
    Checksum,
    #[error("its {0} has no valid value")]
    Value(&'static str),
}

/// Reads from the front of a buffer; byte strings are slices of it, not copies.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub fn version(&mut self, newest: u8) -> Result<u8, Malformed> {
        match self.u8()? {
            version if (1..=newest).contains(&version) => Ok(version),
            version => Err(Malformed::Version(version, newest)),
        }
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub fn flag(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value(what)),
        }
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.need(4)?;
        Ok(self.0.get_u32_le())
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.need(8)?;
        Ok(self.0.get_u64_le())
    }

    pub fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let len = self.u32()? as usize;
        self.need(len)?;
        Ok(self.0.split_to(len))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is left.
    pub fn rest(self) -> Bytes {
        self.0
    }

    pub fn end(self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(Malformed::Trailing(more)),
        }
    }

    fn need(&self, len: usize) -> Result<(), Malformed> {
        if self.0.len() < len { Err(Malformed::Short) } else { Ok(()) }
    }

    pub fn log_id(&mut self) -> Result<LogId, Malformed> {
        let term = self.u64()?;
        let node_id = self.u64()?;
        let index = self.u64()?;
        Ok(LogId::new(LeaderId { term, node_id }, index))
    }

    pub fn log_id_opt(&mut self) -> Result<Option<LogId>, Malformed> {
        Ok(if self.flag("log id")? { Some(self.log_id()?) } else { None })
    }

    pub fn vote(&mut self) -> Result<Vote, Malformed> {
        let term = self.u64()?;
        let node_id = self.u64()?;
        let committed = self.flag("vote")?;
        Ok(Vote { leader_id: LeaderId { term, node_id }, committed })
    }

    pub fn membership(&mut self) -> Result<Membership, Malformed> {
        let mut configs = Vec::new();
        for _ in 0..self.u32()? {
            let mut voters = BTreeSet::new();
            for _ in 0..self.u32()? {
                voters.insert(self.u64()?);
            }
            configs.push(voters);
        }
        let mut nodes = BTreeMap::new();
        for _ in 0..self.u32()? {
            let id = self.u64()?;
            let addr = String::from_utf8(self.bytes()?.into()).map_err(|_| Malformed::Value("address"))?;
            nodes.insert(id, Node { addr });
        }
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes).map_err(|_| Malformed::Value("membership"))
    }

    pub fn stored_membership(&mut self) -> Result<StoredMembership, Malformed> {
        let log_id = self.log_id_opt()?;
        Ok(StoredMembership::new(log_id, self.membership()?))
    }
}

/// The counterpart of [`Reader`], on any growing buffer.
pub(crate) trait Write: BufMut {
    fn put_bytes_with_len(&mut self, bytes: &[u8]) {
        // Payloads are bounded far below 4 GiB by the in-flight limit.
        self.put_u32_le(bytes.len() as u32);
        self.put_slice(bytes);
    }

    fn put_log_id(&mut self, id: &LogId) {
        self.put_u64_le(id.leader_id.term);
        self.put_u64_le(id.leader_id.node_id);
        self.put_u64_le(id.index);
    }

    fn put_log_id_opt(&mut self, id: &Option<LogId>) {
        self.put_u8(id.is_some().into());
        if let Some(id) = id {
            self.put_log_id(id);
        }
    }

    fn put_vote(&mut self, vote: &Vote) {
        self.put_u64_le(vote.leader_id.term);
        self.put_u64_le(vote.leader_id.node_id);
        self.put_u8(vote.committed.into());
    }

    fn put_membership(&mut self, membership: &Membership) {
        let configs = membership.get_joint_config();
        self.put_u32_le(configs.len() as u32);
        for voters in configs {
            self.put_u32_le(voters.len() as u32);
            voters.iter().for_each(|id| self.put_u64_le(*id));
        }
        self.put_u32_le(membership.nodes().count() as u32);
        for (id, node) in membership.nodes() {
            self.put_u64_le(*id);
            self.put_bytes_with_len(node.addr.as_bytes());
        }
    }

    fn put_stored_membership(&mut self, stored: &StoredMembership) {
        self.put_log_id_opt(stored.log_id());
        self.put_membership(stored.membership());
    }
}

impl<B: BufMut> Write for B {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn membership() -> Membership {
        let nodes = BTreeMap::from([(1, Node::new("a:1")), (2, Node::new("b:2")), (3, Node::new(""))]);
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2])], nodes).unwrap()
    }

    #[test]
    fn round_trips() {
        let id = LogId::new(LeaderId { term: 7, node_id: 3 }, 99);
        let vote = Vote { leader_id: id.leader_id, committed: true };
        let mut out = Vec::new();
        out.put_log_id_opt(&Some(id));
        out.put_log_id_opt(&None);
        out.put_vote(&vote);
        out.put_stored_membership(&StoredMembership::new(Some(id), membership()));
        out.put_stored_membership(&StoredMembership::default());
        out.put_bytes_with_len(b"tail");

        let mut reader = Reader::new(out.clone().into());
        assert_eq!(reader.log_id_opt().unwrap(), Some(id));
        assert_eq!(reader.log_id_opt().unwrap(), None);
        assert_eq!(reader.vote().unwrap(), vote);
        assert_eq!(reader.stored_membership().unwrap(), StoredMembership::new(Some(id), membership()));
        assert_eq!(reader.stored_membership().unwrap(), StoredMembership::default());
        assert_eq!(reader.bytes().unwrap(), "tail");
        reader.end().unwrap();
    }

    #[test]
    fn every_prefix_is_short() {
        let mut out = Vec::new();
        out.put_stored_membership(&StoredMembership::new(None, membership()));
        for len in 0..out.len() {
            let mut reader = Reader::new(Bytes::copy_from_slice(&out[..len]));
            assert_eq!(reader.stored_membership().unwrap_err(), Malformed::Short, "{len}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!(Reader::new(Bytes::from_static(&[1])).version(1), Ok(1));
        assert_eq!(Reader::new(Bytes::from_static(&[2])).version(1), Err(Malformed::Version(2, 1)));
        assert_eq!(Reader::new(Bytes::from_static(&[0])).version(1), Err(Malformed::Version(0, 1)));
    }
}
