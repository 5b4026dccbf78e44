"""A service with the OpenTelemetry SDK whose metrics can be had in two ways: it pushes them by OTLP, and shows them to
whoever scrapes it. They do not change any more once it can be scraped. It runs until it is killed.
"""

import argparse
import threading

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import start_http_server


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--otlp", required=True, help="URL of OTLP over HTTP")
    parser.add_argument("--listen", required=True, type=int, help="port of /metrics")
    parser.add_argument("--instance", required=True, help="service.instance.id")
    args = parser.parse_args()

    pushed = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=f"{args.otlp}/v1/metrics"), export_interval_millis=1000)
    provider = MeterProvider(
        metric_readers=[pushed, PrometheusMetricReader()],
        resource=Resource.create({"service.name": "pushed", "service.instance.id": args.instance}))
    meter = provider.get_meter("shop", "1.2.3")

    requests = meter.create_counter("shop.requests", unit="{request}", description="Requests answered")
    queue = meter.create_up_down_counter("shop.queue", description="Orders that wait")
    duration = meter.create_histogram(
        "shop.duration", unit="s", description="Time of an answer",
        explicit_bucket_boundaries_advisory=[0.005, 0.05, 0.5, 1, 2.5])
    meter.create_observable_gauge(
        "shop.temperature", [lambda _: [Observation(21.75, {"room": "Zürich \"north\"\\"})]], unit="Cel")
    for n in range(1, 101):
        labels = {"http.route": f"/orders/{n % 3}", "code": 200 if n % 5 else 500}
        requests.add(n, labels)
        duration.record(n * 0.0317 % 3, labels)
        queue.add(1 if n % 2 else -2, {"lane": str(n % 4)})

    start_http_server(args.listen, addr="127.0.0.1")
    threading.Event().wait()


if __name__ == "__main__":
    main()
