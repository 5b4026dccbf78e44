//! Queries whose series two queriers share are what one gives, whatever becomes of the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bonghwa_model::{Signal, TenantId, TenantSet};
use bonghwa_promql::{Answer, Histogram, MatchOp, Matcher, Params, Point, Value};
use bonghwa_protocol::v1;

use super::data::{SECOND, START};
use super::distributed::{Queriers, wait_for_tails};
use super::heartbeats::beats;
use super::ranges::{BLOCKS, EVERY, IN_BLOCK, ask, ask_as, minute, options, range};
use super::series::samples;
use crate::alive::Alive;
use crate::engine::Missing;
use crate::pool::Pool;
use crate::series::{Held, Slice, Taken, Wanted};
use crate::{Caching, EngineOptions, MetricsOptions, QueryError, SeriesLimits};

/// All there is, in blocks and in the tail.
fn at_the_end() -> Params {
    Params::instant(minute(729))
}

/// Two hours, too short to be shared by time.
fn short() -> Params {
    Params::range(minute(609), minute(729), 60_000)
}

impl Queriers {
    /// The answer that the first one gives with the second, and the one that another gives by itself.
    async fn both(&self, tenants: &TenantSet, query: &str, params: Params) -> [Vec<String>; 2] {
        self.cluster.fakes.readers.lock().unwrap().clear();
        let together = ask_as(self.first(), tenants, query, params.clone(), Caching::Off).await;
        let second = self.second_read();
        let alone = ask_as(&self.alone, tenants, query, params, Caching::Off).await;
        let both = [together, alone].map(|answer| shown(&answer.unwrap_or_else(|error| panic!("{query}: {error}"))));
        assert!(second, "the second took no part in {query}");
        both
    }

    /// Whether the second one read the tail since readers were forgotten.
    fn second_read(&self) -> bool {
        self.cluster.fakes.readers.lock().unwrap().contains("second")
    }
}

/// An answer, a line a series, and what is said of it. Sums of series that are added up in another order differ in their
/// last digits.
fn shown(answer: &Answer) -> Vec<String> {
    let float = |value: f64| format!("{value:.9e}");
    let buckets = |of: &[(i32, f64)]| of.iter().map(|(at, count)| (*at, float(*count))).collect::<Vec<_>>();
    let histogram = |h: &Histogram| {
        let Histogram { schema, count, sum, zero_count, custom_values, hint, .. } = h;
        let floats = [*count, *sum, *zero_count].map(float);
        format!("{schema} {floats:?} {:?} {:?} {custom_values:?} {hint:?}", buckets(&h.positive), buckets(&h.negative))
    };
    let mut lines: Vec<String> = match &answer.value {
        Value::Vector(samples) => samples
            .iter()
            .map(|sample| match &sample.point {
                Point::Float(value) => format!("{} {}", sample.labels, float(*value)),
                Point::Histogram(of) => format!("{} {}", sample.labels, histogram(of)),
            })
            .collect(),
        Value::Matrix(series) => series
            .iter()
            .map(|one| {
                let floats: Vec<_> = one.floats.iter().map(|(time, value)| (time, float(*value))).collect();
                let histograms: Vec<_> = one.histograms.iter().map(|(time, of)| (time, histogram(of))).collect();
                format!("{} {floats:?} {histograms:?}", one.labels)
            })
            .collect(),
        Value::Scalar(value) => vec![float(*value)],
        Value::String(text) => vec![text.clone()],
    };
    lines.extend(answer.annotations.warnings.iter().chain(&answer.annotations.infos).cloned());
    lines
}

