"""What OTLP can say and the SDK can't: summaries, special numbers, flags, dropped counts."""

import hashlib
import time
import urllib.request

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

CUMULATIVE, DELTA = 2, 1
RESPONSES = {
    "logs": ExportLogsServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "traces": ExportTraceServiceResponse,
}


def any_value(value):
    """Python to AnyValue; None is a value that is not set."""
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(v) for v in value]))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=attributes(value)))
    return AnyValue(string_value=value)


def attributes(values):
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


VALUES = {
    "s": "text",
    "i": -(2**63),
    "d": 1e300,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "minus.zero": -0.0,
    "b": True,
    "raw": bytes(range(256)),
    "list": ["a", 1, 2.0, False, b"\x00", None, [[]], {}],
    "map": {"a": {"b": {"c": [1, 2]}}, "bytesValue": "no bytes"},
    "looks.like.bytes": {"bytesValue": "AA=="},
    "": "an empty key",
    "key with spaces \" and 'quotes'": 1,
    "not.set": None,
}


def requests(run):
    """(log, metric, trace) requests."""
    now = time.time_ns()
    resource = Resource(
        attributes=attributes({"service.name": "by.hand", "test.run": run, "nested": {"a": [1, b"\x01"]}}),
        dropped_attributes_count=3,
    )
    scope = InstrumentationScope(name="hand", version="0", attributes=attributes({"x": 1}), dropped_attributes_count=2)
    logs, metrics, traces = ExportLogsServiceRequest(), ExportMetricsServiceRequest(), ExportTraceServiceRequest()
    for export, inner, items in (
        (logs.resource_logs, "scope_logs", ("log_records", _logs(now))),
        (metrics.resource_metrics, "scope_metrics", ("metrics", _metrics(now))),
        (traces.resource_spans, "scope_spans", ("spans", _spans(now, run))),
    ):
        outer = export.add(schema_url="https://opentelemetry.io/schemas/1.30.0")
        outer.resource.CopyFrom(resource)
        scoped = getattr(outer, inner).add(schema_url="https://opentelemetry.io/schemas/1.29.0")
        scoped.scope.CopyFrom(scope)
        getattr(scoped, items[0]).extend(items[1])
    return [logs], [metrics], [traces]


def _logs(now):
    ids = {"trace_id": bytes(range(16)), "span_id": bytes(range(8))}
    return [
        LogRecord(time_unix_nano=now, observed_time_unix_nano=now + 5, severity_number=24, severity_text="fatal!",
                  body=any_value("with all"), attributes=attributes(VALUES), flags=1, dropped_attributes_count=9,
                  event_name="browser.page_view", **ids),
        LogRecord(time_unix_nano=now + 1, body=any_value(VALUES)),
        LogRecord(time_unix_nano=now + 2, body=any_value(float("nan"))),
        LogRecord(time_unix_nano=now + 3),
        LogRecord(time_unix_nano=1, body=any_value("1970")),
    ]


def _spans(now, run):
    trace_id, root = hashlib.sha256(run.encode()).digest()[:16], bytes(range(1, 9))
    event = Span.Event(time_unix_nano=now + 1, name="e", attributes=attributes(VALUES), dropped_attributes_count=4)
    link = Span.Link(trace_id=trace_id[::-1], span_id=root[::-1], trace_state="a=b,c=d",
                     attributes=attributes(VALUES), dropped_attributes_count=5, flags=0x101)
    return [
        Span(trace_id=trace_id, span_id=root, trace_state="vendor=1", name="all", kind=Span.SPAN_KIND_CONSUMER,
             start_time_unix_nano=now, end_time_unix_nano=now + 1_234_567_891, attributes=attributes(VALUES),
             dropped_attributes_count=1, events=[event, Span.Event(time_unix_nano=now)], dropped_events_count=2,
             links=[link, Span.Link(trace_id=trace_id, span_id=root)], dropped_links_count=3,
             status=Status(code=Status.STATUS_CODE_ERROR, message="größer"), flags=0x301),
        Span(trace_id=trace_id, span_id=root[::-1], parent_span_id=root, name="", start_time_unix_nano=now,
             end_time_unix_nano=now),
    ]


