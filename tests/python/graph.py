"""Spans of the OpenTelemetry SDK of a few services that call each other: 30 purchases. A user asks the shop, which asks
orders (150 ms, of which orders takes 120; every fifth fails there), and that its database; the shop tells mail over a
queue, and asks a bank that sends no spans. Ten times it asks somebody of whom nothing is known.
"""

import argparse
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

MS = 1_000_000


class Service:
    def __init__(self, name, otlp):
        self.provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp}/v1/traces")))
        self.tracer = self.provider.get_tracer(name)

    def span(self, name, kind, parent, start, millis, failed=False, **attributes):
        attributes = {key.replace("_", "."): value for key, value in attributes.items()}
        context = set_span_in_context(parent) if parent else None
        one = self.tracer.start_span(name, context, kind=kind, start_time=start, attributes=attributes)
        if failed:
            one.set_status(Status(StatusCode.ERROR))
        one.end(end_time=start + millis * MS)
        return one


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shop", required=True, help="URL of OTLP over HTTP that the shop sends to")
    parser.add_argument("--others", required=True, help="URL of OTLP over HTTP that the other services send to")
    args = parser.parse_args()

    shop, orders, mail = Service("shop", args.shop), Service("orders", args.others), Service("mail", args.others)
    start = time.time_ns() - 2_000 * MS
    for n in range(30):
        page = shop.span("POST /buy", SpanKind.SERVER, None, start, 900)
        asks = shop.span("orders", SpanKind.CLIENT, page, start, 150)
        answers = orders.span("POST /orders", SpanKind.SERVER, asks, start, 120, failed=n % 5 == 0)
        orders.span(
            "INSERT", SpanKind.CLIENT, answers, start, 50, db_system="postgresql", db_namespace="ledger", server_address="db-0"
        )
        orders.span("add up", SpanKind.INTERNAL, answers, start, 10)
        tells = shop.span("sold publish", SpanKind.PRODUCER, page, start, 20, messaging_system="kafka")
        mail.span("sold process", SpanKind.CONSUMER, tells, start, 400, messaging_system="kafka")
        shop.span("charge", SpanKind.CLIENT, page, start, 300, peer_service="bank")
        if n < 10:
            shop.span("somebody", SpanKind.CLIENT, page, start, 5)
    for service in [shop, orders, mail]:
        if not service.provider.force_flush():
            raise SystemExit("the spans were not sent")
        service.provider.shutdown()


if __name__ == "__main__":
    main()
