//! Load on all three signals, until it is told to end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::generate::{Generator, Signal};
use crate::oracle::Oracle;
use crate::send::{Outcome, Sender};
use crate::wait;

/// Workers for each signal.
const WORKERS: u64 = 2;

/// Running load.
pub struct Load {
    end: watch::Sender<bool>,
    workers: JoinSet<()>,
}

impl Load {
    /// Starts sending. `round` keeps the ids of several loads of a run apart.
    pub fn start(sender: &Sender, oracle: &Arc<Oracle>, seed: u64, round: u64) -> Self {
        let end = watch::Sender::new(false);
        let mut workers = JoinSet::new();
        let base_time = Generator::now();
        for (i, signal) in Signal::ALL.into_iter().enumerate() {
            for n in 0..WORKERS {
                let worker = round * 16 + i as u64 * WORKERS + n + 1;
                let generator = Generator::new(seed, worker, base_time);
                workers.spawn(work(generator, signal, sender.clone(), oracle.clone(), end.subscribe()));
            }
        }
        Load { end, workers }
    }

    /// Lets every worker finish the batch that is on its way.
    pub async fn end(mut self) -> Result<()> {
        self.end.send_replace(true);
        while let Some(done) = self.workers.join_next().await {
            if let Err(error) = done {
                bail!("a worker of the load failed: {error}");
            }
        }
        Ok(())
    }
}

async fn work(
    mut generator: Generator,
    signal: Signal,
    sender: Sender,
    oracle: Arc<Oracle>,
    end: watch::Receiver<bool>,
) {
    while !*end.borrow() {
        let count = 1 + generator.below(30);
        let batch = generator.batch(signal, count);
        oracle.sent(&batch);
        match sender.send(&batch).await {
            Outcome::Acked => oracle.acked(&batch),
            // Not acked, so nothing is promised; and a dead server need not be asked in a busy loop.
            Outcome::Refused(reason) => {
                oracle.refused(reason);
                wait::moment(Duration::from_millis(5)).await;
            }
            Outcome::Unknown(_) => wait::moment(Duration::from_millis(5)).await,
        }
    }
}
