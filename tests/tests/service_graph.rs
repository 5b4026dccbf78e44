//! Who calls whom, from spans that the real OpenTelemetry SDK sends: requests, failures and durations of each pair of
//! services, as Tempo's generator has them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Server, wait};
use bonghwa_tests::prometheus::{ask, becomes, number};
use bonghwa_tests::{On, on_every_store, python};

const DEADLINE: Duration = Duration::from_secs(60);
/// Sides of requests wait long enough for a slow machine, and those that wait in vain not for ever.
const GRAPH: [(&str, &str); 3] = [
    ("BONGHWA_METRICS__SERVICE_GRAPH__ENABLED", "true"),
    ("BONGHWA_METRICS__SERVICE_GRAPH__INTERVAL", "1s"),
    ("BONGHWA_METRICS__SERVICE_GRAPH__WAIT", "5s"),
];

/// The shop sends to one server, whom it calls to the other.
async fn send(shop: &Server, others: &Server) -> Result<()> {
    let arguments = ["--shop".into(), shop.otlp_http().into(), "--others".into(), others.otlp_http().into()];
    python("graph.py", arguments.into(), vec![]).await
}

/// Waits until all requests are counted, over all nodes that do.
async fn all_are_counted(server: &Server) -> Result<()> {
    for (client, server_name, connection, failed, seconds) in [
        ("shop", "orders", "", 6.0, (4.5, 3.6)),
        ("orders", "db-0", "database", 0.0, (1.5, 1.5)),
        ("shop", "mail", "messaging_system", 0.0, (0.6, 12.0)),
        // The other side sends no spans: of these the wait must be over.
        ("user", "shop", "virtual_node", 0.0, (27.0, 27.0)),
        ("shop", "bank", "virtual_node", 0.0, (9.0, 9.0)),
    ] {
        let edge = format!("client='{client}', server='{server_name}', connection_type='{connection}'");
        for (name, value) in [
            ("total", 30.0),
            ("failed_total", failed),
            ("client_seconds_count", 30.0),
            ("client_seconds_sum", seconds.0),
            ("server_seconds_sum", seconds.1),
        ] {
            let query = format!("sum(traces_service_graph_request_{name}{{{edge}}})");
            becomes(server, &query, (value - 1e-6, value + 1e-6)).await?;
        }
    }
    becomes(server, "sum(traces_service_graph_unpaired_spans_total{client='shop', server=''})", (10.0, 10.0)).await?;
    for (query, expected) in [
        ("count(count by (client, server) (traces_service_graph_request_total))", Some(5.0)),
        ("sum(traces_service_graph_unpaired_spans_total)", Some(10.0)),
        ("sum(traces_service_graph_dropped_spans_total)", Some(0.0)),
    ] {
        let found = number(server, query).await?;
        ensure!(found == expected, "{query}: {found:?}");
    }
    Ok(())
}

async fn requests_between_services_are_counted(on: On) -> Result<()> {
    let mut server = Server::start_with(on.store().await?, &GRAPH).await?;
    send(&server, &server).await?;
    all_are_counted(&server).await?;
    // 150 ms as the shop saw it, 120 as orders did.
    for (query, value) in [
        ("traces_service_graph_request_client_seconds_bucket{client='shop', server='orders', le='0.1'}", 0.0),
        ("traces_service_graph_request_client_seconds_bucket{client='shop', server='orders', le='0.2'}", 30.0),
        ("traces_service_graph_request_server_seconds_bucket{client='shop', server='mail', le='0.4'}", 30.0),
        ("traces_service_graph_request_server_seconds_bucket{client='shop', server='mail', le='+Inf'}", 30.0),
    ] {
        becomes(&server, query, (value, value)).await?;
    }
    // Those that came first are an increase, too.
    let increase = "sum(increase(traces_service_graph_request_total{server='orders'}[10m]))";
    becomes(&server, increase, (30.0, 40.0)).await?;

    // From the edge to a trace.
    let failing = [("query", "traces_service_graph_request_server_seconds_bucket{server='orders', le='0.2'}")];
    let (status, found) = ask(&server, "/api/v1/query_exemplars", &failing).await?;
    let exemplar = &found["data"][0]["exemplars"][0];
    ensure!(status == 200 && exemplar["value"] == "0.12", "{found}");
    let trace = exemplar["labels"]["trace_id"].as_str().context("an exemplar without a trace")?;
    let (status, found) = ask(&server, &format!("/api/traces/{trace}"), &[]).await?;
    ensure!(status == 200 && found.to_string().contains("POST /orders"), "{found}");

    let family = "traces_service_graph_request_client_seconds";
    let (_, described) = ask(&server, "/api/v1/metadata", &[("metric", family)]).await?;
    ensure!(described["data"][family][0]["type"] == "histogram", "{described}");
    server.stop().await
}
on_every_store!(requests_between_services_are_counted);

/// Waits until a node's copy of the catalog has both distributors.
async fn knows_both(server: &Server) -> Result<()> {
    wait::until("the distributors know of each other", DEADLINE, || async {
        let (_, ring) = ask(server, "/ring", &[]).await.map_err(|error| error.to_string())?;
        let nodes = ring["nodes"].as_array().into_iter().flatten();
        match nodes.filter(|node| node["name"] == "rest" || node["name"] == "other").count() {
            2 => Ok(()),
            _ => Err(ring.to_string()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_meet_whichever_distributor_they_came_to() -> Result<()> {
    let store = On::S3.store().await?;
    let mut env = GRAPH.to_vec();
    env.push(("BONGHWA_NODE_NAME", "rest"));
    let mut rest = Server::start_with(store.clone(), &env).await?;
    let join = rest.grpc();
    let mut env = GRAPH.to_vec();
    env.extend([("BONGHWA_TARGET", "distributor"), ("BONGHWA_NODE_NAME", "other"), ("BONGHWA_JOIN", join.as_str())]);
    let mut other = Server::start_with(store, &env).await?;
    for server in [&rest, &other] {
        knows_both(server).await?;
    }
    send(&rest, &other).await?;
    all_are_counted(&rest).await?;
    // Each brought those of some traces together.
    let nodes = "count(traces_service_graph_request_total{client='shop', server='orders'})";
    ensure!(number(&rest, nodes).await? == Some(2.0), "one distributor did the work of both");
    other.stop().await?;
    rest.stop().await
}
