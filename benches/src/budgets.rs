//! What Bonghwa should reach (`design/performance.md`) and must reach: the floor.

use bonghwa_testkit::Signal;
use serde::Serialize;

/// An aim and a floor.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Budget {
    pub aim: f64,
    pub floor: Option<f64>,
    /// Which side of them is good.
    pub better: Better,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    More,
    Less,
}

impl Budget {
    /// Whether a figure keeps the limit.
    pub fn keeps(&self, limit: f64, figure: f64) -> bool {
        match self.better {
            Better::More => figure >= limit,
            Better::Less => figure <= limit,
        }
    }
}

/// Items per CPU-second, acked when fsynced.
pub fn ingest(signal: Signal) -> Budget {
    let (aim, floor) = match signal {
        Signal::Logs => (500_000.0, 200_000.0),
        Signal::Traces => (300_000.0, 120_000.0),
        Signal::Metrics => (1_200_000.0, 400_000.0),
    };
    Budget { aim, floor: Some(floor), better: Better::More }
}

/// Bytes per item in flushed blocks, indexes included. The aims for spans and metrics are
/// for compacted blocks.
pub fn storage(signal: Signal) -> Budget {
    let (aim, floor) = match signal {
        Signal::Logs => (52.0, Some(60.0)),
        Signal::Traces => (30.0, Some(55.0)),
        Signal::Metrics => (2.0, None),
    };
    Budget { aim, floor, better: Better::Less }
}

/// Memory of all roles with nothing to do, MB.
pub fn idle_memory() -> Budget {
    Budget { aim: 100.0, floor: Some(150.0), better: Better::Less }
}
