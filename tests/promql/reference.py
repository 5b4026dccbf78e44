"""A reference evaluator of PromQL: small, slow, obvious; Prometheus 3's documented semantics.

Every step of a range query is evaluated on its own, from the leaves up. Nothing is shared with the engine under test.
"""

import math
from dataclasses import dataclass, field, replace

import floats
import native
from functions import (
    FUNCTIONS,
    Failed,
    Frame,
    Sample,
    Series,
    Window,
    average,
    histogram_op,
    is_float,
    labels_key,
    no_twins,
    total,
)
from syntax import (
    COMPARISONS,
    Aggregate,
    Binary,
    Call,
    Matrix,
    Number,
    Paren,
    Selector,
    String,
    Subquery,
    Unary,
    matches,
    parse,
)  # fmt: skip

LOOKBACK = 300_000
DEFAULT_SUBQUERY_STEP = 60_000
STALE = object()


@dataclass
class Answer:
    """`kind` is scalar, string, vector or matrix; a matrix is a list of Series."""

    kind: str
    value: object
    notes: set = field(default_factory=set)


class Storage:
    """Series in the order of their labels; points are (milliseconds, float, Histogram or STALE)."""

    def __init__(self, series=()):
        self.series = []
        for one in series:
            self.add(one)

    def add(self, series):
        for have in self.series:
            if have.labels == series.labels:
                have.points = sorted([*have.points, *series.points], key=lambda p: p[0])
                return
        self.series.append(series)
        self.series.sort(key=lambda s: labels_key(s.labels))

    def select(self, matchers):
        return [s for s in self.series if all(matches(m, s.labels) for m in matchers)]


def instant(storage, query, time, lookback=LOOKBACK):
    """The answer of an instant query at `time` milliseconds."""
    tree = parse(query) if isinstance(query, str) else query
    run = Run(storage, time, time, 0, lookback)
    inner = unwrapped(tree)
    if isinstance(inner, (Matrix, Subquery)):
        window = run.window(inner, time)
        return Answer("matrix", no_twins([replace(s, labels=final_labels(s)) for s in window.series]), run.notes)
    value = run.eval(tree, time)
    if isinstance(value, float):
        return Answer("scalar", value, run.notes)
    if isinstance(value, str):
        return Answer("string", value, run.notes)
    return Answer("vector", final(value), run.notes)


def ranged(storage, query, start, end, step, lookback=LOOKBACK):
    """The answer of a range query: a matrix, sorted by labels."""
    tree = parse(query) if isinstance(query, str) else query
    run = Run(storage, start, end, step, lookback)
    if isinstance(unwrapped(tree), (Matrix, Subquery, String)):
        raise Failed("a range query wants a scalar or an instant vector")
    found = {}
    for time in range(start, end + 1, step):
        value = run.eval(tree, time)
        vector = [Sample({}, value)] if isinstance(value, float) else final(value)
        for sample in vector:
            series = found.setdefault(labels_key(sample.labels), Series(sample.labels, []))
            series.points.append((time, sample.value))
    return Answer("matrix", [found[key] for key in sorted(found)], run.notes)


def unwrapped(expr):
    return unwrapped(expr.expr) if isinstance(expr, Paren) else expr


def without_name(labels):
    return {name: value for name, value in labels.items() if name != "__name__"}


def final_labels(element):
    return without_name(element.labels) if element.drop else element.labels


def final(vector):
    """The names that functions dropped go last."""
    return no_twins([replace(s, labels=final_labels(s), drop=False) for s in vector])


