"""Puts load on a cluster of processes and says what it costs: CPU of each role, waits, query latency.

    python loadtest.py --binary BONGHWA SCENARIO

steady        all signals at a fixed rate
burst         three times that rate for a third of the time
hot-tenant    one service sends ten times as much as the others
scale-out     an ingester joins in the middle
replication   the same load at replication factor 1 and 3: CPU of leader and followers
scale         as fast as acks come, with 1, 2 and 4 ingesters: rate, CPU, query latency; with --share each ingester
              gets that share of a core and no more

Every node runs in a network namespace of its own (root, iproute2). Payloads are made once and replayed, each
under a name of its own, so that they count as new records. Figures of one machine compare with each other,
not with another machine's.
"""

import argparse
import http.client
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/cluster"))

from chaos import ask, flush, wait_settled  # noqa: E402
from network import Cluster, in_namespace  # noqa: E402
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: E402
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest  # noqa: E402
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

ITEMS = 1000
QUERIES = {
    "count by service": "SELECT service_name, count(*) AS n FROM logs GROUP BY 1 ORDER BY 1",
    "errors, newest": "SELECT time, body FROM logs WHERE severity_number >= 17 ORDER BY time DESC LIMIT 50",
    "needle": "SELECT count(*) AS n FROM logs WHERE body LIKE '%order 4242 %'",
    "p95 by span": "SELECT name, approx_percentile_cont(duration_ns, 0.95) AS p FROM spans GROUP BY 1 ORDER BY 1",
}


def text(attributes, key, value):
    attribute = attributes.add()
    attribute.key, attribute.value.string_value = key, value


def integer(attributes, key, value):
    attribute = attributes.add()
    attribute.key, attribute.value.int_value = key, value


def logs(service, start):
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    text(resource.resource.attributes, "service.name", service)
    scope = resource.scope_logs.add()
    for n in range(ITEMS):
        record = scope.log_records.add()
        record.time_unix_nano = start + n * 1000
        record.severity_number = 17 if n % 100 == 0 else 9
        record.body.string_value = f"handled order {n * 7} for customer {n % 311} in {n % 97} ms"
        text(record.attributes, "http.route", f"/orders/{n % 8}")
        integer(record.attributes, "http.status_code", 500 if n % 100 == 0 else 200)
        record.trace_id, record.span_id = os.urandom(16), os.urandom(8)
    return request.SerializeToString()


def traces(service, start):
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    text(resource.resource.attributes, "service.name", service)
    scope = resource.scope_spans.add()
    trace = b""
    for n in range(ITEMS):
        trace = os.urandom(16) if n % 8 == 0 else trace
        span = scope.spans.add()
        span.trace_id, span.span_id = trace, os.urandom(8)
        span.name, span.kind = f"op-{n % 8}", 2
        span.start_time_unix_nano = start + n * 1000
        span.end_time_unix_nano = start + n * 1000 + (n % 977) * 1000
        text(span.attributes, "http.route", f"/orders/{n % 8}")
    return request.SerializeToString()


