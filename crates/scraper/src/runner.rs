//! Scrapes one target, again and again, until it is gone.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_model::TenantId;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::client::Client;
use crate::config::Job;
use crate::fetch::{self, Body, Failure};
use crate::ingest::{Counts, Facts, MessageWriter, Scrape, SeriesCache, end_reports, report};
use crate::memory::Memory;
use crate::metrics;
use crate::sink::Sink;
use crate::target::Target;

/// A body of more bytes is parsed while the worker's other tasks go elsewhere.
const LARGE: usize = 256 << 10;
/// How far from its due time a scrape may begin and still have the due time as its timestamp.
const TOLERANCE_MS: i64 = 2;
/// A write is tried for so long at least, or for an interval where that is shorter.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries of a write, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// What all targets share.
pub(crate) struct Shared {
    pub sink: Arc<dyn Sink>,
    pub tenant: TenantId,
    pub memory: Arc<Memory>,
    /// Bytes of a body where a job has no limit.
    pub most_bytes: u64,
}

/// A job and how its targets are called.
pub(crate) struct Calling {
    pub job: Arc<Job>,
    pub client: Client,
}

/// What a target's task is to do.
#[derive(Clone)]
pub(crate) enum Order {
    /// Scrape it, as it is found now; or only say that it is down, and why.
    Scrape { calling: Arc<Calling>, target: Arc<Target>, refuse: Option<String> },
    /// It is gone: end its series, unless it comes back within the grace.
    Leave,
}

impl Order {
    /// Whether it says the same.
    pub fn same_as(&self, other: &Order) -> bool {
        match (self, other) {
            (
                Order::Scrape { calling, target, refuse },
                Order::Scrape { calling: other, target: other_target, refuse: other_refuse },
            ) => Arc::ptr_eq(calling, other) && target.same_as(other_target) && refuse == other_refuse,
            (Order::Leave, Order::Leave) => true,
            _ => false,
        }
    }
}

/// Whether a target's last scrape worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// What is known of a target's last scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub health: Health,
    /// Empty for none.
    pub error: String,
    /// When it began, Unix milliseconds; 0 for never.
    pub time: i64,
    pub took: Duration,
}

/// What a target's task and the API share.
#[derive(Default)]
pub(crate) struct State {
    pub status: Mutex<Status>,
    pub series: Mutex<SeriesCache>,
}

/// The task of one target.
pub(crate) struct Runner {
    pub shared: Arc<Shared>,
    pub target: Arc<Target>,
    pub state: Arc<State>,
    pub orders: watch::Receiver<Order>,
    /// Told when the task has ended of itself.
    pub ended: Arc<Notify>,
}

impl Runner {
    /// Runs until the target is gone, or nobody gives orders.
    pub async fn run(mut self) {
        let mut due = self.first_due(now_ms());
        let mut last = None;
        loop {
            let order = self.orders.borrow_and_update().clone();
            let (calling, target, refuse) = match order {
                Order::Scrape { calling, target, refuse } => (calling, target, refuse),
                Order::Leave if self.comes_back().await => {
                    due = self.first_due(now_ms());
                    continue;
                }
                Order::Leave => break,
            };
            let other_interval = target.interval != self.target.interval;
            self.target = target;
            if other_interval {
                due = self.first_due(now_ms());
            }
            last = Some(calling.job.clone());
            let wait = Duration::from_millis((due - now_ms()).max(0) as u64);
            tokio::select! {
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                () = seam::sleep(wait) => {}
            }
            let next = self.next_due(due);
            self.scrape(&calling, refuse, due, next).await;
            let now = now_ms();
            let interval = self.interval_ms();
            due = if next > now && next <= now + 2 * interval {
                next
            } else {
                metrics::SKIPPED.inc_by(((now - next) / interval + 1).max(0) as u64);
                self.first_due(now)
            };
        }
        if let Some(job) = last {
            self.end(&job).await;
        }
        self.ended.notify_one();
    }

