//! Queries return the same answer before, during and after a flush, and after a restart.

use std::time::Duration;

use anyhow::{Result, ensure};
use bonghwa_testkit::{FaultMix, Server, Store, seed};
use bonghwa_tests::questions::{Data, ask};
use bonghwa_tests::{On, on_every_store};

on_every_store!(answers_stay_the_same_through_flushes);
on_every_store!(answers_stay_the_same_through_a_restart);

const ROUNDS: usize = 4;

async fn answers_stay_the_same_through_flushes(on: On) -> Result<()> {
    let store = on.store().await?;
    let mut server = Server::start(store.clone()).await?;
    let mut data = Data::new(seed::draw("flush"));
    let mut during = 0;
    for round in 0..ROUNDS {
        data.send(&server).await?;
        let questions = data.questions();
        ask(&server.sql(), &questions, "before the flush").await?;
        if let Store::S3(s3) = &store {
            // Slow, so that many answers fall into the flush.
            s3.faults().set(FaultMix::slow(Duration::from_millis(60)));
        }
        let flush = tokio::spawn(server.http().post(server.url("/admin/flush")).send());
        while !flush.is_finished() {
            ask(&server.sql(), &questions, "during the flush").await?;
            during += 1;
        }
        let answer = flush.await??;
        ensure!(answer.status().is_success(), "the flush of round {round} answers {}", answer.status());
        if let Store::S3(s3) = &store {
            s3.faults().clear();
        }
        ask(&server.sql(), &questions, "after the flush").await?;
    }
    println!("{during} rounds of questions were answered during {ROUNDS} flushes");
    ensure!(during >= ROUNDS, "only {during} rounds of questions fell into a flush");
    server.stop().await
}

async fn answers_stay_the_same_through_a_restart(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let mut data = Data::new(seed::draw("restart"));
    // Half of it in blocks, half of it not.
    data.send(&server).await?;
    server.flush().await?;
    data.send(&server).await?;
    let questions = data.questions();
    ask(&server.sql(), &questions, "before the restart").await?;
    server.stop().await?;
    server.restart().await?;
    ask(&server.sql(), &questions, "after the restart").await?;
    server.stop().await
}
