"""A real Prometheus of one's own, in a temporary directory, on a free port of the loopback; and its answers."""

import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import data
import native
from functions import Sample, Series
from reference import Answer

FLAGS = [
    "--web.enable-remote-write-receiver",
    "--enable-feature=native-histograms",
    "--log.level=error",
    "--storage.tsdb.retention.time=100y",
]


# Prometheus 2 looks back over a closed interval; a millisecond less makes it the left-open one of Prometheus 3.
LOOKBACK_2 = "--query.lookback-delta=4m59s999ms"


class QueryFailed(Exception):
    """The server refused a query; `kind` is its errorType."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Server:
    """Anything that answers the Prometheus API."""

    def __init__(self, url, headers=()):
        self.url, self.headers = url.rstrip("/"), dict(headers)

    def ask(self, path, **params):
        body = urllib.parse.urlencode(params).encode() or None
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", body, self.headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                told = json.loads(text)
                raise QueryFailed(told.get("errorType", str(error.code)), told.get("error", text)) from None
            except json.JSONDecodeError:
                raise QueryFailed(str(error.code), text) from None

    def instant(self, query, at):
        """`at` in milliseconds, as all times here."""
        return answer_of(self.ask("query", query=query, time=seconds(at))["data"])

    def ranged(self, query, start, end, step):
        params = {"start": seconds(start), "end": seconds(end), "step": seconds(step)}
        return answer_of(self.ask("query_range", query=query, **params)["data"])


class Prometheus(Server):
    """Started on entry, ended on exit."""

    def __init__(self, binary, out_of_order="100y"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        super().__init__(f"http://127.0.0.1:{port}")
        self.binary, self.out_of_order = binary, out_of_order

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="prometheus-")
        config = f"{self.folder.name}/prometheus.yml"
        with open(config, "w") as file:
            file.write(f"storage: {{tsdb: {{out_of_order_time_window: {self.out_of_order}}}}}\n")
        self.process = subprocess.Popen([
            self.binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder.name}/data",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            *FLAGS,
            *([LOOKBACK_2] if is_version_2(self.binary) else []),
        ])  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"{self.binary} did not start")
            time.sleep(0.02)
        return self

    def ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def write(self, series):
        data.send(f"{self.url}/api/v1/write", series)


def is_version_2(binary):
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return "version 2." in told.stdout + told.stderr


def seconds(milliseconds):
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole}.{rest:03}"


def answer_of(told):
    kind, result = told["resultType"], told["result"]
    match kind:
        case "scalar":
            return Answer(kind, float(result[1]))
        case "string":
            return Answer(kind, result[1])
        case "vector":
            return Answer(kind, [Sample(s["metric"], value_of(s)) for s in result])
    return Answer(kind, [series_of(s) for s in result])


def value_of(sample):
    return float(sample["value"][1]) if "value" in sample else told_histogram(sample["histogram"][1])


def series_of(told):
    points = [(round(t * 1000), float(v)) for t, v in told.get("values", [])]
    points += [(round(t * 1000), told_histogram(h)) for t, h in told.get("histograms", [])]
    return Series(told["metric"], sorted(points, key=lambda p: p[0]))


class ToldHistogram(native.Histogram):
    """A histogram as the API tells it: buckets by their bounds."""


def told_histogram(told):
    h = ToldHistogram(count=float(told["count"]), sum=float(told["sum"]))
    h.told = [(float(low), float(high), float(count), None) for _, low, high, count in told.get("buckets", [])]
    return h


