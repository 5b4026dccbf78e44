//! Remote read: samples and streams of chunks come back as they were written; a real Prometheus reads from
//! here, and streams the same chunks itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::prometheus::Prometheus;
use bonghwa_testkit::{Server, wait};
use bonghwa_tests::prometheus::messages::{Histogram, Sample, Series, Span, labels, sample, series};
use bonghwa_tests::prometheus::{now, snappy, store};
use bonghwa_tests::remote_read::{
    self as client, ReadRequest, by_series, chunks, query, read_xor, samples, send, shown,
};
use bonghwa_tests::{On, on_every_store};
use prost::Message as _;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
const PATH: &str = "/api/v1/read";

/// Samples of every kind of distance and value.
fn uneven(start: i64) -> Vec<Sample> {
    let distances = [15_000, 15_000, 15_001, 14_990, 15_000, 30_000, 1, 600_000, 1, 90_000, 15_000];
    let values = [0.0, 1.0, 1.0, -1.5, 1e300, f64::MIN_POSITIVE, f64::INFINITY, f64::from_bits(STALE_NAN), 12.0];
    let mut time = start;
    let sample_at = |at: usize| {
        time += distances[at % distances.len()];
        sample(values[at % values.len()], time)
    };
    (0..300).map(sample_at).collect()
}

fn native(time: i64) -> Histogram {
    Histogram {
        count_int: Some(6),
        sum: 12.5,
        schema: 3,
        zero_threshold: 0.001,
        zero_count_int: Some(1),
        positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 2, length: 1 }],
        positive_deltas: vec![2, 1],
        timestamp: time,
        ..Default::default()
    }
}

fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
    samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect()
}

async fn check(server: &Server, start: i64) -> Result<()> {
    let (http, url, end) = (server.http(), server.url(PATH), start + 100_000_000);
    let sent = uneven(start);
    let both = || query(start, end, &[(0, "__name__", "uneven"), (2, "shard", "a|b")]);
    let one = || query(sent[10].timestamp, sent[19].timestamp, &[(0, "__name__", "uneven"), (1, "shard", "b")]);

    let answer = samples(http, &url, vec![both(), one(), query(start, end, &[(0, "__name__", "none")])]).await?;
    ensure!(answer.results.len() == 3 && answer.results[2].timeseries.is_empty(), "{} results", answer.results.len());
    let names: Vec<String> = answer.results[0].timeseries.iter().map(|series| shown(&series.labels)).collect();
    let name = |shard: &str| format!("__name__=\"uneven\",shard=\"{shard}\"");
    ensure!(names == [name("a"), name("b")], "{names:?}");
    for series in &answer.results[0].timeseries {
        ensure!(bits(&series.samples) == bits(&sent), "{}", shown(&series.labels));
    }
    ensure!(bits(&answer.results[1].timeseries[0].samples) == bits(&sent[10..20]), "{:?}", answer.results[1]);

    let stream = chunks(http, &url, vec![both(), one()]).await?;
    let of_query = |index: i64| stream.iter().filter(|m| m.query_index == index).cloned().collect::<Vec<_>>();
    let first = by_series(&of_query(0));
    ensure!(first.keys().eq([&name("a"), &name("b")]), "{:?}", first.keys());
    for chunks in first.values() {
        let counts: Vec<usize> = chunks.iter().map(|c| read_xor(&c.data).map(|s| s.len())).collect::<Result<_>>()?;
        ensure!(counts == [120, 120, 60], "{counts:?}");
        let read: Vec<Vec<(i64, u64)>> = chunks.iter().map(|chunk| read_xor(&chunk.data)).collect::<Result<_>>()?;
        ensure!(read.concat() == bits(&sent), "the chunks hold other samples");
        for (chunk, samples) in chunks.iter().zip(&read) {
            let ends = (samples[0].0, samples[samples.len() - 1].0);
            ensure!((chunk.min_time, chunk.max_time, chunk.encoding) == (ends.0, ends.1, 1), "{chunk:?}");
        }
    }
    let second = by_series(&of_query(1));
    ensure!(read_xor(&second[&name("a")][0].data)? == bits(&sent[10..20]), "{second:?}");

    // Native histograms come as samples, also where chunks are preferred.
    let latency = || vec![query(start, end, &[(0, "__name__", "latency")])];
    let found = samples(http, &url, latency()).await?;
    ensure!(found.results[0].timeseries[0].histograms == [native(start), native(start + 1_000)], "{found:?}");
    for (accepted, status) in [(vec![1, 0], 200), (vec![1], 422)] {
        let request = ReadRequest { queries: latency(), accepted_response_types: accepted };
        let answer = send(http, &url, &request).await?;
        let found = answer.status().as_u16();
        let said = answer.bytes().await?;
        ensure!(found == status, "{found}: {}", String::from_utf8_lossy(&said));
        ensure!(status == 200 || String::from_utf8_lossy(&said).contains("SAMPLES"), "{said:?}");
    }
    Ok(())
}