class Run:
    """One query: its data, its bounds, the notes it gathers."""

    def __init__(self, storage, start, end, step, lookback):
        self.storage, self.start, self.end, self.step, self.lookback = storage, start, end, step, lookback
        self.notes = set()

    def eval(self, expr, time):
        match expr:
            case Number():
                return expr.value
            case String():
                return expr.value
            case Paren():
                return self.eval(expr.expr, time)
            case Unary():
                return self.unary(expr, time)
            case Binary():
                return self.binary(expr, time)
            case Aggregate():
                return self.aggregate(expr, time)
            case Call():
                return self.call(expr, time)
            case Selector():
                return [replace(s, time=time) for s in self.select(expr, time)]
        raise Failed(f"cannot evaluate {expr!r}")

    # Selectors

    def duration(self, expr):
        """Milliseconds of a duration expression."""
        return round(self.seconds(expr) * 1000)

    def seconds(self, expr):
        match expr:
            case None:
                return 0.0
            case Number():
                return expr.value
            case Paren():
                return self.seconds(expr.expr)
            case Unary():
                return -self.seconds(expr.expr) if expr.op == "-" else self.seconds(expr.expr)
            case Binary():
                if expr.op in "/%" and self.seconds(expr.rhs) == 0:
                    raise Failed("division by zero in a duration")
                return ARITHMETIC[expr.op](self.seconds(expr.lhs), self.seconds(expr.rhs))
            case Call(name="step"):
                return self.step / 1000
            case Call(name="range"):
                return (self.end - self.start) / 1000
            case Call():
                return {"min_of": min, "max_of": max}[expr.name](*map(self.seconds, expr.args))
        raise Failed("not a duration")

    def positive(self, expr):
        span = self.duration(expr)
        if span <= 0:
            raise Failed("a duration must be greater than 0")
        return span

    def moment(self, node, time):
        """Where a selector or a subquery looks: `@` first, then the offset, in whatever order they were written."""
        at = {"start": self.start, "end": self.end}.get(node.at, time if node.at is None else None)
        return (round(node.at * 1000) if at is None else at) - self.duration(node.offset)

    def select(self, selector, time):
        """The newest sample in (t - lookback, t] of each series, unless it is a staleness marker."""
        moment, out = self.moment(selector, time), []
        for series in self.storage.select(selector.matchers):
            recent = [p for p in series.points if moment - self.lookback < p[0] <= moment]
            if recent and recent[-1][1] is not STALE:
                out.append(Sample(series.labels, recent[-1][1], time=recent[-1][0]))
        return out

    def window(self, expr, time):
        """A range vector: what lies in (t - range, t]."""
        if isinstance(expr, Paren):
            return self.window(expr.expr, time)
        span = self.positive(expr.range)
        if isinstance(expr, Subquery):
            return self.subquery(expr, time, span)
        end = self.moment(expr.selector, time)
        out = []
        for series in self.storage.select(expr.selector.matchers):
            points = [p for p in series.points if end - span < p[0] <= end and p[1] is not STALE]
            if points:
                out.append(Series(series.labels, points))
        return Window(out, end - span, end)

    def subquery(self, expr, time, span):
        """Steps stand at multiples of the resolution, whatever the query's own time."""
        end = self.moment(expr, time)
        step = DEFAULT_SUBQUERY_STEP if expr.step is None else self.positive(expr.step)
        first = ((end - span) // step + 1) * step
        found = {}
        for moment in range(first, end + 1, step):
            for sample in no_twins(self.eval(expr.expr, moment)):
                key = labels_key(sample.labels)
                series = found.setdefault(key, Series(sample.labels, [], sample.drop))
                series.points.append((moment, sample.value))
        return Window(list(found.values()), end - span, end)

    # Operators

    def unary(self, expr, time):
        value = self.eval(expr.expr, time)
        if expr.op == "+":
            return value
        if isinstance(value, float):
            return -value
        negate = lambda v: -v if is_float(v) else native.times(v, -1.0)
        return [replace(s, value=negate(s.value), drop=True, time=time) for s in value]

    def binary(self, expr, time):
        lhs, rhs = self.eval(expr.lhs, time), self.eval(expr.rhs, time)
        match isinstance(lhs, float), isinstance(rhs, float):
            case True, True:
                if expr.op in COMPARISONS:
                    return float(COMPARE[expr.op](lhs, rhs))
                return ARITHMETIC[expr.op](lhs, rhs)
            case False, True:
                return self.with_scalar(expr, lhs, lambda v: (v, rhs))
            case True, False:
                return self.with_scalar(expr, rhs, lambda v: (lhs, v))
        if expr.op in SET:
            return SET[expr.op](lhs, rhs, lambda s: signature(s, expr.matching))
        return self.joined(expr, lhs, rhs, time)

    def with_scalar(self, expr, vector, operands):
        out = []
        for sample in vector:
            a, b = operands(sample.value)
            if expr.op in COMPARISONS:
                if not is_float(sample.value):
                    self.notes.add(("info", "a histogram compared with a float"))
                    continue
                holds = COMPARE[expr.op](a, b)
                if expr.bool:
                    out.append(replace(sample, value=float(holds), drop=not expr.keep_names))
                elif holds:
                    out.append(sample)
            else:
                value = self.operate(expr.op, a, b)
                if value is not None:
                    out.append(replace(sample, value=value, drop=not expr.keep_names))
        return out

    def operate(self, op, a, b):
        """Arithmetic between two values; None where histograms do not allow it."""
        match is_float(a), is_float(b), op:
            case True, True, _:
                return ARITHMETIC[op](a, b)
            case False, True, "*":
                return native.times(a, b)
            case True, False, "*":
                return native.times(b, a)
            case False, True, "/":
                return native.divided(a, b)
            case False, False, "+":
                return histogram_op(self, native.combine, a, b, 1)
            case False, False, "-":
                return histogram_op(self, native.combine, a, b, -1)
        self.notes.add(("info", f"{op} is not defined for these histograms"))
        return None

    def warn(self, about):
        self.notes.add(("warn", about))

    def compare(self, expr, a, b):
        if is_float(a) and is_float(b):
            return COMPARE[expr.op](a, b)
        if not is_float(a) and not is_float(b) and expr.op in ("==", "!="):
            return native.same(a, b) == (expr.op == "==")
        self.notes.add(("info", f"{expr.op} is not defined for these histograms"))
        return None

    def joined(self, expr, lhs, rhs, time):
        """Arithmetic and comparisons between vectors."""
        if not (lhs and rhs) and not expr.matching.fills:
            return []
        swapped = expr.matching.group == "right"
        many, one = (rhs, lhs) if swapped else (lhs, rhs)
        ones = {}
        for sample in one:
            key = signature(sample, expr.matching)
            if key in ones:
                raise Failed("many-to-many matching: two series of the one side match")
            ones[key] = sample
        fills = (expr.matching.fill_right, expr.matching.fill_left)
        fill_many, fill_one = fills if swapped else fills[::-1]
        met = {signature(sample, expr.matching) for sample in many}
        # What has no counterpart meets one that has the labels of the match alone.
        if fill_many is not None:
            many = many + [Sample(dict(key), fill_many) for key in ones if key not in met]
        if fill_one is not None:
            ones = {key: Sample(dict(key), fill_one) for key in met} | ones
        out, seen = [], set()
        for sample in many:
            key = signature(sample, expr.matching)
            if key not in ones:
                continue
            left, right = (ones[key], sample) if swapped else (sample, ones[key])
            drop = not expr.keep_names
            if expr.op in COMPARISONS and not expr.bool:
                drop = sample.drop
            labels = joined_labels(expr.matching, sample.labels, ones[key].labels)
            labels = without_name(labels) if drop else labels
            # Counted before a filter decides: whether the labels match does not depend on the values.
            once = labels_key(labels) if expr.matching.group else key
            if once in seen:
                raise Failed("multiple matches for one set of labels")
            seen.add(once)
            value = self.matched(expr, left.value, right.value)
            if value is not None:
                out.append(Sample(labels, value, drop, time))
        return out

    def matched(self, expr, a, b):
        """The value of a match; None where there is none."""
        if expr.op not in COMPARISONS:
            return self.operate(expr.op, a, b)
        holds = self.compare(expr, a, b)
        if expr.bool and holds is not None:
            return float(holds)
        return a if holds else None

    def call(self, expr, time):
        frame = Frame(time, [unwrapped(arg) for arg in expr.args], self.notes)
        if expr.name == "info":
            return self.info(expr, time)
        if expr.name in BOUNDS:
            return BOUNDS[expr.name](self) / 1000
        args = [self.argument(expr, arg, time) for arg in expr.args]
        out = FUNCTIONS[expr.name](frame, *args)
        return [replace(s, drop=False) for s in out] if expr.keep_names else out

    def argument(self, call, arg, time):
        inner = unwrapped(arg)
        if isinstance(inner, (Matrix, Subquery)):
            return self.window(inner, time)
        if call.name == "timestamp" and isinstance(inner, Selector):
            return self.select(inner, time)
        return self.eval(arg, time)

    def info(self, expr, time):
        """Adds the data labels of the info series that share `instance` and `job`."""
        base = self.eval(expr.args[0], time)
        matchers = expr.args[1].matchers if len(expr.args) > 1 else []
        named = [m for m in matchers if m[0] == "__name__"] or [("__name__", "=", "target_info")]
        wanted = [m for m in matchers if m[0] != "__name__"]
        infos = sorted(self.select(Selector(named + wanted), time), key=lambda s: s.time)
        out = []
        for sample in base:
            if all(matches(m, sample.labels) for m in named):
                out.append(sample)
                continue
            same_target = lambda info, of=sample: all(info.labels.get(n) == of.labels.get(n) for n in ("instance", "job"))
            # Of several series of one info metric the newest counts.
            found = {info.labels["__name__"]: info for info in infos if same_target(info)}
            labels = dict(sample.labels)
            for info in found.values():
                for name, value in info.labels.items():
                    chosen = name != "__name__" and (not wanted or any(name == m[0] for m in wanted))
                    if not chosen or name in sample.labels:
                        continue
                    if labels.get(name, value) != value:
                        raise Failed(f"two info metrics tell of {name}")
                    labels[name] = value
            if found or all(matches(m, {}) for m in wanted):
                out.append(replace(sample, labels=labels))
        return out

    # Aggregation

    def aggregate(self, expr, time):
        param = self.eval(expr.param, time) if expr.param is not None else None
        if expr.op in ("topk", "bottomk", "limitk"):
            param = how_many(param)
        if expr.op == "limit_ratio" and math.isnan(param):
            raise Failed("the ratio is no number")
        if expr.op == "count_values":
            return count_values(self.eval(expr.expr, time), expr, param, time)
        groups = {}
        for sample in self.eval(expr.expr, time):
            labels = group_labels(expr, sample.labels)
            groups.setdefault(labels_key(labels), (labels, []))[1].append(sample)
        out = []
        for labels, members in groups.values():
            if expr.op in SELECTING:
                out += SELECTING[expr.op](self, members, param)
            else:
                value = AGGREGATES[expr.op](self, members, param)
                drop = any(s.drop for s in members)
                out += [Sample(labels, value, drop, time)] if value is not None else []
        return no_twins(out)


def group_labels(expr, labels):
    if expr.without:
        return {k: v for k, v in labels.items() if k not in expr.labels and k != "__name__"}
    return {k: v for k, v in labels.items() if k in expr.labels}


def signature(sample, matching):
    if matching.on:
        return labels_key({k: v for k, v in sample.labels.items() if k in matching.labels})
    return labels_key({k: v for k, v in without_name(sample.labels).items() if k not in matching.labels})


def joined_labels(matching, many, one):
    """The labels of a match, the name still among them where a comparison may keep it."""
    if matching.group:
        labels = dict(many)
        for name in matching.include:
            labels.pop(name, None)
            if one.get(name):
                labels[name] = one[name]
        return labels
    if matching.on:
        return {k: v for k, v in many.items() if k in matching.labels}
    return {k: v for k, v in many.items() if k not in matching.labels}


ARITHMETIC = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": floats.divide,
    "%": floats.modulo,
    "^": floats.power,
    "atan2": math.atan2,
}
COMPARE = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def set_and(lhs, rhs, key):
    have = {key(s) for s in rhs}
    return [s for s in lhs if key(s) in have]


