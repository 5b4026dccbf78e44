//! Bonghwa's own telemetry: logs to standard error, metrics at `/metrics`, and both as OTLP
//! to any receiver, itself included.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, Result};
use bonghwa_cluster::seam;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::proto::{MetricFamily, MetricType};
use prost::Message;
use tokio::sync::mpsc;
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config;
use crate::node::Node;

/// Log records that wait to be sent; more are dropped and counted in the next one sent.
const QUEUE: usize = 4096;
const CUMULATIVE: i32 = 2;

/// Sends telemetry until it is told to end.
pub struct SelfTelemetry {
    sender: Option<Sender>,
    task: std::sync::Mutex<Option<seam::Task>>,
    stop: tokio::sync::watch::Sender<bool>,
}

struct Sender {
    endpoint: String,
    token: String,
    interval: Duration,
    records: std::sync::Mutex<Option<mpsc::Receiver<LogRecord>>>,
}

/// Starts logging; sending begins with [`SelfTelemetry::begin`].
pub fn start(options: &config::Telemetry) -> Result<SelfTelemetry> {
    let filter =
        EnvFilter::try_new(&options.log).with_context(|| format!("telemetry.log: {:?} is no filter", options.log))?;
    // Why a caller's certificate was refused, tonic says only there.
    let filter = filter.add_directive("tonic::transport::server::io_stream=debug".parse()?);
    let stderr =
        fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false);
    let stderr = if options.log_format == "json" { stderr.json().boxed() } else { stderr.boxed() };
    let (sender, capture) = if options.otlp_endpoint.is_empty() {
        (None, None)
    } else {
        let (queue, records) = mpsc::channel(QUEUE);
        let sender = Sender {
            endpoint: options.otlp_endpoint.trim_end_matches('/').to_owned(),
            token: options.otlp_token.clone(),
            interval: options.otlp_interval.0,
            records: std::sync::Mutex::new(Some(records)),
        };
        (Some(sender), Some(Capture { queue }))
    };
    tracing_subscriber::registry().with(filter).with(stderr).with(capture).init();
    Ok(SelfTelemetry { sender, task: std::sync::Mutex::default(), stop: tokio::sync::watch::Sender::new(false) })
}

impl SelfTelemetry {
    /// Begins to send, now that the node may be its own receiver.
    pub fn begin(&self) {
        let Some(sender) = &self.sender else { return };
        let records = sender.records.lock().ok().and_then(|mut r| r.take());
        let Some(records) = records else { return };
        let (endpoint, token) = (sender.endpoint.clone(), sender.token.clone());
        let task = seam::spawn(send_loop(endpoint, token, sender.interval, records, self.stop.subscribe()));
        if let Ok(mut slot) = self.task.lock() {
            *slot = Some(task);
        }
    }

    /// Ends sending.
    pub async fn end(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().ok().and_then(|mut t| t.take());
        if let Some(task) = task
            && seam::timeout(Duration::from_secs(2), task.join()).await.is_err()
        {
            tracing::debug!("own telemetry was not sent in time");
        }
    }
}

async fn send_loop(
    endpoint: String,
    token: String,
    interval: Duration,
    mut records: mpsc::Receiver<LogRecord>,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let client = reqwest::Client::new();
    let mut ending = false;
    while !ending {
        tokio::select! {
            () = seam::sleep(interval) => {}
            _ = stop.wait_for(|stop| *stop) => ending = true,
        }
        let mut batch = Vec::new();
        while let Ok(record) = records.try_recv() {
            batch.push(record);
        }
        let now = seam::unix_nanos() as u64;
        let metrics = metrics_request(&prometheus::gather(), now);
        post(&client, &format!("{endpoint}/v1/metrics"), &token, metrics.encode_to_vec()).await;
        if !batch.is_empty() {
            post(&client, &format!("{endpoint}/v1/logs"), &token, logs_request(batch).encode_to_vec()).await;
        }
    }
}

async fn post(client: &reqwest::Client, url: &str, token: &str, body: Vec<u8>) {
    let request = client.post(url).header("content-type", "application/x-protobuf").timeout(Duration::from_secs(5));
    let request = if token.is_empty() { request } else { request.bearer_auth(token) };
    match request.body(body).send().await {
        Ok(response) if response.status().is_success() => {}
        // At debug level: a warning would itself be sent, and fail, and warn.
        Ok(response) => tracing::debug!(url, status = %response.status(), "own telemetry was refused"),
        Err(error) => tracing::debug!(url, %error, "own telemetry was not sent"),
    }
}

fn text_attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Any::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn resource() -> Option<Resource> {
    let attributes =
        vec![text_attribute("service.name", "bonghwa"), text_attribute("service.version", env!("CARGO_PKG_VERSION"))];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "bonghwa".into(), ..InstrumentationScope::default() })
}

fn logs_request(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, schema_url: String::new() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: resource(), scope_logs, schema_url: String::new() }],
    }
}

fn metrics_request(families: &[MetricFamily], now: u64) -> ExportMetricsServiceRequest {
    let metrics = families.iter().filter_map(|family| metric(family, now)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, schema_url: String::new() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: resource(), scope_metrics, schema_url: String::new() }],
    }
}

