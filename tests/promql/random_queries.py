"""Asks two servers the same random queries over the same data, and shows where their answers differ.

    random_queries.py --send --ours http://OURS --theirs /path/to/prometheus --minutes 5 --seed 1

Two refusals are equal. Where `theirs` is a Prometheus 2, a query that differs is asked again in its words (see
differences.py). Where the two still differ, the reference evaluator judges: if it says what ours says, the difference is
only counted, by its rule in differences.toml (`file` there is "random") if one covers it. Otherwise it is shrunk to the
smallest query that still shows it. If that compares or rounds operands which differ in a last digit alone, it is counted;
else it is printed once with all three answers, and the run exits 1.
`--ours reference` compares the reference itself; `--theirs reference` needs no other server, and so allows `--native`.
`--send` wants servers that have none of the data yet; data.py sends it, too.
"""

import argparse
import contextlib
import math
import os
import random
import re
import sys
import time

import data
import reference
import script
from differences import Rules, prometheus_2
from functions import Failed
from generator import Generator
from reference import Run, Storage
from server import Prometheus, QueryFailed, Server
from shrink import below, smaller
from syntax import COMPARISONS, Aggregate, Binary, Call, Matrix, Refused, Subquery, render

# From the base on: late enough that every window lies within the data.
FIRST, LAST = 2400, 7000


# Where a last digit of an operand makes another result.
JUMPING = {*COMPARISONS, "%", "floor", "ceil", "round", "sgn"}


class Times:
    """An instant or a range, in milliseconds."""

    def __init__(self, rng, base, tree):
        self.start = (base + rng.randrange(FIRST, LAST)) * 1000
        self.is_range = rng.random() < 0.4 and not isinstance(tree, (Matrix, Subquery))
        self.step = rng.choice([15, 60, 97]) * 1000
        self.end = self.start + self.step * rng.randrange(1, 12) if self.is_range else self.start

    def all(self):
        return (self.start, self.end, self.step) if self.is_range else (self.start,)

    def text(self):
        if not self.is_range:
            return f"at {self.start / 1000}"
        return f"{self.start / 1000} .. {self.end / 1000} step {self.step // 1000}"


class Reference:
    """The reference evaluator, asked as if it were a server."""

    def __init__(self, base, with_native):
        self.storage = Storage()
        self.storage.series = data.data_series(base * 1000, with_native)

    def instant(self, query, at):
        return self.asked(reference.instant, query, at)

    def ranged(self, query, start, end, step):
        return self.asked(reference.ranged, query, start, end, step)

    def asked(self, evaluate, *args):
        try:
            return evaluate(self.storage, *args)
        except (Failed, Refused) as error:
            raise QueryFailed("reference", str(error)) from None


def answer(server, query, times):
    """Rows, or the error's text."""
    try:
        asked = server.ranged(query, *times.all()) if times.is_range else server.instant(query, *times.all())
    except QueryFailed as error:
        return f"refused ({error.kind}): {error}"
    return script.rows_of_answer(asked, times.all())


def same(a, b, tolerance=1e-6, order=None):
    """Both refuse, or both say the same; what cancels out to nothing may leave 1e-9.

    `order` says what the order of the rows must agree in: "values", "labels", or nothing.
    """
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str)
    a, b = ([(key, [None if v is None else settled(v) for v in row]) for key, row in rows] for rows in (a, b))
    if order == "labels" and [key for key, _ in a] != [key for key, _ in b]:
        return False
    # Rows of one value may come in any order.
    if order == "values" and not script.same_rows([((), row) for _, row in a], [((), row) for _, row in b], True, tolerance):
        return False
    return script.same_rows(a, b, False, tolerance)


def order_of(tree, times):
    """What the order of an answer follows."""
    match tree:
        case Call(name="sort" | "sort_desc") | Aggregate(op="topk" | "bottomk", grouped=False) if not times.is_range:
            return "values"
        case Call(name="sort_by_label" | "sort_by_label_desc") if not times.is_range:
            return "labels"
    return None


def settled(value):
    return 0.0 if isinstance(value, float) and abs(value) < 1e-9 and math.isfinite(value) else value


def shown(rows):
    if isinstance(rows, str):
        return rows[:200]
    text = lambda row: " ".join("_" if v is None else script.value_text(v) for v in row)
    lines = [f"{script.labels_text(dict(key or ()))} {text(row)}"[:160] for key, row in rows]
    more = f"\n      ... {len(lines)} rows" if len(lines) > 5 else ""
    return "\n      ".join(lines[:5]) + more or "nothing"