async fn what_was_written_is_read(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let start = now() - 40_000_000;
    let of = |shard: &str| series(&[("__name__", "uneven"), ("shard", shard)], uneven(start));
    let latency = Series {
        labels: labels(&[("__name__", "latency"), ("job", "x")]),
        histograms: vec![native(start), native(start + 1_000)],
        ..Default::default()
    };
    store(&server, vec![of("b"), latency, of("a")]).await?;
    check(&server, start).await?;
    server.flush().await?;
    check(&server, start).await?;
    server.stop().await
}
on_every_store!(what_was_written_is_read);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said() -> Result<()> {
    let mut server = On::Local.server().await?;
    let body = |queries: Vec<client::Query>, accepted: Vec<i32>| {
        snappy(&ReadRequest { queries, accepted_response_types: accepted }.encode_to_vec())
    };
    let good = || query(0, 1, &[(0, "a", "b")]);
    let protobuf = "application/x-protobuf";
    for (media, encoding, body, status, word) in [
        (protobuf, "snappy", body(vec![good()], vec![])?, 200, ""),
        (protobuf, "", body(vec![good()], vec![7, 0])?, 200, ""),
        (protobuf, "snappy", body(vec![], vec![0])?, 200, ""),
        ("application/json", "snappy", body(vec![], vec![])?, 415, "application/json"),
        (protobuf, "gzip", body(vec![], vec![])?, 415, "gzip"),
        (protobuf, "snappy", b"no snappy".to_vec(), 400, "snappy"),
        (protobuf, "snappy", snappy(b"no message")?, 400, "prometheus.ReadRequest"),
        (protobuf, "snappy", body(vec![good()], vec![7])?, 400, "accepted_response_types"),
        (protobuf, "snappy", body(vec![good(), query(1, 0, &[])], vec![])?, 400, "queries[1].end_timestamp_ms"),
        (protobuf, "snappy", body(vec![query(0, 1, &[(2, "a", "(")])], vec![])?, 400, "queries[0].matchers[0].value"),
        (protobuf, "snappy", body(vec![query(0, 1, &[(9, "a", "")])], vec![])?, 400, "matchers[0].type is 9"),
        (protobuf, "snappy", body(vec![good(); 65], vec![])?, 400, "65 entries"),
        (protobuf, "snappy", snappy(&vec![0; 5 << 20])?, 400, "decompressed"),
    ] {
        let mut request = server.http().post(server.url(PATH)).header("content-type", media);
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        let answer = request.body(body).send().await?;
        let (found, said) = (answer.status().as_u16(), answer.bytes().await?);
        let said = String::from_utf8_lossy(&said);
        ensure!(found == status, "{found} instead of {status} ({word}): {said}");
        ensure!(status == 200 || (said.contains(word) && !said.starts_with('{')), "{word}: {said}");
    }
    server.stop().await
}

