"""Spans of the OpenTelemetry SDK whose durations are known: 60 answers of 10, 20, ... 600 ms, every fifth of them an
error, and 40 calls of a second each.
"""

import argparse
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

MS = 1_000_000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otlp", required=True, help="URL of OTLP over HTTP")
    args = parser.parse_args()

    provider = TracerProvider(resource=Resource.create({"service.name": "orders"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{args.otlp}/v1/traces")))
    tracer = provider.get_tracer("orders")
    start = time.time_ns() - 2_000 * MS

    def span(name, kind, millis, status=StatusCode.UNSET):
        one = tracer.start_span(name, kind=kind, start_time=start, attributes={"n": millis})
        one.set_status(Status(status))
        one.end(end_time=start + millis * MS)
        return one.get_span_context().trace_id

    for n in range(1, 61):
        slowest = span("GET /orders", SpanKind.SERVER, 10 * n, StatusCode.ERROR if n % 5 == 0 else StatusCode.UNSET)
    for _ in range(40):
        span("charge", SpanKind.CLIENT, 1000)
    if not provider.force_flush():
        raise SystemExit("the spans were not sent")
    print(f"{slowest:032x}")
    provider.shutdown()


if __name__ == "__main__":
    main()
