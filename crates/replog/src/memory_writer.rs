//! The task that writes a simulated disk: like the thread of segments it takes the requests of all
//! groups that wait, writes them together and syncs once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::StoreOptions;
use crate::memory_disk::MemoryHandle;
use crate::request::{Progress, Request};

pub(crate) struct MemoryWriter {
    disk: MemoryHandle,
    progress: Arc<Progress>,
    max_bytes: usize,
}

impl MemoryWriter {
    pub fn new(disk: MemoryHandle, progress: Arc<Progress>, options: &StoreOptions) -> Self {
        Self { disk, progress, max_bytes: options.max_write_bytes }
    }

    /// Runs until it is told to stop or nobody can send any more.
    pub async fn run(self, mut requests: UnboundedReceiver<Request>) {
        while let Some(first) = requests.recv().await {
            let (mut round, mut bytes) = (Vec::new(), 0);
            let mut next = Some(first);
            let mut stop = false;
            while let Some(request) = next {
                if matches!(request, Request::Stop) {
                    stop = true;
                    break;
                }
                bytes += request.len();
                round.push(request);
                next = if bytes < self.max_bytes { requests.try_recv().ok() } else { None };
            }
            let result = self.write(&round).await;
            self.progress.conclude(round, &result);
            if stop {
                return;
            }
        }
    }

    async fn write(&self, round: &[Request]) -> Result<(), String> {
        let mut batch = self.disk.batch();
        let sync = self.progress.fill(round, &mut batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.disk.write(batch).map_err(|e| e.to_string())?;
        if sync {
            self.disk.sync().await.map_err(|e| e.to_string())?;
            self.progress.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
