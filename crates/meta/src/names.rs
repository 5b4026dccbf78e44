//! Names of partitions: the signal and a number, "logs-0001".

use std::fmt;
use std::str::FromStr;

use bonghwa_model::Signal;

/// A partition's name, taken apart. A number is given once and never again, so
/// that positions of one name always mean one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionName {
    /// Whose ring it is on.
    pub signal: Signal,
    /// From 1.
    pub number: u64,
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:04}", self.signal, self.number)
    }
}

impl FromStr for PartitionName {
    type Err = NotAPartitionName;

    fn from_str(text: &str) -> Result<Self, NotAPartitionName> {
        let parse = || {
            let (signal, number) = text.split_once('-')?;
            let signal = Signal::ALL.into_iter().find(|s| s.as_str() == signal)?;
            let name = PartitionName { signal, number: number.parse().ok()? };
            // One spelling per partition.
            (name.number > 0 && name.to_string() == text).then_some(name)
        };
        parse().ok_or_else(|| NotAPartitionName(text.to_owned()))
    }
}

/// A text that no partition can be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a partition's name: it is a signal and a number, such as \"logs-0001\"")]
pub struct NotAPartitionName(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, signal, number) in [
            ("logs-0001", Signal::Logs, 1),
            ("metrics-0042", Signal::Metrics, 42),
            ("traces-12345", Signal::Traces, 12345),
        ] {
            let name = PartitionName { signal, number };
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
        }
        for text in ["", "logs", "logs-", "logs-1", "logs-0000", "logs-+001", "log-0001", "logs-00001", "Logs-0001"] {
            assert_eq!(text.parse::<PartitionName>(), Err(NotAPartitionName(text.into())));
        }
    }
}
