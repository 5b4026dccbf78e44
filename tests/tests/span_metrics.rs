//! Metrics of spans that the real OpenTelemetry SDK sends: calls, durations and sizes as Tempo's generator has them.

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::Server;
use bonghwa_tests::prometheus::{ask, becomes, number};
use bonghwa_tests::{On, on_every_store, python};

async fn send(server: &Server) -> Result<()> {
    python("spans.py", vec!["--otlp".into(), server.otlp_http().into()], vec![]).await
}

async fn spans_are_counted(on: On) -> Result<()> {
    let environment =
        [("BONGHWA_METRICS__SPAN_METRICS__ENABLED", "true"), ("BONGHWA_METRICS__SPAN_METRICS__INTERVAL", "1s")];
    let mut server = Server::start_with(on.store().await?, &environment).await?;
    send(&server).await?;

    let of = |kind: &str, name: &str, status: &str| {
        format!(
            "service='orders', span_kind='SPAN_KIND_{kind}', span_name='{name}', status_code='STATUS_CODE_{status}'"
        )
    };
    let answers = of("SERVER", "GET /orders", "UNSET");
    for (of, calls) in
        [(&answers, 48.0), (&of("SERVER", "GET /orders", "ERROR"), 12.0), (&of("CLIENT", "charge", "UNSET"), 40.0)]
    {
        becomes(&server, &format!("traces_spanmetrics_calls_total{{{of}}}"), (calls, calls)).await?;
        becomes(&server, &format!("traces_spanmetrics_latency_count{{{of}}}"), (calls, calls)).await?;
        becomes(&server, &format!("traces_spanmetrics_size_total{{{of}}}"), (calls * 60.0, calls * 200.0)).await?;
    }
    ensure!(number(&server, "count(traces_spanmetrics_calls_total)").await? == Some(3.0), "other operations");
    // Of 10, 20, ... 600 ms five and twenty are no longer than 256 ms, and 51 than 512 ms.
    let median = "histogram_quantile(0.5, sum by (le) (traces_spanmetrics_latency_bucket{span_name='GET /orders'}))";
    let expected = 0.256 + 0.256 * 5.0 / 26.0;
    becomes(&server, median, (expected - 1e-9, expected + 1e-9)).await?;
    let seconds = "sum(traces_spanmetrics_latency_sum{span_name='GET /orders'})";
    becomes(&server, seconds, (18.3 - 1e-9, 18.3 + 1e-9)).await?;
    // Those that came first are an increase, too.
    let increase = "sum(increase(traces_spanmetrics_calls_total[10m]))";
    becomes(&server, increase, (100.0, 130.0)).await?;

    // From the slow bucket to the trace.
    let slow = [("query", "traces_spanmetrics_latency_bucket{span_name='charge', le='1.024'}")];
    let (status, found) = ask(&server, "/api/v1/query_exemplars", &slow).await?;
    let exemplar = &found["data"][0]["exemplars"][0];
    ensure!(status == 200 && exemplar["value"] == "1", "{found}");
    let trace = exemplar["labels"]["trace_id"].as_str().context("an exemplar without a trace")?;
    let (status, found) = ask(&server, &format!("/api/traces/{trace}"), &[]).await?;
    ensure!(status == 200 && found.to_string().contains("charge"), "{found}");

    let (_, described) = ask(&server, "/api/v1/metadata", &[("metric", "traces_spanmetrics_latency")]).await?;
    ensure!(described["data"]["traces_spanmetrics_latency"][0]["type"] == "histogram", "{described}");

    // A node that starts anew counts anew: a reset, as any counter's.
    server.kill9()?;
    server.restart().await?;
    send(&server).await?;
    becomes(&server, &format!("traces_spanmetrics_calls_total{{{answers}}}"), (48.0, 48.0)).await?;
    becomes(&server, increase, (200.0, 260.0)).await?;
    server.stop().await
}
on_every_store!(spans_are_counted);