/// Of all the time, at one step.
const INSTANTS: [&str; 19] = [
    "sum(increase(requests_total[12h]))",
    "sum by (pod) (rate(requests_total[12h]))",
    "rate(requests_total[12h])",
    "avg(avg_over_time(queue[12h]))",
    "stddev(avg_over_time(queue[12h])) / stdvar(avg_over_time(queue[12h]))",
    "min by (job) (min_over_time(queue[12h])) or max(max_over_time(queue[12h]))",
    "count(last_over_time({__name__=~\"queue|requests_total\"}[12h])) without (pod)",
    "topk(3, rate(requests_total[12h]))",
    "quantile(1.5, avg_over_time(queue[12h]))",
    "sum(rate(queue[12h]))",
    "histogram_quantile(0.9, sum by (le) (rate(duration_bucket[12h])))",
    "histogram_quantile(0.9, rate(duration_bucket[12h]))",
    "sum(rate(rpc[12h]))",
    "sum(sum_over_time(rpc[12h])) + on () count(count_over_time(rpc[12h]))",
    "sum(sum_over_time(changes[12h]))",
    "max_over_time(sum(rate(requests_total[10m]))[12h:10m])",
    "absent(sum_over_time(requests_total[12h]) > 1e12) or vector(time())",
    "count_values(\"value\", last_over_time(queue[12h]) % 5)",
    "sum by (host_cpus) (last_over_time(queue[12h]) * on (job) group_left (host_cpus) target_info)",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_queriers_fold_as_one() {
    let queriers = Queriers::with_ranges(options()).await;
    let tenant = (&TenantId::default_tenant()).into();
    for query in INSTANTS {
        let [together, alone] = queriers.both(&tenant, query, at_the_end()).await;
        assert_eq!(together, alone, "{query}");
        assert!(!alone.is_empty(), "{query}");
    }
    // At the same step, the same at many, pinned to a time, and with samples counted.
    for (query, params) in [
        ("sum(increase(requests_total[12h] @ end())) + sum(queue)", range()),
        ("sum(rate(requests_total[10h]))", short()),
        ("sum(sum_over_time(changes[10h]))", short()),
        ("sum by (pod) (increase(queue[10h]))", Params { step_ms: 30 * 60_000, ..short() }),
        ("avg(rate(rpc[10h]))", Params { count_steps: true, ..short() }),
    ] {
        let [together, alone] = queriers.both(&tenant, query, params).await;
        assert_eq!(together, alone, "{query}");
    }
    let counting = Params { count_steps: true, ..at_the_end() };
    let [together, alone] =
        [queriers.first(), &queriers.alone].map(|engine| ask(engine, INSTANTS[0], counting.clone()));
    let (together, alone) = (together.await.unwrap().stats, alone.await.unwrap().stats);
    assert!(together.samples > 1000);
    assert_eq!((together.samples, together.series, together.steps), (alone.samples, alone.series, alone.steps));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_seen_whoever_reads_it() {
    let queriers = Queriers::with_ranges(options()).await;
    let minutes = |minutes: std::ops::Range<i64>| minutes.map(|minute| minute * 60).collect::<Vec<_>>();
    queriers.cluster.flush(Signal::Metrics, true).await.unwrap();
    for instance in 0..60 {
        queriers.cluster.append(beats(&format!("lives-{instance}"), &minutes(0..12 * 60)));
        queriers.cluster.append(beats(&format!("ends-{instance}"), &minutes(0..300 + 2 * instance)));
    }
    queriers.cluster.flush(Signal::Metrics, true).await.unwrap();
    queriers.append_late();
    let tenant = (&TenantId::default_tenant()).into();
    for query in
        ["sum(count_over_time(up[12h])) + sum(sum_over_time(up[12h]))", "sum(avg_over_time({job=\"shop\"}[12h]))"]
    {
        let [together, alone] = queriers.both(&tenant, query, at_the_end()).await;
        assert_eq!(together, alone, "{query}");
    }
    // What was seen not to be cut by time is shared by series from then on.
    let query = "sum(sum_over_time(up[1h]))";
    let mut params = range();
    for _ in 0..2 {
        params.end_ms -= params.step_ms;
        let [together, alone] = queriers.both(&tenant, query, params.clone()).await;
        assert_eq!(together, alone, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_by_step_are_kept_of_what_may_be_cut_alone() {
    let queriers = Queriers::with_ranges(options()).await;
    let params = Params { end_ms: minute(650), ..short() };
    for (query, kept) in [("sum(sum_over_time(changes[10h]))", false), ("sum(rate(requests_total[10h]))", true)] {
        let expected = ask(&queriers.alone, query, params.clone()).await.unwrap();
        for again in [false, true] {
            let found = ask(queriers.first(), query, params.clone()).await.unwrap();
            assert_eq!(shown(&found), shown(&expected), "{query}");
            assert_eq!(found.stats.samples * 4 < expected.stats.samples, kept && again, "{query}: {:?}", found.stats);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_little_or_would_travel_as_it_is_stays_here() {
    let queriers = Queriers::with_ranges(options()).await;
    for (query, params) in [
        // Few samples for a value that would travel.
        ("requests_total", at_the_end()),
        ("rate(requests_total[10m])", at_the_end()),
        ("sum by (pod) (rate(requests_total[10m]))", at_the_end()),
        ("sort(requests_total)", range()),
        // The samples themselves would.
        ("requests_total[12h]", at_the_end()),
        ("sum(quantile_over_time(scalar(sum(queue)), requests_total[12h]))", at_the_end()),
        ("nobody_knows", at_the_end()),
        ("vector(1)", at_the_end()),
    ] {
        queriers.cluster.fakes.readers.lock().unwrap().clear();
        let together = ask(queriers.first(), query, params.clone()).await.unwrap();
        assert!(!queriers.second_read(), "the second took part in {query}");
        assert_eq!(shown(&together), shown(&ask(&queriers.alone, query, params).await.unwrap()), "{query}");
    }
    // As many samples as one evaluates by itself, of a sixth of all series.
    let little = Queriers::with([options(), options()], |peers| crate::Peers { samples: 10_000, ..peers }).await;
    little.fill_ranges().await;
    ask(little.first(), "sum(increase(requests_total[12h]))", at_the_end()).await.unwrap();
    assert!(!little.second_read());
    ask(little.first(), "sum(count_over_time({__name__=~\"requests_total|queue|rpc\"}[12h]))", at_the_end())
        .await
        .unwrap();
    assert!(little.second_read());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_fold_the_same_tenants_and_the_same_deletes() {
    let queriers = Queriers::with_ranges(options()).await;
    let other = TenantId::new("other").unwrap();
    for batch in samples(0..IN_BLOCK * BLOCKS, EVERY * 60) {
        queriers.cluster.append_as(&other, batch);
    }
    queriers.cluster.flush(Signal::Metrics, true).await.unwrap();
    for tenant in ["default", "other"] {
        let tenant = TenantId::new(tenant).unwrap();
        let late = samples(IN_BLOCK * BLOCKS..IN_BLOCK * BLOCKS + 2, EVERY * 60);
        late.into_iter().for_each(|batch| queriers.cluster.append_as(&tenant, batch));
    }
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
        for tenants in ["default", "other", "default|other"] {
            let tenants = TenantSet::parse(tenants).unwrap();
            let query = "sum by (pod, __tenant_id__) (count_over_time(requests_total{pod=~\"pod-[2-5]\"}[12h]))";
            let [together, alone] = queriers.both(&tenants, query, at_the_end()).await;
            assert_eq!(together, alone, "{tenants}");
            answers.push(together);
        }
    }
    assert_ne!(answers[0], answers[3], "the delete shows");
    assert_eq!(answers[1], answers[4], "and for its tenant alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_querier_that_is_down_or_refuses_is_done_without() {
    let metrics = MetricsOptions { promote_scope: true, ..Default::default() };
    let mut other = Queriers::of_ranges([options(), EngineOptions { metrics, ..options() }]).await;
    let mut down = Queriers::with_ranges(options()).await;
    down.servers[1].kill();
    other.fill_ranges().await;
    for queriers in [&mut down, &mut other] {
        for query in [INSTANTS[0], INSTANTS[7]] {
            let together = ask(queriers.first(), query, at_the_end()).await.unwrap();
            assert_eq!(shown(&together), shown(&ask(&queriers.alone, query, at_the_end()).await.unwrap()));
            assert!(!queriers.second_read());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_querier_that_dies_or_is_too_slow_spoils_no_answer() {
    for dies in [true, false] {
        let mut queriers = Queriers::with_ranges(options()).await;
        let expected = ask(&queriers.alone, INSTANTS[1], at_the_end()).await.unwrap();
        let fakes = queriers.cluster.fakes.clone();
        fakes.endless.store(true, Ordering::SeqCst);
        fakes.ending.lock().unwrap().insert("first".into());
        let engine = queriers.first().clone();
        let asked = tokio::spawn(async move { ask(&engine, INSTANTS[1], at_the_end()).await });
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
async fn slices_end_when_the_client_leaves() {
    let queriers = Queriers::with_ranges(EngineOptions { timeout: Duration::from_secs(20), ..options() }).await;
    queriers.cluster.fakes.endless.store(true, Ordering::SeqCst);
    let engine = queriers.first().clone();
    let asked = tokio::spawn(async move { ask(&engine, INSTANTS[0], at_the_end()).await });
    wait_for_tails(&queriers.cluster, 2).await;
    asked.abort();
    wait_for_tails(&queriers.cluster, 0).await;
    assert!(queriers.second_read());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_errors_are_those_of_the_query() {
    let of = |series: SeriesLimits| Queriers::with_ranges(EngineOptions { series, ..options() });
    let query = INSTANTS[0];
    let unlimited = of(SeriesLimits::default()).await;
    let read = ask(&unlimited.alone, query, at_the_end()).await.unwrap().stats;
    // Each has fewer than the query may, and together they have more; or each has too many.
    for part in [(3, 4), (1, 10)] {
        let part = |all: u64| all * part.0 / part.1;
        let samples = SeriesLimits { samples: part(read.samples), ..Default::default() };
        let series = SeriesLimits { series: part(read.series), ..Default::default() };
        for (limits, what, most) in [(samples, "samples", samples.samples), (series, "series", series.series)] {
            let queriers = of(limits).await;
            for engine in [queriers.first(), &queriers.alone] {
                let failed = ask(engine, query, at_the_end()).await.unwrap_err();
                let QueryError::Limit { what: found, reached, limit, .. } = failed else { panic!("{failed:?}") };
                assert!(found == what && limit == most && reached > limit, "{found}: {reached} of {limit}");
            }
        }
    }
    let twice = "sum by (pod) (rate(requests_total[12h])) + on () group_left sum by (pod) (rate(queue[12h]))";
    for engine in [unlimited.first(), &unlimited.alone] {
        let failed = ask(engine, twice, at_the_end()).await.unwrap_err();
        assert!(matches!(failed, QueryError::Execution(_)), "{failed:?}");
    }
    // A leader that fails once is asked again.
    let expected = ask(&unlimited.alone, query, at_the_end()).await.unwrap();
    unlimited.cluster.fakes.tails_to_break.store(1, Ordering::SeqCst);
    assert_eq!(shown(&ask(unlimited.first(), query, at_the_end()).await.unwrap()), shown(&expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_is_in_one_slice_with_all_of_its_samples() {
    let queriers = Queriers::with_ranges(options()).await;
    let tenants = (&TenantId::default_tenant()).into();
    let alive = Alive::new(Duration::from_secs(60), &Pool::new(1 << 30));
    let delete = v1::Delete {
        id: 1,
        tenant: "default".into(),
        signal: v1::Signal::from(Signal::Metrics).into(),
        min_time: START,
        max_time: START + 3600 * SECOND,
        ..Default::default()
    };
    let all: Arc<[Matcher]> = vec![Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()].into();
    for deleted in [false, true] {
        if deleted {
            // Batches are read whole where rows may be deleted.
            queriers.cluster.delete(delete.clone()).await;
        }
        let views = queriers.alone.metrics(&tenants, &Missing::default(), &alive).await.unwrap();
        for samples in [Taken::Values, Taken::Changes, Taken::Nothing] {
            let (engine, views, alive, all) = (&queriers.alone, &views, &alive, &all);
            let read = async |slice| {
                let wanted =
                    Wanted { matchers: all.clone(), range: (minute(0), minute(729)), windows: None, samples, slice };
                let mut found = engine.read_series(views, &wanted, &Held::new(alive), alive).await.unwrap();
                found.iter_mut().for_each(|(_, found)| found.finish());
                found.into_iter().map(|(labels, found)| (labels, format!("{found:?}"))).collect::<Vec<_>>()
            };
            let whole: BTreeMap<_, _> = read(Slice::WHOLE).await.into_iter().collect();
            let mut slices = Vec::new();
            for number in 0..3 {
                slices.extend(read(Slice::new(number, 3).unwrap()).await);
            }
            assert_eq!(slices.len(), whole.len(), "a series is in two slices, or in none");
            assert_eq!(slices.into_iter().collect::<BTreeMap<_, _>>(), whole);
        }
    }
}
