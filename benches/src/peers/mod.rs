//! The peers, each with the settings that are best for it and still its own.

pub mod clickhouse;
pub mod metrics;

use serde::Serialize;

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Durability {
    /// Whether acked data survives a power cut.
    pub fsynced: bool,
    /// In words.
    pub what: &'static str,
}

/// Bonghwa's, which the others are held against.
pub const OURS: Durability = Durability { fsynced: true, what: "fsynced in the replicated log" };
