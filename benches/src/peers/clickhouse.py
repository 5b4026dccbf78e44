"""Inserts NDJSON into a MergeTree table and says what it cost.

Arguments: logs|spans, lean|exporter, the NDJSON file, a data directory, the file for the
result, "merge" to merge the table into one part before its size is taken.
"""

import json
import os
import sys
import time

from chdb.session import Session

signal, schema, ndjson, data, result, merge = sys.argv[1:]

RESOURCE = "service_name String, k8s_namespace_name String, k8s_pod_name String, host_name String"
RESOURCE_MAP = """map('service.name', service_name, 'k8s.namespace.name', k8s_namespace_name,
    'k8s.pod.name', k8s_pod_name, 'host.name', host_name)"""
LEAN_RESOURCE = """
    service LowCardinality(String) CODEC(ZSTD(1)),
    namespace LowCardinality(String) CODEC(ZSTD(1)),
    pod LowCardinality(String) CODEC(ZSTD(1)),
    host LowCardinality(String) CODEC(ZSTD(1)),"""
BLOOM = "TYPE bloom_filter(0.01) GRANULARITY 1"

INPUT = {
    "logs": f"""time DateTime64(9), observed_time DateTime64(9), trace_id String, span_id String, severity String, severity_number UInt8,
        body String, http_route String, client_address String, {RESOURCE}""",
    "spans": f"""time DateTime64(9), duration UInt64, trace_id String, span_id String, parent_span_id String,
        name String, kind UInt8, status UInt8, http_method String, http_status_code UInt16, url_path String,
        user_id String, client_ip String, {RESOURCE}""",
}

