//! What heads hold stays within bounds while blocks cannot be written, whoever floods.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bonghwa_testkit::generate::Generator;
use bonghwa_testkit::send::Outcome;
use bonghwa_testkit::{FaultMix, Server, Signal, Store, wait};
use bonghwa_tests::On;

const HEADS: u64 = 4 << 20;
const ROWS: usize = 200;
const DEADLINE: Duration = Duration::from_secs(60);

/// Memory of all heads, by the server's own account.
async fn held(server: &Server) -> Result<u64> {
    let text = server.http().get(server.url("/metrics")).send().await?.error_for_status()?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix("bonghwa_ingester_head_bytes "));
    Ok(line.context("no bonghwa_ingester_head_bytes")?.parse::<f64>()? as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_signal_leaves_room_for_others() -> Result<()> {
    let store = On::S3.store().await?;
    let settings = [("HEAD_BYTES", "4MiB"), ("FLUSH_BYTES", "512KiB"), ("GRACE", "10m")]
        .map(|(key, value)| (format!("BONGHWA_INGESTER__{key}"), value));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let mut server = Server::start_with(store.clone(), &settings).await?;
    let Store::S3(s3) = &store else { bail!("the test needs an object store that can fail") };
    s3.faults().set(FaultMix::outage());

    let mut generator = Generator::new(1, 0, Generator::now());
    let mut acked = 0;
    let refusal = loop {
        match server.sender().send(&generator.batch(Signal::Logs, ROWS)).await {
            Outcome::Acked => acked += ROWS,
            Outcome::Refused(answer) => break answer,
            Outcome::Unknown(error) => bail!("no answer: {error}"),
        }
        ensure!(held(&server).await? <= HEADS, "heads hold more than they may");
    };
    ensure!(refusal.contains("503") && refusal.contains("its head is full"), "{refusal}");
    for signal in [Signal::Metrics, Signal::Traces] {
        let outcome = server.sender().send(&generator.batch(signal, ROWS)).await;
        ensure!(matches!(outcome, Outcome::Acked), "{} are {outcome:?}", signal.table());
    }

    s3.faults().clear();
    let again = wait::until("logs are taken again", DEADLINE, || {
        let (sender, batch) = (server.sender(), generator.batch(Signal::Logs, ROWS));
        async move {
            match sender.send(&batch).await {
                Outcome::Acked => Ok(ROWS),
                other => Err(format!("{other:?}")),
            }
        }
    });
    acked += again.await?;
    server.flush().await?;
    // What is flushed has its grace only where there is room: a quarter of what heads may hold.
    wait::until("flushed records go", DEADLINE, || async {
        match held(&server).await.map_err(|error| error.to_string())? {
            held if held <= HEADS / 4 => Ok(()),
            held => Err(format!("heads hold {held} bytes")),
        }
    })
    .await?;
    let counted = server.sql().rows("SELECT count(*) AS n FROM logs").await?;
    ensure!(counted[0]["n"].as_u64() == Some(acked as u64), "{acked} records were acked, there are {counted:?}");
    server.stop().await
}
