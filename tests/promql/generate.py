"""Writes the corpus from the tables in cases/.

    generate.py [--check]     with --check nothing is written; it fails where a file would change

A hand-written answer that the reference evaluator does not share, or a failure that it does not see, fails the run.
"""

import argparse
import pathlib
import sys

import cases  # noqa: F401  (fills TOPICS)
from topic import TOPICS

CORPUS = pathlib.Path(__file__).parents[2] / "crates/promql/tests/corpus"
HEADER = "# Written by tests/promql/generate.py; change the tables there.\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    wrong = 0
    for name, topic in sorted(TOPICS.items()):
        for case, what in topic.disagreements:
            wrong += 1
            wanted = "\n    ".join(case.results) or "nothing"
            print(f"{name}: {case.header()}\n  wanted\n    {wanted}\n  reference {what}")
        wrong += write(CORPUS / f"{name}.test", HEADER + topic.text(), arguments.check)
        print(f"{topic.count():6} {name}")
    print(f"{sum(topic.count() for topic in TOPICS.values()):6} cases; {wrong} problems")
    sys.exit(bool(wrong))


def write(path, text, check):
    if check:
        stale = not path.exists() or path.read_text() != text
        if stale:
            print(f"{path.name} is not what the tables say")
        return stale
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return 0


if __name__ == "__main__":
    main()