def set_or(lhs, rhs, key):
    have = {key(s) for s in lhs}
    return lhs + [s for s in rhs if key(s) not in have]


def set_unless(lhs, rhs, key):
    have = {key(s) for s in rhs}
    return [s for s in lhs if key(s) not in have]


BOUNDS = {
    "start": lambda run: run.start,
    "end": lambda run: run.end,
    "range": lambda run: run.end - run.start,
    "step": lambda run: run.step,
}
SET = {"and": set_and, "or": set_or, "unless": set_unless, "default": set_or}


def of_floats(compute):
    """An aggregate of the floats of a group; histograms are left out with a note."""

    def call(run, members, param):
        values = [s.value for s in members if is_float(s.value)]
        if len(values) < len(members):
            run.notes.add(("info", "histograms ignored in an aggregation"))
        return compute(values, param) if values else None

    return call


def of_one_kind(compute):
    def call(run, members, param):
        if len({is_float(s.value) for s in members}) > 1:
            run.notes.add(("warn", "floats and histograms in one group"))
            return None
        return compute(run, [s.value for s in members])

    return call


def quantile(run, members, phi):
    if not 0 <= phi <= 1:
        run.notes.add(("warn", "quantile outside of 0..1"))
    return of_floats(lambda values, _: floats.quantile(phi, values))(run, members, phi)


