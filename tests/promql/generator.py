"""Random queries over the series of data.py: typed trees of bounded depth, and smaller trees of a tree."""

import copy
from dataclasses import fields, is_dataclass

from syntax import (
    COMPARISONS,
    INSTANT,
    SCALAR,
    Aggregate,
    Binary,
    Call,
    Matching,
    Matrix,
    Number,
    Paren,
    Refused,
    Selector,
    String,
    Subquery,
    Unary,
    check,
)  # fmt: skip

METRICS = {
    "up": ["job", "instance"],
    "memory_bytes": ["job", "instance"],
    "temperature": ["job", "instance"],
    "requests_total": ["job", "instance", "code", "method"],
    "latency_seconds_bucket": ["job", "instance", "le"],
    "latency_seconds_count": ["job", "instance"],
    "latency_seconds_sum": ["job", "instance"],
    "flapping": ["job"],
    "odd_values": ["kind"],
    "target_info": ["job", "instance", "version"],
    "nothing": ["job"],
}
VALUES = {
    "job": ["api", "web"],
    "instance": ["a:1", "b:2", "c:3"],
    "code": ["200", "404", "500"],
    "method": ["GET", "PUT"],
    "le": ["0.1", "1", "+Inf"],
    "kind": ["nan", "inf", "zero", "small"],
    "version": ["v0", "v1", "v2"],
}
PATTERNS = {"job": ["a.*", "api|web", ".+"], "instance": ["[ab].*", ".:1", ".*"], "code": ["[45]..", "200|404", "..."]}
SPANS = ["45s", "1m", "2m", "5m", "7m13s", "20m"]
STEPS = ["15s", "30s", "1m", "100s"]
RATES = ["rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes"]
OVER_TIME = [f"{name}_over_time" for name in "avg min max sum count stddev stdvar last present absent".split()]
RARE = ["mad_over_time", "first_over_time", "ts_of_max_over_time", "ts_of_min_over_time", "ts_of_last_over_time"]
MATHS = "abs ceil floor exp ln log2 log10 sqrt sgn atan asinh tanh deg rad".split()
DATES = "hour minute month year day_of_week day_of_month day_of_year days_in_month".split()
AGGREGATES = "sum avg min max count group stddev stdvar".split()
# What has no ties, so that topk has one answer.
DISTINCT = ["memory_bytes", "temperature", "latency_seconds_sum"]


