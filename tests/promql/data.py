"""Sends the series of the random queries, or of a script, by remote write 1 to any number of servers.

    data.py [--base SECONDS] [--native] [--flush URL] URL...
                                   URL is where a server takes writes, as http://127.0.0.1:9090/api/v1/write

The samples lie in the two hours after the base (by default the full hour three hours ago); the series `data_base` says
which it was, so that random_queries.py finds it.
"""

import argparse
import math
import random
import struct
import time
import urllib.request

from functions import Series, is_float
from native import Histogram
from reference import STALE

STALE_BITS = struct.pack("<Q", 0x7FF0000000000002)
HOURS = 2


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def zigzag(value):
    return varint(value << 1 ^ value >> 63)


def message(field, body):
    return varint(field << 3 | 2) + varint(len(body)) + body


def double(field, value):
    return varint(field << 3 | 1) + (STALE_BITS if value is STALE else struct.pack("<d", value))


def integer(field, value):
    return varint(field << 3) + varint(value)


def label(name, value):
    return message(1, message(1, name.encode()) + message(2, value.encode()))


def spans(field, side):
    """Each populated bucket in a span of its own length; the first offset is absolute, the others count gaps."""
    out, counts, end = b"", [], 0
    for i in sorted(side):
        out += message(field, varint(1 << 3) + zigzag(i - end) + integer(2, 1))
        counts.append(side[i])
        end = i + 1
    return out, counts


def histogram(h, at):
    """With float populations, which all histograms of scripts fit into."""
    hints = {"unknown": 0, "reset": 1, "not_reset": 2, "gauge": 3}
    negative, negative_counts = spans(8, h.negative)
    positive, positive_counts = spans(11, h.positive)
    packed = lambda field, values: message(field, struct.pack(f"<{len(values)}d", *values)) if values else b""
    return message(
        4,
        double(2, h.count)
        + double(3, h.sum)
        + varint(4 << 3)
        + zigzag(h.schema)
        + double(5, h.zero_threshold)
        + double(7, h.zero_count)
        + negative
        + packed(10, negative_counts)
        + positive
        + packed(13, positive_counts)
        + integer(14, hints[h.hint])
        + integer(15, at)
        + packed(16, h.custom),
    )


def time_series(series):
    """A message for each stretch of floats or of histograms: within one, a reader takes all floats first."""
    labels = b"".join(label(name, value) for name, value in sorted(series.labels.items()))
    out, body, kind = b"", b"", None
    for at, value in series.points:
        floating = value is STALE or is_float(value)
        if body and floating != kind:
            out, body = out + message(1, labels + body), b""
        kind = floating
        body += message(2, double(1, value) + integer(2, at)) if floating else histogram(value, at)
    return out + message(1, labels + body)


def snappy(body):
    """Snappy's block format with literals only: valid, and as large as the body."""
    out = varint(len(body))
    for i in range(0, len(body), 65536):
        chunk = body[i : i + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(chunk) - 1) + chunk
    return out


def send(url, series, headers=()):
    body = snappy(b"".join(map(time_series, series)))
    request = urllib.request.Request(url, body, {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
        **dict(headers),
    })  # fmt: skip
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


# The series of the random queries. Samples stand off the full seconds of query times, so that no edge of a window
# meets one and the left-open ranges of Prometheus 3 make no difference.

SCRAPE = 15_000
SHIFT = 1_234


def data_series(base, with_native=False):
    """Counters with resets, gauges, histograms, gaps and staleness, from `base` milliseconds on."""
    rng = random.Random(7)
    steps = HOURS * 3600 * 1000 // SCRAPE
    times = [base + SHIFT + i * SCRAPE for i in range(steps)]
    out = [Series({"__name__": "data_base"}, [(t, base / 1000) for t in times])]
    for job in ("api", "web"):
        for instance in ("a:1", "b:2", "c:3"):
            common = {"job": job, "instance": instance}
            out.append(Series({"__name__": "up", **common}, gapped(rng, [(t, 1.0) for t in times])))
            out.append(Series({"__name__": "memory_bytes", **common}, gapped(rng, walk(rng, times, 1e5, 1e3))))
            out.append(Series({"__name__": "temperature", **common}, walk(rng, times, 10, 4)))
            out.append(Series({"__name__": "target_info", **common, "version": f"v{len(out) % 3}"},
                              [(t, 1.0) for t in times]))
            for code in ("200", "404", "500"):
                labels = {"__name__": "requests_total", **common, "code": code, "method": rng.choice(["GET", "PUT"])}
                out.append(Series(labels, gapped(rng, counter(rng, times))))
            out += buckets(rng, times, common)
    out.append(Series({"__name__": "flapping", "job": "api"}, stale_now_and_then(rng, times)))
    out.append(Series({"__name__": "odd_values", "kind": "nan"},
                      [(t, math.nan if i % 7 else 1.0) for i, t in enumerate(times)]))
    out.append(Series({"__name__": "odd_values", "kind": "inf"},
                      [(t, math.inf if i % 5 else 2.0) for i, t in enumerate(times)]))
    out.append(Series({"__name__": "odd_values", "kind": "zero"}, [(t, 0.0) for t in times]))
    out.append(Series({"__name__": "odd_values", "kind": "small"}, [(t, 1e-300 * i) for i, t in enumerate(times)]))
    out.append(Series({"__name__": "odd_values", "kind": "low"},
                      [(t, -math.inf if i % 11 < 4 else i - 200.0) for i, t in enumerate(times)]))
    out += odd_buckets(times) + passing_series(times)
    return out + (native_series(times) if with_native else [])


