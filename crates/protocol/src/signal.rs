//! Signals between the model and the wire.

use bonghwa_model::Signal;

use crate::v1;

/// A signal number that this build does not know, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signal has the number {0}: name one of 1 (logs), 2 (metrics) and 3 (traces), or upgrade this node")]
pub struct UnknownSignal(pub i32);

impl From<Signal> for v1::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Logs => v1::Signal::Logs,
            Signal::Metrics => v1::Signal::Metrics,
            Signal::Traces => v1::Signal::Traces,
        }
    }
}

impl TryFrom<v1::Signal> for Signal {
    type Error = UnknownSignal;

    fn try_from(signal: v1::Signal) -> Result<Self, UnknownSignal> {
        match signal {
            v1::Signal::Unspecified => Err(UnknownSignal(0)),
            v1::Signal::Logs => Ok(Signal::Logs),
            v1::Signal::Metrics => Ok(Signal::Metrics),
            v1::Signal::Traces => Ok(Signal::Traces),
        }
    }
}

impl v1::Block {
    /// The block's signal as the model knows it.
    pub fn model_signal(&self) -> Result<Signal, UnknownSignal> {
        known(self.signal)
    }
}

impl v1::Node {
    /// The node's state; active where an older release wrote none, or a newer one another.
    pub fn effective_state(&self) -> v1::NodeState {
        match self.state() {
            v1::NodeState::Unspecified => v1::NodeState::Active,
            state => state,
        }
    }

    /// Whether the node runs this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|r| r == role)
    }
}

impl v1::Partition {
    /// The partition's signal as the model knows it.
    pub fn model_signal(&self) -> Result<Signal, UnknownSignal> {
        known(self.signal)
    }
}

impl v1::CreatePartition {
    /// The signal asked for as the model knows it.
    pub fn model_signal(&self) -> Result<Signal, UnknownSignal> {
        known(self.signal)
    }
}

impl v1::Delete {
    /// The signal of the rows as the model knows it.
    pub fn model_signal(&self) -> Result<Signal, UnknownSignal> {
        known(self.signal)
    }
}

impl v1::Selector {
    /// Series that one selector may name: all nodes keep open deletes.
    pub const MOST_SERIES: usize = 10_000;

    /// Selects these series, by their identities.
    pub fn of_series(identities: impl IntoIterator<Item = u128>) -> Self {
        let bytes = |id: u128| bytes::Bytes::copy_from_slice(&id.to_be_bytes());
        let mut series: Vec<bytes::Bytes> = identities.into_iter().map(bytes).collect();
        series.sort_unstable();
        series.dedup();
        v1::Selector { series, attributes: vec![v1::AttributeMatch::guard()], ..Default::default() }
    }
}

impl v1::AttributeMatch {
    /// What stands beside series, and no row has.
    pub fn guard() -> Self {
        v1::AttributeMatch { key: "bonghwa.series".into(), value: "\u{1}".into(), ..Default::default() }
    }
}

fn known(number: i32) -> Result<Signal, UnknownSignal> {
    v1::Signal::try_from(number).map_err(|_| UnknownSignal(number))?.try_into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn signals_round_trip() {
        for signal in Signal::ALL {
            assert_eq!(Signal::try_from(v1::Signal::from(signal)).unwrap(), signal);
            assert_eq!(known(v1::Signal::from(signal) as i32), Ok(signal));
        }
        assert_eq!(known(0), Err(UnknownSignal(0)));
        assert_eq!(known(9), Err(UnknownSignal(9)));
    }
}
