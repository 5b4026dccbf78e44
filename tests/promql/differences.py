"""What is expected to differ between Prometheus 2.42 and the documented Prometheus 3 semantics.

Much can be asked of the old server in other words: `prometheus_2` rewrites a query so. What remains is listed, with
reasons, in differences.toml.
"""

import copy
import pathlib
import re
import tomllib
from dataclasses import fields, is_dataclass

from syntax import Binary, Call, Matrix, Number, Selector, Subquery, parse, render

EXTRAPOLATING = {"rate", "increase", "delta"}
RENAMED = {"double_exponential_smoothing": "holt_winters"}


class Rules:
    """The listed differences; counts how often each one explained something."""

    def __init__(self, path=pathlib.Path(__file__).with_name("differences.toml")):
        self.rules = tomllib.loads(path.read_text())["difference"]
        self.used = {rule["name"]: 0 for rule in self.rules}

    def explain(self, query, where="", error="", differing=()):
        """The name of the first rule that covers a difference, or None.

        `differing` are the label sets (as text) of the rows that differ; a rule with `rows` must match every one.
        """
        for rule in self.rules:
            fits = re.search(rule.get("query", ""), query) and re.search(rule.get("file", ""), where)
            if "rows" in rule and not (differing and all(re.search(rule["rows"], row) for row in differing)):
                continue
            if fits and re.search(rule.get("error", ""), error):
                self.used[rule["name"]] += 1
                return rule["name"]
        return None

    def reason(self, name):
        return next(rule["reason"] for rule in self.rules if rule["name"] == name)


def prometheus_2(query, seconds, on_edges=True):
    """The query in the words of Prometheus 2.42, which is asked over samples at whole milliseconds, and the tolerance.

    Left-open ranges become closed ones that are a millisecond shorter; that stretches extrapolation a little. Where no
    sample stands on an edge (`on_edges`), this is left to subqueries, whose steps do.
    `.` matches newlines by a flag; a number or an expression becomes a plain duration; a function gets its old name.
    """
    tree = copy.deepcopy(parse(query))
    stretched = (Matrix, Subquery) if on_edges else Subquery
    extrapolates = any(
        isinstance(node, Call) and node.name in EXTRAPOLATING and isinstance(node.args[0], stretched) for node in walk(tree)
    )
    return render(rewritten(tree, seconds, on_edges)), 1e-4 if extrapolates else 1e-6


def walk(node):
    yield node
    for child in parts(node):
        yield from walk(child)


def parts(node):
    """Every node below, the durations too."""
    out = []
    for f in fields(node) if is_dataclass(node) else ():
        value = getattr(node, f.name)
        out += [v for v in (value if isinstance(value, list) else [value]) if is_dataclass(v)]
    return out


def rewritten(node, seconds, on_edges):
    match node:
        case Number(is_duration=True):
            return Number(node.value, repr(node.value))
        case Selector():
            flag = lambda op, value: f"(?s:{value})" if op in ("=~", "!~") else value
            node.matchers = [(label, op, flag(op, value)) for label, op, value in node.matchers]
            plain_offset(node, seconds)
        case Matrix():
            node.range = shorter(node.range, seconds) if on_edges else plain(seconds(node.range))
            rewritten(node.selector, seconds, on_edges)
        case Subquery():
            node.range = shorter(node.range, seconds)
            node.step = plain(seconds(node.step)) if node.step is not None else None
            plain_offset(node, seconds)
            node.expr = rewritten(node.expr, seconds, on_edges)
        case Call(name="histogram_avg"):
            sides = [Call(name, [copy.deepcopy(node.args[0])]) for name in ("histogram_sum", "histogram_count")]
            return Binary("/", *(rewritten(side, seconds, on_edges) for side in sides))
        case Call():
            node.name = RENAMED.get(node.name, node.name)
            node.args = [rewritten(arg, seconds, on_edges) for arg in node.args]
        case _:
            for f in fields(node):
                if is_dataclass(getattr(node, f.name)):
                    setattr(node, f.name, rewritten(getattr(node, f.name), seconds, on_edges))
    return node


def plain(value):
    """A plain duration of so many seconds."""
    thousandths = round(abs(value) * 1000)
    return Number(value, f"{'-' if value < 0 else ''}{thousandths}ms")


def shorter(span, seconds):
    return plain(max(0.001, seconds(span) - 0.001))


def plain_offset(node, seconds):
    if node.offset is not None:
        node.offset = plain(seconds(node.offset)) if seconds(node.offset) else None
