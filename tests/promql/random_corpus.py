"""Writes random cases, answered by the reference, as a script for the runner of crates/promql.

    random_corpus.py --seed 1 --queries 2000 /tmp/random
    PROMQL_CORPUS=/tmp/random cargo test --release -p bonghwa-promql --test corpus

The series are those of data.py, from second 0 on.
"""

import argparse
import pathlib
import random

import data
import script
from functions import Failed
from generator import Generator
from reference import Storage, instant, ranged
from script import Eval, Load
from syntax import Matrix, Refused, Subquery, render


def load():
    """The series as load lines: a value or a gap each scrape."""
    lines = []
    for series in data.data_series(0, with_native=True):
        have = {(t - data.SHIFT) // data.SCRAPE: v for t, v in series.points}
        words = [word(have.get(i)) for i in range(max(have) + 1)]
        lines.append(f"{script.labels_text(series.labels)} {' '.join(words)}")
    return Load(f"{data.SCRAPE // 1000}s", lines)


def word(value):
    if value is None:
        return "_"
    return "stale" if value is data.STALE else script.value_text(value)


def case(rng, generator, storage):
    tree = generator.query()
    while isinstance(tree, (Matrix, Subquery)):
        tree = generator.query()
    start = rng.randrange(60, 7000)
    if rng.random() < 0.4:
        step = rng.choice([15, 60, 97])
        times = (f"{start}s", f"{start + step * rng.randrange(1, 12)}s", f"{step}s")
    else:
        times = (f"{start}s",)
    made = Eval(times, render(tree))
    try:
        evaluate = ranged if made.is_range else instant
        answer = evaluate(storage, made.query, *made.milliseconds())
        made.results = script.result_lines(answer, made.milliseconds())
    except (Failed, Refused):
        made.expects = ["fail"]
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--depth", type=int, default=4)
    arguments = parser.parse_args()
    rng, loaded = random.Random(arguments.seed), load()
    storage = Storage()
    storage.series = loaded.series()
    generator = Generator(rng, arguments.depth, with_native=True)
    commands = [loaded, *(case(rng, generator, storage) for _ in range(arguments.queries))]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / f"random_{arguments.seed}.test").write_text(script.render(commands) + "\n")


if __name__ == "__main__":
    main()
