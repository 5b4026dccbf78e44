//! Clients that send OTLP over HTTP, and remember what was acked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use bonghwa_seam as seam;
use bonghwa_testkit::generate::{Batch, Generator, Signal};
use bonghwa_testkit::send;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::dice;
use crate::roles::Role;
use crate::world::World;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends batches of one signal until it is told to end; each at most so many times, with the same
/// bytes.
pub async fn send_until(
    world: Arc<World>,
    signal: Signal,
    mut generator: Generator,
    attempts: u32,
    end: Arc<AtomicBool>,
) {
    while !end.load(Ordering::Relaxed) {
        let count = 1 + generator.below(6);
        let batch = generator.batch(signal, count);
        for _ in 0..attempts {
            // Not acked is an answer too; the ledger knows.
            if send_one(&world, &batch).await.is_ok() {
                break;
            }
            seam::sleep(dice::between(Duration::from_millis(50), Duration::from_millis(1000))).await;
        }
        seam::sleep(dice::between(Duration::from_millis(20), Duration::from_millis(500))).await;
    }
}

/// Sends one batch to any of the distributors; whether it was acked, or why not.
pub async fn send_one(world: &Arc<World>, batch: &Batch) -> Result<(), String> {
    let fronts = world.names(Role::Front);
    let front = dice::one_of(&fronts).ok_or("there is no distributor")?;
    world.ledger.sent(batch);
    let answer = seam::timeout(PATIENCE, post(world, front, batch)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    match &answer {
        Ok(()) => world.ledger.acked(batch),
        Err(error) => {
            let first = batch.records.first().map_or(0, |record| record.id);
            world.trace.line(format!("{:?} {first:#x} by {front} was not acked: {error}", batch.signal));
        }
    }
    answer
}

async fn post(world: &World, front: &str, batch: &Batch) -> Result<(), String> {
    let request = Request::post(batch.signal.path())
        .header("content-type", "application/x-protobuf")
        .body(Body::from(batch.body.clone()))
        .map_err(|e| e.to_string())?;
    let answer = world.network.call("client", front, |servers| async move {
        let front = servers.front()?;
        let response = front.receive.oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = response.status();
        let body = response.into_body().collect().await.ok()?;
        Some((status, body.to_bytes()))
    });
    match answer.await {
        Ok(Some((StatusCode::OK, body))) => match send::rejected(batch.signal, &body) {
            Ok((0, _)) => Ok(()),
            Ok((count, message)) => Err(format!("{count} rejected: {message}")),
            Err(error) => Err(format!("an answer that is no OTLP: {error}")),
        },
        Ok(Some((status, body))) => Err(format!("{status}: {}", printable(&body))),
        Ok(None) => Err("the distributor is starting".to_owned()),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// The words in a protobuf status.
fn printable(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).collect()
}
