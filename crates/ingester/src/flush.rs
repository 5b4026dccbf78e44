//! The flush transaction: sort and write what lies beyond the watermark, put it
//! into the object store, commit it to the catalog, then trim the log.
//!
//! Only the leader flushes. One that was deposed without knowing it loses nothing: the catalog
//! takes one flush of a range, and both would hold the same records.
//!
//! A crash before the commit leaves an orphan object and nothing else: the log
//! still has the records, and the next flush writes them under another name. A
//! crash after the commit leaves a log that is longer than it need be: the
//! catalog's watermark tells the next start to skip what is flushed.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_block::{WriteOptions, write_l0};
use bonghwa_cluster::seam;
use bonghwa_protocol::{MetaClient, v1};

use crate::partition::Partition;
use crate::storage::BlockStore;
use crate::{IngesterError, IngesterOptions, metrics};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const PUT_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Flusher {
    pub store: BlockStore,
    pub meta: Arc<dyn MetaClient>,
    pub write: WriteOptions,
    /// One flush at a time sorts and encodes, so that memory and CPU stay bounded.
    pub encoding: tokio::sync::Semaphore,
}

impl Flusher {
    /// Flushes one partition once. Answers with the new block's path, or nothing if the head was empty.
    pub(crate) async fn flush(&self, partition: &Partition) -> Result<Option<String>, IngesterError> {
        let _one_at_a_time = partition.flushing.lock().await;
        let started = seam::now();
        let result = self.flush_once(partition).await;
        let outcome = match &result {
            Ok(Some(_)) => "ok",
            Ok(None) => return result,
            Err(_) => "error",
        };
        metrics::FLUSHES.with_label_values(&[partition.signal.as_str(), outcome]).inc();
        metrics::FLUSH_SECONDS.observe(started.elapsed().as_secs_f64());
        result
    }

    async fn flush_once(&self, partition: &Partition) -> Result<Option<String>, IngesterError> {
        // The semaphore is never closed.
        let permit = self.encoding.acquire().await.ok();
        if let Some(message) = partition.head.newer() {
            return Err(IngesterError::Newer { partition: partition.name.clone(), message });
        }
        let Some(range) = partition.head.flush_range(partition.flush_limit()) else { return Ok(None) };
        let (from, to) = (range.from, range.to);
        if range.kept.is_empty() {
            self.commit(partition, None, from, to).await?;
            self.flushed(partition, to).await?;
            return Ok(None);
        }
        let (signal, name) = (partition.signal, partition.name.clone());
        // The suffix keeps two leaders that flush one range from writing one object.
        let path = format!("{signal}/l0/{name}/{from:020}-{to:020}-{:08x}.parquet", seam::random() as u32);
        let options = self.write.clone();
        let block_path = path.clone();
        let block_error =
            |message: String| IngesterError::Block { partition: partition.name.clone(), path: path.clone(), message };
        let encoded = seam::blocking(move || write_l0(signal, &name, from, to, block_path, &range.kept, &options))
            .await
            .ok_or_else(|| block_error("the writer panicked or the process stops".to_owned()))?
            .map_err(|e| block_error(e.to_string()))?;
        drop(permit);
        let bytes = encoded.bytes.len();
        self.store.put(&path, encoded.bytes, PUT_TIMEOUT).await?;
        let committed = self.commit(partition, Some(encoded.block), from, to).await;
        if let Err(IngesterError::Rejected { .. }) = committed {
            // The catalog will never list it. An unknown outcome leaves the object: it may be listed.
            self.store.delete(&path).await;
        }
        committed?;
        metrics::FLUSHED_BYTES.with_label_values(&[partition.signal.as_str()]).inc_by(bytes as u64);
        self.flushed(partition, to).await?;
        tracing::debug!(partition = partition.name, from, to, bytes, path, "flushed");
        Ok(Some(path))
    }

    async fn flushed(&self, partition: &Partition, to: u64) -> Result<(), IngesterError> {
        partition.head.mark_flushed(to);
        partition.release_flushed();
        let log_error = |source| IngesterError::Log { partition: partition.name.clone(), source };
        partition.group.trim(to).await.map_err(log_error)
    }

    /// Commits; the same command twice is committed once, so an unknown outcome is asked again.
    async fn commit(
        &self,
        partition: &Partition,
        block: Option<v1::Block>,
        from: u64,
        to: u64,
    ) -> Result<(), IngesterError> {
        let name = partition.name.clone();
        let commit = v1::CommitFlush { partition: name, from, to, blocks: block.into_iter().collect() };
        let command = v1::Command { kind: Some(v1::command::Kind::CommitFlush(commit)) };
        let mut pause = FIRST_PAUSE;
        let result = loop {
            match self.meta.execute(command.clone()).await {
                Ok(result) => break result,
                Err(error) if error.is_retryable() => {
                    tracing::warn!(partition = partition.name, %error, "commit of a flush is tried again");
                    seam::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        };
        match result.outcome {
            Some(v1::command_result::Outcome::Rejection(rejection)) => {
                // Somebody else flushed further: what lies below their watermark is not ours to flush again.
                if rejection.reason() == v1::RejectionReason::StaleWatermark && rejection.watermark > from {
                    partition.head.mark_flushed(rejection.watermark);
                }
                Err(IngesterError::Rejected { command: "CommitFlush", message: rejection.message })
            }
            _ => Ok(()),
        }
    }
}

/// Flushes by size and age, and lets go of flushed tails, until the partition is gone.
pub(crate) async fn flush_loop(
    partition: std::sync::Weak<Partition>,
    flusher: Arc<Flusher>,
    options: Arc<IngesterOptions>,
) {
    let tick = options.flush_age.min(Duration::from_secs(1));
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(wanted) = partition.upgrade().map(|p| p.flush_wanted.clone()) else { return };
        let asked = tokio::select! {
            () = wanted.notified() => true,
            () = seam::sleep(tick) => false,
        };
        let Some(partition) = partition.upgrade() else { return };
        partition.release_flushed();
        let (bytes, since) = partition.head.unflushed();
        let aged = since.is_some_and(|since| since.elapsed() >= options.flush_age);
        if !(asked || aged || bytes >= options.flush_bytes) {
            continue;
        }
        match flusher.flush(&partition).await {
            Ok(_) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::warn!(partition = partition.name, %error, "flush failed and is tried again; the log keeps the records");
                seam::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                partition.flush_wanted.notify_one();
            }
        }
    }
}
