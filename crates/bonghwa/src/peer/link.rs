//! The calling end of the stream to one other node: requests of all groups go out in frames, and
//! answers find their caller by number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_protocol::{RemoteOptions, connect, v1};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{FRAME_BYTES, QUEUE, client};

/// After a stream broke, calls fail at once for this long.
const PAUSE: Duration = Duration::from_millis(100);

/// A call on its way, and where its answer goes.
pub(super) struct Call {
    pub group: String,
    pub kind: u8,
    pub body: Bytes,
    pub answer: oneshot::Sender<Result<v1::LogMessage, String>>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<v1::LogMessage, String>>>>>;

/// The stream to one address; it stands while calls come and is made again after it broke.
pub(super) struct Link {
    pub address: String,
    calls: mpsc::Sender<Call>,
    _task: seam::Task,
}

impl Link {
    pub(super) fn new(address: &str, options: RemoteOptions) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE);
        let task = seam::spawn(run(address.to_owned(), options, queue));
        Link { address: address.to_owned(), calls, _task: task }
    }

    pub(super) fn calls(&self) -> mpsc::Sender<Call> {
        self.calls.clone()
    }
}

async fn run(address: String, options: RemoteOptions, mut queue: mpsc::Receiver<Call>) {
    let channel = match connect(&address, &options) {
        Ok(channel) => channel,
        Err(error) => {
            while let Some(call) = queue.recv().await {
                // A caller that went away waits for nothing.
                let _ = call.answer.send(Err(error.to_string()));
            }
            return;
        }
    };
    while let Some(first) = queue.recv().await {
        let broken = stream(channel.clone(), first, &mut queue).await;
        tracing::debug!(address, broken, "the stream to a node ended");
        let until = seam::now() + PAUSE;
        // What comes meanwhile would find the same: it fails now, and its sender tries again.
        while let Ok(Some(call)) = seam::timeout(until.saturating_duration_since(seam::now()), queue.recv()).await {
            let _ = call.answer.send(Err(broken.clone()));
        }
    }
}

/// Keeps one stream until it breaks; says why. All calls on it are answered by then.
async fn stream(channel: Channel, first: Call, queue: &mut mpsc::Receiver<Call>) -> String {
    let waiting = Waiting::default();
    let mut number = 0;
    let mut frame = |calls: Vec<Call>| {
        let mut messages = Vec::with_capacity(calls.len());
        for Call { group, kind, body, answer } in calls {
            number += 1;
            waiting.lock().insert(number, answer);
            messages.push(v1::LogMessage { id: number, group, kind: u32::from(kind), body, ..Default::default() });
        }
        v1::LogFrame { messages }
    };
    let (frames, outgoing) = mpsc::channel(2);
    // The first frame travels with the request, so that the stream opens at once. The channel is
    // new and has room for it.
    let _ = frames.try_send(frame(gather(first, queue)));
    let broken = match client(channel).exchange(ReceiverStream::new(outgoing)).await {
        Err(status) => status.to_string(),
        Ok(answers) => {
            let write = async {
                while let Some(call) = queue.recv().await {
                    if frames.send(frame(gather(call, queue))).await.is_err() {
                        return "the connection broke".to_owned();
                    }
                }
                "this node no longer needs it".to_owned()
            };
            tokio::select! {
                broken = write => broken,
                broken = read(answers.into_inner(), &waiting) => broken,
            }
        }
    };
    for (_, caller) in std::mem::take(&mut *waiting.lock()) {
        let _ = caller.send(Err(broken.clone()));
    }
    broken
}

/// Brings answers to their callers until the stream ends; says why.
async fn read(mut answers: Streaming<v1::LogFrame>, waiting: &Waiting) -> String {
    loop {
        match answers.next().await {
            Some(Ok(frame)) => frame.messages.into_iter().for_each(|message| {
                let caller = waiting.lock().remove(&message.id);
                if let Some(caller) = caller {
                    // One that went away waits for nothing.
                    let _ = caller.send(Ok(message));
                }
            }),
            Some(Err(status)) => return status.to_string(),
            None => return "the node ended the stream".to_owned(),
        }
    }
}

/// Takes what waits behind a first call, as much as one frame holds; a single larger one still goes.
fn gather(first: Call, queue: &mut mpsc::Receiver<Call>) -> Vec<Call> {
    let mut bytes = first.body.len();
    let mut calls = vec![first];
    while bytes < FRAME_BYTES
        && let Ok(next) = queue.try_recv()
    {
        bytes += next.body.len();
        calls.push(next);
    }
    calls
}
