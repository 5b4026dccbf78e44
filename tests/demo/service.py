"""Services: each with a Resource, providers and exporters of its own, as if it were a process."""

import contextlib

from opentelemetry import propagate, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

# Name, version, language that it claims, pods.
SERVICES = [
    ("frontend", "3.2.0", "nodejs", 2),
    ("cart", "1.9.4", "go", 1),
    ("checkout", "2.4.1", "java", 1),
    ("payment", "5.0.2", "java", 1),
    ("inventory", "1.1.0", "rust", 1),
    ("shipping", "0.8.3", "go", 1),
]
# Long enough for a whole history without a drop.
QUEUE = 50_000


class ShopError(Exception):
    """A request that the shop could not serve."""


class Clock:
    """The time of one visit: it passes when something is said to take time."""

    def __init__(self, seconds):
        self.ns = int(seconds * 1e9)

    def pass_ms(self, milliseconds):
        self.ns += int(milliseconds * 1e6)


class Service:
    """One service; the first half of the shop speaks gRPC, the rest HTTP."""

    def __init__(self, name, version, language, pods, exporters):
        resource = Resource.create(
            {
                "service.name": name,
                "service.version": version,
                "service.namespace": "shop",
                "deployment.environment.name": "demo",
                "telemetry.sdk.language": language,
                "k8s.pod.name": f"{name}-7d9f6c5b4-{pods}x2zq",
            }
        )
        self.name = name
        self.tracers = TracerProvider(resource=resource)
        self.tracers.add_span_processor(BatchSpanProcessor(exporters["traces"](), max_queue_size=QUEUE))
        self.loggers = LoggerProvider(resource=resource)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(exporters["logs"](), max_queue_size=QUEUE))
        reader = PeriodicExportingMetricReader(exporters["metrics"](), export_interval_millis=3_600_000)
        self.meters = MeterProvider([reader], resource)
        self.tracer = self.tracers.get_tracer("shop", version)
        self.logger = self.loggers.get_logger("shop", version)
        meter = self.meters.get_meter("shop", version)
        self.duration = meter.create_histogram("http.server.request.duration", unit="s", description="By route")
        self.requests = meter.create_counter("http.server.requests", description="By route and status")
        self.active = meter.create_up_down_counter("http.server.active_requests")
        self.revenue = meter.create_counter("shop.revenue", unit="EUR")
        self.stock = meter.create_gauge("shop.stock", unit="{item}")

    @contextlib.contextmanager
    def span(self, clock, name, kind=SpanKind.INTERNAL, context=None, **attributes):
        """A span in the visit's time; an error ends it, is recorded and goes on upwards."""
        span = self.tracer.start_span(name, context, kind, attributes, start_time=clock.ns)
        with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except ShopError as error:
                span.record_exception(error, timestamp=clock.ns)
                span.set_status(Status(StatusCode.ERROR, str(error)))
                raise
            finally:
                span.end(clock.ns)

    def log(self, clock, severity, body, **attributes):
        """A log record of the current span."""
        record = LogRecord(
            timestamp=clock.ns,
            observed_timestamp=clock.ns,
            severity_number=SeverityNumber[severity],
            severity_text=severity,
            body=body,
            attributes=attributes,
        )
        self.logger.emit(record)

    @contextlib.contextmanager
    def serve(self, clock, method, route, headers):
        """A request that this service answers, as a part of the trace in the headers."""
        started, status = clock.ns, 200
        self.active.add(1, {"http.route": route})
        context = propagate.extract(headers)
        attributes = {"http.request.method": method, "http.route": route}
        with self.span(clock, f"{method} {route}", SpanKind.SERVER, context, **attributes) as span:
            try:
                yield span
            except ShopError:
                status = 500
                raise
            finally:
                span.set_attribute("http.response.status_code", status)
                labels = {"http.route": route, "http.response.status_code": status}
                self.requests.add(1, labels)
                self.duration.record((clock.ns - started) / 1e9, labels)
                self.active.add(-1, {"http.route": route})

    @contextlib.contextmanager
    def call(self, clock, other, method, route, network_ms):
        """A request from here to another service."""
        attributes = {"http.request.method": method, "server.address": other.name}
        with self.span(clock, f"{method} {other.name}{route}", SpanKind.CLIENT, **attributes):
            headers = {}
            propagate.inject(headers)
            clock.pass_ms(network_ms)
            try:
                with other.serve(clock, method, route, headers) as span:
                    yield span
            finally:
                clock.pass_ms(network_ms)

    def providers(self):
        return (self.tracers, self.loggers, self.meters)


class Shop:
    """All services."""

    def __init__(self, otlp_grpc, otlp_http):
        grpc = {
            "traces": lambda: grpc_traces.OTLPSpanExporter(endpoint=otlp_grpc, insecure=True),
            "logs": lambda: grpc_logs.OTLPLogExporter(endpoint=otlp_grpc, insecure=True),
            "metrics": lambda: grpc_metrics.OTLPMetricExporter(endpoint=otlp_grpc, insecure=True),
        }
        http = {
            "traces": lambda: http_traces.OTLPSpanExporter(endpoint=f"{otlp_http}/v1/traces"),
            "logs": lambda: http_logs.OTLPLogExporter(endpoint=f"{otlp_http}/v1/logs"),
            "metrics": lambda: http_metrics.OTLPMetricExporter(endpoint=f"{otlp_http}/v1/metrics"),
        }
        half = len(SERVICES) // 2
        self.services = {
            row[0]: Service(*row, grpc if i < half else http) for i, row in enumerate(SERVICES)
        }

    def __getitem__(self, name):
        return self.services[name]

    def report_metrics(self):
        """A sample of every metric, now."""
        for service in self.services.values():
            service.meters.force_flush()

    def report_everything(self):
        for service in self.services.values():
            for provider in service.providers():
                provider.force_flush()

    def close(self):
        for service in self.services.values():
            for provider in service.providers():
                provider.shutdown()
