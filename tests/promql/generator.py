"""Random queries over the series of data.py: typed trees of bounded depth."""

import copy

from shrink import walk
from syntax import (
    COMPARISONS,
    Aggregate,
    Binary,
    Call,
    Matching,
    Matrix,
    Number,
    Paren,
    Selector,
    String,
    Subquery,
    Unary,
)  # fmt: skip

METRICS = {
    "up": ["job", "instance"],
    "memory_bytes": ["job", "instance"],
    "temperature": ["job", "instance"],
    "signed": ["job", "instance"],
    "requests_total": ["job", "instance", "code", "method"],
    "latency_seconds_bucket": ["job", "instance", "le"],
    "latency_seconds_count": ["job", "instance"],
    "latency_seconds_sum": ["job", "instance"],
    "odd_bucket": ["kind", "le"],
    "flapping": ["job"],
    "come_and_gone": ["job", "instance"],
    "brief": ["job", "kind"],
    "odd_values": ["kind"],
    "target_info": ["job", "instance", "version"],
    "nothing": ["job"],
}
NATIVE = {
    "work_seconds": ["job", "instance"],
    "wait_seconds": ["job", "instance"],
    "level_bytes": ["job", "instance"],
    "turned": ["job"],
}
# Names that only Prometheus 3 knows, and so only the reference beside it.
STRANGE = {"größe.m²": ["köln.ort", "job"]}
# Several metrics at once: labels that only the name tells apart.
SEVERAL = ["latency_seconds_(count|sum)", "up|temperature", "temperature|signed", "memory_.+|flapping", "odd_v.*"]
VALUES = {
    "job": ["api", "web"],
    "instance": ["a:1", "b:2", "c:3"],
    "code": ["200", "404", "500"],
    "method": ["GET", "PUT"],
    "le": ["0.1", "1", "+Inf"],
    "kind": ["nan", "inf", "zero", "small", "low", "falling", "one"],
    "version": ["v0", "v1", "v2"],
    "köln.ort": ["Ä", "b c"],
}
LABELS = [label for label in VALUES if label != "köln.ort"]
PATTERNS = {
    "job": ["a.*", "api|web", ".+", "", "(?i)API", "a[op]i", "[^w]..", "api|", ".*b"],
    "instance": ["[ab].*", ".:1", ".*", "[a-b]:\\d", "(a|b|c):[13]", "\\w:.", "a:1|c:3"],
    "code": ["[45]..", "200|404", "...", "[^2]\\d+", "4?04|500", "2.{2}"],
    "le": [".*", "0.*", "\\+Inf|1", "[0-9.]+"],
    "kind": ["nan|inf", "z.+", "(?:in|lo).*", "[a-m].*"],
}
SPANS = ["45s", "1m", "2m", "5m", "7m13s", "20m"]
STEPS = ["15s", "30s", "1m", "100s"]
RATES = ["rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes"]
OVER_TIME = [f"{name}_over_time" for name in "avg min max sum count stddev stdvar last present absent".split()]
RARE = ["mad_over_time", "first_over_time"]
RARE += [f"ts_of_{name}_over_time" for name in "max min last first".split()]
MATHS = "abs ceil floor exp ln log2 log10 sqrt sgn asin acos atan sinh cosh tanh asinh acosh atanh deg rad".split()
# Of small numbers only: how a huge one is reduced to an angle differs in the last digits.
ANGLES = "sin cos tan".split()
DATES = "hour minute month year day_of_week day_of_month day_of_year days_in_month".split()
AGGREGATES = "sum avg min max count group stddev stdvar".split()
ARITHMETIC = ["+", "-", "*", "/", "%", "^"]
# What has no ties, so that topk has one answer.
DISTINCT = ["memory_bytes", "temperature", "latency_seconds_sum"]


