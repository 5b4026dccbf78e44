//! Distributors that share the traces of one cluster.

use std::sync::OnceLock;

use bonghwa_model::batch::Batch;
use bonghwa_wire::service_graph::{DROPPED, REQUESTS, Side, UNPAIRED, name};

use super::*;

const WAIT: Duration = Duration::from_secs(10);

/// A distributor as others reach it, once it is there.
#[derive(Default)]
struct Door(OnceLock<Arc<ServiceGraph>>);

#[async_trait]
impl GraphClient for Door {
    async fn pair(&self, request: v1::PairRequest) -> Result<(), RpcError> {
        let graph = self.0.get().ok_or_else(|| RpcError::unavailable("nobody is there"))?;
        let halves = request.halves.iter().map(others::read).collect::<Result<_, _>>()?;
        graph.pair(&TenantId::new(&request.tenant).unwrap(), halves, Settled::default());
        Ok(())
    }
}

/// The graph of node `node`, which reaches any other by this door.
fn graph(node: u64, max_items: usize, door: &Arc<Door>) -> ServiceGraph {
    let counting = CountingOptions {
        interval: Duration::from_secs(15),
        max_series: 1_000,
        forget_after: Duration::from_secs(900),
        instance: node.to_string(),
    };
    let door = door.clone();
    let connect = move |_: &str| -> Result<Arc<dyn GraphClient>, RpcError> { Ok(door.clone()) };
    let peers = Some(GraphPeers { node, connect: Arc::new(connect) });
    ServiceGraph::new(ServiceGraphOptions { counting, wait: WAIT, max_items, peer_attributes: vec![], peers })
}

fn catalog(nodes: &[u64]) -> Catalog {
    let node = |id: &u64| v1::Node {
        id: *id,
        address: format!("node-{id}:7801"),
        roles: vec!["distributor".into()],
        ..Default::default()
    };
    Catalog::from_snapshot(&v1::Snapshot { version: 1, nodes: nodes.iter().map(node).collect(), ..Default::default() })
}

/// One side of so many requests, each of another trace.
fn sides(side: Side, requests: u8) -> Found {
    let half = |number| Half {
        trace_id: [number; 16],
        request: [1; 8],
        span_id: [2; 8],
        side,
        messaging: false,
        failed: false,
        nanos: 1_000,
        time: 1,
        service: name(if side == Side::Client { "shop" } else { "bank" }),
        peer: None,
    };
    Found { halves: (1..=requests).map(half).collect(), settled: Settled::default() }
}

/// The sum of a metric, over all that was counted.
fn counted(graph: &ServiceGraph, metric: &str) -> f64 {
    let mut sum = 0.0;
    for samples in graph.counting().samples(60_000_000_000) {
        let Batch::Metrics(rows) = samples.batch else { panic!("no metrics") };
        let at = |row: &usize| rows.metrics[rows.metric[*row] as usize].name == metric;
        sum += (0..rows.rows()).filter(at).map(|row| f64::from_bits(rows.value[row])).sum::<f64>();
    }
    sum
}

/// Lets tasks run until the graphs have counted so many of a metric together.
async fn until(graphs: &[&ServiceGraph], metric: &str, expected: f64) {
    for _ in 0..1_000 {
        if graphs.iter().map(|graph| counted(graph, metric)).sum::<f64>() == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{metric}: {:?}", graphs.iter().map(|graph| counted(graph, metric)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_request_meet_at_one_distributor() {
    let (tenant, catalog) = (TenantId::default_tenant(), catalog(&[1, 2]));
    let doors: [Arc<Door>; 2] = Default::default();
    let [one, two] = [Arc::new(graph(1, 100, &doors[1])), Arc::new(graph(2, 100, &doors[0]))];
    for (door, graph) in doors.iter().zip([&one, &two]) {
        assert!(door.0.set(graph.clone()).is_ok());
    }
    one.take(&catalog, &tenant, sides(Side::Client, 40));
    two.take(&catalog, &tenant, sides(Side::Server, 40));
    until(&[&one, &two], REQUESTS, 40.0).await;
    assert!([&one, &two].iter().all(|graph| counted(graph, REQUESTS) > 5.0), "one of both did the work");
    tokio::time::advance(2 * WAIT).await;
    for graph in [one, two] {
        graph.expire();
        assert_eq!(counted(&graph, UNPAIRED) + counted(&graph, DROPPED), 0.0);
        assert!(graph.waiting.lock().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_does_not_take_is_dropped() {
    let (tenant, door) = (TenantId::default_tenant(), Arc::default());
    let graph = graph(1, 1_000, &door);
    let nodes = [1, 2];
    let others = (1..=200).filter(|number| {
        let trace = [*number; 16];
        bonghwa_cluster::rendezvous(&nodes, xxhash_rust::xxh3::xxh3_64(&trace)) == Some(2)
    });
    let others = others.count() as f64;
    graph.take(&catalog(&nodes), &tenant, sides(Side::Client, 200));
    until(&[&graph], DROPPED, others).await;
    // A node that is alone keeps all.
    graph.take(&catalog(&[1]), &tenant, sides(Side::Server, 200));
    assert_eq!(counted(&graph, REQUESTS), 200.0 - others);
    assert_eq!(counted(&graph, DROPPED), others);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_for_a_tenant_and_for_all() {
    let (catalog, door) = (catalog(&[1]), Arc::default());
    let graph = graph(1, 8, &door);
    for tenant in 0..2 * FULL_TENANTS {
        let tenant = TenantId::new(&format!("tenant-{tenant}")).unwrap();
        graph.take(&catalog, &tenant, sides(Side::Client, 10));
    }
    let waiting = 8 * FULL_TENANTS;
    assert_eq!(graph.waiting.lock().values().map(Waiting::len).sum::<usize>(), waiting);
    assert_eq!(counted(&graph, DROPPED), (20 * FULL_TENANTS - waiting) as f64);
    tokio::time::advance(WAIT).await;
    graph.expire();
    assert_eq!(counted(&graph, UNPAIRED), waiting as f64);
    assert!(graph.waiting.lock().is_empty());
}

#[test]
fn nothing_is_believed_of_a_message() {
    let half = v1::GraphHalf {
        trace_id: vec![1; 16].into(),
        request: vec![2; 8].into(),
        span_id: vec![3; 8].into(),
        side: v1::GraphSide::Client.into(),
        service: "shop".into(),
        ..Default::default()
    };
    assert_eq!(others::read(&half).unwrap().peer, None);
    for wrong in [
        v1::GraphHalf { trace_id: vec![1; 8].into(), ..half.clone() },
        v1::GraphHalf { request: vec![].into(), ..half.clone() },
        v1::GraphHalf { side: 7, ..half.clone() },
    ] {
        others::read(&wrong).unwrap_err();
    }
    let long = v1::GraphHalf { service: "x".repeat(100_000), ..half };
    assert!(others::read(&long).unwrap().service.len() < 1_000);
}