fn metric(family: &MetricFamily, now: u64) -> Option<Metric> {
    let attributes = |m: &prometheus::proto::Metric| {
        m.get_label().iter().map(|label| text_attribute(label.name(), label.value())).collect::<Vec<_>>()
    };
    let number = |m: &prometheus::proto::Metric, value: f64| NumberDataPoint {
        attributes: attributes(m),
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let points = family.get_metric().iter();
    let data = match family.get_field_type() {
        MetricType::COUNTER => metric::Data::Sum(Sum {
            data_points: points.map(|m| number(m, m.get_counter().get_value())).collect(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        MetricType::GAUGE => {
            metric::Data::Gauge(Gauge { data_points: points.map(|m| number(m, m.get_gauge().get_value())).collect() })
        }
        MetricType::HISTOGRAM => metric::Data::Histogram(Histogram {
            data_points: points.map(|m| histogram_point(m, attributes(m), now)).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
        // Nothing here registers one.
        _ => return None,
    };
    Some(Metric {
        name: family.name().into(),
        description: family.help().into(),
        data: Some(data),
        ..Metric::default()
    })
}

fn histogram_point(m: &prometheus::proto::Metric, attributes: Vec<KeyValue>, now: u64) -> HistogramDataPoint {
    let histogram = m.get_histogram();
    let finite = || histogram.get_bucket().iter().filter(|b| b.upper_bound().is_finite());
    let cumulative: Vec<u64> = finite().map(|b| b.cumulative_count()).chain([histogram.get_sample_count()]).collect();
    let below = std::iter::once(0).chain(cumulative.iter().copied());
    HistogramDataPoint {
        attributes,
        time_unix_nano: now,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        explicit_bounds: finite().map(|b| b.upper_bound()).collect(),
        bucket_counts: cumulative.iter().zip(below).map(|(upto, below)| upto - below).collect(),
        ..HistogramDataPoint::default()
    }
}

/// `/metrics` in Prometheus' text format; gauges of the moment are set first.
pub fn text(node: &Node) -> Result<String> {
    use prometheus::{Encoder, TextEncoder};
    process_metrics::update(node);
    let mut out = Vec::new();
    TextEncoder::new().encode(&prometheus::gather(), &mut out)?;
    Ok(String::from_utf8(out)?)
}

mod process_metrics {
    //! Gauges that are read when somebody looks.

    use std::sync::LazyLock;

    use prometheus::{Gauge, IntGauge, IntGaugeVec, register_gauge, register_int_gauge, register_int_gauge_vec};

    use crate::node::Node;

    struct Gauges {
        allocated: IntGauge,
        resident: IntGauge,
        blocks: IntGauge,
        catalog_age: Gauge,
        lag: IntGaugeVec,
    }

    static GAUGES: LazyLock<Option<Gauges>> = LazyLock::new(|| {
        Some(Gauges {
            allocated: register_int_gauge!("bonghwa_memory_allocated_bytes", "Bytes allocated by the process").ok()?,
            resident: register_int_gauge!("process_resident_memory_bytes", "Resident memory").ok()?,
            blocks: register_int_gauge!("bonghwa_catalog_blocks", "Blocks in the catalog").ok()?,
            catalog_age: register_gauge!(
                "bonghwa_catalog_age_seconds",
                "Time since this node's copy of the catalog was last known to be as new as meta's"
            )
            .ok()?,
            lag: register_int_gauge_vec!(
                "bonghwa_partition_unflushed_positions",
                "Log positions that are not in blocks yet",
                &["partition"]
            )
            .ok()?,
        })
    });

    pub(super) fn update(node: &Node) {
        let Some(gauges) = GAUGES.as_ref() else { return };
        if tikv_jemalloc_ctl::epoch::advance().is_ok() {
            gauges.allocated.set(tikv_jemalloc_ctl::stats::allocated::read().unwrap_or(0) as i64);
        }
        // Second field of statm: resident pages, of 4 KiB on every platform this runs on.
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: i64 = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).unwrap_or(0);
        gauges.resident.set(pages * 4096);
        gauges.catalog_age.set(node.view.age().as_secs_f64());
        gauges.blocks.set(node.view.current().block_count() as i64);
        for status in node.ingester.iter().flat_map(|ingester| ingester.partitions()) {
            let lag = status.position.saturating_sub(status.watermark);
            gauges.lag.with_label_values(&[&status.partition]).set(lag as i64);
        }
    }
}

/// A tracing layer that turns events into OTLP log records.
struct Capture {
    queue: mpsc::Sender<LogRecord>,
}

impl<S: tracing::Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        let (number, name) = match *event.metadata().level() {
            tracing::Level::ERROR => (17, "ERROR"),
            tracing::Level::WARN => (13, "WARN"),
            tracing::Level::INFO => (9, "INFO"),
            tracing::Level::DEBUG => (5, "DEBUG"),
            tracing::Level::TRACE => (1, "TRACE"),
        };
        let mut fields =
            Fields { body: String::new(), attributes: vec![text_attribute("target", event.metadata().target())] };
        event.record(&mut fields);
        let record = LogRecord {
            time_unix_nano: seam::unix_nanos() as u64,
            severity_number: number,
            severity_text: name.into(),
            body: Some(AnyValue { value: Some(Any::StringValue(fields.body)) }),
            attributes: fields.attributes,
            ..LogRecord::default()
        };
        // A full queue means that the receiver is slow: the node's work goes first.
        let _ = self.queue.try_send(record);
    }
}

struct Fields {
    body: String,
    attributes: Vec<KeyValue>,
}

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.body = text
        } else {
            self.attributes.push(text_attribute(field.name(), &text))
        }
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.attributes.push(text_attribute(field.name(), value));
    }

    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        let value = Some(AnyValue { value: Some(Any::IntValue(value)) });
        self.attributes.push(KeyValue { key: field.name().into(), value, ..KeyValue::default() });
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.record_str(field, &value.to_string()),
        }
    }
}
