//! Range queries that two queriers evaluate together are what one gives, to the bit, whatever becomes of the other.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bonghwa_model::{Signal, TenantId, TenantSet};
use bonghwa_promql::{Answer, Decoder, Params, Query, SeriesPoints, Value};
use bonghwa_protocol::v1::range_queries_client::RangeQueriesClient;
use bonghwa_protocol::{RemoteOptions, v1};
use foldhash::fast::FixedState;

use super::data::{SECOND, START};
use super::distributed::{Queriers, wait_for_tails};
use super::heartbeats::beats;
use super::series::samples;
use crate::{Caching, Engine, EngineOptions, MetricsOptions, Peers, QueryError, SeriesLimits};

/// Minutes from sample to sample, and samples of a series in each block.
pub(super) const EVERY: i64 = 2;
pub(super) const IN_BLOCK: i64 = 60;
pub(super) const BLOCKS: i64 = 6;

pub(super) fn options() -> EngineOptions {
    EngineOptions { target_partitions: 2, ..Default::default() }
}

pub(super) fn minute(minute: i64) -> i64 {
    (START + minute * 60 * SECOND) / 1_000_000
}

/// Twelve hours by the minute.
pub(super) fn range() -> Params {
    Params::range(minute(7), minute(7 + 12 * 60), 60_000)
}

impl Queriers {
    /// Two that share whatever takes more than one of them a sample.
    pub(super) async fn of_ranges(options: [EngineOptions; 2]) -> Self {
        Self::with(options, |peers| Peers { samples: 1, ..peers }).await
    }

    /// With twelve hours in blocks, and a tail that reaches into all of it.
    pub(super) async fn with_ranges(options: EngineOptions) -> Self {
        let queriers = Self::of_ranges([options.clone(), options]).await;
        queriers.fill_ranges().await;
        queriers
    }

    pub(super) async fn fill_ranges(&self) {
        for block in 0..BLOCKS {
            self.append(block * IN_BLOCK..(block + 1) * IN_BLOCK);
            self.cluster.flush(Signal::Metrics, true).await.unwrap();
        }
        self.append(BLOCKS * IN_BLOCK..BLOCKS * IN_BLOCK + 5);
    }

    fn append(&self, numbers: std::ops::Range<i64>) {
        samples(numbers, EVERY * 60).into_iter().for_each(|batch| self.cluster.append(batch));
    }

    /// Late samples, so that no part of a query gets by without the tail.
    pub(super) fn append_late(&self) {
        for late in 0..BLOCKS {
            self.append(-late * IN_BLOCK - 1..-late * IN_BLOCK);
            self.append(late * IN_BLOCK + 7..late * IN_BLOCK + 8);
        }
    }

    pub(super) fn first(&self) -> &Arc<Engine> {
        &self.cluster.engine
    }

    /// Whether the second one has evaluated steps.
    fn second_took_part(&self) -> bool {
        self.second.past.bytes() > 0
    }
}

pub(super) async fn ask(engine: &Arc<Engine>, query: &str, params: Params) -> Result<Answer, QueryError> {
    ask_as(engine, &(&TenantId::default_tenant()).into(), query, params, Caching::Allowed).await
}

pub(super) async fn ask_as(
    engine: &Arc<Engine>,
    tenants: &TenantSet,
    query: &str,
    params: Params,
    caching: Caching,
) -> Result<Answer, QueryError> {
    let query = Arc::new(Query::parse(query).unwrap());
    Ok(engine.promql(tenants, query, params, Duration::from_secs(60), caching).await?.answer)
}

/// Every bit of an answer, a line a series, and what is said of it.
fn shown(answer: &Answer) -> Vec<String> {
    let Value::Matrix(series) = &answer.value else { panic!("{:?}", answer.value) };
    let one = |one: &SeriesPoints| {
        let floats: Vec<_> = one.floats.iter().map(|(time, value)| (time, value.to_bits())).collect();
        format!("{} {floats:x?} {:?}", one.labels, one.histograms)
    };
    let lines = series.iter().map(one);
    lines.chain(answer.annotations.warnings.iter().chain(&answer.annotations.infos).cloned()).collect()
}

