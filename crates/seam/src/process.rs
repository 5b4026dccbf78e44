//! A process of a simulated cluster: tasks that die together, and a wall clock of their own.
//!
//! A task belongs to the process whose task started it. Outside of simulations there is none.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::task::{AbortHandle, JoinHandle};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

/// One process of a simulated cluster.
#[derive(Debug, Default)]
pub struct Process {
    tasks: Mutex<Tasks>,
    dead: AtomicBool,
    /// Nanoseconds by which its wall clock is ahead of the simulation's.
    clock_error: AtomicI64,
}

#[derive(Debug, Default)]
struct Tasks {
    handles: Vec<AbortHandle>,
    /// Ended tasks are forgotten when there are this many handles.
    prune_at: usize,
}

impl Process {
    /// A process without tasks, with the right time.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The process whose task runs now.
    pub fn current() -> Option<Arc<Process>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Starts a task of this process on the current Tokio runtime. In a dead process it ends at once.
    pub fn start<F>(self: &Arc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        #[allow(clippy::disallowed_methods)] // This is the seam.
        let handle = tokio::spawn(InProcess { future: Some(future), process: self.clone() });
        if self.is_dead() {
            handle.abort();
            return handle;
        }
        let mut tasks = self.tasks.lock();
        if tasks.handles.len() >= tasks.prune_at {
            tasks.handles.retain(|task| !task.is_finished());
            tasks.prune_at = tasks.handles.len() * 2 + 64;
        }
        tasks.handles.push(handle.abort_handle());
        handle
    }

    /// Ends all tasks where they are, as a power cut does: none of them runs another step.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        let tasks = std::mem::take(&mut self.tasks.lock().handles);
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Whether it was killed.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Sets by how many nanoseconds the process's wall clock is ahead; negative: behind.
    pub fn set_clock_error(&self, nanos: i64) {
        self.clock_error.store(nanos, Ordering::Relaxed);
    }

    pub(crate) fn clock_error(&self) -> i64 {
        self.clock_error.load(Ordering::Relaxed)
    }
}

pin_project! {
    /// A future that runs as a part of a process.
    #[derive(Debug)]
    pub struct InProcess<F> {
        #[pin]
        future: Option<F>,
        process: Arc<Process>,
    }

    impl<F> PinnedDrop for InProcess<F> {
        fn drop(this: Pin<&mut Self>) {
            // What a dropped future starts is the process's too.
            let mut this = this.project();
            let _entered = Entered::enter(this.process.clone());
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for InProcess<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = Entered::enter(this.process.clone());
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            // Only a drop takes it.
            None => Poll::Pending,
        }
    }
}

/// Puts the process back that ran before, also after a panic.
struct Entered {
    before: Option<Arc<Process>>,
}

impl Entered {
    fn enter(process: Arc<Process>) -> Self {
        Entered { before: CURRENT.replace(Some(process)) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use super::*;
    use crate::{simulate, sleep, spawn, unix_nanos};

    #[tokio::test(start_paused = true)]
    async fn a_killed_process_takes_no_further_step() {
        let _simulation = simulate(1, 0);
        let steps = Arc::new(AtomicU32::new(0));
        let process = Process::new();
        let counted = steps.clone();
        let _main = process.start(async move {
            // A task of a task, that nobody owns.
            spawn(async move {
                loop {
                    counted.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_secs(1)).await;
                }
            })
            .detach();
            std::future::pending::<()>().await;
        });
        sleep(Duration::from_millis(3500)).await;
        assert_eq!(steps.load(Ordering::Relaxed), 4);
        process.kill();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(steps.load(Ordering::Relaxed), 4);
        assert!(process.start(async {}).await.is_err());
        // What it held is dropped.
        assert_eq!(Arc::strong_count(&steps), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_has_its_own_wall_clock() {
        let _simulation = simulate(1, 5_000);
        let process = Process::new();
        process.set_clock_error(-2_000);
        let read = process.start(async { (unix_nanos(), spawn(async { unix_nanos() }).join().await) });
        assert_eq!(read.await.unwrap(), (3_000, Some(3_000)));
        assert_eq!(unix_nanos(), 5_000);
    }
}