class Generator:
    def __init__(self, rng, depth=4, with_native=False):
        self.rng, self.depth, self.with_native = rng, depth, with_native
        self.metrics = list(METRICS) + ["work_seconds"] * (3 if with_native else 0)

    def query(self):
        """A tree that a server should answer, or, seldom, one that it should refuse."""
        if self.chance(0.03):
            return self.range(2)
        make = self.scalar if self.chance(0.08) else self.instant
        tree = make(self.rng.randrange(self.depth + 1))
        if self.chance(0.02):
            self.spoil(tree)
        return tree

    def chance(self, share):
        return self.rng.random() < share

    def pick(self, *choices):
        return self.rng.choice(choices)

    def duration(self, choices):
        text = self.rng.choice(choices)
        return Number(0.0, text, True)

    def number(self):
        return Number(0.0, self.pick("0", "1", "2", "0.5", "10", "100", "3.7", "1e3", "1e-3", "60"))

    # Selectors

    def matchers(self, metric):
        out = [("__name__", "=", metric)]
        for label in METRICS.get(metric, ["job", "instance"]):
            if self.chance(0.25):
                if label in PATTERNS and self.chance(0.5):
                    out.append((label, self.pick("=~", "!~"), self.rng.choice(PATTERNS[label])))
                else:
                    out.append((label, self.pick("=", "=", "!="), self.rng.choice(VALUES[label])))
        return out

    def modified(self, node):
        if self.chance(0.15):
            node.offset = self.duration(["1m", "30s", "5m", "17m"])
            if self.chance(0.3):
                node.offset = Unary("-", node.offset)
        if self.chance(0.07):
            node.at = self.pick("start", "end")
        return node

    def selector(self, metrics=None):
        return self.modified(Selector(self.matchers(self.rng.choice(metrics or self.metrics))))

    def range(self, depth):
        if depth > 0 and self.chance(0.3):
            step = self.duration(STEPS) if self.chance(0.8) else None
            return self.modified(Subquery(self.bracketed(self.instant(depth - 1)), self.duration(SPANS), step))
        return Matrix(self.selector(), self.duration(SPANS))

    def bracketed(self, tree):
        return Paren(tree) if isinstance(tree, (Binary, Unary)) else tree

    # Values

    def scalar(self, depth):
        if depth <= 0:
            return self.number() if self.chance(0.8) else Call("time", [])
        match self.rng.randrange(4):
            case 0:
                return Call("scalar", [self.instant(depth - 1)])
            case 1 | 2:
                op = self.pick("+", "-", "*", "/", "%", "^", *sorted(COMPARISONS))
                sides = [self.bracketed(self.scalar(depth - 1)) for _ in "ab"]
                return Binary(op, *sides, bool=op in COMPARISONS)
        return Unary("-", self.bracketed(self.scalar(depth - 1)))

    def instant(self, depth):
        if depth <= 0:
            return self.selector() if self.chance(0.95) else Call("vector", [self.number()])
        makers = [
            (20, self.ranged), (15, self.aggregate), (12, self.with_scalar), (10, self.with_vector), (8, self.maths),
            (5, self.sets),
            (4, self.relabelled), (4, self.histogram), (3, self.top), (3, self.other),
            (6, lambda depth: self.selector()),
        ]  # fmt: skip
        make = self.rng.choices([m for _, m in makers], [weight for weight, _ in makers])[0]
        return make(depth)

    def ranged(self, depth):
        match self.rng.randrange(12):
            case 0:
                return Call("quantile_over_time", [self.number_between(), self.range(depth - 1)])
            case 1:
                return Call("predict_linear", [self.range(depth - 1), self.number()])
            case 2 if self.chance(0.5):
                return Call(self.rng.choice(RARE), [self.range(depth - 1)])
        return Call(self.rng.choice(RATES + OVER_TIME), [self.range(depth - 1)])

    def number_between(self):
        return Number(0.0, self.pick("0", "0.1", "0.5", "0.9", "1", "0.333"))

    def labels(self, most=2):
        return self.rng.sample(list(VALUES), self.rng.randrange(most + 1))

    def aggregate(self, depth):
        how = self.rng.randrange(3)
        labels = self.labels() if how else []
        inner = self.instant(depth - 1)
        if self.chance(0.1):
            return Aggregate("quantile", inner, self.number_between(), labels, how == 2, how > 0)
        if self.chance(0.05):
            # Of plain samples: of computed values the last digits would make other labels.
            return Aggregate("count_values", self.selector(list(METRICS)), String("value"), labels, how == 2, how > 0)
        return Aggregate(self.rng.choice(AGGREGATES), inner, None, labels, how == 2, how > 0)

    def top(self, depth):
        inner = self.selector(DISTINCT)
        if self.chance(0.4):
            inner = Call("avg_over_time",
                         [Matrix(Selector(self.matchers(self.rng.choice(DISTINCT))), self.duration(SPANS))])
        return Aggregate(self.pick("topk", "bottomk"), inner, Number(0.0, self.pick("1", "2", "3")), ["job"], False,
                         self.chance(0.4))

    def with_scalar(self, depth):
        op = self.pick("+", "-", "*", "/", "%", "^", "atan2", *sorted(COMPARISONS))
        sides = [self.bracketed(self.instant(depth - 1)), self.bracketed(self.scalar(self.rng.randrange(2)))]
        if self.chance(0.3):
            sides.reverse()
        return Binary(op, *sides, bool=op in COMPARISONS and self.chance(0.5))

    def with_vector(self, depth):
        op = self.pick("+", "-", "*", "/", "%", "^", *sorted(COMPARISONS))
        sides = [self.bracketed(self.instant(depth - 1)) for _ in "ab"]
        if self.chance(0.3):
            sides[1] = copy.deepcopy(sides[0])
        matching = Matching()
        if self.chance(0.5):
            matching = Matching(self.chance(0.7), self.labels(3))
            if self.chance(0.4):
                matching.group = self.pick("left", "right")
                matching.include = [label for label in self.labels() if label not in matching.labels]
        return Binary(op, *sides, op in COMPARISONS and self.chance(0.4), matching)

    def sets(self, depth):
        matching = Matching(self.chance(0.6), self.labels()) if self.chance(0.5) else Matching()
        sides = [self.bracketed(self.instant(depth - 1)) for _ in "ab"]
        return Binary(self.pick("and", "or", "unless"), *sides, False, matching)

    def maths(self, depth):
        inner = self.instant(depth - 1)
        match self.rng.randrange(8):
            case 0:
                return Call("clamp", [inner, Number(0.0, "0"), self.number()])
            case 1:
                return Call(self.pick("clamp_min", "clamp_max"), [inner, self.scalar(1)])
            case 2:
                return Call("round", [inner, Number(0.0, self.pick("1", "5", "0.1"))])
            case 3:
                return Unary("-", self.bracketed(inner))
        return Call(self.rng.choice(MATHS), [inner])

    def relabelled(self, depth):
        inner, label = self.instant(depth - 1), self.rng.choice(list(VALUES))
        if self.chance(0.3):
            return Call("label_join", [inner, String("joined"), String("-"), String(label), String("job")])
        target, template, pattern = self.pick(("new", "$1", "(.).*"), ("job", "x", ".*"), (label, "", ".+"),
                                              ("new", "$1$2", "(.*):(.*)"))
        return Call("label_replace", [inner, String(target), String(template), String(label), String(pattern)])

    def histogram(self, depth):
        if self.with_native and self.chance(0.7):
            return self.native()
        buckets = Call("rate", [Matrix(Selector(self.matchers("latency_seconds_bucket")), self.duration(SPANS))])
        if self.chance(0.6):
            buckets = Aggregate("sum", buckets, None, ["le", *self.labels(1)], False, True)
        return Call("histogram_quantile", [self.number_between(), buckets])

    def native(self):
        inner = Call(self.pick("rate", "increase"), [Matrix(self.selector(["work_seconds"]), self.duration(SPANS))])
        if self.chance(0.4):
            inner = Aggregate(self.pick("sum", "avg"), inner, None, self.labels(1), False, True)
        name = self.pick("count", "sum", "avg", "stddev", "stdvar", "quantile", "fraction")
        arguments = {"quantile": [self.number_between()], "fraction": [Number(0.0, "0"), self.number()]}.get(name, [])
        return Call(f"histogram_{name}", [*arguments, inner])

    def other(self, depth):
        inner = self.instant(depth - 1)
        match self.rng.randrange(5):
            case 0:
                return Call("absent", [inner])
            case 3:
                # Of times only: what a date of NaN or of 1e300 is depends on the processor.
                return Call(self.rng.choice(DATES), [Call("timestamp", [inner])])
            case 1:
                return Call("timestamp", [inner])
            case 2:
                return Call("vector", [self.scalar(depth - 1)])
        return Call(self.pick("sort", "sort_desc"), [inner])

    def spoil(self, tree):
        """Puts something of another type somewhere."""
        nodes = [node for node in walk(tree) if isinstance(node, (Call, Binary, Aggregate))]
        if not nodes:
            return
        node, wrong = self.rng.choice(nodes), self.pick(String("x"), Matrix(self.selector(), self.duration(SPANS)),
                                                        self.number())
        match node:
            case Call() if node.args:
                node.args[self.rng.randrange(len(node.args))] = wrong
            case Binary():
                node.rhs = wrong
            case Aggregate():
                node.expr = wrong