    fn interval_ms(&self) -> i64 {
        (self.target.interval.as_millis() as i64).max(1)
    }

    /// The next time at which it is the target's turn, Unix milliseconds.
    fn first_due(&self, now: i64) -> i64 {
        let (interval, offset) = (self.interval_ms(), self.target.offset().as_millis() as i64);
        now + (offset - now).rem_euclid(interval)
    }

    fn next_due(&self, due: i64) -> i64 {
        due + self.interval_ms()
    }

    /// Waits for the grace, which is long enough for whoever else scrapes the target to have written samples.
    /// Whether the target is there again.
    async fn comes_back(&mut self) -> bool {
        let grace = self.target.interval * 2 + self.target.interval / 10;
        match seam::timeout(grace, self.orders.changed()).await {
            Ok(Ok(())) => true,
            // Without a sender nobody wants the target's end written.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => false,
        }
    }

    /// One scrape, due at one time and over by another.
    async fn scrape(&self, calling: &Calling, refuse: Option<String>, due: i64, next: i64) {
        let started = seam::now();
        let began = now_ms();
        let time = if (began - due).abs() <= TOLERANCE_MS { due } else { began };
        let target = &self.target;
        let mut held = self.shared.memory.hold();
        let fetched = match refuse {
            Some(message) => Err(Failure::from(message)),
            None => {
                let fetch = fetch::fetch(&calling.client, &calling.job, target, &mut held, self.shared.most_bytes);
                match seam::timeout(target.timeout, fetch).await {
                    Ok(fetched) => fetched,
                    Err(_) if held.waits => Err(held.refusal().into()),
                    Err(_) => Err(fetch::timed_out(target)),
                }
            }
        };
        let scrape = Scrape { job: &calling.job, target, time };
        let size = fetched.as_ref().map_or(0, |body| body.bytes.len());
        let (messages, status) = self.work(size, || self.take(&scrape, fetched, started));
        let outcome = if status.health == Health::Up { "up" } else { "down" };
        metrics::SCRAPES.with_label_values(&[calling.job.name.as_str(), outcome]).inc();
        if status.health == Health::Down {
            let (job, instance) = (&calling.job.name, self.instance());
            tracing::debug!(job, instance, error = status.error, "a scrape failed");
        }
        // Of a failure there is no body.
        let _held = (status.health == Health::Up).then_some(held);
        *self.state.status.lock() = status;
        let left = Duration::from_millis((next - now_ms()).max(0) as u64);
        self.write(&calling.job, messages, time, patience(left, target.interval)).await;
    }

    /// Does work on a body of so many bytes, and on that of the last good scrape.
    fn work<T>(&self, bytes: usize, work: impl FnOnce() -> T) -> T {
        let last = self.state.series.lock().last();
        let large = bytes.max(last.map_or(0, |last| last.size())) > LARGE;
        if large { seam::in_place(work) } else { work() }
    }

    /// Makes messages of a body, or of its failure.
    fn take(
        &self,
        scrape: &Scrape<'_>,
        fetched: Result<Body, Failure>,
        started: seam::Instant,
    ) -> (Vec<Bytes>, Status) {
        let mut series = self.state.series.lock();
        let mut writer = MessageWriter::default();
        let mut counts = Counts::default();
        let mut size = 0.0;
        let taken = fetched.and_then(|body| {
            size = body.bytes.len() as f64;
            let (counted, taken) = series.take(&body.bytes, body.gzip, body.format, scrape, &mut writer);
            counts = counted;
            metrics::SAMPLES.inc_by(counts.scraped);
            metrics::DUPLICATES.inc_by(counts.duplicates);
            taken.map_err(Failure::from)
        });
        let error = match taken {
            Ok(()) => String::new(),
            Err(failure) => {
                writer = MessageWriter::default();
                series.fail(scrape.time, &mut writer);
                if failure.too_large {
                    size = -1.0;
                }
                failure.message
            }
        };
        let took = started.elapsed();
        let up = error.is_empty();
        report(scrape, &Facts { up, seconds: took.as_secs_f64(), counts, body: size }, &mut writer);
        let messages = writer.finish();
        let health = if up { Health::Up } else { Health::Down };
        (messages, Status { health, error, time: scrape.time, took })
    }