AGGREGATES = {
    "sum": of_one_kind(total),
    "avg": of_one_kind(average),
    "min": of_floats(lambda values, _: floats.least(values)),
    "max": of_floats(lambda values, _: floats.greatest(values)),
    "stddev": of_floats(lambda values, _: math.sqrt(floats.variance(values))),
    "stdvar": of_floats(lambda values, _: floats.variance(values)),
    "count": lambda run, members, _: float(len(members)),
    "group": lambda run, members, _: 1.0,
    "quantile": quantile,
}


def how_many(k):
    if math.isnan(k) or k >= 2.0**63:
        raise Failed("k is no integer")
    return 0 if k < 1 else int(k)


def ranked(sign):
    def call(run, members, k):
        kept = [s for s in members if is_float(s.value)]
        if len(kept) < len(members):
            run.notes.add(("info", "histograms ignored in an aggregation"))
        kept.sort(key=lambda s: (math.isnan(s.value), 0 if math.isnan(s.value) else sign * s.value))
        return kept[:k]

    return call


def limit_ratio(run, members, ratio):
    """Any choice would do; the corpus asks only what holds for every choice."""
    first = min(1.0, ratio) if ratio >= 0 else max(0.0, 1 + ratio)
    cut = math.floor(round(len(members) * first, 9))
    return members[:cut] if ratio >= 0 else members[cut:]


SELECTING = {
    "topk": ranked(-1),
    "bottomk": ranked(1),
    "limitk": lambda run, members, k: members[:k],
    "limit_ratio": limit_ratio,
}


def count_values(vector, expr, name, time):
    """The value becomes a label first, and the groups are those of the labels that follow."""
    if not name:
        raise Failed("count_values wants a label")
    grouping = replace(expr, labels=expr.labels if expr.without else [*expr.labels, name])
    counts = {}
    for sample in vector:
        text = floats.text(sample.value) if is_float(sample.value) else native.text(sample.value)
        labels = group_labels(grouping, {**sample.labels, name: text})
        counted = counts.setdefault(labels_key(labels), Sample(labels, 0.0, sample.drop, time))
        counted.value += 1
        counted.drop |= sample.drop
    return list(counts.values())
