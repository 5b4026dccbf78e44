//! Samples that are written again, and samples that are too old to be kept.

use anyhow::{Result, ensure};
use bonghwa_testkit::{Server, Store};
use bonghwa_tests::prometheus::messages::{sample, series};
use bonghwa_tests::prometheus::{ask, now, store, write};
use bonghwa_tests::{On, on_every_store};

const HOUR: i64 = 3_600_000;

/// What the series `wrong` is at a time.
async fn value_at(server: &Server, time: i64) -> Result<String> {
    let time = (time as f64 / 1e3).to_string();
    let (_, answer) = ask(server, "/api/v1/query", &[("query", "wrong"), ("time", &time)]).await?;
    Ok(answer["data"]["result"][0]["value"][1].as_str().unwrap_or("nothing").to_owned())
}

/// Of two values of one series and time the one that was written last counts, wherever both lie.
async fn the_value_that_is_written_last_counts(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let time = now() - 30 * HOUR;
    let mut written = 0;
    for step in "w f w f w w f c w f c w f w f w c f c w".split(' ') {
        match step {
            "w" => {
                written += 1;
                // The others come from ever earlier on: what is written last does not begin last.
                let earlier = sample(1.0, time - i64::from(written) * 60_000);
                let wrong = vec![sample(f64::from(written), time)];
                let others = series(&[("__name__", "others"), ("job", "x")], vec![earlier]);
                store(&server, vec![series(&[("__name__", "wrong"), ("job", "x")], wrong), others]).await?;
            }
            "f" => server.flush().await?,
            _ => {
                let answer = server.http().post(server.url("/admin/compact")).send().await?;
                ensure!(answer.status() == 200, "{}", answer.text().await?);
            }
        }
        let found = value_at(&server, time).await?;
        ensure!(found == written.to_string(), "after {step} the value is {found}, and {written} was written last");
    }
    server.stop().await
}
on_every_store!(the_value_that_is_written_last_counts);

/// A correction that comes with samples of now lies in a block that waits for its window, while what came before and
/// after it is merged.
#[tokio::test(flavor = "multi_thread")]
async fn a_correction_among_live_samples_counts() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let time = now() - 25 * HOUR;
    let wrong = |value: f64| series(&[("__name__", "wrong"), ("job", "x")], vec![sample(value, time)]);
    let other = |name: &str, time: i64| series(&[("__name__", name), ("job", "x")], vec![sample(5.0, time)]);
    let settle = async |compact: bool| -> Result<String> {
        server.flush().await?;
        if compact {
            let answer = server.http().post(server.url("/admin/compact")).send().await?;
            ensure!(answer.status() == 200, "{}", answer.text().await?);
        }
        value_at(&server, time).await
    };
    store(&server, vec![wrong(1.0)]).await?;
    ensure!(settle(true).await? == "1");
    store(&server, vec![wrong(2.0), other("live", now())]).await?;
    ensure!(settle(false).await? == "2");
    store(&server, vec![other("late", time)]).await?;
    for _ in 0..3 {
        let found = settle(true).await?;
        ensure!(found == "2", "the value is {found} after a compaction, and 2 was written last");
    }
    server.stop().await
}

/// Compaction would drop them: who sends them is told.
#[tokio::test(flavor = "multi_thread")]
async fn samples_past_their_retention_are_refused() -> Result<()> {
    let mut server = Server::start_with(Store::Local, &[("BONGHWA_RETENTION__DEFAULT__METRICS", "1h")]).await?;
    let of = |age: i64| series(&[("__name__", "wrong"), ("job", "x")], vec![sample(7.0, now() - age)]);
    let (status, said) = write(&server, None, vec![of(2 * HOUR), of(HOUR / 2)]).await?;
    ensure!(status == 400 && said.contains("older than the tenant keeps"), "{status} {said}");
    ensure!(
        value_at(&server, now() - 2 * HOUR).await? == "nothing" && value_at(&server, now() - HOUR / 2).await? == "7"
    );
    let (_, count) = ask(&server, "/api/v1/query", &[("query", "count_over_time(wrong[1d])")]).await?;
    ensure!(count["data"]["result"][0]["value"][1] == "1", "the valid rest is kept: {count}");
    server.stop().await
}
