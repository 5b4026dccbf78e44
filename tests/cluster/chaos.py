"""Breaks a running cluster in every way that the design promises to bear, under a steady load of all three
signals, and counts: no acked record is lost or doubled, writes resume, queries are right or say that they
are partial.

    python chaos.py --binary BONGHWA [--directory DIR] [--events NAME,...] [--s3 SERVER [--seed N]]

With --s3 the blocks lie on the testkit's S3 server (target/release/examples/s3), and while the load runs a few
of a hundred requests to it fail: errors, slow answers, torn uploads, answers that are lost.

Ends by itself with a table, and with 1 where something did not hold.
"""

import argparse
import collections
import csv
import io
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from load import SIGNALS, Load
from network import Cluster, in_namespace, until

# A write may wait this long after anything.
RESUME = 5.0
# How long the load runs on after each event.
AFTER = 4.0

ENVIRONMENT = {
    # Flushes, and with them trims and catalog commits, come often enough to meet the events.
    "BONGHWA_INGESTER__FLUSH_AGE": "5s",
    "BONGHWA_INGESTER__GRACE": "5s",
    # A node that stays away is given up while the script can watch it.
    "BONGHWA_CLUSTER__UNREACHABLE_AFTER": "3s",
    "BONGHWA_CLUSTER__LOST_AFTER": "25s",
    # Queriers share every query, so that they meet the events too.
    "BONGHWA_QUERY__DISTRIBUTED_BYTES": "1",
    "BONGHWA_TELEMETRY__LOG": "info,openraft=error",
}