class Comparison:
    def __init__(self, ours, theirs, judge):
        self.ours, self.theirs, self.judge, self.rules = ours or judge, theirs or judge, judge, Rules()
        self.old = theirs is not None and theirs.ask("status/buildinfo")["data"].get("version", "").startswith("2.")
        self.counts = {"equal": 0, "equal, both empty": 0, "both refuse": 0, "equal in its words": 0, "explained": 0,
                       "as the reference": 0, "equal but for a last digit": 0, "different": 0}
        self.seen, self.found = set(), []

    def ask(self, tree, times):
        """(what it is, the two answers)."""
        query, order = render(tree), order_of(tree, times)
        a, b = answer(self.ours, query, times), answer(self.theirs, query, times)
        if same(a, b, order=order):
            return ("both refuse" if isinstance(a, str) else "equal" if a else "equal, both empty"), a, b
        if self.old and (reworded := self.in_old_words(query, times)):
            c = answer(self.theirs, reworded[0], times)
            if same(a, c, reworded[1], order):
                return "equal in its words", a, c
            b = c
        if self.judge not in (self.ours, self.theirs) and not same(a, answer(self.judge, query, times), order=order):
            return "different", a, b
        if self.theirs is self.judge:
            return "different", a, b
        error = next((side for side in (b, a) if isinstance(side, str)), "")
        if self.rules.explain(query, "random", error, differing(a, b)):
            return "explained", a, b
        return ("different" if self.judge in (self.ours, self.theirs) else "as the reference"), a, b

    def in_old_words(self, query, times):
        run = Run(Storage(), times.start, times.end, times.step if times.is_range else 0, 0)
        try:
            return prometheus_2(query, run.seconds, on_edges=False)
        except Refused:
            return None

    def check(self, tree, times):
        what, a, b = self.ask(tree, times)
        if what != "different":
            self.counts[what] += 1
            return
        tree, a, b = self.shrunk(tree, times, a, b)
        if self.decided_by_last_digit(tree, times):
            self.counts["equal but for a last digit"] += 1
            return
        self.counts[what] += 1
        query = render(tree)
        shape = re.sub(r'"[^"]*"|\d[\w.]*', "_", query)
        if shape not in self.seen:
            self.seen.add(shape)
            self.found.append(query)
            print(f"{query}\n    {times.text()}\n    ours\n      {shown(a)}\n    theirs\n      {shown(b)}", flush=True)
            if self.judge not in (self.ours, self.theirs):
                print(f"    reference\n      {shown(answer(self.judge, query, times))}", flush=True)
            print()

    def decided_by_last_digit(self, tree, times):
        """Whether the tree is an operation that jumps, of operands that differ by no more than rounding."""
        if not (isinstance(tree, Binary) and tree.op in JUMPING) and not (isinstance(tree, Call) and tree.name in JUMPING):
            return False
        operands = [(answer(self.ours, render(o), times), answer(self.theirs, render(o), times)) for o in below(tree)]
        return all(same(a, b) for a, b in operands) and not all(same(a, b, 0) for a, b in operands)

    def shrunk(self, tree, times, a, b):
        """The smallest tree found that still differs."""
        for _ in range(60):
            for less in smaller(tree):
                if len(render(less)) >= len(render(tree)):
                    continue
                what, x, y = self.ask(less, times)
                if what == "different":
                    tree, a, b = less, x, y
                    break
            else:
                break
        return tree, a, b


def differing(a, b):
    """The labels, as text, of the rows that differ."""
    if isinstance(a, str) or isinstance(b, str):
        return []
    x, y = ({key: row for key, row in rows if key is not None} for rows in (a, b))
    unequal = [key for key in x.keys() | y.keys() if key not in x or key not in y or not same([(key, x[key])],
                                                                                              [(key, y[key])])]
    return [script.labels_text(dict(key)) for key in unequal]


def base_of(server):
    now = int(time.time())
    rows = script.rows_of_answer(server.instant("last_over_time(data_base[1d])", now * 1000), (now * 1000,))
    if not rows:
        sys.exit(f"{server.url} has no data_base: send the data with data.py first")
    return int(rows[0][1][0])


def compare(ours, theirs, base, arguments):
    """Asks both, prints what differs and the counts; True if nothing does that is not explained."""
    comparison = Comparison(ours, theirs, Reference(base, arguments.native))
    rng = random.Random(arguments.seed)
    generator = Generator(rng, arguments.depth, arguments.native, base)
    deadline, asked = time.monotonic() + arguments.minutes * 60, 0
    while time.monotonic() < deadline and asked < arguments.queries:
        tree = generator.query()
        comparison.check(tree, Times(rng, base, tree))
        asked += 1
    print(f"{asked} queries, seed {arguments.seed}")
    for what, count in comparison.counts.items():
        print(f"{count:8}  {what}")
    for name, uses in comparison.rules.used.items():
        if uses:
            print(f"{uses:8}    {name}: {comparison.rules.reason(name)}")
    return not comparison.found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="a URL, or: reference")
    parser.add_argument("--theirs", required=True, help="a URL, a binary of Prometheus to start, or: reference")
    parser.add_argument("--send", action="store_true", help="send the data first; half of ours is flushed")
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many")
    parser.add_argument("--queries", type=int, default=10**9, help="stop after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--native", action="store_true", help="native histograms too")
    parser.add_argument("--header", action="append", default=[], help="NAME: VALUE, sent to ours (a tenant, say)")
    arguments = parser.parse_args()
    headers = [tuple(part.strip() for part in header.split(":", 1)) for header in arguments.header]
    with contextlib.ExitStack() as stack:
        ours = None if arguments.ours == "reference" else Server(arguments.ours, headers)
        theirs = None if arguments.theirs == "reference" else Server(arguments.theirs)
        if os.path.isfile(arguments.theirs):
            theirs = stack.enter_context(Prometheus(arguments.theirs))
        if arguments.send:
            series = data.data_series(data.default_base() * 1000, arguments.native)
            flush = ours and f"{ours.url}/admin/flush"
            data.send_pieces([f"{s.url}/api/v1/write" for s in (ours, theirs) if s], series, headers, flush)
        holds = compare(ours, theirs, base_of(ours or theirs), arguments)
    sys.exit(not holds)


if __name__ == "__main__":
    main()