/// Numbers of a vector of one series.
fn only(result: &[Value]) -> Option<f64> {
    match result {
        [one] => one["value"][1].as_str()?.parse().ok(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_reads_from_here() -> Result<()> {
    let mut server = On::Local.server().await?;
    let end = now();
    let times = (0..60).map(|n| end - (59 - n) * 10_000);
    let counted = times.enumerate().map(|(n, time)| sample(n as f64 * 5.0, time)).collect();
    store(&server, vec![series(&[("__name__", "far_total"), ("job", "far")], counted)]).await?;
    let configure = |own: &str| {
        format!(
            "global: {{ scrape_interval: 1s }}
scrape_configs: [{{ job_name: own, static_configs: [{{ targets: ['{own}'] }}] }}]
remote_read: [{{ url: {}, read_recent: true }}]
",
            server.url(PATH)
        )
    };
    let prometheus = Prometheus::start(configure, "native-histograms").await?;
    for (query, expected) in [
        (format!("far_total @ {}", end as f64 / 1e3), 295.0),
        (format!("rate(far_total[5m] @ {})", end as f64 / 1e3), 0.5),
        (format!("count_over_time(far_total{{job=~\"f.r\"}}[10m] @ {})", end as f64 / 1e3), 60.0),
    ] {
        let result = prometheus.query(&query).await.with_context(|| prometheus.log_tail())?;
        ensure!(only(&result) == Some(expected), "{query}: {result:?}\n{}", prometheus.log_tail());
    }
    drop(prometheus);
    server.stop().await
}

/// Prometheus scrapes itself and sends it here: for the same time both stream the same bits.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_streams_the_same_chunks() -> Result<()> {
    let mut server = On::Local.server().await?;
    let configure = |own: &str| {
        format!(
            "global: {{ scrape_interval: 500ms, scrape_timeout: 400ms }}
scrape_configs: [{{ job_name: own, static_configs: [{{ targets: ['{own}'] }}] }}]
remote_write: [{{ url: {}, queue_config: {{ batch_send_deadline: 200ms }} }}]
",
            server.url("/api/v1/write")
        )
    };
    let prometheus = Prometheus::start(configure, "native-histograms").await?;
    let http = server.http();
    let moving = "prometheus_tsdb_head_samples_appended_total";
    wait::until("it has scraped itself for a while", DEADLINE, || async {
        let found = prometheus.query(&format!("count_over_time({moving}[5m])")).await.map_err(|e| e.to_string())?;
        let count: f64 = found.first().and_then(|r| r["value"][1].as_str()?.parse().ok()).unwrap_or(0.0);
        if count >= 20.0 { Ok(()) } else { Err(format!("{count} samples")) }
    })
    .await?;
    let all = |start: i64, end: i64| vec![query(start, end, &[(0, "job", "own")])];
    let theirs = by_series(&chunks(http, &prometheus.url(PATH), all(0, now())).await?);
    ensure!(theirs.len() > 100, "{} series", theirs.len());
    let times = |chunks: &[client::Chunk]| (chunks[0].min_time, chunks[chunks.len() - 1].max_time);
    let last = theirs.values().map(|chunks| times(chunks).1).max().context("no series")?;
    let url = server.url(PATH);
    wait::until("all of it is here", DEADLINE, || async {
        let up = vec![query(last, now(), &[(0, "job", "own"), (0, "__name__", moving)])];
        let found = samples(http, &url, up).await.map_err(|e| e.to_string())?;
        if found.results[0].timeseries.is_empty() { Err("the last sample is missing".to_owned()) } else { Ok(()) }
    })
    .await?;
    let ours = by_series(&chunks(http, &url, all(0, last)).await?);
    let (mut same, mut compared) = (0, 0);
    for (name, theirs) in &theirs {
        let ours = ours.get(name).with_context(|| format!("{name} is not here"))?;
        let read = |chunks: &[client::Chunk]| -> Result<Vec<(i64, u64)>> {
            let read: Vec<_> = chunks.iter().map(|chunk| read_xor(&chunk.data)).collect::<Result<_>>()?;
            Ok(read.concat())
        };
        // It may have been asked in the middle of a scrape.
        let (there, here) = (read(theirs)?, read(ours)?);
        ensure!(here.starts_with(&there), "{name}: other samples");
        if let ([theirs], [ours]) = (&theirs[..], &ours[..])
            && there.len() == here.len()
        {
            compared += 1;
            // Prometheus leaves an empty byte behind where its bits end with one.
            let rest = theirs.data.strip_prefix(&ours.data[..]);
            same += usize::from(matches!(rest, Some([] | [0])));
        }
    }
    ensure!(compared > 100 && same == compared, "{same} of {compared} chunks are the same to the byte");
    drop(prometheus);
    server.stop().await
}