    /// Ends the series of a target that is gone, at the time at which its next scrape would have been.
    async fn end(&self, job: &Arc<Job>) {
        let last = self.state.status.lock().time;
        if last == 0 {
            return;
        }
        let time = last + self.interval_ms();
        let mut writer = MessageWriter::default();
        self.work(0, || self.state.series.lock().fail(time, &mut writer));
        end_reports(&Scrape { job, target: &self.target, time }, &mut writer);
        let messages = writer.finish();
        self.write(job, messages, time, self.target.interval).await;
    }

    /// Gives messages to the sink, again and again until there is no time left.
    async fn write(&self, job: &Job, messages: Vec<Bytes>, time: i64, patience: Duration) {
        let deadline = seam::now() + patience;
        for (at, message) in messages.into_iter().enumerate() {
            // Jobs may have targets of the same labels and URL: the job's name tells their messages apart.
            let key = Bytes::from(format!("scrape/{}/{:016x}/{time}/{at}", job.name, self.target.key));
            let mut pause = RETRY.0;
            loop {
                let left = deadline.saturating_duration_since(seam::now());
                let written = self.shared.sink.write(&self.shared.tenant, message.clone(), key.clone());
                let error = match seam::timeout(left.max(RETRY.0), written).await {
                    Ok(Ok(rejected)) if rejected.passed_over => {
                        metrics::WRITES.with_label_values(&["passed_over"]).inc();
                        // Who is elected next has to be told it.
                        self.state.series.lock().forget_metadata();
                        let (instance, message) = (self.instance(), rejected.message);
                        tracing::debug!(instance, message, "a scrape was passed over");
                        break;
                    }
                    Ok(Ok(rejected)) if rejected.count == 0 => {
                        metrics::WRITES.with_label_values(&["ok"]).inc();
                        break;
                    }
                    Ok(Ok(rejected)) => {
                        metrics::WRITES.with_label_values(&["rejected"]).inc();
                        let (instance, count, message) = (self.instance(), rejected.count, rejected.message);
                        tracing::warn!(instance, count, message, "samples of a scrape were rejected");
                        break;
                    }
                    Ok(Err(error)) => error,
                    Err(_) => return self.dropped("no answer in time"),
                };
                let wait = error.after.unwrap_or(pause).max(pause);
                if !error.retry || seam::now() + wait >= deadline {
                    return self.dropped(&error.message);
                }
                metrics::WRITES.with_label_values(&["repeated"]).inc();
                seam::sleep(seam::jitter(wait)).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }

    fn dropped(&self, error: &str) {
        metrics::WRITES.with_label_values(&["dropped"]).inc();
        self.state.series.lock().forget_metadata();
        tracing::warn!(instance = self.instance(), error, "a scrape was not stored, and is dropped");
    }

    fn instance(&self) -> &str {
        self.target.labels().iter().find(|(name, _)| name == "instance").map_or("", |(_, value)| value)
    }
}

/// How long a scrape is tried to be written: until the next is due, but also one that took most of its interval has
/// time to be repeated.
fn patience(left: Duration, interval: Duration) -> Duration {
    left.max(PATIENCE.min(interval))
}

/// Now, Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    seam::unix_nanos().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_that_took_long_is_tried_to_be_written_too() {
        // (milliseconds until the next, seconds of an interval, milliseconds of patience)
        for (left, interval, patient) in [(59_000, 60, 59_000), (10, 60, 5_000), (0, 1, 1_000), (900, 1, 1_000)] {
            let patience = patience(Duration::from_millis(left), Duration::from_secs(interval));
            assert_eq!(patience, Duration::from_millis(patient), "{left} ms of {interval} s");
        }
    }
}