def ask(node, query, timeout=30):
    """Rows of a query, and whether the answer says that it is partial."""
    request = urllib.request.Request(
        node.url("/api/v1/sql"), json.dumps({"query": query}).encode(),
        {"content-type": "application/json", "accept": "text/csv"},
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
        return rows, answer.headers.get("x-bonghwa-partial") is not None


class Reader(threading.Thread):
    """Asks now and then how many of the records that were acked before are found."""

    def __init__(self, cluster, load):
        super().__init__(daemon=True)
        self.cluster, self.load = cluster, load
        self.right = self.partial = self.refused = 0
        self.wrong = []
        self._ending = threading.Event()

    def run(self):
        turn = 0
        while not self._ending.wait(0.4):
            turn += 1
            sender = self.load.senders[turn % len(self.load.senders)]
            nodes = [n for n in self.cluster.of("querier") if n.running()]
            if nodes:
                self.look(nodes[turn % len(nodes)], sender)

    def look(self, node, sender):
        _, table, seq = SIGNALS[sender.signal]
        acked = sender.acked
        query = (
            f"SELECT count(*) AS n, count(DISTINCT {seq}) AS d FROM {table} "
            f"WHERE service_name = '{sender.service}' AND {seq} < {acked}"
        )
        try:
            rows, partial = ask(node, query)
        except (OSError, urllib.error.URLError):
            # A clear error is an answer: it is not a wrong one.
            self.refused += 1
            return
        found, distinct = int(rows[0]["n"]), int(rows[0]["d"])
        if (found, distinct) == (acked, acked):
            self.right += 1
        elif partial and found <= acked:
            self.partial += 1
        else:
            self.wrong.append(f"{node.name} finds {found} ({distinct} distinct) of {acked} of {sender.service}")

    def stop(self):
        self._ending.set()
        self.join()


def ring(cluster):
    for node in cluster.of("querier"):
        try:
            request = urllib.request.Request(node.url("/ring"), headers={"accept": "application/json"})
            with urllib.request.urlopen(request, timeout=3) as answer:
                return json.load(answer)
        except OSError:
            continue
    return {"nodes": [], "partitions": []}


def leader_of_most(cluster):
    leaders = collections.Counter(p["leader"] for p in ring(cluster)["partitions"] if p["leader"])
    name = leaders.most_common(1)[0][0] if leaders else "i0"
    return cluster.nodes[name]


def settled(cluster):
    """Every partition that takes writes has a leader, and no node is missed."""
    now = ring(cluster)
    return bool(now["partitions"]) and all(p["leader"] for p in now["partitions"]) and all(
        n["state"] == "active" for n in now["nodes"]
    )


def wait_settled(cluster):
    until(lambda: settled(cluster), 60, "the cluster to settle")


# --- the events


def kill(nodes):
    for node in nodes:
        node.kill()
    time.sleep(3)
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()


def kill_leading_ingester(cluster):
    kill([leader_of_most(cluster)])


def kill_meta(cluster):
    for node in cluster.of("meta"):
        kill([node])


def kill_distributor(cluster):
    kill([cluster.nodes["d0"]])


def kill_querier(cluster):
    kill([cluster.nodes["q0"]])


def kill_zone(cluster):
    kill([n for n in cluster.nodes.values() if n.zone == "zone-0"])


def cut_leader(cluster):
    node = leader_of_most(cluster)
    node.cut()
    time.sleep(10)
    node.heal()


def rolling_restart(cluster):
    for node in list(cluster.nodes.values()):
        node.stop()
        node.start()
        node.wait_ready()
        wait_settled(cluster)


def scale_out(cluster):
    before = {p["partition"] for p in ring(cluster)["partitions"]}
    new = [cluster.add(f"i{n}", "ingester", f"zone-{n - 3}") for n in (3, 4, 5)]
    for node in new:
        node.start()

    def served():
        partitions = ring(cluster)["partitions"]
        homes = collections.Counter(p["replicas"][0] for p in partitions if p["state"] == "active")
        return all(homes[n.name] == 3 for n in new) and before <= {p["partition"] for p in partitions}

    until(served, 60, "the new ingesters' partitions on the rings")


def lose_ingester(cluster):
    """Its disk is gone for good: the others seal what it kept, and replace it."""
    node = cluster.nodes.pop("i5")
    node.kill()
    shutil.rmtree(cluster.directory / node.name / "data")
    names = lambda: {name for p in ring(cluster)["partitions"] for name in p["replicas"]}
    until(lambda: node.name not in names() and settled(cluster), 90, "the lost ingester to be replaced")


def scale_in(cluster):
    for name in ("i4", "i3"):
        node = cluster.nodes.pop(name)
        command = [str(cluster.binary), "ring", "drain", name, "--wait", "90", "--address", cluster.nodes["q1"].url("")]
        subprocess.run(command, check=True)
        if node.stop() != 0:
            node.fail()


EVENTS = {
    "kill -9 an ingester that leads": kill_leading_ingester,
    "kill -9 each meta": kill_meta,
    "kill -9 a distributor": kill_distributor,
    "kill -9 a querier": kill_querier,
    "kill -9 a whole zone": kill_zone,
    "cut a leader off the network": cut_leader,
    "restart all one by one": rolling_restart,
    "scale out from 3 to 6": scale_out,
    "lose an ingester for good": lose_ingester,
    "scale in to 3": scale_in,
}


# --- the count


def found(cluster, load):
    """Service -> number -> how often it is found, when nothing is in the way."""
    counts = {}
    for sender in load.senders:
        _, table, seq = SIGNALS[sender.signal]
        query = f"SELECT {seq} AS s, count(*) AS n FROM {table} WHERE service_name = '{sender.service}' AND {seq} >= 0 GROUP BY 1"
        for node in cluster.of("querier"):
            rows, partial = ask(node, query)
            assert not partial, "a partial answer although nothing is in the way"
            seen = {int(row["s"]): int(row["n"]) for row in rows}
            assert counts.setdefault(sender.service, seen) == seen, f"{node.name} finds other records of {sender.service}"
    return counts


def flush(cluster):
    request = urllib.request.Request(cluster.nodes["q0"].url("/admin/flush"), method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--directory", help="where disks and logs go; kept")
    parser.add_argument("--events", default=",".join(EVENTS))
    parser.add_argument("--s3", help="the binary of the testkit's S3 server; without it, blocks lie in a directory")
    parser.add_argument("--seed", type=int, default=1, help="of the faults of --s3")
    arguments = parser.parse_args()
    in_namespace()
    directory = arguments.directory or tempfile.mkdtemp(prefix="bonghwa-chaos-")
    cluster = Cluster(arguments.binary, directory, ENVIRONMENT, s3=arguments.s3, seed=arguments.seed)
    try:
        cluster.start()
        wait_settled(cluster)
        failed = break_it(cluster, arguments.events.split(","))
    finally:
        struck = cluster.close()
    if struck:
        print(f"faults of the object store: {struck}")
    if not failed and not arguments.directory:
        shutil.rmtree(directory)
    raise SystemExit(1 if failed else 0)


def break_it(cluster, events):
    load = Load(cluster.of("distributor"))
    reader = Reader(cluster, load)
    cluster.store.faults("weather")
    load.start()
    reader.start()
    time.sleep(2)
    history = []
    for name in events:
        wait_settled(cluster)
        start, marks, seen = time.monotonic(), load.marks(), (reader.right, reader.partial, reader.refused)
        print(f"{name} ...", flush=True)
        EVENTS[name](cluster)
        time.sleep(AFTER)
        answers = tuple(now - before for now, before in zip((reader.right, reader.partial, reader.refused), seen))
        history.append((name, load.longest_wait(start), marks, load.marks(), answers))
        print(f"    longest wait {history[-1][1]:.1f} s, queries right/partial/refused {answers}", flush=True)
    load.stop()
    cluster.store.faults("clear")
    wait_settled(cluster)
    reader.stop()
    before = found(cluster, load)
    flush(cluster)
    after = found(cluster, load)
    return report(history, load, reader, before, after)


def report(history, load, reader, before, after):
    wrong = list(reader.wrong)
    print(f"\n{'event':32} {'unavailable':>11} {'sent':>8} {'acked':>8} {'found':>8} {'lost':>6} {'doubled':>8}   queries right/partial/refused")
    for name, wait, marks, ends, answers in history:
        sent = acked = seen = lost = doubled = 0
        for service, counts in after.items():
            numbers = range(marks[service][0], ends[service][0])
            limit = next(s.acked for s in load.senders if s.service == service)
            sent += len(numbers)
            acked += sum(1 for n in numbers if n < limit)
            seen += sum(1 for n in numbers if n in counts)
            lost += sum(1 for n in numbers if n < limit and n not in counts)
            doubled += sum(1 for n in numbers if counts.get(n, 0) > 1)
        print(f"{name:32} {wait:9.1f} s {sent:8} {acked:8} {seen:8} {lost:6} {doubled:8}   {'/'.join(map(str, answers))}")
        if wait > RESUME:
            wrong.append(f"{name}: a write waited {wait:.1f} s, more than {RESUME} s")
    for sender in load.senders:
        counts = after[sender.service]
        missing = [n for n in range(sender.acked) if n not in counts]
        doubled = [n for n, times in counts.items() if times > 1]
        if missing or doubled:
            wrong.append(f"{sender.service}: lost {missing[:5]} ({len(missing)}), doubled {doubled[:5]} ({len(doubled)})")
        if before[sender.service] != counts:
            wrong.append(f"{sender.service}: a flush changed the answer")
        if sender.refused:
            wrong.append(f"{sender.service} was refused: {sender.refused}")
    total = sum(s.acked for s in load.senders)
    print(f"\n{total} records acked; queries: {reader.right} right, {reader.partial} partial, {reader.refused} refused, {len(reader.wrong)} wrong")
    for line in wrong:
        print(f"WRONG: {line}")
    return bool(wrong)


if __name__ == "__main__":
    main()
