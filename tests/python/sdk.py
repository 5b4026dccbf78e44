"""Telemetry from the OpenTelemetry SDK, through its own OTLP exporters.

Between SDK and exporter stands a tee: it keeps what the exporter is given, in the
protobuf messages of the exporter's own encoder.
"""

import logging
import time

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

DELTA = {kind: AggregationTemporality.DELTA for kind in (Counter, ObservableCounter, Histogram)}


class Exporters:
    """The SDK's exporters for one protocol and endpoint."""

    def __init__(self, protocol, endpoint):
        if protocol == "grpc":
            from grpc import Compression
            from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            options = {"insecure": True, "compression": Compression.Gzip}
            endpoints = dict.fromkeys(("logs", "metrics", "traces"), endpoint)
        else:
            from opentelemetry.exporter.otlp.proto.http import Compression
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            options = {"compression": Compression.Gzip}
            endpoints = {signal: f"{endpoint}/v1/{signal}" for signal in ("logs", "metrics", "traces")}
        self.logs = lambda: OTLPLogExporter(endpoint=endpoints["logs"], **options)
        self.spans = lambda: OTLPSpanExporter(endpoint=endpoints["traces"], **options)
        self.metrics = lambda **more: OTLPMetricExporter(endpoint=endpoints["metrics"], **options, **more)


class TeeLogs(LogRecordExporter):
    def __init__(self, exporter, kept):
        self.exporter, self.kept = exporter, kept

    def export(self, batch):
        self.kept.append(encode_logs(batch))
        return self.exporter.export(batch)

    def force_flush(self, timeout_millis=10_000):
        return self.exporter.force_flush(timeout_millis)

    def shutdown(self):
        self.exporter.shutdown()


class TeeSpans(SpanExporter):
    def __init__(self, exporter, kept):
        self.exporter, self.kept = exporter, kept

    def export(self, spans):
        self.kept.append(encode_spans(spans))
        return self.exporter.export(spans)

    def shutdown(self):
        self.exporter.shutdown()


class TeeMetrics(MetricExporter):
    def __init__(self, exporter, kept):
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self.exporter, self.kept = exporter, kept

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        self.kept.append(encode_metrics(metrics_data))
        return self.exporter.export(metrics_data, timeout_millis, **kwargs)

    def force_flush(self, timeout_millis=10_000):
        return self.exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.exporter.shutdown(timeout_millis, **kwargs)


def send(protocol, endpoint, run):
    """Sends from two services; returns (log, metric, trace) requests as they were sent."""
    exporters = Exporters(protocol, endpoint)
    logs, metrics, spans = [], [], []
    for service in ("shop.frontend", "shop.payment"):
        resource = Resource.create(
            {
                "service.name": service,
                "service.instance.id": f"{service}-0",
                "test.run": run,
                "host.cores": 8,
                "host.load": 0.75,
                "host.spot": False,
                "process.command_args": ["serve", "--fast"],
            }
        )
        _send_spans_and_logs(exporters, resource, spans, logs)
        _send_metrics(exporters, resource, metrics, delta=service == "shop.payment")
    return logs, metrics, spans


ATTRIBUTES = {
    "text": "straße 봉화 🔥 \"quoted\" \\ \n end",
    "empty": "",
    "int": 42,
    "negative": -(2**62),
    "double": 0.1,
    "whole.double": 3.0,
    "tiny": 5e-324,
    "yes": True,
    "no": False,
    "texts": ["a", "", "c"],
    "ints": [1, 2, 3],
    "doubles": [1.0, 2.5],
    "bools": [True, False],
    "nothing": [],
    "http.request.method": "GET",
    "url.path": "/cart/17",
}

NESTED = {
    "bytes": b"\x00\xff raw",
    "map": {"inner": {"deep": [1, {"deeper": None}]}, "n": 1.5},
    "mixed": ["a", 1, 2.0, True, b"\x01", [None]],
    "none": None,
}