class Generator:
    """Makes queries about the two hours after `base`, in seconds."""

    def __init__(self, rng, depth=4, with_native=False, base=0):
        self.rng, self.depth, self.with_native, self.base = rng, depth, with_native, base
        self.labels_of = {**METRICS, **STRANGE, **(NATIVE if with_native else {})}
        self.metrics = list(METRICS) + list(NATIVE) * 2 * with_native

    def query(self):
        """A tree that a server should answer, or, seldom, one that it should refuse."""
        if self.chance(0.03):
            return self.range(2)
        make = self.scalar if self.chance(0.08) else self.instant
        tree = make(self.rng.randrange(self.depth + 1))
        if self.chance(0.05):
            tree = self.ordered(tree) if make == self.instant else tree
        if self.chance(0.02):
            self.spoil(tree)
        return tree

    def chance(self, share):
        return self.rng.random() < share

    def pick(self, *choices):
        return self.rng.choice(choices)

    def duration(self, choices):
        """Mostly one of these; at times a number of seconds, or an expression."""
        text = self.rng.choice(choices)
        if self.chance(0.95):
            return Number(0.0, text, True)
        if self.chance(0.5):
            return Number(0.0, self.pick("60", "90.5", "1e2"))
        factor = Number(0.0, self.pick("2", "0.5", "1.5"))
        return Binary(self.pick("*", "+"), Number(0.0, text, True), factor)

    def number(self):
        if self.chance(0.04):
            return self.pick(Number(0.0, "NaN"), Number(0.0, "Inf"), Unary("-", Number(0.0, "Inf")), Number(0.0, "5m", True))
        return Number(0.0, self.pick("0", "1", "2", "0.5", "10", "100", "3.7", "1e3", "1e-3", "60", "0x1f"))

    # Selectors

    def matchers(self, metric):
        out = [("__name__", "=", metric)]
        for label in self.labels_of.get(metric, ["job", "instance"]):
            if self.chance(0.25):
                if label in PATTERNS and self.chance(0.5):
                    out.append((label, self.pick("=~", "!~"), self.rng.choice(PATTERNS[label])))
                else:
                    value = "" if self.chance(0.05) else self.rng.choice(VALUES[label])
                    out.append((label, self.pick("=", "=", "!="), value))
        if self.chance(0.02):
            out.append((self.rng.choice(LABELS), self.pick("=", "!=", "=~", "!~"), ""))
        return out

    def modified(self, node):
        if self.chance(0.15):
            node.offset = self.duration(["1m", "30s", "5m", "17m"])
            if isinstance(node.offset, Binary):
                node.offset = Paren(node.offset)
            if self.chance(0.3):
                node.offset = Unary("-", node.offset)
        if self.chance(0.09):
            node.at = self.pick("start", "end", self.base + self.rng.randrange(2400, 7000) + self.pick(0, 0.5))
        return node

    def selector(self, metrics=None):
        if metrics is None and self.chance(0.02):
            return self.modified(Selector([("__name__", "=~", self.rng.choice(SEVERAL))]))
        if metrics is None and self.chance(0.01):
            metrics = list(STRANGE)
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
            if self.chance(0.8):
                return self.number()
            return Call(self.rng.choices(["time", "pi", "start", "end", "step", "range"], [8, 4, 1, 1, 1, 1])[0], [])
        match self.rng.randrange(8):
            case 0 | 1:
                return Call("scalar", [self.instant(depth - 1)])
            case 2 | 3:
                return Unary(self.pick("-", "-", "+"), self.bracketed(self.scalar(depth - 1)))
            case 4 if self.chance(0.2):
                return Call(self.pick("min_of", "max_of"), [self.scalar(depth - 1) for _ in "ab"])
        op = self.pick(*ARITHMETIC, "atan2", *sorted(COMPARISONS))
        sides = [self.bracketed(self.scalar(depth - 1)) for _ in "ab"]
        return Binary(op, *sides, bool=op in COMPARISONS)

    def instant(self, depth):
        if depth <= 0:
            return self.selector() if self.chance(0.95) else Call("vector", [self.number()])
        makers = [
            (20, self.ranged), (15, self.aggregate), (12, self.with_scalar), (10, self.with_vector), (8, self.maths),
            (5, self.sets),
            (4, self.relabelled), (4, self.histogram), (3, self.top), (3, self.other), (1, self.later),
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
            case 2 if self.chance(0.3):
                return Call(self.rng.choice(RARE), [self.range(depth - 1)])
            case 3 if self.chance(0.3):
                factors = [Number(0.0, self.pick("0.1", "0.5", "0.9", "1")) for _ in "ab"]
                return Call("double_exponential_smoothing", [self.range(depth - 1), *factors])
        return Call(self.rng.choice(RATES + OVER_TIME), [self.range(depth - 1)])

    def number_between(self):
        if self.chance(0.05):
            return self.pick(Number(0.0, "2"), Unary("-", Number(0.0, "0.5")), Number(0.0, "NaN"), self.scalar(1))
        return Number(0.0, self.pick("0", "0.1", "0.5", "0.9", "1", "0.333"))

    def labels(self, most=2):
        labels = self.rng.sample(LABELS, self.rng.randrange(most + 1))
        return labels + ["köln.ort"] if self.chance(0.003) else labels

    def aggregate(self, depth):
        how = self.rng.randrange(3)
        labels = self.labels() if how else []
        if how and self.chance(0.02):
            labels.append("__name__")
        inner = self.instant(depth - 1)
        if self.chance(0.1):
            return Aggregate("quantile", inner, self.number_between(), labels, how == 2, how > 0)
        if self.chance(0.05):
            # Of plain samples: of computed values the last digits would make other labels.
            name = String(self.pick("value", "value", "job", "kind"))
            return Aggregate("count_values", self.selector(list(METRICS)), name, labels, how == 2, how > 0)
        return Aggregate(self.rng.choice(AGGREGATES), inner, None, labels, how == 2, how > 0)

    def top(self, depth):
        inner = self.selector(DISTINCT)
        if self.chance(0.4):
            inner = Call("avg_over_time",
                         [Matrix(Selector(self.matchers(self.rng.choice(DISTINCT))), self.duration(SPANS))])
        k = Number(0.0, self.pick("1", "2", "3"))
        if self.chance(0.1):
            k = self.pick(Number(0.0, "0"), Unary("-", Number(0.0, "1")), Number(0.0, "2.9"), Number(0.0, "1e3"),
                          Number(0.0, "NaN"), Number(0.0, "Inf"), Call("scalar", [self.selector(["up"])]))
        return Aggregate(self.pick("topk", "bottomk"), inner, k, ["job"], False, self.chance(0.4))

    def ordered(self, tree):
        """The whole sorted."""
        if self.chance(0.5):
            return Call(self.pick("sort", "sort_desc"), [tree])
        names = [String(label) for label in self.rng.sample(LABELS, self.rng.randrange(1, 4))]
        return Call(self.pick("sort_by_label", "sort_by_label_desc"), [tree, *names])

    def with_scalar(self, depth):
        op = self.pick(*ARITHMETIC, "atan2", *sorted(COMPARISONS))
        sides = [self.bracketed(self.instant(depth - 1)), self.bracketed(self.scalar(self.rng.randrange(2)))]
        if op == "%":
            # Of plain samples: beside a multiple a last digit makes another remainder.
            sides = [self.selector(), self.number()]
        if self.chance(0.3):
            sides.reverse()
        return Binary(op, *sides, bool=op in COMPARISONS and self.chance(0.5))

    def with_vector(self, depth):
        op = self.pick(*ARITHMETIC, "atan2", *sorted(COMPARISONS))
        sides = [self.selector() if op == "%" else self.bracketed(self.instant(depth - 1)) for _ in "ab"]
        if self.chance(0.3):
            sides[1] = copy.deepcopy(sides[0])
        matching = Matching()
        if self.chance(0.5):
            matching = Matching(self.chance(0.7), self.labels(3))
            if self.chance(0.4):
                matching.group = self.pick("left", "right")
                matching.include = [label for label in self.labels() if label not in matching.labels]
        if self.chance(0.03):
            left, right = (self.pick(None, 0.0, -2.5) for _ in "ab")
            matching.fill_left, matching.fill_right = left, right
        return Binary(op, *sides, op in COMPARISONS and self.chance(0.4), matching)

    def sets(self, depth):
        matching = Matching(self.chance(0.6), self.labels()) if self.chance(0.5) else Matching()
        sides = [self.bracketed(self.instant(depth - 1)) for _ in "ab"]
        return Binary(self.pick("and", "or", "unless"), *sides, False, matching)

    def maths(self, depth):
        inner = self.instant(depth - 1)
        match self.rng.randrange(10):
            case 0:
                return Call("clamp", [inner, Number(0.0, "0"), self.number()])
            case 1:
                return Call(self.pick("clamp_min", "clamp_max"), [inner, self.scalar(1)])
            case 2:
                nearest = self.pick("1", "5", "0.1", "0", "0.25")
                return Call("round", [inner, *([Number(0.0, nearest)] if self.chance(0.8) else [])])
            case 3:
                return Unary(self.pick("-", "-", "-", "+"), self.bracketed(inner))
            case 4:
                return Call(self.rng.choice(ANGLES), [self.selector(["signed", "up", "flapping", "odd_values"])])
        return Call(self.rng.choice(MATHS), [inner])

    def relabelled(self, depth):
        inner, label = self.instant(depth - 1), self.rng.choice(LABELS)
        if self.chance(0.3):
            sources = [String(name) for name in self.rng.sample(LABELS, self.rng.randrange(1, 4))]
            return Call("label_join", [inner, String("joined"), String(self.pick("-", "", ", ")), *sources])
        target, template, pattern = self.pick(
            ("new", "$1", "(.).*"), ("job", "x", ".*"), (label, "", ".+"), ("new", "$1$2", "(.*):(.*)"),
            ("new", "${1}_$0", "(.+)"), ("new", "$port", "[a-z]:(?P<port>[0-9])"), ("new", "$$", ".*"),
            ("new", "$1", "(a|b)?.*"), ("instance", "$2$1", "(\\w+):(\\w+)"), ("job", "", "(.*)"),
        )  # fmt: skip
        if self.chance(0.03):
            target, template, pattern = self.pick(("__name__", "made", ".*"), ("köln.ort", "$1", "(.*)"))
        return Call("label_replace", [inner, String(target), String(template), String(label), String(pattern)])

    def histogram(self, depth):
        if self.with_native and self.chance(0.7):
            return self.native()
        if self.chance(0.3):
            buckets = self.selector(["odd_bucket"])
            if self.chance(0.5):
                buckets = Call(self.pick("rate", "delta", "max_over_time"), [Matrix(buckets, self.duration(SPANS))])
        else:
            buckets = Call("rate", [Matrix(Selector(self.matchers("latency_seconds_bucket")), self.duration(SPANS))])
        if self.chance(0.5):
            buckets = Aggregate("sum", buckets, None, ["le", *self.labels(1)], False, True)
        if self.chance(0.05):
            return Call("histogram_fraction", [Number(0.0, "0"), self.number(), buckets])
        return Call("histogram_quantile", [self.number_between(), buckets])

    def native(self):
        selector = self.selector(list(NATIVE))
        match self.rng.randrange(4):
            case 0:
                inner = selector
            case 1:
                inner = Call(self.pick("sum_over_time", "avg_over_time", "delta"), [Matrix(selector, self.duration(SPANS))])
            case _:
                inner = Call(self.pick("rate", "increase"), [Matrix(selector, self.duration(SPANS))])
        if self.chance(0.4):
            inner = Aggregate(self.pick("sum", "avg"), inner, None, self.labels(1), False, True)
        name = self.pick("count", "sum", "avg", "stddev", "stdvar", "quantile", "fraction")
        arguments = {"quantile": [self.number_between()], "fraction": [Number(0.0, "0"), self.number()]}.get(name, [])
        return Call(f"histogram_{name}", [*arguments, inner])

    def later(self, depth):
        """What only later versions have; which elements limitk and limit_ratio choose is left open."""
        inner = self.instant(depth - 1)
        match self.rng.randrange(4):
            case 0:
                # Where @ fixes the first argument, Prometheus asks for the second one once, too.
                for node in walk(inner):
                    if isinstance(node, (Selector, Subquery)):
                        node.at = None
                matchers = [("version", self.pick("=~", "!=", "="), self.pick("v0", "v[01]", "", ".+"))]
                return Call("info", [inner, *([Selector(matchers)] if self.chance(0.5) else [])])
            case 1:
                k, labels = Number(0.0, self.pick("1", "2", "5", "0")), self.labels()
                chosen = Aggregate("limitk", inner, k, labels, False, True)
                return Aggregate(self.pick("count", "group"), chosen, None, labels, False, True)
            case 2:
                ratio = self.pick("0.25", "0.5", "0.9", "1")
                rest = Unary("-", Number(0.0, repr(1 - float(ratio))))
                parts = [Aggregate("limit_ratio", copy.deepcopy(inner), r) for r in (Number(0.0, ratio), rest)]
                return Binary("or", *parts)
        return self.ordered(inner)

    def other(self, depth):
        inner = self.instant(depth - 1)
        match self.rng.randrange(6):
            case 0:
                return Call("absent", [inner])
            case 1:
                return Call("timestamp", [inner])
            case 2:
                return Call("vector", [self.scalar(depth - 1)])
            case 3:
                # Of times only: what a date of NaN or of 1e300 is depends on the processor.
                return Call(self.rng.choice(DATES), [Call("timestamp", [inner])] if self.chance(0.8) else [])
            case 4:
                return Call("absent_over_time", [self.range(depth)])
        return Call(self.pick("sort", "sort_desc"), [inner])

    def spoil(self, tree):
        """Puts something of another type somewhere; not where two parts must stay the same."""
        if any(isinstance(node, Aggregate) and node.op == "limit_ratio" for node in walk(tree)):
            return
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