def metrics(service, start):
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    text(resource.resource.attributes, "service.name", service)
    metric = resource.scope_metrics.add().metrics.add()
    metric.name = "orders.in.flight"
    for n in range(ITEMS):
        point = metric.gauge.data_points.add()
        point.time_unix_nano, point.as_int = start, n
        text(point.attributes, "pod", f"pod-{n % 100}")
        integer(point.attributes, "shard", n // 100)
    return request.SerializeToString()


SIGNALS = {"logs": logs, "traces": traces, "metrics": metrics}


class Sender(threading.Thread):
    """Sends a service's payloads, paced or as fast as they are acked."""

    def __init__(self, nodes, signal, service, rate, ends, number):
        super().__init__(daemon=True)
        self.number = number
        start = time.time_ns() - 60_000_000_000
        self.bodies = [SIGNALS[signal](service, start + n * 1_000_000_000) for n in range(4)]
        self.nodes, self.signal, self.service, self.rate, self.ends = nodes, signal, service, rate, ends
        self.acked = self.refused = 0
        self.waits = []

    def run(self):
        connection, turn, number = None, 0, 0
        next_at = time.monotonic()
        while time.monotonic() < self.ends:
            if self.rate:
                next_at += ITEMS / self.rate
                time.sleep(max(0.0, next_at - time.monotonic()))
            number += 1
            headers = {"content-type": "application/x-protobuf", "idempotency-key": f"{self.number}-{number}"}
            began = time.monotonic()
            while True:
                try:
                    if connection is None:
                        connection = http.client.HTTPConnection(self.nodes[turn % len(self.nodes)].ip, 4318, timeout=15)
                    connection.request("POST", f"/v1/{self.signal}", self.bodies[number % len(self.bodies)], headers)
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status == 200:
                        break
                except (OSError, http.client.HTTPException):
                    connection, turn = None, turn + 1
                self.refused += 1
                time.sleep(0.05)
            self.waits.append(time.monotonic() - began)
            self.acked += ITEMS


def cpu(node):
    """CPU seconds of a node's process so far."""
    fields = pathlib.Path(f"/proc/{node.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Share:
    """A share of a core for one process, by a control group of version 1 or 2."""

    def __init__(self, process, share):
        root, period = pathlib.Path("/sys/fs/cgroup"), 20_000
        old = (root / "cpu").is_dir()
        self.group = (root / "cpu" if old else root) / f"bonghwa-load-{process.pid}"
        self.group.mkdir()
        quota = int(period * share)
        limits = {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota} if old else {"cpu.max": f"{quota} {period}"}
        for name, value in limits.items():
            (self.group / name).write_text(str(value))
        (self.group / "cgroup.procs").write_text(str(process.pid))

    def close(self):
        # Its process has ended: the group is empty.
        self.group.rmdir()


class Measured:
    """A cluster, and what a load on it cost."""

    def __init__(self, binary, ingesters, replication, environment=None):
        self.directory = tempfile.mkdtemp(prefix="bonghwa-load-")
        settings = {
            "BONGHWA_REPLICATION_FACTOR": str(replication), "BONGHWA_TELEMETRY__LOG": "warn,openraft=error",
            "BONGHWA_INGESTER__FLUSH_AGE": "10s", **(environment or {}),
        }
        shape = [("m", "meta", 1), ("i", "ingester", ingesters), ("d", "distributor", 1), ("q", "querier", 1)]
        self.cluster = Cluster(binary, self.directory, settings, shape)
        self.cluster.start()
        wait_settled(self.cluster)
        self.shares = []

    def share(self, kind, share):
        """From now on each node of a kind gets this share of a core."""
        self.shares += [Share(node.process, share) for node in self.cluster.of(kind)]

    def load(self, services, seconds):
        """Runs senders (signal, service, items per second; 0: closed loop); the figures."""
        ends = time.monotonic() + seconds
        nodes = self.cluster.of("distributor")
        senders = [Sender(nodes, *service, ends, f"{ends}-{n}") for n, service in enumerate(services)]
        before = {node.name: cpu(node) for node in self.cluster.nodes.values()}
        began = time.monotonic()
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        took = time.monotonic() - began
        flush(self.cluster)
        used = {node.name: cpu(node) - before.get(node.name, 0) for node in self.cluster.nodes.values()}
        items = sum(s.acked for s in senders)
        waits = sorted(w for s in senders for w in s.waits)
        return {
            "items": items, "rate": items / took, "cpu": used, "refused": sum(s.refused for s in senders),
            "p50": waits[len(waits) // 2], "p99": waits[int(len(waits) * 0.99)],
        }

    def queries(self):
        """Median seconds of each query."""
        node = self.cluster.of("querier")[0]
        medians = {}
        for name, query in QUERIES.items():
            times = []
            for _ in range(5):
                began = time.monotonic()
                ask(node, query, 120)
                times.append(time.monotonic() - began)
            medians[name] = statistics.median(times)
        return medians

    def close(self):
        self.cluster.close()
        for share in self.shares:
            share.close()
        shutil.rmtree(self.directory)


def per_million(figures, names):
    return sum(figures["cpu"].get(name, 0) for name in names) / (figures["items"] / 1e6)


def everything(rate, services=4):
    return [(signal, f"{signal}-{n}", rate / services / len(SIGNALS)) for signal in SIGNALS for n in range(services)]


def show(title, figures):
    print(f"\n{title}: {figures['rate']:,.0f} items/s acked, ack p50 {figures['p50'] * 1e3:.0f} ms, p99 "
          f"{figures['p99'] * 1e3:.0f} ms, {figures['refused']} requests refused and sent again")
    for name, seconds in figures["cpu"].items():
        print(f"  {name:4} {seconds:7.2f} CPU-s  {seconds / (figures['items'] / 1e6):7.2f} CPU-s per million items")


def steady(options):
    measured = Measured(options.binary, 3, 3)
    show("steady", measured.load(everything(options.rate), options.seconds))
    report_queries(measured)
    measured.close()


def burst(options):
    measured = Measured(options.binary, 3, 3)
    third = options.seconds / 3
    for name, factor in [("before", 1), ("burst", 3), ("after", 1)]:
        show(name, measured.load(everything(options.rate * factor), third))
    measured.close()


def hot_tenant(options):
    measured = Measured(options.binary, 3, 3)
    hot = [("logs", "hot", options.rate * 10 / 12)]
    show("one hot service", measured.load(everything(options.rate / 6) + hot, options.seconds))
    measured.close()


def scale_out(options):
    measured = Measured(options.binary, 3, 3)
    joins = threading.Timer(options.seconds / 2, lambda: measured.cluster.add("i3", "ingester", "zone-0").start())
    joins.start()
    show("an ingester joins halfway", measured.load(everything(options.rate), options.seconds))
    wait_settled(measured.cluster)
    measured.close()


def fill_page_cache(path):
    """Reads a file about as large as the memory. Hosts that take free memory back from a virtual machine make each first
    touch of a page cost much more than writing it; a machine that has been up for a while has a full page cache."""
    if path:
        with open(path, "rb", buffering=0) as file:
            buffer = bytearray(4 << 20)
            while file.readinto(buffer):
                pass


def replication(options):
    """One partition of logs (a shuffle shard of one): its leader and its followers are apart."""
    one_partition = {"BONGHWA_LIMITS__UNNAMED__SHUFFLE_SHARD": "1"}
    print("\n| senders | replication factor | records/s | ack p50 / p99 | leader, CPU-s per million | a follower | follower / leader |")
    print("|---|---|---|---|---|---|---|")
    loads = [("6, 20,000/s", 6, 20_000), ("6, 100,000/s", 6, 100_000), ("6, closed loop", 6, 0), ("32, closed loop", 32, 0)]
    for name, senders, rate in loads:
        for factor in (1, 3):
            fill_page_cache(options.page_cache)
            measured = Measured(options.binary, 3, factor, one_partition)
            nodes = measured.cluster.of("ingester")
            idle = {n.name: cpu(n) for n in nodes}
            time.sleep(10)
            idle = {n.name: (cpu(n) - idle[n.name]) / 10 for n in nodes}
            began = time.monotonic()
            figures = measured.load([("logs", "one", rate / senders)] * senders, options.seconds)
            took = time.monotonic() - began
            # What the load costs, beyond what an idle node spends.
            million = figures["items"] / 1e6
            work = sorted((max(0.0, figures["cpu"][n] - idle[n] * took) / million for n in idle), reverse=True)
            leader, followers = work[0], work[1:factor]
            each = f"{statistics.mean(followers):.2f} | {statistics.mean(followers) / leader:.0%}" if followers else " | "
            waits = f"{figures['p50'] * 1e3:.0f} / {figures['p99'] * 1e3:.0f} ms"
            print(f"| {name} | {factor} | {figures['rate']:,.0f} | {waits} | {leader:.2f} | {each} |", flush=True)
            measured.close()


def scale(options):
    print("\n| ingesters | items/s | ack p50 / p99 | distributor | ingesters | meta | CPU-s per million, all | " + " | ".join(QUERIES) + " |")
    print("|" + "---|" * (7 + len(QUERIES)))
    for count in (1, 2, 4):
        measured = Measured(options.binary, count, 1)
        if options.share:
            measured.share("ingester", options.share)
        services = [(s, f"{s}-{n}", 0) for s in SIGNALS for n in range(8 if options.share else 2)]
        figures = measured.load(services, options.seconds)
        role = lambda kind: per_million(figures, [n for n in figures["cpu"] if n.startswith(kind)])
        queries = measured.queries()
        print(
            f"| {count} | {figures['rate']:,.0f} | {figures['p50'] * 1e3:.0f} / {figures['p99'] * 1e3:.0f} ms | {role('d'):.2f} | {role('i'):.2f} | "
            f"{role('m'):.2f} | {role('d') + role('i') + role('m'):.2f} | " + " | ".join(f"{s * 1e3:.0f} ms" for s in queries.values()) + " |",
            flush=True,
        )
        measured.close()


def report_queries(measured):
    for name, seconds in measured.queries().items():
        print(f"  query {name:20} {seconds * 1e3:7.0f} ms")


SCENARIOS = {
    "steady": steady, "burst": burst, "hot-tenant": hot_tenant, "scale-out": scale_out, "replication": replication,
    "scale": scale,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--page-cache", metavar="FILE", help="replication: read this large file before each load")
    parser.add_argument("--share", type=float, help="scale: cores of each ingester, e.g. 0.15, so that all have as much")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=30_000, help="items per second, all signals together")
    options = parser.parse_args()
    in_namespace()
    SCENARIOS[options.scenario](options)


if __name__ == "__main__":
    main()