def _send_spans_and_logs(exporters, resource, kept_spans, kept_logs):
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(TeeSpans(exporters.spans(), kept_spans)))
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(BatchLogRecordProcessor(TeeLogs(exporters.logs(), kept_logs)))
    tracer = tracers.get_tracer("shop.tracing", "1.2.3")
    logger = loggers.get_logger("shop.logging", "4.5.6")

    with tracer.start_as_current_span("root", kind=SpanKind.SERVER, attributes=ATTRIBUTES) as root:
        _log(logger, loggers, resource)
        linked = root.get_span_context()
        for kind in SpanKind:
            with tracer.start_as_current_span(f"child {kind.name}", kind=kind) as child:
                child.add_event("cache.miss", {"key": "cart:17", "tries": 2})
                child.add_event("timed", {}, timestamp=1_700_000_000_123_456_789)
        links = [Link(linked, {"why": "retry", "n": 1}), Link(linked)]
        with tracer.start_as_current_span("linked", links=links) as span:
            span.set_status(Status(StatusCode.OK))
        try:
            with tracer.start_as_current_span("failing"):
                raise ValueError("card declined: größer als erlaubt")
        except ValueError:
            # The SDK has recorded it as an event, and set the status.
            pass
    with tracer.start_as_current_span("bare"):
        pass
    tracer.start_span("fixed", start_time=1_700_000_000_000_000_001).end(1_700_000_000_000_000_999)
    loggers.shutdown()
    tracers.shutdown()


def _log(logger, loggers, resource):
    now = time.time_ns()
    bodies = ["plain text", "", "zeilen\numbruch 🔥", 7, 2.5, True, b"\xfe\xed", ["a", 1], {"event": {"id": 1}}]
    for n, body in enumerate(bodies):
        logger.emit(
            LogRecord(
                timestamp=now + n,
                observed_timestamp=now + 1_000 + n,
                severity_number=list(SeverityNumber)[1 + n],
                severity_text=f"LEVEL{n}",
                body=body,
                attributes={**ATTRIBUTES, **NESTED, "row": n},
                event_name=f"shop.event.{n}" if n % 2 else None,
            )
        )
    # The standard library's logging.
    handler = LoggingHandler(level=logging.INFO, logger_provider=loggers)
    standard = logging.Logger(f"shop.{resource.attributes['service.name']}")
    standard.addHandler(handler)
    standard.warning("cart %d is empty", 17)
    # Neither severity nor span nor attributes.
    logger.emit(LogRecord(timestamp=now + 100, body="bare", context=trace.set_span_in_context(trace.INVALID_SPAN)))
    # Only observed.
    logger.emit(LogRecord(observed_timestamp=now + 200, body="observed only"))


def _send_metrics(exporters, resource, kept, delta):
    exporter = exporters.metrics(preferred_temporality=DELTA if delta else None)
    reader = PeriodicExportingMetricReader(TeeMetrics(exporter, kept), export_interval_millis=3_600_000)
    exponential = View(instrument_name="payload.size", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider(
        [reader], resource, exemplar_filter=AlwaysOnExemplarFilter(), views=[exponential]
    )
    meter = provider.get_meter("shop.metering", "7.8.9")
    meter.create_observable_gauge("temperature", [_temperature], unit="Cel", description="Observed")
    orders = meter.create_counter("orders", unit="{order}", description="Orders taken")
    revenue = meter.create_counter("revenue", unit="EUR")
    carts = meter.create_up_down_counter("carts.open")
    load = meter.create_gauge("load")
    latency = meter.create_histogram("latency", unit="ms", explicit_bucket_boundaries_advisory=[1.0, 10.0, 100.0])
    size = meter.create_histogram("payload.size", unit="By")
    tracer = TracerProvider(resource=resource).get_tracer("exemplars")
    for step in range(3):
        with tracer.start_as_current_span("measured"):
            orders.add(step + 1, {"tier": "gold", "n": step})
            revenue.add(19.99 * (step + 1), {"tier": "gold"})
            carts.add(-step if step % 2 else step)
            load.set(0.5 + step, {"core": step})
            for value in (0.5, 7.0, 70.0, 700.0):
                latency.record(value * (step + 1), {"route": "/cart"})
                size.record(value * 1000, {"route": "/cart"})
        provider.force_flush()
    provider.shutdown()


def _temperature(_options):
    from opentelemetry.metrics import Observation

    return [Observation(-3.5, {"room": "cold"}), Observation(21, {"room": "warm"})]
