"""Fills a server with very many series and asks for all of them: each question gets an answer or a refusal, and memory
stays within the limits of the configuration.

    python loadtest/many_series.py --binary BONGHWA [--series 10000000] [--cgroup DIRECTORY]

The server runs with its defaults, in a temporary directory, on the loopback. Each series has two samples. After each
question stand the status, the time, the size of the answer and its beginning, and the most memory that the server held
since the question before (VmHWM, which is reset by /proc/PID/clear_refs). `--cgroup` is the directory of a memory control
group that the server is put into, so that a server without bounds ends, and not the machine. Python 3.11 is all that is
needed.
"""

import argparse
import http.client
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/promql"))

from data import double, integer, label, message, snappy  # noqa: E402

PER_REQUEST = 10_000
PER_JOB = 100_000
NUMBER = b"########"
INSTANT = [
    'count({__name__=~".+"})',
    '{__name__=~".+"}',
    "sum(rate(many_total[5m]))",
    "topk(5, many_total)",
    "count by (job) (many_total)",
    "many_total and on (series) many_total",
    'many_total{series="00012345"}',
    'count(many_total{series=~"0001.*"})',
    'rate(many_total{job="job-007"}[5m])',
]
LISTS = [
    ("/api/v1/series", {"match[]": "many_total"}),
    ("/api/v1/series", {"match[]": "many_total", "limit": "10"}),
    ("/api/v1/labels", {}),
    ("/api/v1/label/series/values", {}),
    ("/api/v1/label/series/values", {"limit": "10"}),
    ("/api/v1/label/job/values", {}),
    ("/federate", {"match[]": "many_total"}),
]


class Server:
    """A process of the binary; ended on exit."""

    def __init__(self, binary, folder, cgroup):
        self.ports = [free_port() for _ in range(4)]
        names = ["--http-listen", "--grpc-listen", "--otlp-grpc-listen", "--otlp-http-listen"]
        listen = [part for name, port in zip(names, self.ports) for part in (name, f"127.0.0.1:{port}")]
        log = open(f"{folder}/log", "wb")
        join = lambda: pathlib.Path(cgroup, "cgroup.procs").write_text("0") if cgroup else None
        command = [binary, "serve", "--data-dir", f"{folder}/data", *listen]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=join)
        deadline = time.monotonic() + 30
        while self.ready() != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server did not start:\n{pathlib.Path(folder, 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def ready(self):
        try:
            return self.ask("GET", "/ready")[0]
        except OSError:
            return None

    def ask(self, method, path, body=None, headers=None):
        """(status, bytes of the answer, its beginning); an answer of any size is read in pieces."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=600)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        first = answer.read(4096)
        size = len(first)
        while piece := answer.read(1 << 20):
            size += len(piece)
        connection.close()
        return answer.status, size, first.decode(errors="replace")

    def most_memory(self):
        """The most memory held since it was asked last, in MiB."""
        folder = pathlib.Path(f"/proc/{self.process.pid}")
        line = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
        (folder / "clear_refs").write_text("5")
        return int(line.split()[1]) // 1024

    def end(self):
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def requests(series, now):
    """Bodies of remote write 1.0, whose series differ in a number of eight digits and in their job."""
    for first in range(0, series, PER_REQUEST):
        job = f"job-{first // PER_JOB:03}"
        labels = {"__name__": "many_total", "instance": "host:9100", "job": job, "series": NUMBER.decode()}
        body = b"".join(label(name, value) for name, value in labels.items())
        for at, value in ((now - 60_000, 1.0), (now - 30_000, 31.0)):
            body += message(2, double(1, value) + integer(2, at))
        head, tail = message(1, body).split(NUMBER)
        yield snappy(b"".join(b"%b%08d%b" % (head, n, tail) for n in range(first, min(first + PER_REQUEST, series))))


def fill(server, series):
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
    begun, turned_away = time.monotonic(), 0
    for body in requests(series, int(time.time() * 1000)):
        # A full server asks to be asked again.
        while (told := server.ask("POST", "/api/v1/write", body, headers))[0] in (429, 503):
            turned_away += 1
            time.sleep(0.2)
        if told[0] != 204:
            sys.exit(f"the server does not take the series: {told}")
    seconds = time.monotonic() - begun
    print(f"{series} series in {seconds:.0f} s, turned away {turned_away} times; most memory {server.most_memory()} MiB")


def questions(now):
    for query in INSTANT:
        yield query, "/api/v1/query?" + urllib.parse.urlencode({"query": query, "time": now})
    hour = {"query": "sum(rate(many_total[5m]))", "start": now - 3600, "end": now, "step": 15}
    yield "sum(rate(many_total[5m])) over an hour", "/api/v1/query_range?" + urllib.parse.urlencode(hour)
    for path, parameters in LISTS:
        shown = " ".join(f"{name}={value}" for name, value in parameters.items())
        yield f"{path} {shown}", f"{path}?{urllib.parse.urlencode(parameters)}"


def answer_to_all(server, now):
    """False if a question got neither an answer nor a refusal that says why."""
    good = True
    for shown, path in questions(now):
        begun = time.monotonic()
        try:
            status, size, first = server.ask("GET", path)
        except (OSError, http.client.HTTPException) as error:
            status, size, first = 0, 0, repr(error)
        try:
            first = json.loads(first).get("error", first)
        except json.JSONDecodeError:
            pass
        alive = server.process.poll() is None
        good &= alive and status in (200, 422, 503)
        memory = f"{server.most_memory()} MiB" if alive else "the server ended"
        print(f"{shown}\n    {status}, {time.monotonic() - begun:.1f} s, {size} bytes, {memory}: {first[:150]!r}", flush=True)
        if not alive:
            break
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--series", type=int, default=10_000_000)
    parser.add_argument("--cgroup", help="the directory of a memory control group")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bonghwa-many-series-") as folder:
        server = Server(arguments.binary, folder, arguments.cgroup)
        try:
            print(f"most memory at the start {server.most_memory()} MiB")
            fill(server, arguments.series)
            now = int(time.time())
            good = answer_to_all(server, now)
            if server.process.poll() is None:
                status = server.ask("POST", "/admin/flush")
                print(f"flushed: {status[0]}; most memory {server.most_memory()} MiB\n", flush=True)
                good &= answer_to_all(server, now)
        finally:
            server.end()
            print(pathlib.Path(folder, "log").read_text(errors="replace")[-1500:])
    sys.exit(not good)


if __name__ == "__main__":
    main()