def odd_buckets(times):
    """Classic histograms that break the rules: bounds that lack, repeat or are none, counts that fall or are none."""
    kinds = {
        "zero": {"0.1": 1, "1": 3, "5": 4},  # without +Inf
        "one": {"+Inf": 2},
        "falling": {"0.1": 2, "1": 5, "5": 4, "+Inf": 6},
        "small": {"-5": 1, "-1": 2, "0": 3, "0.5": 3, "+Inf": 4},
        "inf": {"0.1": 1, "1": math.inf, "+Inf": math.inf},
        "nan": {"0.1": 1, "1": math.nan, "+Inf": 3},
        "low": {"0.1": 1, "1": 2, "1.0": 2, "x": 9, "": 9, "Inf": 4},
    }
    out = []
    for kind, counts in kinds.items():
        for le, slope in counts.items():
            labels = {"__name__": "odd_bucket", "kind": kind, **({"le": le} if le else {})}
            out.append(Series(labels, [(t, float(slope * i)) for i, t in enumerate(times)]))
    return out


def passing_series(times):
    """Gauges around zero, counters that come and go, series of few samples, and names of another alphabet."""
    rng, out = random.Random(13), []
    for job in ("api", "web"):
        for instance in ("a:1", "b:2"):
            common = {"job": job, "instance": instance}
            values = [(t, rng.randrange(-20, 21) / 4) for t in times]
            out.append(Series({"__name__": "signed", **common}, gapped(rng, values)))
            out.append(Series({"__name__": "come_and_gone", **common}, come_and_gone(rng, counter(rng, times))))
        out.append(Series({"__name__": "brief", "job": job, "kind": "one"}, [(times[300], 7.0)]))
        out.append(Series({"__name__": "brief", "job": job, "kind": "small"}, [(t, t / 1e3) for t in times[200:203]]))
        for place in ("Ä", "b c"):
            out.append(Series({"__name__": "größe.m²", "job": job, "köln.ort": place}, walk(rng, times, 3, 1)))
    return out


def come_and_gone(rng, points):
    """Stretches of a few minutes, each of which a staleness marker ends; those of a counter begin below the last."""
    out, here, less = [], True, 0.0
    for t, value in points:
        if rng.random() < 0.04:
            if here:
                out.append((t, STALE))
                less = value
            here = not here
        elif here:
            out.append((t, max(0.0, value - less)))
    return out


def native_series(times):
    """Native histograms of different resolutions, with resets and a zero bucket."""
    rng, out = random.Random(11), []
    for schema, instance in enumerate(("a:1", "b:2", "c:3")):
        points, counts, zeros, total = [], {}, 0, 0.0
        for t in times:
            if rng.random() < 0.005:
                counts, zeros, total = {}, 0, 0.0
            for _ in range(rng.randrange(5)):
                seconds = rng.expovariate(1)
                total += seconds
                if seconds <= 0.01:
                    zeros += 1
                else:
                    i = math.ceil(math.log2(seconds) * 2**schema)
                    counts[i] = counts.get(i, 0.0) + 1
            count = float(sum(counts.values()) + zeros)
            points.append((t, Histogram(schema, count, round(total, 6), float(zeros), 0.01, dict(counts))))
        out.append(Series({"__name__": "work_seconds", "job": "api", "instance": instance}, gapped(rng, points)))
    return out + other_native_series(rng, times)


