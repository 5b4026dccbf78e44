//! Two queriers share queries: both read, the answer is that of one, and one that dies is done without.

use std::time::Duration;

use anyhow::{Result, ensure};
use bonghwa_testkit::{seed, wait};
use bonghwa_tests::queriers::{Queriers, metric};
use bonghwa_tests::questions::{Data, ask};

/// Blocks of each signal; what is sent once more stays in the logs.
const FLUSHES: usize = 3;
const GROUPED: &str = "SELECT service_name, count(*) AS n, max(time) AS last FROM logs GROUP BY 1 ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn two_queriers_answer_as_one_and_one_goes_on_alone() -> Result<()> {
    // Even the smallest query is shared.
    let Queriers { mut rest, queriers: [mut one, mut two], .. } =
        Queriers::start(&[("BONGHWA_QUERY__DISTRIBUTED_BYTES", "1")]).await?;
    let mut data = Data::new(seed::draw("queriers"));
    for _ in 0..FLUSHES {
        data.send(&rest).await?;
        rest.flush().await?;
    }
    data.send(&rest).await?;
    let questions = data.questions();

    // Each knows of the other as soon as its copy of the catalog does.
    wait::until("the queriers share a query", Duration::from_secs(30), || async {
        let plan = one.sql().csv(&format!("EXPLAIN {GROUPED}")).await.map_err(|error| error.to_string())?;
        if plan.contains("DistributedExec") { Ok(()) } else { Err(plan) }
    })
    .await?;
    for querier in [&one, &two] {
        ask(&querier.sql(), &questions, "of both queriers").await?;
    }
    for querier in [&one, &two] {
        for name in ["bonghwa_queries_shared_total", "bonghwa_query_tasks_total"] {
            ensure!(metric(querier, name).await? > 0, "{name} is 0");
        }
        ensure!(metric(querier, "bonghwa_queries_shared_failed_total").await? == 0, "a query failed at the other");
    }
    let tasks = metric(&two, "bonghwa_query_tasks_total").await?;
    let analyzed = one.sql().csv(&format!("EXPLAIN ANALYZE {GROUPED}")).await?;
    ensure!(analyzed.contains("DistributedExec") && analyzed.contains("tasks=2"), "{analyzed}");
    ensure!(metric(&two, "bonghwa_query_tasks_total").await? > tasks, "the other took no part in\n{analyzed}");

    let together = one.sql().rows(GROUPED).await?;
    two.kill9()?;
    ensure!(one.sql().rows(GROUPED).await? == together, "another answer than of both");
    ask(&one.sql(), &questions, "of the querier that is left").await?;
    ensure!(metric(&one, "bonghwa_queries_shared_failed_total").await? > 0, "no query was begun again");
    two.restart().await?;
    ask(&two.sql(), &questions, "of the querier that came back").await?;
    for server in [&mut two, &mut one, &mut rest] {
        server.stop().await?;
    }
    Ok(())
}
