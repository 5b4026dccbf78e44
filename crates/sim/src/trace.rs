//! What happened in a run, as a hash: two runs of one seed are the same run if their hashes are.

use std::collections::VecDeque;
use std::time::Duration;

use bonghwa_seam::{self as seam, Instant};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Lines kept for the report of a violation.
const RECENT: usize = 400;

/// The events of a run in their order.
pub struct Trace {
    start: Instant,
    print: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    hash: u64,
    events: u64,
    recent: VecDeque<String>,
}

impl Trace {
    /// A trace that begins now; `print`: each line also goes to standard error.
    pub fn new(print: bool) -> Self {
        Trace { start: seam::now(), print, inner: Mutex::default() }
    }

    /// Simulated time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Something worth a line.
    pub fn line(&self, text: String) {
        let at = self.elapsed();
        let line = format!("{:>9.3} {text}", at.as_secs_f64());
        if self.print {
            eprintln!("{line}");
        }
        let mut inner = self.inner.lock();
        inner.hash = xxh3_64_with_seed(line.as_bytes(), inner.hash);
        inner.events += 1;
        inner.recent.push_back(line);
        if inner.recent.len() > RECENT {
            inner.recent.pop_front();
        }
    }

    /// Something of which there is too much for lines: a message, a sync.
    pub fn tick(&self, from: &str, to: &str, detail: u64) {
        let at = self.elapsed().as_nanos() as u64;
        let mut inner = self.inner.lock();
        let mut hash = xxh3_64_with_seed(from.as_bytes(), inner.hash);
        hash = xxh3_64_with_seed(to.as_bytes(), hash);
        hash = xxh3_64_with_seed(&at.to_le_bytes(), hash);
        inner.hash = xxh3_64_with_seed(&detail.to_le_bytes(), hash);
        inner.events += 1;
    }

    /// The hash over all events so far, and their number.
    pub fn hash(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.hash, inner.events)
    }

    /// The last lines.
    pub fn recent(&self) -> Vec<String> {
        self.inner.lock().recent.iter().cloned().collect()
    }
}