# For each table: its definition, and the expressions that fill it.
TABLES = {
    ("logs", "lean"): (
        f"""CREATE TABLE t (
            time DateTime64(9) CODEC(Delta, ZSTD(1)),
            observed_time DateTime64(9) CODEC(Delta, ZSTD(1)),
            trace_id FixedString(16) CODEC(ZSTD(1)),
            span_id FixedString(8) CODEC(ZSTD(1)),
            severity LowCardinality(String) CODEC(ZSTD(1)),
            severity_number UInt8 CODEC(ZSTD(1)),
            body String CODEC(ZSTD(1)),
            route LowCardinality(String) CODEC(ZSTD(1)),
            {LEAN_RESOURCE}
            client LowCardinality(String) CODEC(ZSTD(1))
        ) ENGINE = MergeTree ORDER BY (service, time)""",
        """time, observed_time, unhex(trace_id), unhex(span_id), severity, severity_number, body, http_route,
           service_name, k8s_namespace_name, k8s_pod_name, host_name, client_address""",
    ),
    ("spans", "lean"): (
        f"""CREATE TABLE t (
            time DateTime64(9) CODEC(Delta, ZSTD(1)),
            duration UInt64 CODEC(ZSTD(1)),
            trace_id FixedString(16) CODEC(ZSTD(1)),
            span_id FixedString(8) CODEC(ZSTD(1)),
            parent_span_id FixedString(8) CODEC(ZSTD(1)),
            name LowCardinality(String) CODEC(ZSTD(1)),
            kind UInt8 CODEC(ZSTD(1)),
            status UInt8 CODEC(ZSTD(1)),
            method LowCardinality(String) CODEC(ZSTD(1)),
            http_status UInt16 CODEC(ZSTD(1)),
            path LowCardinality(String) CODEC(ZSTD(1)),
            user String CODEC(ZSTD(1)),
            {LEAN_RESOURCE}
            client LowCardinality(String) CODEC(ZSTD(1))
        ) ENGINE = MergeTree ORDER BY (service, time)""",
        """time, duration, unhex(trace_id), unhex(span_id), unhex(parent_span_id), name, kind, status,
           http_method, http_status_code, url_path, user_id,
           service_name, k8s_namespace_name, k8s_pod_name, host_name, client_ip""",
    ),
    # As opentelemetry-collector-contrib/exporter/clickhouseexporter creates them, less the
    # columns that are empty in the sets.
    ("logs", "exporter"): (
        f"""CREATE TABLE t (
            Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
            TimestampTime DateTime DEFAULT toDateTime(Timestamp),
            TraceId String CODEC(ZSTD(1)),
            SpanId String CODEC(ZSTD(1)),
            SeverityText LowCardinality(String) CODEC(ZSTD(1)),
            SeverityNumber UInt8,
            ServiceName LowCardinality(String) CODEC(ZSTD(1)),
            Body String CODEC(ZSTD(1)),
            ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
            LogAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
            INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
            INDEX idx_res_attr_key mapKeys(ResourceAttributes) {BLOOM},
            INDEX idx_res_attr_value mapValues(ResourceAttributes) {BLOOM},
            INDEX idx_log_attr_key mapKeys(LogAttributes) {BLOOM},
            INDEX idx_log_attr_value mapValues(LogAttributes) {BLOOM},
            INDEX idx_body Body TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8
        ) ENGINE = MergeTree PARTITION BY toDate(TimestampTime)
        PRIMARY KEY (ServiceName, TimestampTime) ORDER BY (ServiceName, TimestampTime, Timestamp)""",
        f"""time AS Timestamp, toDateTime(time), trace_id, span_id, severity, severity_number, service_name, body,
            {RESOURCE_MAP}, map('http.route', http_route, 'client.address', client_address)""",
    ),
    ("spans", "exporter"): (
        f"""CREATE TABLE t (
            Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
            TraceId String CODEC(ZSTD(1)),
            SpanId String CODEC(ZSTD(1)),
            ParentSpanId String CODEC(ZSTD(1)),
            SpanName LowCardinality(String) CODEC(ZSTD(1)),
            SpanKind LowCardinality(String) CODEC(ZSTD(1)),
            ServiceName LowCardinality(String) CODEC(ZSTD(1)),
            ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
            SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
            Duration UInt64 CODEC(ZSTD(1)),
            StatusCode LowCardinality(String) CODEC(ZSTD(1)),
            INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
            INDEX idx_res_attr_key mapKeys(ResourceAttributes) {BLOOM},
            INDEX idx_res_attr_value mapValues(ResourceAttributes) {BLOOM},
            INDEX idx_span_attr_key mapKeys(SpanAttributes) {BLOOM},
            INDEX idx_span_attr_value mapValues(SpanAttributes) {BLOOM},
            INDEX idx_duration Duration TYPE minmax GRANULARITY 1
        ) ENGINE = MergeTree PARTITION BY toDate(Timestamp)
        ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))""",
        f"""time, trace_id, span_id, parent_span_id, name, toString(kind), service_name, {RESOURCE_MAP},
            map('http.method', http_method, 'http.status_code', toString(http_status_code), 'url.path', url_path,
                'user.id', user_id, 'client.ip', client_ip),
            duration, toString(status)""",
    ),
}


def first(query):
    """The first row of an answer."""
    return json.loads(str(session.query(query, "JSONCompactEachRow")).splitlines()[0])


definition, expressions = TABLES[signal, schema]
os.makedirs(data)
session = Session(data)
session.query(definition)
version = first("SELECT version()")[0]

cpu, wall = time.process_time(), time.monotonic()
session.query(f"INSERT INTO t SELECT {expressions} FROM file('{ndjson}', JSONEachRow, '{INPUT[signal]}')")
cpu, wall = time.process_time() - cpu, time.monotonic() - wall
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

if merge:
    session.query("OPTIMIZE TABLE t FINAL")
size, index = first(
    "SELECT toFloat64(sum(bytes_on_disk)), toFloat64(sum(secondary_indices_compressed_bytes))"
    " FROM system.parts WHERE active AND table = 't'"
)
rows = first("SELECT toFloat64(count()) FROM t")[0]
with open(result, "w") as file:
    json.dump(
        {
            "version": version,
            "rows": int(rows),
            "cpu": cpu,
            "wall": wall,
            "peak": peak,
            "bytes": int(size),
            "index_bytes": int(index),
        },
        file,
    )
