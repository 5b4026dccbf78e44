//! Blocks are open: stock DuckDB and pyarrow read every one and count what SQL counts.

use anyhow::{Result, bail};
use bonghwa_testkit::send::Outcome;
use bonghwa_testkit::{Generator, Server, Signal, Store, seed};
use bonghwa_tests::{On, on_every_store, python};

on_every_store!(stock_readers_count_what_sql_counts);

async fn stock_readers_count_what_sql_counts(on: On) -> Result<()> {
    let store = on.store().await?;
    let mut server = Server::start(store.clone()).await?;
    let mut generator = Generator::new(seed::draw("readers"), 0, Generator::now() - 3_600_000_000_000);
    let sender = server.sender();
    // Several blocks of a signal, small and larger.
    for batches in [1, 20, 3] {
        for signal in Signal::ALL {
            for _ in 0..batches {
                match sender.send(&generator.batch(signal, 400)).await {
                    Outcome::Acked => {}
                    other => bail!("{signal:?}: {other:?}"),
                }
            }
        }
        server.flush().await?;
    }
    let mut args = vec!["--api".into(), server.url("").into(), "--objects".into(), server.objects().into()];
    let mut env = vec![];
    if let Store::S3(s3) = &store {
        let path = s3.url().trim_start_matches("s3://").to_owned();
        args.extend(["--s3-endpoint".into(), s3.endpoint().into(), "--s3-path".into(), path.into()]);
        env = s3.env();
    }
    python("blocks.py", args, env).await?;
    server.stop().await
}
