//! `kill -9` at random moments under load: after every restart each acked record is there
//! exactly once, and no record is there twice. The same while the object store fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bonghwa_testkit::faults::Fault;
use bonghwa_testkit::{FaultMix, Load, Oracle, S3, Server, Signal, Store, seed, wait};
use rand::Rng as _;
use rand::rngs::StdRng;

/// How often the server is killed; `BONGHWA_KILLS` sets another number.
const KILLS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_a_local_directory() -> Result<()> {
    let seed = seed::draw("killed_on_a_local_directory");
    Run::new(seed, Store::Local, None).await?.survives().await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_on_s3() -> Result<()> {
    let seed = seed::draw("killed_on_s3");
    let s3 = S3::start(seed).await?;
    Run::new(seed, Store::S3(s3), None).await?.survives().await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_s3_fails() -> Result<()> {
    let seed = seed::draw("killed_while_s3_fails");
    let s3 = S3::start(seed).await?;
    Run::new(seed, Store::S3(s3.clone()), Some(s3.clone())).await?.survives().await?;
    println!("faults: {}", s3.faults());
    for fault in [Fault::Error, Fault::SlowDown, Fault::Hang, Fault::Torn, Fault::LostAnswer] {
        ensure!(s3.faults().struck(fault) > 0, "{fault:?} never struck: the test shows nothing about it");
    }
    Ok(())
}

struct Run {
    seed: u64,
    rng: StdRng,
    oracle: Arc<Oracle>,
    server: Server,
    /// The store whose faults are switched.
    failing: Option<Arc<S3>>,
}

impl Run {
    async fn new(seed: u64, store: Store, failing: Option<Arc<S3>>) -> Result<Self> {
        let server = Server::start(store).await?;
        Ok(Run { seed, rng: seed::rng(seed, 0xC4A5), oracle: Arc::default(), server, failing })
    }

    async fn survives(mut self) -> Result<()> {
        let began = Instant::now();
        let kills = std::env::var("BONGHWA_KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(KILLS);
        for round in 1..=kills {
            self.burst(round).await?;
            self.restart().await?;
            self.oracle.check(&self.server.sql()).await.map_err(|e| e.context(format!("after kill {round}")))?;
        }
        // From the tail, from blocks, and after an orderly stop.
        self.server.flush().await?;
        self.oracle.check(&self.server.sql()).await?;
        self.server.stop().await?;
        self.server.restart().await?;
        self.oracle.check(&self.server.sql()).await?;
        let counts = Signal::ALL.map(|signal| format!("{} {}", self.oracle.count(signal), signal.table())).join(", ");
        println!("{kills} kills in {:?}; acked, each there exactly once: {counts}", began.elapsed());
        for signal in Signal::ALL {
            ensure!(self.oracle.count(signal) as u64 > kills, "too few acked {signal:?} to show anything: {counts}");
        }
        self.server.stop().await
    }

    /// Load and flushes, cut off by SIGKILL.
    async fn burst(&mut self, round: u64) -> Result<()> {
        if let Some(s3) = &self.failing {
            s3.faults().set(match self.rng.random_range(0..4) {
                0 => FaultMix::default(),
                1 => FaultMix::outage(),
                _ => FaultMix::storm(),
            });
        }
        let acked = self.oracle.total();
        let load = Load::start(&self.server.sender(), &self.oracle, self.seed, round);
        wait::until("the first ack of a burst", Duration::from_secs(30), || {
            let more = self.oracle.total() > acked;
            let refusal = self.oracle.last_refusal();
            async move { if more { Ok(()) } else { Err(refusal) } }
        })
        .await?;
        let flushes = self.flushes();
        wait::moment(Duration::from_millis(self.rng.random_range(5..500))).await;
        self.server.kill9()?;
        flushes.abort();
        load.end().await
    }

    /// Flushes all the time, so that many kills hit one half done.
    fn flushes(&mut self) -> tokio::task::JoinHandle<()> {
        let http = self.server.http().clone();
        let url = self.server.url("/admin/flush");
        let pause = Duration::from_millis(self.rng.random_range(1..150));
        tokio::spawn(async move {
            loop {
                wait::moment(pause).await;
                // It may fail: the store may, and the server is about to die.
                let _ = http.post(&url).send().await;
            }
        })
    }

    async fn restart(&mut self) -> Result<()> {
        let Some(s3) = self.failing.clone() else {
            return self.server.restart().await;
        };
        // A store that fails does not keep the server from starting.
        if self.rng.random_bool(0.5) {
            s3.faults().clear();
        }
        self.server.restart().await?;
        s3.faults().clear();
        Ok(())
    }
}