def _metrics(now):
    start = now - 60_000_000_000
    ids = {"trace_id": bytes(range(16)), "span_id": bytes(range(8))}
    exemplars = [
        Exemplar(time_unix_nano=now - 1, as_double=0.25, filtered_attributes=attributes({"user": "u1"}), **ids),
        Exemplar(time_unix_nano=now - 2, as_int=7),
    ]

    def number(offset, **value):
        return NumberDataPoint(time_unix_nano=now + offset, start_time_unix_nano=start, **value)

    gauge = Metric(name="hand.gauge", unit="1", description="Special numbers", metadata=attributes({"m": 1}))
    gauge.gauge.data_points.extend([
        number(0, as_double=float("nan")), number(1, as_double=float("inf")), number(2, as_double=float("-inf")),
        number(3, as_int=2**53), number(4, as_double=VALUES["minus.zero"]), number(5, flags=1), number(6, as_int=-1),
        # Labels have names.
        number(7, as_double=0.5, attributes=attributes({k: v for k, v in VALUES.items() if k}), exemplars=exemplars),
    ])
    total = Metric(name="hand.sum", unit="By")
    total.sum.aggregation_temporality, total.sum.is_monotonic = DELTA, False
    total.sum.data_points.extend([number(0, as_int=5), number(1, as_double=5.5)])
    histogram = Metric(name="hand.histogram", unit="s")
    histogram.histogram.aggregation_temporality = CUMULATIVE
    histogram.histogram.data_points.extend([
        HistogramDataPoint(time_unix_nano=now, start_time_unix_nano=start, count=6, sum=-12.5, min=-9.0, max=4.0,
                           bucket_counts=[1, 2, 3], explicit_bounds=[-1.0, 2.5], exemplars=exemplars),
        HistogramDataPoint(time_unix_nano=now + 1, count=2, bucket_counts=[2]),
        HistogramDataPoint(time_unix_nano=now + 2, count=2, sum=3.0),
    ])
    exponential = Metric(name="hand.exponential")
    exponential.exponential_histogram.aggregation_temporality = DELTA
    point = ExponentialHistogramDataPoint(time_unix_nano=now, start_time_unix_nano=start, count=10, sum=33.0, scale=-2,
                                          zero_count=1, zero_threshold=1e-9, min=-5.0, max=20.0, exemplars=exemplars)
    point.positive.offset, point.negative.offset = -3, 7
    point.positive.bucket_counts.extend([1, 0, 5])
    point.negative.bucket_counts.extend([3])
    exponential.exponential_histogram.data_points.append(point)
    summary = Metric(name="hand.summary", unit="s", description="Quantiles")
    quantiles = SummaryDataPoint.ValueAtQuantile
    summary.summary.data_points.append(
        SummaryDataPoint(time_unix_nano=now, start_time_unix_nano=start, count=4, sum=10.0,
                         quantile_values=[quantiles(quantile=0.0, value=1.0), quantiles(quantile=0.99, value=4.5)])
    )
    return [gauge, total, histogram, exponential, summary]


def send(protocol, endpoint, run, minus_zero=True):
    """Sends; returns what was sent. Without `minus_zero`, 0.0 takes the place of -0.0."""
    VALUES["minus.zero"] = -0.0 if minus_zero else 0.0
    sent = requests(run)
    if protocol == "grpc":
        with grpc.insecure_channel(endpoint) as channel:
            stubs = (LogsServiceStub(channel), MetricsServiceStub(channel), TraceServiceStub(channel))
            for stub, (request,) in zip(stubs, sent):
                _accepted(stub.Export(request, timeout=30))
    else:
        for (signal, form), (request,) in zip(RESPONSES.items(), sent):
            headers = {"content-type": "application/x-protobuf"}
            body = request.SerializeToString()
            with urllib.request.urlopen(
                urllib.request.Request(f"{endpoint}/v1/{signal}", data=body, headers=headers), timeout=30
            ) as answer:
                _accepted(form.FromString(answer.read()))
    return sent


def _accepted(answer):
    """All of it: nothing was rejected or remarked on."""
    assert not answer.partial_success.ListFields(), answer