def other_native_series(rng, times):
    """Buckets with bounds of their own, gauges with negative buckets, and floats that become histograms."""
    out, bounds = [], (0.1, 0.5, 2.0)
    for job in ("api", "web"):
        points, counts, total = [], {}, 0.0
        for t in times:
            if rng.random() < 0.005:
                counts, total = {}, 0.0
            for _ in range(rng.randrange(4)):
                seconds = rng.expovariate(1)
                total += seconds
                i = sum(seconds > bound for bound in bounds)
                counts[i] = counts.get(i, 0.0) + 1
            points.append((t, Histogram(-53, sum(counts.values()), round(total, 6), positive=dict(counts), custom=bounds,
                                        zero_threshold=0.0)))
        out.append(Series({"__name__": "wait_seconds", "job": job, "instance": "a:1"}, gapped(rng, points)))
        levels = []
        for t in times:
            up, down = ({i: float(rng.randrange(1, 4)) for i in range(-1, 3)} for _ in "ab")
            count = sum(up.values()) + sum(down.values()) + 1
            levels.append((t, Histogram(0, count, rng.randrange(-40, 40) / 2, 1.0, 0.001, up, down, hint="gauge")))
        out.append(Series({"__name__": "level_bytes", "job": job, "instance": "a:1"}, levels))
    half = len(times) // 2
    turned = [(t, float(i)) for i, t in enumerate(times[:half])]
    turned += [(t, Histogram(0, 2.0 * i, 3.0 * i, 0.0, 0.01, {0: 1.0 * i, 1: 1.0 * i})) for i, t in enumerate(times[half:])]
    return out + [Series({"__name__": "turned", "job": "api"}, turned)]


def gapped(rng, points):
    """About one scrape in fifty is missing, and once ten minutes."""
    hole = rng.randrange(len(points))
    return [p for i, p in enumerate(points) if not hole <= i < hole + 40 and rng.random() > 0.02]


def counter(rng, times):
    value, out = float(rng.randrange(1000)), []
    for t in times:
        value = 0.0 if rng.random() < 0.005 else value + rng.randrange(20)
        out.append((t, value))
    return out


def walk(rng, times, start, width):
    value, out = float(start), []
    for t in times:
        value += round(rng.uniform(-width, width), 3)
        out.append((t, round(value, 3)))
    return out


def buckets(rng, times, common):
    bounds = ["0.05", "0.1", "0.5", "1", "5", "+Inf"]
    counts, total, rows = [0.0] * len(bounds), 0.0, []
    for _ in times:
        for _ in range(rng.randrange(6)):
            seconds = rng.expovariate(2)
            total += seconds
            for i, bound in enumerate(bounds):
                counts[i] += seconds <= float(bound)
        rows.append(([*counts], round(total, 6)))
    name = "latency_seconds"
    out = [
        Series({"__name__": f"{name}_bucket", **common, "le": bound}, [(t, row[i]) for t, (row, _) in zip(times, rows)])
        for i, bound in enumerate(bounds)
    ]
    out.append(Series({"__name__": f"{name}_count", **common}, [(t, row[-1]) for t, (row, _) in zip(times, rows)]))
    out.append(Series({"__name__": f"{name}_sum", **common}, [(t, s) for t, (_, s) in zip(times, rows)]))
    return out


def stale_now_and_then(rng, times):
    out, gone = [], False
    for t in times:
        if gone:
            gone = rng.random() < 0.9
        elif rng.random() < 0.1:
            out.append((t, STALE))
            gone = True
        if not gone:
            out.append((t, float(rng.randrange(5))))
    return out


def by_time(series, pieces=8):
    """The series cut into consecutive stretches of time, so that no server sees a series far behind the others."""
    first = min(s.points[0][0] for s in series)
    last = max(s.points[-1][0] for s in series)
    width = (last - first) // pieces + 1
    for start in range(first, last + 1, width):
        cut = [Series(s.labels, [p for p in s.points if start <= p[0] < start + width]) for s in series]
        yield [s for s in cut if s.points]


def send_pieces(urls, series, headers=(), flush=None):
    """Sends the series to all; asks `flush`, a URL, to flush when half of them are there: half of it lies in blocks."""
    pieces = list(by_time(series))
    for i, piece in enumerate(pieces):
        for url in urls:
            send(url, piece, headers)
        if flush and i == len(pieces) // 2:
            post(flush, headers)


def post(url, headers=()):
    request = urllib.request.Request(url, b"", dict(headers))
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def default_base():
    return int(time.time()) // 3600 * 3600 - 3 * 3600


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--base", type=int, default=default_base(), help="seconds since 1970")
    parser.add_argument("--native", action="store_true", help="native histograms too")
    parser.add_argument("--header", action="append", default=[], help="NAME: VALUE, sent along (a tenant, say)")
    parser.add_argument("--flush", help="a URL to post to when half of it was sent, as http://127.0.0.1:7800/admin/flush")
    arguments = parser.parse_args()
    headers = [tuple(part.strip() for part in header.split(":", 1)) for header in arguments.header]
    series = data_series(arguments.base * 1000, arguments.native)
    send_pieces(arguments.urls, series, headers, arguments.flush)
    print(f"sent {sum(len(s.points) for s in series)} samples of {len(series)} series; base {arguments.base}")


if __name__ == "__main__":
    main()
