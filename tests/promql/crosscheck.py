"""Asks a real Prometheus every question of the corpus, over the same data.

    crosscheck.py PROMETHEUS [FILE.test...]

PROMETHEUS is the binary of any version from 2.42 on; it is started on a free loopback port for each data set, gets the
samples by remote write (which carries staleness markers and native histograms), and is ended. Answers are compared with
a relative tolerance of 1e-6. Annotations are not compared. What differs and is not covered by differences.toml fails
the run.
"""

import argparse
import pathlib
import sys

import script
from differences import Rules, prometheus_2
from functions import Series
from reference import Run, Storage
from script import Clear, Eval, Load
from server import Prometheus, QueryFailed
from syntax import Refused

CORPUS = pathlib.Path(__file__).parents[2] / "crates/promql/tests/corpus"


def scenes(commands):
    """(loads, evals) between clears; loads are additive, so all of a scene's can go first."""
    loads, evals = [], []
    for command in [*commands, Clear()]:
        match command:
            case Load():
                loads.append(command)
            case Eval():
                evals.append(command)
            case Clear():
                if evals:
                    yield loads, evals
                loads, evals = [], []


def merged(loads):
    storage = Storage()
    for load in loads:
        for series in load.series():
            storage.add(series)
    return [Series(s.labels, s.points) for s in storage.series if s.points]


def ask(server, case, query, tolerance):
    """(equal, what the server said, the labels of the rows that differ)."""
    times = case.milliseconds()
    try:
        answer = server.ranged(query, *times) if case.is_range else server.instant(query, *times)
    except QueryFailed as error:
        return case.expects_failure(), f"refused: {error}", []
    if case.expects_failure():
        return False, "answered", []
    strings = [e.removeprefix("string ") for e in case.expects if e.startswith("string ")]
    if strings:
        return strings == [script.quote(str(answer.value))], str(answer.value), []
    times = case.row_times()
    got = script.rows_of_answer(answer, times)
    wanted = script.rows_of_lines(case.results)
    said = "\n        ".join(script.result_lines(answer, times)) or "nothing"
    return script.same_rows(got, wanted, case.ordered(), tolerance), said, differing(got, wanted, tolerance)


def differing(got, wanted, tolerance):
    """The labels, as text, of the rows that differ or stand on one side only."""
    rows = lambda answer: {key: row for key, row in answer if key is not None}
    a, b = rows(got), rows(wanted)
    equal = lambda key: key in a and key in b and script.same_rows([(key, a[key])], [(key, b[key])], False, tolerance)
    return [script.labels_text(dict(key)) for key in a.keys() | b.keys() if not equal(key)]


def in_old_words(case):
    """The query for a Prometheus 2 and its tolerance, or None where the reference does not know its words either."""
    times = case.milliseconds()
    run = Run(Storage(), times[0], times[1] if case.is_range else times[0], times[2] if case.is_range else 0, 0)
    try:
        return prometheus_2(case.query, run.seconds)
    except Refused:
        return None


class Tally:
    def __init__(self):
        self.rows, self.rules, self.unexpected = {}, Rules(), []

    def count(self, topic, what):
        row = self.rows.setdefault(topic, {"cases": 0, "equal": 0, "reworded": 0, "expected": 0, "unexpected": 0})
        row["cases"] += 1
        row[what] += 1

    def check(self, server, topic, case):
        equal, said, rows = ask(server, case, case.query, 1e-6)
        if equal:
            return self.count(topic, "equal")
        if not case.expects_failure() and (old := in_old_words(case)):
            query, tolerance = old
            equal, reworded, rows = ask(server, case, query, tolerance)
            if equal:
                return self.count(topic, "reworded")
            said = f"{said}\n      in its words: {query}\n        {reworded}"
        if self.rules.explain(case.query, topic, said, rows):
            return self.count(topic, "expected")
        self.count(topic, "unexpected")
        self.unexpected.append((topic, case, said))

    def print(self):
        for topic, case, said in self.unexpected:
            wanted = "\n        ".join(case.results + case.expects) or "nothing"
            print(f"{topic}: {case.header()}\n      wanted\n        {wanted}\n      Prometheus\n        {said}")
        columns = ["cases", "equal", "reworded", "expected", "unexpected"]
        total = {c: sum(row[c] for row in self.rows.values()) for c in columns}
        print(f"{'':24}" + "".join(f"{c:>12}" for c in columns))
        for topic, row in [*sorted(self.rows.items()), ("all", total)]:
            print(f"{topic:24}" + "".join(f"{row[c]:12}" for c in columns))
        print("\nExpected differences:")
        for name, uses in self.rules.used.items():
            print(f"{uses:6}  {name}: {self.rules.reason(name)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    tally = Tally()
    for path in arguments.files or sorted(CORPUS.glob("*.test")):
        for loads, evals in scenes(script.read(path.read_text())):
            with Prometheus(arguments.prometheus) as server:
                if series := merged(loads):
                    server.write(series)
                for case in evals:
                    tally.check(server, path.stem, case)
    tally.print()
    sys.exit(bool(tally.unexpected))


if __name__ == "__main__":
    main()
