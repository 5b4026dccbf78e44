"""What to ask, and the first answers."""

import json
import time
import urllib.error
import urllib.request


class Api:
    """A server's HTTP API."""

    def __init__(self, url):
        self.url = url

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read()

    def sql(self, query):
        body = json.dumps({"query": query}).encode()
        headers = {"content-type": "application/json", "accept": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/sql", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{query}\n{error.code}: {error.read().decode(errors='replace')}") from error

    def is_ready(self):
        try:
            self.get("/ready")
            return True
        except OSError:
            return False

    def wait_until_ready(self, seconds):
        end = time.monotonic() + seconds
        while not self.is_ready():
            if time.monotonic() > end:
                raise SystemExit(f"{self.url} is not ready after {seconds:.0f} s")
            time.sleep(0.1)


QUESTIONS = [
    (
        "Which services fail, and how slow are they?",
        """SELECT service_name, count(*) AS spans, count(*) FILTER (WHERE status_code = 'error') AS errors,
       round(approx_percentile_cont(duration_ns, 0.99) / 1e6, 1) AS p99_ms
FROM spans GROUP BY service_name ORDER BY errors DESC, service_name""",
    ),
    (
        "Which cards are declined?",
        """SELECT attributes['payment.card'] AS card, count(*) AS charges,
       count(*) FILTER (WHERE status_code = 'error') AS declined
FROM spans WHERE name = 'POST /charges' GROUP BY 1 ORDER BY declined DESC, card""",
    ),
    (
        "What do the logs say about it?",
        """SELECT service_name, severity_text, body, count(*) AS n
FROM logs WHERE severity_number >= 13 AND body NOT LIKE 'order %'
GROUP BY 1, 2, 3 ORDER BY n DESC, body LIMIT 5""",
    ),
    (
        "What do the metrics say?",
        """SELECT name, type, unit, count(*) AS samples, round(max(coalesce(value, sum)), 2) AS most
FROM metrics GROUP BY 1, 2, 3 ORDER BY name""",
    ),
]
SLOWEST = """SELECT trace_id, "http.route" AS route, round(duration_ns / 1e6) AS ms, status_code AS status
FROM spans WHERE service_name = 'frontend' AND kind = 'server' ORDER BY duration_ns DESC LIMIT 3"""


def answers(api):
    """Asks and prints; returns whether all three signals are there and every question has an answer."""
    counts = {table: api.sql(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in ("logs", "spans", "metrics")}
    print(f"Bonghwa holds {counts['logs']} log records, {counts['spans']} spans, {counts['metrics']} metric samples.")
    complete = all(counts.values())
    for title, query in QUESTIONS:
        complete &= ask(api, title, query)
    complete &= ask(api, "Which visits were slowest?", SLOWEST)
    slowest = api.sql(SLOWEST)[0]["trace_id"] if complete else None
    if slowest:
        logs = f"SELECT service_name, severity_text, body FROM logs WHERE trace_id = '{slowest}' ORDER BY time"
        complete &= ask(api, "What was logged in the slowest one?", logs)
        trace = json.loads(api.get(f"/api/traces/{slowest}"))
        services = len(trace["resourceSpans"])
        print(f"\n# The whole trace, {services} services, as OTLP\n  curl -s {api.url}/api/traces/{slowest}")
    print(
        f"""
# Ask yourself
  curl -s {api.url}/api/v1/sql -H 'Content-Type: application/json' -d '{{"query": "SHOW TABLES"}}'
  curl -s {api.url}/api/v1/sql -H 'Accept: text/csv' -H 'Content-Type: application/json' \\
       -d '{{"query": "SELECT time, body FROM logs ORDER BY time DESC LIMIT 5"}}'
  curl -s -X POST {api.url}/admin/flush     # writes what is in memory to Parquet
  curl -s {api.url}/metrics                 # the server's own
""",
        flush=True,
    )
    return complete


def ask(api, title, query):
    """One question and its answer as a table; returns whether there is one."""
    rows = api.sql(query)
    print(f"\n# {title}")
    print("\n".join("  " + line for line in query.splitlines()))
    if not rows:
        print("  (no rows)")
        return False
    names = list(rows[0])
    cells = [[text(row.get(name)) for name in names] for row in rows]
    widths = [max(len(row[i]) for row in [names, *cells]) for i in range(len(names))]
    for row in [names, ["-" * width for width in widths], *cells]:
        print("  | " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)))
    return True


def text(value):
    """A cell."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
