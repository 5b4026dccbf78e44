"""Sends logs, metrics and traces, and compares every field with what SQL answers.

The telemetry goes to --endpoint, which may be the server's or a collector's; the
answers come from --api. Compares before and after a flush.
"""

import argparse
import sys
import time

import compare
import handmade
import sdk
import traces
from server import Server

DEADLINE = 60.0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=("grpc", "http"), required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--api", required=True)
    parser.add_argument("--run", required=True, help="a name that no other run on this server has")
    parser.add_argument("--no-minus-zero", action="store_true", help="the Collector's JSON has no -0.0")
    args = parser.parse_args()

    server = Server(args.api)
    target = (args.protocol, args.endpoint, args.run)
    by_sdk, by_hand = sdk.send(*target), handmade.send(*target, minus_zero=not args.no_minus_zero)
    sent = [one + other for one, other in zip(by_sdk, by_hand)]
    expected = {
        "logs": compare.logs(sent[0]),
        "metrics": compare.metrics(sent[1]),
        "spans": compare.spans(sent[2]),
    }
    for table, rows in expected.items():
        assert len(rows) > 10, f"only {len(rows)} rows of {table} were sent"
        arrived(server, table, args.run, len(rows))
    kinds = {row["type"] for row in expected["metrics"].values()}
    assert len(kinds) == 5, f"not all metric types were sent: {kinds}"

    for stage in ("from the tail", "from blocks"):
        fields = check(server, args.run, expected)
        spans = traces.check(server, sent[2])
        print(f"{stage}: {fields} fields of {sum(map(len, expected.values()))} rows and {spans} spans' traces are equal")
        server.flush()


def of_run(table, run):
    """Rows that were sent: to metrics the server adds heartbeats."""
    return f"{table} WHERE resource['test.run'] = '{run}'" + (" AND name <> 'up'" if table == "metrics" else "")


def arrived(server, table, run, count):
    """Waits until so many rows are there: a collector sends when it likes."""
    end = time.monotonic() + DEADLINE
    while True:
        found = server.count(f"SELECT count(*) FROM {of_run(table, run)}")
        if found == count:
            return
        if time.monotonic() > end or found > count:
            raise compare.Difference(f"{table}: {count} rows were sent, {found} are there")
        time.sleep(0.1)


def check(server, run, expected):
    """Compares all tables; returns the number of fields."""
    fields = 0
    for table, rows in expected.items():
        answered = {}
        for row in server.rows(f"SELECT * FROM {of_run(table, run)}"):
            answered[key(table, row)] = row
        if rows.keys() != answered.keys():
            raise compare.Difference(
                f"{table}: not found: {sorted(rows.keys() - answered.keys())[:3]}; "
                f"never sent: {sorted(answered.keys() - rows.keys())[:3]}"
            )
        for name, row in rows.items():
            fields += compare.row(row, answered[name], f"{table} {name}")
        for found in (f"\"test.run\" = '{run}'", f"resource['test.run'] = '{run}' AND service_name IS NOT NULL"):
            count = server.count(f"SELECT count(*) FROM {of_run(table, run)} AND {found}")
            assert count == len(rows), f"{table} WHERE {found}: {count} instead of {len(rows)}"
    attributes(server, run, expected)
    return fields


def attributes(server, run, expected):
    """Attributes by name, in the three spellings, typed."""
    spans = [row["attributes"] for row in expected["spans"].values()]
    for condition, matches in (
        ("attributes['int'] = 42", lambda a: a.get("int") == 42),
        ("\"int\" > 41", lambda a: a.get("int", 0) > 41),
        ("attributes['http.request.method'] = 'GET'", lambda a: a.get("http.request.method") == "GET"),
        ("\"url.path\" LIKE '/cart/%'", lambda a: a.get("url.path", "").startswith("/cart/")),
        ("attributes['double'] BETWEEN 0.05 AND 0.2", lambda a: a.get("double") == 0.1),
        ("attributes['yes']", lambda a: a.get("yes") is True),
        ("attributes['absent.everywhere'] IS NULL", lambda a: True),
    ):
        want = sum(1 for a in spans if matches(a))
        got = server.count(f"SELECT count(*) FROM spans WHERE resource['test.run'] = '{run}' AND {condition}")
        assert got == want, f"spans WHERE {condition}: {got} instead of {want}"


def key(table, row):
    """The identity of a row; see `compare`."""
    if table == "logs":
        return (row["service_name"], compare.nanos(row["time"]))
    if table == "spans":
        return (row["trace_id"], row["span_id"])
    return compare.metric_key({**row, "time": compare.nanos(row["time"]), "attributes": row["attributes"] or {}})


if __name__ == "__main__":
    try:
        main()
    except compare.Difference as difference:
        sys.exit(f"DIFFERENCE: {difference}")
