//! ClickHouse as a library: inserts the records of a set, given as NDJSON, into MergeTree.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bonghwa_benches::sets::Set;
use bonghwa_testkit::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::Durability;
use crate::process::{Process, Program};
use crate::setup;

pub const NAME: &str = "ClickHouse";
pub const DURABILITY: Durability =
    Durability { fsynced: false, what: "NDJSON from a file in one INSERT: no network, no fsync" };

const SCRIPT: &str = include_str!("clickhouse.py");
const DEADLINE: Duration = Duration::from_secs(300);

/// How the table is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schema {
    /// All that the records hold: a column for each attribute, ids as bytes, no skip index.
    Lean,
    /// The table and skip indexes that the OpenTelemetry Collector's exporter makes. It drops
    /// the observed time.
    Exporter,
}

impl Schema {
    pub const ALL: [Schema; 2] = [Schema::Lean, Schema::Exporter];

    pub fn name(self) -> &'static str {
        match self {
            Schema::Lean => "lean",
            Schema::Exporter => "exporter",
        }
    }
}

/// What an insert cost. Written by the script.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inserted {
    pub version: String,
    pub rows: u64,
    /// Seconds.
    pub cpu: f64,
    /// Seconds.
    pub wall: f64,
    /// Resident memory at most, bytes.
    pub peak: u64,
    /// Once merged: data, marks and skip indexes.
    pub bytes: u64,
    /// The skip indexes among them.
    pub index_bytes: u64,
}

/// A set as NDJSON, in a directory of its own.
pub struct Input {
    dir: TempDir,
    signal: Signal,
    items: u64,
    /// Bytes of the NDJSON.
    pub bytes: u64,
}

impl Input {
    pub fn write(set: &Set) -> Result<Input> {
        let dir = tempfile::Builder::new().prefix("bonghwa-bench-").tempdir()?;
        let path = dir.path().join("rows.ndjson");
        let mut file = BufWriter::new(File::create(&path)?);
        for request in &set.requests {
            for row in rows(set.signal, request)? {
                serde_json::to_writer(&mut file, &row)?;
                file.write_all(b"\n")?;
            }
        }
        file.flush()?;
        let bytes = std::fs::metadata(&path)?.len();
        std::fs::write(dir.path().join("clickhouse.py"), SCRIPT)?;
        Ok(Input { dir, signal: set.signal, items: set.items(), bytes })
    }

    /// Inserts into a fresh table. `merge` merges it into one part afterwards.
    pub async fn insert(&self, schema: Schema, merge: bool, cores: &'static str) -> Result<Inserted> {
        let run = tempfile::Builder::new().prefix("bonghwa-bench-").tempdir()?;
        let result = run.path().join("result.json");
        let mut args: Vec<std::ffi::OsString> = vec![self.path("clickhouse.py").into()];
        args.extend([self.signal.table().into(), schema.name().into(), self.path("rows.ndjson").into()]);
        args.extend([run.path().join("data").into(), result.clone().into()]);
        args.push(if merge { "merge" } else { "" }.into());
        let log = run.path().join("log");
        let mut process = Process::start(Program { name: NAME, file: setup::clickhouse()?, args, cores, log })?;
        process.end(DEADLINE).await?;
        let inserted: Inserted = serde_json::from_slice(&std::fs::read(&result).with_context(|| show(&result))?)?;
        if inserted.rows != self.items {
            bail!("{} of {} rows were inserted", inserted.rows, self.items);
        }
        Ok(inserted)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn rows(signal: Signal, request: &[u8]) -> Result<Vec<Value>> {
    Ok(match signal {
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(request)?;
            let of = |resource: Option<Resource>| attributes(resource.unwrap_or_default().attributes);
            let mut rows = vec![];
            for pod in request.resource_logs {
                let resource = of(pod.resource);
                for record in pod.scope_logs.into_iter().flat_map(|s| s.log_records) {
                    let mut row = resource.clone();
                    row.insert("time".into(), seconds(record.time_unix_nano).into());
                    row.insert("observed_time".into(), seconds(record.observed_time_unix_nano).into());
                    row.insert("trace_id".into(), hex::encode(record.trace_id).into());
                    row.insert("span_id".into(), hex::encode(record.span_id).into());
                    row.insert("severity".into(), record.severity_text.into());
                    row.insert("severity_number".into(), record.severity_number.into());
                    row.insert("body".into(), record.body.and_then(|b| b.value).map_or(Value::Null, json));
                    row.extend(attributes(record.attributes));
                    rows.push(row.into());
                }
            }
            rows
        }
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(request)?;
            let mut rows = vec![];
            for pod in request.resource_spans {
                let resource = attributes(pod.resource.unwrap_or_default().attributes);
                for span in pod.scope_spans.into_iter().flat_map(|s| s.spans) {
                    let mut row = resource.clone();
                    row.insert("time".into(), seconds(span.start_time_unix_nano).into());
                    row.insert("duration".into(), (span.end_time_unix_nano - span.start_time_unix_nano).into());
                    row.insert("trace_id".into(), hex::encode(span.trace_id).into());
                    row.insert("span_id".into(), hex::encode(span.span_id).into());
                    row.insert("parent_span_id".into(), hex::encode(span.parent_span_id).into());
                    row.insert("name".into(), span.name.into());
                    row.insert("kind".into(), span.kind.into());
                    row.insert("status".into(), span.status.unwrap_or_default().code.into());
                    row.extend(attributes(span.attributes));
                    rows.push(row.into());
                }
            }
            rows
        }
        Signal::Metrics => bail!("ClickHouse is measured with logs and spans"),
    })
}

/// A decimal Unix time, which ClickHouse reads faster than a date.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn attributes(pairs: Vec<KeyValue>) -> Map<String, Value> {
    let value = |pair: KeyValue| pair.value.and_then(|v| v.value).map_or(Value::Null, json);
    pairs.into_iter().map(|mut pair| (std::mem::take(&mut pair.key).replace('.', "_"), value(pair))).collect()
}

/// The kinds of values that the sets have.
fn json(value: Any) -> Value {
    match value {
        Any::StringValue(text) => text.into(),
        Any::IntValue(number) => number.into(),
        _ => Value::Null,
    }
}
