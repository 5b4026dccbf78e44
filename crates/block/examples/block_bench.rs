//! CPU per row and bytes per row of blocks, on sets like those of `block-layout.md`.
//!
//! `cargo run --release -p bonghwa-block --example block_bench -- [logs|spans|metrics] [million rows]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::needless_range_loop)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bonghwa_block::{WriteOptions, inspect, write_l0};
use bonghwa_model::batch::{Batch, Resource, Scope};
use bonghwa_model::logs::{LogBatch, LogRow};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};
use bonghwa_model::spans::{SpanBatch, SpanRow};
use bonghwa_model::{Kind, Signal, TenantId, Value};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const START: i64 = 1_763_800_000_000_000_000;
const SERVICES: usize = 8;
const PODS: usize = 96;

fn resource(pod: usize) -> Resource {
    let service = format!("service-{}", pod % SERVICES);
    let text = |v: &str| Value::Str(v.to_owned());
    Resource {
        service_name: service.clone(),
        attributes: vec![
            ("service.name".into(), text(&service)),
            ("k8s.pod.name".into(), text(&format!("{service}-7d9f8b6c5-{pod:05}"))),
            ("k8s.namespace.name".into(), text("shop")),
            ("host.name".into(), text(&format!("node-{}", pod % 12))),
        ],
        ..Default::default()
    }
}