def walk(node):
    """A node and all below it."""
    yield node
    for child in below(node):
        yield from walk(child)


def below(node):
    if isinstance(node, Call):
        return list(node.args)
    names = ("lhs", "rhs", "expr", "param", "selector")
    return [getattr(node, name) for name in names if is_dataclass(getattr(node, name, None))]


def kind(tree):
    try:
        return check(tree)
    except Refused:
        return None


def smaller(tree):
    """Trees with less in them: a part for the whole, a part for one of its ancestors, without a modifier."""
    for part in walk(tree):
        if part is not tree and kind(part) in (INSTANT, SCALAR, None):
            yield copy.deepcopy(part)
    nodes = list(walk(tree))
    for i, node in enumerate(nodes):
        for part in below(node):
            if node is not tree and kind(part) == kind(node):
                yield replaced(tree, i, part)
        for f in fields(node):
            plainer = plain_value(node, f.name)
            if plainer is not NotImplemented:
                changed = copy.deepcopy(tree)
                setattr(list(walk(changed))[i], f.name, plainer)
                yield changed


def plain_value(node, name):
    """A simpler value of a field, or NotImplemented."""
    value = getattr(node, name)
    match node, name:
        case (Selector() | Subquery(), "offset" | "at") if value is not None:
            return None
        case Selector(), "matchers" if len(value) > 1:
            return value[:-1]
        case Aggregate(), "labels" if value:
            return value[:-1]
        case Binary(), "matching" if value.include:
            return Matching(value.on, value.labels, value.group)
        case Binary(), "bool" if value and kind(node) == INSTANT:
            return False
    return NotImplemented


def replaced(tree, at, part):
    """The tree with node number `at` of its walk replaced."""
    part, changed = copy.deepcopy(part), copy.deepcopy(tree)
    target = list(walk(changed))[at]
    for node in walk(changed):
        if isinstance(node, Call):
            node.args = [part if arg is target else arg for arg in node.args]
        for f in fields(node):
            if getattr(node, f.name) is target:
                setattr(node, f.name, part)
    return changed