/// Queries that may be cut.
const QUERIES: [&str; 22] = [
    "requests_total",
    "queue",
    "rpc",
    "sum(queue)",
    "sum by (pod) (rate(requests_total[10m]))",
    "avg(rate(requests_total[10m]))",
    "stddev(queue) / stdvar(queue)",
    "topk(3, requests_total)",
    "quantile by (job) (0.3, queue)",
    "quantile(1.5, queue)",
    "rate(queue[10m])",
    "avg_over_time(queue[30m])",
    "histogram_quantile(0.9, sum by (le) (rate(duration_bucket[10m])))",
    "histogram_quantile(0.9, queue)",
    "histogram_quantile(0.5, sum(rate(rpc[10m])))",
    "sum(rpc) + on () count(rpc)",
    "max_over_time(rate(requests_total[10m])[30m:3m])",
    "requests_total offset 1h",
    "queue * on (job) group_left (host_cpus) target_info",
    "absent(requests_total > 5000) or vector(time())",
    "count_values(\"value\", queue % 5)",
    "{__name__=~\"duration_.*|summary.*\", pod=~\"pod-1.?\"}",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_queriers_evaluate_as_one() {
    let queriers = Queriers::with_ranges(options()).await;
    let tenant = (&TenantId::default_tenant()).into();
    for query in QUERIES {
        let alone = ask_as(&queriers.alone, &tenant, query, range(), Caching::Off).await.unwrap();
        let kept = queriers.second.past.bytes();
        for caching in [Caching::Off, Caching::Allowed, Caching::Allowed] {
            let together = ask_as(queriers.first(), &tenant, query, range(), caching).await;
            let together = together.unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(shown(&together), shown(&alone), "{query}");
        }
        assert!(!shown(&alone).is_empty(), "{query}");
        assert!(queriers.second.past.bytes() > kept, "the second took no part in {query}");
    }
    // Whoever is asked, each part goes to the querier that has kept it.
    let (_, kept) = (queriers.second.past.bytes(), queriers.first().past.bytes());
    let expected = ask(&queriers.alone, QUERIES[4], range()).await.unwrap();
    let again = ask(&queriers.second, QUERIES[4], range()).await.unwrap();
    assert_eq!(shown(&again), shown(&expected));
    assert!(again.stats.samples * 4 < expected.stats.samples, "{:?} of {:?}", again.stats, expected.stats);
    assert!(queriers.first().past.bytes() <= kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_little_or_cannot_be_cut_stays_here() {
    let queriers = Queriers::with_ranges(options()).await;
    // Changes are added up, heartbeats tell of silence, and some queries speak of their own start and end.
    queriers.cluster.append(beats("lives", &(0..12 * 60).map(|minute| minute * 60).collect::<Vec<_>>()));
    queriers.cluster.append(beats("ends", &(0..300).map(|minute| minute * 60).collect::<Vec<_>>()));
    for query in ["changes", "up", "sum(up) + sum(requests_total)", "requests_total @ end()", "sort(queue)"] {
        for _ in 0..2 {
            let together = ask(queriers.first(), query, range()).await.unwrap();
            assert_eq!(shown(&together), shown(&ask(&queriers.alone, query, range()).await.unwrap()), "{query}");
        }
    }
    for params in [Params::instant(minute(60)), Params::range(minute(130), minute(240), 60_000)] {
        let query = "sum(requests_total)";
        let together = ask(queriers.first(), query, params.clone()).await.unwrap();
        assert_eq!(together.value, ask(&queriers.alone, query, params).await.unwrap().value);
    }
    assert!(!queriers.second_took_part());
    // As many samples as one evaluates by itself, of a half of all series.
    let little = Queriers::with([options(), options()], |peers| Peers { samples: 10_000, ..peers }).await;
    little.fill_ranges().await;
    ask(little.first(), "requests_total", range()).await.unwrap();
    assert!(!little.second_took_part());
    ask(little.first(), "{__name__=~\"requests_total|queue|rpc\"}", range()).await.unwrap();
    assert!(little.second_took_part());
    // One block of all the time, which each of both would decode.
    let long = Queriers::of_ranges([options(), options()]).await;
    long.append(-300..700);
    long.cluster.flush(Signal::Metrics, true).await.unwrap();
    ask(long.first(), "requests_total", range()).await.unwrap();
    assert!(!long.second_took_part());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_see_the_same_tenants_and_the_same_deletes() {
    let queriers = Queriers::with_ranges(options()).await;
    let other = TenantId::new("other").unwrap();
    for batch in samples(0..IN_BLOCK * BLOCKS, EVERY * 60) {
        queriers.cluster.append_as(&other, batch);
    }
    queriers.cluster.flush(Signal::Metrics, true).await.unwrap();
    let attributes = vec![v1::AttributeMatch { key: "pod".into(), value: "pod-4".into(), ..Default::default() }];
    let delete = v1::Delete {
        id: 1,
        tenant: "default".into(),
        signal: v1::Signal::from(Signal::Metrics).into(),
        selector: Some(v1::Selector { attributes, ..Default::default() }),
        min_time: START + 2 * 3600 * SECOND,
        max_time: START + 9 * 3600 * SECOND,
        created_at: 0,
    };
    let mut answers = Vec::new();
    for deleted in [false, true] {
        if deleted {
            queriers.cluster.delete(delete.clone()).await;
        }
        for tenants in ["default", "other", "default|other", "nobody"] {
            let tenants = TenantSet::parse(tenants).unwrap();
            for query in ["requests_total{pod=~\"pod-[2-5]\"}", "count by (__tenant_id__) (requests_total)"] {
                let together = ask_as(queriers.first(), &tenants, query, range(), Caching::Allowed).await.unwrap();
                let alone = ask_as(&queriers.alone, &tenants, query, range(), Caching::Off).await.unwrap();
                assert_eq!(shown(&together), shown(&alone), "{tenants}: {query}");
                answers.push(shown(&together));
            }
        }
    }
    assert_ne!(answers[0], answers[8], "the delete shows");
    assert_eq!(answers[2], answers[10], "and for its tenant alone");
    assert!(queriers.second_took_part());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_querier_that_is_down_or_refuses_is_done_without() {
    let metrics = MetricsOptions { promote_scope: true, ..Default::default() };
    let mut other = Queriers::of_ranges([options(), EngineOptions { metrics, ..options() }]).await;
    let mut down = Queriers::with_ranges(options()).await;
    down.servers[1].kill();
    other.fill_ranges().await;
    for queriers in [&mut down, &mut other] {
        for query in [QUERIES[4], QUERIES[7]] {
            let together = ask(queriers.first(), query, range()).await.unwrap();
            assert_eq!(shown(&together), shown(&ask(&queriers.alone, query, range()).await.unwrap()));
            assert!(!queriers.second_took_part());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_querier_that_dies_or_is_too_slow_spoils_no_answer() {
    for dies in [true, false] {
        let mut queriers = Queriers::with_ranges(options()).await;
        queriers.append_late();
        let expected = ask(&queriers.alone, QUERIES[4], range()).await.unwrap();
        let fakes = queriers.cluster.fakes.clone();
        fakes.endless.store(true, Ordering::SeqCst);
        fakes.ending.lock().unwrap().insert("first".into());
        let engine = queriers.first().clone();
        let asked = tokio::spawn(async move { ask(&engine, QUERIES[4], range()).await });
        let mut open = fakes.open.subscribe();
        let second_reads = open.wait_for(|_| fakes.readers.lock().unwrap().contains("second"));
        assert!(tokio::time::timeout(Duration::from_secs(10), second_reads).await.is_ok(), "the second reads no tail");
        if dies {
            queriers.servers[1].kill();
        }
        assert_eq!(shown(&asked.await.unwrap().unwrap()), shown(&expected), "dies: {dies}");
        wait_for_tails(&queriers.cluster, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_end_when_the_client_leaves_or_the_time_is_up() {
    let queriers = Queriers::with_ranges(EngineOptions { timeout: Duration::from_secs(2), ..options() }).await;
    queriers.append_late();
    queriers.cluster.fakes.endless.store(true, Ordering::SeqCst);
    let engine = queriers.first().clone();
    let asked = tokio::spawn(async move { ask(&engine, QUERIES[4], range()).await });
    wait_for_tails(&queriers.cluster, 2).await;
    asked.abort();
    wait_for_tails(&queriers.cluster, 0).await;
    let failed = ask(queriers.first(), QUERIES[4], range()).await.unwrap_err();
    assert!(matches!(failed, QueryError::Timeout(_)), "{failed:?}");
    wait_for_tails(&queriers.cluster, 0).await;
    let readers = queriers.cluster.fakes.readers.lock().unwrap().clone();
    assert!(readers.contains("second"), "{readers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_errors_are_those_of_the_query() {
    let series = SeriesLimits { series: 20, ..Default::default() };
    let queriers = Queriers::with_ranges(EngineOptions { series, ..options() }).await;
    for engine in [queriers.first(), &queriers.alone] {
        let failed = ask(engine, "requests_total", range()).await.unwrap_err();
        assert!(matches!(failed, QueryError::Limit { what: "series", limit: 20, .. }), "{failed:?}");
    }
    // Each share has fewer samples than the query may, and together they have more; or each has too many.
    let query = "sum(requests_total)";
    let read = ask(&queriers_of(SeriesLimits::default()).await.alone, query, range()).await.unwrap().stats.samples;
    for samples in [read * 3 / 4, read / 10] {
        let queriers = queriers_of(SeriesLimits { samples, ..Default::default() }).await;
        for engine in [queriers.first(), &queriers.alone] {
            let failed = ask(engine, query, range()).await.unwrap_err();
            let QueryError::Limit { what: "samples", reached, limit, .. } = failed else { panic!("{failed:?}") };
            assert!(limit == samples && reached > limit, "{reached} of {limit}");
        }
    }
    // More values than fit into its memory.
    let memory = EngineOptions { memory_bytes: 600_000, ..options() };
    let queriers = Queriers::with_ranges(memory).await;
    for engine in [queriers.first(), &queriers.alone] {
        let failed = ask(engine, "{__name__=~\"requests_total|queue\"}", range()).await.unwrap_err();
        assert!(matches!(failed, QueryError::Limit { key: "query.memory_bytes", .. }), "{failed:?}");
    }
    let queriers = queriers_of(SeriesLimits::default()).await;
    for engine in [queriers.first(), &queriers.alone] {
        let failed = ask(engine, "requests_total + on (job) queue", range()).await.unwrap_err();
        assert!(matches!(failed, QueryError::Execution(_)), "{failed:?}");
    }
    // A leader that fails once is asked again, and one that goes on to fail is told of.
    queriers.append_late();
    let expected = ask(&queriers.alone, query, range()).await.unwrap();
    queriers.cluster.fakes.tails_to_break.store(1, Ordering::SeqCst);
    assert_eq!(shown(&ask(queriers.first(), query, range()).await.unwrap()), shown(&expected));
    queriers.cluster.fakes.tails_to_break.store(1000, Ordering::SeqCst);
    let failed = ask(queriers.first(), "max(requests_total)", range()).await.unwrap_err();
    assert!(matches!(failed, QueryError::Unavailable(_)), "{failed:?}");
}

/// What the second querier answers to a caller who says that the query is of these tenants.
async fn asked_by_hand(queriers: &Queriers, tenants: &str, share: v1::RangeShare) -> Result<Answer, tonic::Status> {
    let catalog = queriers.cluster.view.current();
    let address = &catalog.node_named("querier-2").unwrap().address;
    let mut request = tonic::Request::new(share);
    let release = format!("{}+{}", env!("CARGO_PKG_VERSION"), datafusion::DATAFUSION_VERSION);
    for (name, value) in [("query", "1"), ("left-ms", "5000"), ("tenants", tenants), ("release", release.as_str())] {
        let key = tonic::metadata::AsciiMetadataKey::from_bytes(format!("x-bonghwa-{name}").as_bytes()).unwrap();
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    let (steps, step) = ((request.get_ref().from_ms, request.get_ref().to_ms), request.get_ref().step_ms);
    let channel = bonghwa_protocol::connect(address, &RemoteOptions::default()).unwrap();
    let mut chunks = RangeQueriesClient::new(channel).evaluate(request).await?.into_inner();
    let mut decoder = Decoder::new(steps, step, 1 << 20);
    while let Some(chunk) = chunks.message().await? {
        let Some(v1::range_chunk::Kind::Part(part)) = chunk.kind else { panic!("{chunk:?}") };
        decoder.push(&part).unwrap();
    }
    Ok(decoder.finish().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_gets_the_samples_of_the_querys_tenants_alone() {
    let queriers = Queriers::with_ranges(options()).await;
    let catalog = queriers.cluster.view.current();
    let block = |block: &Arc<v1::Block>| {
        let rows = &block.tenants[0];
        let (min_time, max_time) = (rows.min_time, rows.max_time);
        let (path, bytes, rows, items) = (block.path.clone(), block.bytes, rows.rows, rows.items);
        v1::RangeBlock { path, bytes, rows, items, min_time, max_time, ..Default::default() }
    };
    let blocks: Vec<_> = catalog.blocks().map(block).collect();
    let share = |tenant: &str| v1::RangeShare {
        version: 1,
        query: "requests_total".into(),
        from_ms: minute(0),
        to_ms: minute(700),
        step_ms: 60_000,
        lookback_ms: 300_000,
        subquery_step_ms: 60_000,
        metrics_options: FixedState::with_seed(0).hash_one(format!("{:?}", MetricsOptions::default())),
        views: vec![v1::RangeView { tenant: tenant.into(), blocks: blocks.clone(), ..Default::default() }],
        ..Default::default()
    };
    for (tenant, series) in [("default", 25), ("other", 0)] {
        let found = asked_by_hand(&queriers, tenant, share(tenant)).await.unwrap();
        assert_eq!(shown(&found).len(), series, "{tenant}");
    }
    for (refused, share, why) in [
        ("another tenant", v1::RangeShare { ..share("default") }, "tenants"),
        ("a newer version", v1::RangeShare { version: 3, ..share("other") }, "version is 3"),
        ("another configuration", v1::RangeShare { metrics_options: 1, ..share("other") }, "metrics.*"),
        ("a slice too many", v1::RangeShare { slice: 2, slices: 2, ..share("other") }, "slices"),
        ("no PromQL", v1::RangeShare { query: "sum(".into(), ..share("other") }, "parse error"),
    ] {
        let status = asked_by_hand(&queriers, "other", share).await.unwrap_err();
        assert!(status.code() == tonic::Code::Unavailable && status.message().contains(why), "{refused}: {status:?}");
    }
}

async fn queriers_of(series: SeriesLimits) -> Queriers {
    Queriers::with_ranges(EngineOptions { series, ..options() }).await
}