fn logs(rows: usize, rng: &mut StdRng) -> Vec<Batch> {
    const TEMPLATES: [&str; 8] = [
        "GET /api/v1/products/{} returned 200 in {} ms",
        "user {} added item {} to the cart",
        "payment {} accepted after {} ms",
        "cache miss for key product:{} after {} us",
        "retrying request {} attempt {}",
        "connection {} to database closed after {} s",
        "order {} shipped in {} parcels",
        "session {} expired after {} minutes",
    ];
    let per_batch = 1000;
    let step = 1_000_000_000 / 10_000;
    let mut batches = Vec::new();
    for b in 0..rows.div_ceil(per_batch) {
        let mut batch = LogBatch::default();
        batch.common.resources.push(resource(b % PODS));
        batch.common.scopes.push(Scope { name: "logger".into(), ..Default::default() });
        for i in 0..per_batch.min(rows - b * per_batch) {
            let template = rng.random_range(0..8);
            let mut parts = TEMPLATES[template].split("{}");
            let (a, b_) = (rng.random_range(0..1_000_000u32), rng.random_range(0..1000u32));
            let text = format!("{}{a}{}{b_}{}", parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let severity = [9u8, 9, 9, 9, 5, 9, 13, 17][template];
            let body = batch.common.arena.push(text.as_bytes());
            let level = batch.common.arena.push(match severity {
                5 => b"DEBUG".as_slice(),
                9 => b"INFO",
                13 => b"WARN",
                _ => b"ERROR",
            });
            let key = batch.common.keys.id("http.method");
            let method = batch.common.arena.push(["GET", "POST", "PUT"][rng.random_range(0..3usize)].as_bytes());
            batch.attributes.push(key, Kind::Str, method.0);
            let key = batch.common.keys.id("http.status_code");
            batch.attributes.push(key, Kind::Int, [200, 200, 200, 404, 500][rng.random_range(0..5usize)]);
            batch.push_row(LogRow {
                time: START + ((b * per_batch + i) as i64) * step + rng.random_range(0..step),
                severity_number: severity,
                body_kind: Kind::Str,
                trace_id: rng.random(),
                span_id: rng.random(),
                severity_text: level,
                body,
                ..Default::default()
            });
        }
        let n = batch.rows() as u32;
        batch.common.close_group(0, 0, n);
        batches.push(Batch::Logs(batch));
    }
    batches
}

fn spans(rows: usize, rng: &mut StdRng) -> Vec<Batch> {
    let mut pending: Vec<SpanBatch> = Vec::new();
    let fresh = |service: usize, turn: usize| {
        let mut batch = SpanBatch::default();
        batch.common.resources.push(resource(service + SERVICES * (turn % (PODS / SERVICES))));
        batch.common.scopes.push(Scope { name: "tracer".into(), ..Default::default() });
        batch
    };
    for service in 0..SERVICES {
        pending.push(fresh(service, 0));
    }
    let mut batches = Vec::new();
    for trace in 0..rows / 8 {
        let trace_id: [u8; 16] = rng.random();
        let start = START + trace as i64 * 800_000;
        let mut parent = [0u8; 8];
        for service in 0..SERVICES {
            let span_id: [u8; 8] = rng.random();
            let batch = &mut pending[service];
            let mut text = |key: &str, value: &str| {
                let key = batch.common.keys.id(key);
                let value = batch.common.arena.push(value.as_bytes());
                batch.attributes.push(key, Kind::Str, value.0);
            };
            text("http.method", ["GET", "POST"][rng.random_range(0..2usize)]);
            text("url.path", &format!("/api/v1/resource/{}", rng.random_range(0..2000)));
            text("client.address", &format!("10.0.{}.{}", rng.random_range(0..8), rng.random_range(0..256)));
            text("user.id", &format!("user-{}", rng.random_range(0..100_000)));
            let key = batch.common.keys.id("http.status_code");
            batch.attributes.push(key, Kind::Int, [200, 200, 200, 404, 500][rng.random_range(0..5usize)]);
            let name = batch.common.arena.push(format!("operation-{}", rng.random_range(0..4)).as_bytes());
            let begin = start + service as i64 * 100_000 + rng.random_range(0..50_000);
            batch.push_row(SpanRow {
                trace_id,
                span_id,
                parent_span_id: parent,
                kind: 2,
                start_time: begin,
                end_time: begin + rng.random_range(100_000..20_000_000),
                name,
                ..Default::default()
            });
            parent = span_id;
            if batch.rows() == 1000 {
                let turn = batches.len() / SERVICES + 1;
                let mut full = std::mem::replace(batch, fresh(service, turn));
                full.common.close_group(0, 0, 1000);
                batches.push(Batch::Traces(full));
            }
        }
    }
    for mut batch in pending {
        let n = batch.rows() as u32;
        batch.common.close_group(0, 0, n);
        batches.push(Batch::Traces(batch));
    }
    batches
}

fn metrics(series: usize, samples: usize, rng: &mut StdRng) -> Vec<Batch> {
    let mut values: Vec<f64> = (0..series).map(|_| rng.random_range(0..1000) as f64).collect();
    let mut batches = Vec::new();
    for step in 0..samples {
        for pod in 0..PODS {
            let mut batch = MetricBatch::default();
            batch.common.resources.push(resource(pod));
            batch.common.scopes.push(Scope { name: "meter".into(), ..Default::default() });
            let time = START + step as i64 * 15_000_000_000;
            for id in (pod..series).step_by(PODS) {
                let name = format!("metric_{}", id / PODS % 50);
                let metric = batch.metrics.iter().position(|m| m.name == name).unwrap_or_else(|| {
                    batch.metrics.push(Metric {
                        name,
                        metric_type: MetricType::Sum,
                        temporality: 2,
                        monotonic: true,
                        ..Default::default()
                    });
                    batch.metrics.len() - 1
                });
                for (k, v) in [("route", format!("/r/{}", id % 40)), ("method", format!("m{}", id % 3))] {
                    let key = batch.common.keys.id(k);
                    let value = batch.common.arena.push(v.as_bytes());
                    batch.attributes.push(key, Kind::Str, value.0);
                }
                let value = &mut values[id];
                match id % 5 {
                    0 => *value = f64::from(rng.random_range(0..10_000)) / 100.0,
                    1 => {}
                    _ => *value += f64::from(rng.random_range(0..20)),
                }
                batch.push_row(MetricRow {
                    metric: metric as u32,
                    series: [id as u64, 7],
                    time: time + rng.random_range(0..30) * 1_000_000,
                    start_time: START,
                    point_kind: PointKind::Double,
                    value: value.to_bits(),
                    ..Default::default()
                });
            }
            let n = batch.rows() as u32;
            batch.common.close_group(0, 0, n);
            batches.push(Batch::Metrics(batch));
        }
    }
    batches
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|v| v.parse().ok()).unwrap_or(0))
}

