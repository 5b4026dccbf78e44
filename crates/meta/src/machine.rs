//! The state behind the replicated log: decodes entries, applies them, feeds the watchers.

use std::sync::Arc;

use bonghwa_protocol::v1;
use bonghwa_replog::{BoxError, Payload, Snapshot, StateMachine};
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;

use crate::feed::{Feed, HistoryLimits};
use crate::state::State;
use crate::{MetaError, reject};

/// The version of an entry, its first byte.
const ENTRY_VERSION: u8 = 1;

/// Meta's state machine.
pub(crate) struct Machine {
    inner: Mutex<Inner>,
    feed: Arc<Feed>,
    /// The last position applied, for whoever waits for positions.
    positions: watch::Sender<u64>,
}

struct Inner {
    state: State,
    /// The last position applied.
    position: u64,
    /// Where an entry stands that this build cannot read. From there on the state
    /// is not that of the others: it must not be stored nor asked.
    unreadable: Option<u64>,
}

/// A command as an entry of the log.
pub(crate) fn entry(command: v1::Command) -> Payload {
    let mut bytes = BytesMut::with_capacity(1 + command.encoded_len());
    bytes.put_u8(ENTRY_VERSION);
    bytes.put(command.encode_to_vec().as_slice());
    Payload::with_decoded(bytes, Arc::new(command))
}

/// The command of an entry; none if only a newer release knows it.
fn command(payload: &Payload) -> Option<Arc<v1::Command>> {
    if let Some(decoded) = &payload.decoded
        && let Ok(command) = decoded.clone().downcast::<v1::Command>()
    {
        return Some(command);
    }
    let (version, bytes) = payload.bytes.split_first()?;
    if *version > ENTRY_VERSION {
        return None;
    }
    // An unknown kind decodes to none.
    v1::Command::decode(bytes).ok().filter(|command| command.kind.is_some()).map(Arc::new)
}

impl Machine {
    pub(crate) fn new(limits: HistoryLimits) -> Arc<Self> {
        let inner = Inner { state: State::default(), position: 0, unreadable: None };
        Arc::new(Machine {
            inner: Mutex::new(inner),
            feed: Arc::new(Feed::new(limits)),
            positions: watch::Sender::new(0),
        })
    }

    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    pub(crate) fn positions(&self) -> watch::Receiver<u64> {
        self.positions.subscribe()
    }

    /// Fails if the state is not that of the other nodes.
    pub(crate) fn check(&self) -> Result<(), MetaError> {
        self.inner.lock().check()
    }
}

impl Inner {
    fn check(&self) -> Result<(), MetaError> {
        self.unreadable.map_or(Ok(()), |position| Err(MetaError::UnknownCommand(position)))
    }
}

impl StateMachine for Machine {
    fn apply(&self, position: u64, payload: &Payload) -> Bytes {
        let mut inner = self.inner.lock();
        inner.position = position;
        self.positions.send_replace(position);
        let command = command(payload).filter(|_| inner.unreadable.is_none());
        let Some(command) = command else {
            let first = *inner.unreadable.get_or_insert(position);
            let error = MetaError::UnknownCommand(first);
            tracing::error!(%error, position, "an entry is not applied");
            let rejection = v1::command_result::Outcome::Rejection(reject::invalid(error.to_string()));
            let result = v1::CommandResult { version: inner.state.catalog().version(), outcome: Some(rejection) };
            return result.encode_to_vec().into();
        };
        let applied = inner.state.apply(&command);
        if let Some(change) = applied.change {
            // Within the lock, so that a restore cannot come between.
            self.feed.push(inner.state.catalog().clone(), change);
        }
        applied.result.encode_to_vec().into()
    }

    fn snapshot(&self) -> Result<Snapshot, BoxError> {
        let (state, position) = {
            let inner = self.inner.lock();
            inner.check()?;
            (inner.state.clone(), inner.position)
        };
        Ok(Snapshot { position, data: state.encode() })
    }

    fn restore(&self, position: u64, data: Bytes) -> Result<(), BoxError> {
        let state = State::decode(data)?;
        let mut inner = self.inner.lock();
        self.feed.replace(state.catalog().clone());
        self.positions.send_replace(position);
        *inner = Inner { state, position, unreadable: None };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn machine() -> Arc<Machine> {
        Machine::new(HistoryLimits { changes: 10, bytes: 1000 })
    }

    fn register() -> v1::Command {
        let node = v1::Node { name: "a".into(), address: "a:1".into(), ..Default::default() };
        v1::Command {
            kind: Some(v1::command::Kind::RegisterNode(v1::RegisterNode { node: Some(node), previous_incarnation: 0 })),
        }
    }

    #[test]
    fn an_entry_means_the_same_decoded_and_as_bytes() {
        let (here, there) = (machine(), machine());
        let sent = entry(register());
        let answer = here.apply(5, &sent);
        assert_eq!(there.apply(5, &Payload::new(sent.bytes)), answer);
        assert_eq!(here.snapshot().unwrap(), there.snapshot().unwrap());
        assert_eq!(here.snapshot().unwrap().position, 5);
        assert_eq!(here.feed().version(), 1);

        let restored = machine();
        restored.restore(5, here.snapshot().unwrap().data).unwrap();
        assert_eq!(restored.snapshot().unwrap(), here.snapshot().unwrap());
        assert_eq!((restored.feed().version(), *restored.positions().borrow()), (1, 5));
    }

    /// A node that is behind in a rolling upgrade must not pass off its state as
    /// that of the others.
    #[test]
    fn what_only_a_newer_release_knows_stops_the_node() {
        // Field 100 of the command, length-delimited.
        let unknown_kind = [ENTRY_VERSION, 0xa2, 0x06, 0];
        let newer_entry = [ENTRY_VERSION + 1, 0];
        for bytes in [&unknown_kind[..], &newer_entry[..]] {
            let machine = machine();
            machine.apply(1, &entry(register()));
            assert!(machine.check().is_ok());
            machine.apply(2, &Payload::new(bytes.to_vec()));
            machine.apply(3, &entry(register()));
            assert!(matches!(machine.check(), Err(MetaError::UnknownCommand(2))));
            assert!(machine.snapshot().is_err());
        }
    }
}
