"""A steady load of all three signals, and the book of what became of each record.

A sender has a service of its own and sends numbered records, one request after another, as an exporter does:
a request without an answer, or with one that says so, is sent again with the same bytes, to the next
distributor, until it is acked.
"""

import http.client
import json
import threading
import time

RECORDS = 10
RETRY = {408, 429, 502, 503, 504}


def logs(service, numbers, now):
    records = [
        {"timeUnixNano": str(now + n), "severityNumber": 9, "body": {"stringValue": f"record {n} of {service}"},
         "attributes": [{"key": "seq", "value": {"intValue": str(n)}}]} for n in numbers
    ]
    return {"resourceLogs": [{"resource": resource(service), "scopeLogs": [{"logRecords": records}]}]}


def traces(service, numbers, now):
    spans = [
        {"traceId": f"{hash(service) & 0xffffffff:08x}{n // 4 + 1:024x}", "spanId": f"{n + 1:016x}", "name": "work", "kind": 2,
         "startTimeUnixNano": str(now + n), "endTimeUnixNano": str(now + n + 1000),
         "attributes": [{"key": "seq", "value": {"intValue": str(n)}}]} for n in numbers
    ]
    return {"resourceSpans": [{"resource": resource(service), "scopeSpans": [{"spans": spans}]}]}


def metrics(service, numbers, now):
    points = [{"timeUnixNano": str(now + n), "asInt": str(n)} for n in numbers]
    metric = {"name": "chaos.number", "gauge": {"dataPoints": points}}
    return {"resourceMetrics": [{"resource": resource(service), "scopeMetrics": [{"metrics": [metric]}]}]}


def resource(service):
    return {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}


SIGNALS = {
    "logs": (logs, "logs", "CAST(attributes['seq'] AS BIGINT)"),
    "traces": (traces, "spans", "CAST(attributes['seq'] AS BIGINT)"),
    # Without heartbeats, which the distributors add.
    "metrics": (metrics, "metrics", "CASE WHEN name = 'chaos.number' THEN CAST(value AS BIGINT) END"),
}


class Sender(threading.Thread):
    """One exporter. `acked` numbers from 0 on are acked, all of them."""

    def __init__(self, signal, number, distributors, pause):
        super().__init__(daemon=True)
        self.signal, self.service = signal, f"{signal}-service-{number}"
        self.distributors, self.pause = distributors, pause
        self.sent = self.acked = 0
        self.waits = []
        self.refused = None
        self.oldest = None
        self._ending = threading.Event()
        self._turn = number
        self._connection = None

    def run(self):
        encode, _, _ = SIGNALS[self.signal]
        while not self._ending.is_set():
            numbers = range(self.sent, self.sent + RECORDS)
            body = json.dumps(encode(self.service, numbers, time.time_ns())).encode()
            self.sent += RECORDS
            self.oldest = time.monotonic()
            if not self._deliver(body):
                return
            self.waits.append((self.oldest, time.monotonic()))
            self.oldest = None
            self.acked += RECORDS
            self._ending.wait(self.pause)

    def stop(self):
        self._ending.set()

    def _deliver(self, body):
        # A stop lets the last request end, one way or the other.
        deadline = None
        while True:
            status, text = self._send(body)
            if status == 200:
                return True
            if status is not None and status not in RETRY:
                self.refused = f"{status}: {text}"
                return False
            if self._ending.is_set():
                deadline = deadline or time.monotonic() + 15
                if time.monotonic() > deadline:
                    return False
            time.sleep(0.1)

    def _send(self, body):
        try:
            if self._connection is None:
                node = self.distributors[self._turn % len(self.distributors)]
                self._connection = http.client.HTTPConnection(node.ip, 4318, timeout=10)
            self._connection.request("POST", f"/v1/{self.signal}", body, {"content-type": "application/json"})
            answer = self._connection.getresponse()
            text = answer.read().decode(errors="replace")
            if answer.status != 200:
                self._next()
            return answer.status, text
        except (OSError, http.client.HTTPException):
            self._next()
            return None, ""

    def _next(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._turn += 1


class Load:
    """All senders, and the longest that any request waited in a span of time."""

    def __init__(self, distributors, senders=2, pause=0.04):
        self.senders = [Sender(s, n, distributors, pause) for s in SIGNALS for n in range(senders)]

    def start(self):
        for sender in self.senders:
            sender.start()

    def stop(self):
        for sender in self.senders:
            sender.stop()
        for sender in self.senders:
            sender.join()

    def marks(self):
        return {s.service: (s.sent, s.acked) for s in self.senders}

    def longest_wait(self, since):
        now = time.monotonic()
        waits = [end - start for s in self.senders for start, end in s.waits if end >= since]
        waits += [now - s.oldest for s in self.senders if s.oldest is not None]
        return max(waits, default=0.0)