fn run(signal: Signal, batches: Vec<Batch>, keep: Option<&str>) {
    let items: usize = batches.iter().map(Batch::rows).sum();
    let heap: usize = batches.iter().map(Batch::heap_bytes).sum();
    let tenant = TenantId::default_tenant();
    let batches: Vec<_> = batches.into_iter().map(|b| (tenant.clone(), Arc::new(b))).collect();
    let mut best = Duration::MAX;
    let mut block = None;
    for _ in 0..3 {
        let start = cpu();
        let options = WriteOptions::default();
        block = Some(write_l0(signal, "p-0001", 0, 9, "a/b.parquet".into(), &batches, &options).unwrap());
        best = best.min(cpu() - start);
    }
    let block = block.unwrap();
    println!(
        "{signal}: {items} items in {} batches, {:.1} B in memory each",
        batches.len(),
        heap as f64 / items as f64
    );
    println!(
        "  {:.3} us CPU and {:.2} bytes per item",
        best.as_secs_f64() * 1e6 / items as f64,
        block.bytes.len() as f64 / items as f64
    );
    if let Some(dir) = keep {
        std::fs::write(format!("{dir}/{signal}.parquet"), &block.bytes).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store.put(&"a/b.parquet".into(), block.bytes.clone().into()).await.unwrap();
        let mut inspection = inspect(&store, "a/b.parquet").await.unwrap();
        inspection.columns.sort_by_key(|c| -c.compressed_bytes);
        for column in inspection.columns.iter().filter(|c| c.bytes_per_item >= 0.02) {
            println!("    {:32} {:6.2}  {}", column.name, column.bytes_per_item, column.encodings.join(" "));
        }
        for (kind, bytes) in &inspection.index_bytes {
            println!("    index of {kind:23} {:6.2}", *bytes as f64 / items as f64);
        }
        println!("    footer {:25} {:6.2}", "", inspection.footer_bytes as f64 / items as f64);
        scan(&store, &block.block, items).await;
    });
}

async fn scan(store: &Arc<dyn ObjectStore>, block: &bonghwa_protocol::v1::Block, items: usize) {
    use bonghwa_block::{BlockReader, Column, FooterCache, Predicate, ScanRequest, base_columns};
    use futures::TryStreamExt;
    let signal = block.model_signal().unwrap();
    let all: Vec<Column> = base_columns(signal).iter().map(|c| Column::Base(c.name)).collect();
    let request = |columns: &[Column], predicate| ScanRequest {
        tenant: TenantId::default_tenant(),
        columns: columns.to_vec(),
        predicate,
    };
    let needle = Predicate { tokens: vec!["nowhere_to_be_found".into()], ..Default::default() };
    let trace = Predicate { trace_ids: Some(vec![[7; 16]]), ..Default::default() };
    for (name, columns, predicate) in [
        ("all columns", &all[..], Predicate::default()),
        ("count", &[], Predicate::default()),
        ("needle", &all, needle),
        ("trace", &all, trace),
    ] {
        let (start, wall) = (cpu(), Instant::now());
        let reader =
            BlockReader::open(Arc::clone(store), Arc::new(block.clone()), &FooterCache::new(1 << 26)).await.unwrap();
        let plan = reader.plan(&request(columns, predicate)).await.unwrap();
        let stats = plan.stats;
        let rows: usize = reader.scan(plan).try_fold(0, |n, b| async move { Ok(n + b.num_rows()) }).await.unwrap();
        println!(
            "  scan {name:12} {rows:8} rows, {:.2} ms ({:.3} us CPU per item of the block), {}/{} granules",
            wall.elapsed().as_secs_f64() * 1e3,
            (cpu() - start).as_secs_f64() * 1e6 / items as f64,
            stats.granules_kept,
            stats.granules_total,
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let wanted = args.get(1).map_or("all", String::as_str);
    let millions: f64 = args.get(2).and_then(|v| v.parse().ok()).unwrap_or(1.0);
    let keep = args.get(3).map(String::as_str);
    let rows = (millions * 1e6) as usize;
    let mut rng = StdRng::seed_from_u64(1);
    if ["all", "logs"].contains(&wanted) {
        run(Signal::Logs, logs(rows, &mut rng), keep);
    }
    if ["all", "spans"].contains(&wanted) {
        run(Signal::Traces, spans(rows, &mut rng), keep);
    }
    if ["all", "metrics"].contains(&wanted) {
        run(Signal::Metrics, metrics(rows / 50, 200, &mut rng), keep);
    }
}
