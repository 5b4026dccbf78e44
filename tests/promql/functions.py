"""The functions of PromQL, one Python function each, by the documented semantics.

A function gets the call (`Frame`) and its arguments: floats, strings, lists of `Sample`, or a `Window` for a range.
"""

import datetime
import functools
import math
import re
from dataclasses import dataclass, replace

import floats
import native
from native import Histogram
from syntax import Selector

NAN = math.nan


class Failed(Exception):
    """The query is well-formed, but this data makes it fail."""


@dataclass
class Sample:
    """One element of an instant vector. `drop` says that the metric's name goes at the end of the query."""

    labels: dict
    value: object
    drop: bool = False
    time: int = 0


@dataclass
class Series:
    labels: dict
    points: list  # of (milliseconds, float or Histogram)
    drop: bool = False


@dataclass
class Window:
    """A range vector: what lies in (start, end], in milliseconds."""

    series: list
    start: int
    end: int


@dataclass
class Frame:
    """What a function may know of its surroundings: the time, the written arguments, the notes."""

    time: int
    args: list
    notes: set

    def warn(self, about):
        self.notes.add(("warn", about))

    def info(self, about):
        self.notes.add(("info", about))


def labels_key(labels):
    return tuple(sorted(labels.items()))


def is_float(value):
    return not isinstance(value, Histogram)


FUNCTIONS = {}


def function(call):
    FUNCTIONS[call.__name__.removesuffix("_")] = call
    return call


# Of each float


def each(name, compute):
    def call(frame, vector, *scalars):
        return [
            replace(s, value=compute(s.value, *scalars), drop=True,
                    time=frame.time) for s in vector if is_float(s.value)
        ]

    FUNCTIONS[name] = call


def sgn(x):
    return 1.0 if x > 0 else -1.0 if x < 0 else x


def round_(x, nearest=1.0):
    """Ties go up."""
    inverse = floats.divide(1.0, nearest)
    scaled = x * inverse + 0.5
    return floats.divide(math.floor(scaled) if math.isfinite(scaled) else scaled, inverse)


def clamped_min(x, low):
    """An infinity that wins is stronger than NaN, as in Go's math.Max."""
    if math.inf in (x, low):
        return math.inf
    return NAN if math.isnan(x) or math.isnan(low) else max(x, low)


def clamped_max(x, high):
    return -clamped_min(-x, -high)


for _name in "exp sqrt acos acosh asin asinh atan cos sin tan tanh cosh".split():
    each(_name, floats.total(getattr(math, _name)))
each("sinh", floats.sinh)
each("atanh", floats.atanh)
each("ln", floats.logarithm(math.log))
each("log2", floats.logarithm(math.log2))
each("log10", floats.logarithm(math.log10))
each("abs", abs)
each("ceil", floats.whole(math.ceil))
each("floor", floats.whole(math.floor))
each("sgn", sgn)
each("round", round_)
each("clamp_min", clamped_min)
each("clamp_max", clamped_max)
each("deg", lambda x: x * 180 / math.pi)
each("rad", lambda x: x * math.pi / 180)


@function
def clamp(frame, vector, low, high):
    if low > high:
        return []
    return FUNCTIONS["clamp_min"](frame, FUNCTIONS["clamp_max"](frame, vector, high), low)


# Dates


def date(name, compute):
    def call(frame, vector=None):
        if vector is None:
            vector = [Sample({}, frame.time / 1000)]
        epoch = datetime.datetime(1970, 1, 1)
        # Beyond the calendar Go answers with whatever its conversion to an integer makes of the value.
        of = lambda x: float(compute(epoch + datetime.timedelta(seconds=math.trunc(x)))) if abs(x) < 6e10 else NAN
        return [replace(s, value=of(s.value), drop=True, time=frame.time) for s in vector if is_float(s.value)]

    FUNCTIONS[name] = call


def days_in_month(moment):
    following = datetime.datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1)
    return (following - datetime.datetime(moment.year, moment.month, 1)).days


date("year", lambda d: d.year)
date("month", lambda d: d.month)
date("day_of_month", lambda d: d.day)
date("day_of_week", lambda d: d.isoweekday() % 7)
date("day_of_year", lambda d: d.timetuple().tm_yday)
date("days_in_month", days_in_month)
date("hour", lambda d: d.hour)
date("minute", lambda d: d.minute)


# Scalars and vectors


@function
def time(frame):
    return frame.time / 1000


@function
def pi(frame):
    return math.pi


FUNCTIONS["max_of"] = lambda frame, a, b: clamped_min(a, b)
FUNCTIONS["min_of"] = lambda frame, a, b: clamped_max(a, b)


@function
def scalar(frame, vector):
    found = [s.value for s in vector if is_float(s.value)]
    return found[0] if len(found) == 1 else NAN


@function
def vector(frame, value):
    return [Sample({}, value, time=frame.time)]


@function
def timestamp(frame, vector):
    return [replace(s, value=s.time / 1000, drop=True, time=frame.time) for s in vector]


def absent_labels(expr):
    """The labels that a selector names by `=`, once."""
    selector = expr if isinstance(expr, Selector) else getattr(expr, "selector", None)
    out, seen = {}, set()
    for label, op, value in selector.matchers if selector else []:
        if label == "__name__":
            continue
        if op == "=" and label not in seen:
            out[label] = value
            seen.add(label)
        else:
            out.pop(label, None)
    return {label: value for label, value in out.items() if value}


@function
def absent(frame, vector):
    return [] if vector else [Sample(absent_labels(frame.args[0]), 1.0, time=frame.time)]


@function
def absent_over_time(frame, window):
    return [] if window.series else [Sample(absent_labels(frame.args[0]), 1.0, time=frame.time)]


# Sorting


@function
def sort(frame, vector, sign=1):
    kept = [s for s in vector if is_float(s.value)]
    return sorted(kept, key=lambda s: (math.isnan(s.value), 0 if math.isnan(s.value) else sign * s.value))


@function
def sort_desc(frame, vector):
    return sort(frame, vector, -1)


def natural(a, b):
    """Which of two texts comes first: runs of digits compare as numbers, but as text with what is none."""
    for x, y in zip(*(re.findall(r"\d+|\D+", text) for text in (a, b))):
        if x.isdigit() and y.isdigit():
            x, y = int(x), int(y)
        if x != y:
            return -1 if x < y else 1
    return len(a) - len(b)


@function
def sort_by_label(frame, vector, *names):
    def compare(a, b):
        for name in names:
            if order := natural(a.labels.get(name, ""), b.labels.get(name, "")):
                return order
        return -1 if labels_key(a.labels) < labels_key(b.labels) else 1

    return sorted(vector, key=functools.cmp_to_key(compare))


@function
def sort_by_label_desc(frame, vector, *names):
    return sort_by_label(frame, vector, *names)[::-1]


# Labels


def with_label(sample, name, value):
    labels = {**sample.labels, name: value}
    if not value:
        del labels[name]
    return replace(sample, labels=labels, drop=sample.drop and name != "__name__")


def no_twins(vector):
    keys = [labels_key(s.labels) for s in vector]
    if len(set(keys)) != len(keys):
        raise Failed("two elements with one set of labels")
    return vector


def expand(template, found):
    """`$1`, `${1}`, `$name`, `$$`; what the pattern does not have is empty."""

    def one(reference):
        name = reference[1] or reference[2]
        if reference[0] == "$$":
            return "$"
        if name.isdigit():
            return (found[int(name)] or "") if int(name) <= len(found.groups()) else ""
        return found.groupdict().get(name) or ""

    return re.sub(r"\$\$|\$\{(\w+)\}|\$(\w+)", one, template)


@function
def label_replace(frame, vector, target, template, source, pattern):
    try:
        compiled = re.compile(pattern, re.S)
    except re.error as error:
        raise Failed(str(error)) from error
    if not target:
        raise Failed("the target label has no name")
    out = []
    for sample in vector:
        found = compiled.fullmatch(sample.labels.get(source, ""))
        out.append(with_label(sample, target, expand(template, found)) if found else sample)
    return no_twins(out)


@function
def label_join(frame, vector, target, separator, *sources):
    if not target or not all(sources):
        raise Failed("a label has no name")
    joined = lambda s: separator.join(s.labels.get(source, "") for source in sources)
    return no_twins([with_label(s, target, joined(s)) for s in vector])


# Ranges: what every point counts for


def over_time(compute):
    """A function of the floats of each series; histograms beside floats are left out with a note."""

    def call(frame, window, *more):
        out = []
        for series in window.series:
            points = [(t, v) for t, v in series.points if is_float(v)]
            if not points:
                continue
            if len(points) < len(series.points):
                frame.info("histograms ignored in a mixed range")
            value = compute(frame, points, *more)
            if value is not None:
                out.append(Sample(series.labels, value, True, frame.time))
        return out

    FUNCTIONS[compute.__name__] = call
    return compute


def over_all(compute):
    """A function of floats and histograms alike."""

    def call(frame, window, *more):
        out = []
        for series in window.series:
            value = compute(frame, window, series.points, *more)
            if value is not None:
                out.append(Sample(series.labels, value, True, frame.time))
        return out

    FUNCTIONS[compute.__name__] = call
    return compute


@over_time
def min_over_time(frame, points):
    return floats.least([v for _, v in points])


@over_time
def max_over_time(frame, points):
    return floats.greatest([v for _, v in points])


@over_time
def stddev_over_time(frame, points):
    return math.sqrt(floats.variance([v for _, v in points]))


@over_time
def stdvar_over_time(frame, points):
    return floats.variance([v for _, v in points])


@over_time
def mad_over_time(frame, points):
    values = [v for _, v in points]
    if any(map(math.isnan, values)):
        return NAN
    median = floats.quantile(0.5, values)
    return floats.quantile(0.5, [abs(v - median) for v in values])


def time_of(points, extreme):
    """The last time at which the extreme value stands; the first point's where all are NaN but later NaN win too."""
    return [t for t, v in points if v == extreme or (math.isnan(extreme) and math.isnan(v))][-1] / 1000


@over_time
def ts_of_min_over_time(frame, points):
    return time_of(points, floats.least([v for _, v in points]))


@over_time
def ts_of_max_over_time(frame, points):
    return time_of(points, floats.greatest([v for _, v in points]))


@over_time
def deriv(frame, points):
    return floats.regression(points, points[0][0])[0] if len(points) > 1 else None


@over_time
def predict_linear(frame, points, ahead):
    if len(points) < 2:
        return None
    slope, now = floats.regression(points, frame.time)
    return slope * ahead + now


@over_time
def double_exponential_smoothing(frame, points, smoothing, trending):
    if not 0 < smoothing < 1 or not 0 < trending < 1:
        raise Failed("a factor of smoothing lies outside of 0..1")
    if len(points) < 2:
        return None
    values = [v for _, v in points]
    before, now, trend = 0.0, values[0], values[1] - values[0]
    for i, value in enumerate(values[1:]):
        if i > 0:
            trend = trending * (now - before) + (1 - trending) * trend
        before, now = now, smoothing * value + (1 - smoothing) * (now + trend)
    return now


FUNCTIONS["quantile_over_time"] = lambda frame, phi, window: FUNCTIONS["_quantile_over_time"](frame, window, phi)


@over_time
def _quantile_over_time(frame, points, phi):
    if not 0 <= phi <= 1:
        frame.warn("quantile outside of 0..1")
    return floats.quantile(phi, [v for _, v in points])


@over_all
def count_over_time(frame, window, points):
    return float(len(points))


@over_all
def present_over_time(frame, window, points):
    return 1.0


@over_all
def ts_of_first_over_time(frame, window, points):
    return points[0][0] / 1000


@over_all
def ts_of_last_over_time(frame, window, points):
    return points[-1][0] / 1000


def one_kind(frame, points):
    """True if all are floats or all are histograms."""
    kinds = {is_float(v) for _, v in points}
    if len(kinds) > 1:
        frame.warn("floats and histograms in one range")
    return len(kinds) == 1


@over_all
def sum_over_time(frame, window, points):
    return total(frame, [v for _, v in points]) if one_kind(frame, points) else None


@over_all
def avg_over_time(frame, window, points):
    return average(frame, [v for _, v in points]) if one_kind(frame, points) else None


def total(frame, values):
    """The sum of floats or of histograms."""
    if is_float(values[0]):
        return floats.kahan_sum(values)
    out = values[0]
    for value in values[1:]:
        out = histogram_op(frame, native.combine, out, value, 1)
        if out is None:
            return None
    return out


def average(frame, values):
    if is_float(values[0]):
        return floats.mean(values)
    out = total(frame, values)
    return None if out is None else native.divided(out, float(len(values)))


def histogram_op(frame, op, *args):
    try:
        return op(*args)
    except native.Incompatible as problem:
        frame.warn(str(problem))
        return None


@function
def last_over_time(frame, window):
    return [Sample(s.labels, s.points[-1][1], s.drop, frame.time) for s in window.series]


@function
def first_over_time(frame, window):
    return [Sample(s.labels, s.points[0][1], s.drop, frame.time) for s in window.series]


# Ranges: counters and gauges


@over_all
def resets(frame, window, points):
    count = 0
    for (_, before), (_, now) in zip(points, points[1:]):
        if is_float(before) != is_float(now):
            count += 1
        elif is_float(now):
            count += now < before
        else:
            count += native.is_reset(now, before)
    return float(count)


@over_all
def changes(frame, window, points):
    count = 0
    for (_, before), (_, now) in zip(points, points[1:]):
        if is_float(before) != is_float(now):
            count += 1
        elif is_float(now):
            count += before != now and not (math.isnan(before) and math.isnan(now))
        else:
            count += not native.same(before, now)
    return float(count)


@over_all
def rate(frame, window, points):
    return extrapolated(frame, window, points, True, True)


@over_all
def increase(frame, window, points):
    return extrapolated(frame, window, points, True, False)


@over_all
def delta(frame, window, points):
    return extrapolated(frame, window, points, False, False)


def extrapolated(frame, window, points, counter, per_second):
    """The difference of the ends, resets added, stretched to the window as far as the samples' spacing allows."""
    if len(points) < 2 or not one_kind(frame, points):
        return None
    floats_only = is_float(points[0][1])
    values = [v for _, v in points]
    if floats_only:
        difference = values[-1] - values[0]
        if counter:
            difference += sum(before for before, now in zip(values, values[1:]) if now < before)
    else:
        difference = histogram_difference(frame, values, counter)
        if difference is None:
            return None
    first, last = points[0][0], points[-1][0]
    sampled = (last - first) / 1000
    spacing = sampled / (len(points) - 1)
    to_start, to_end = (first - window.start) / 1000, (window.end - last) / 1000
    threshold = spacing * 1.1
    if to_start >= threshold:
        to_start = spacing / 2
    if counter:
        grown, begun = (difference, values[0]) if floats_only else (difference.count, values[0].count)
        if grown > 0 and begun >= 0:
            to_start = min(to_start, sampled * (begun / grown))
    if to_end >= threshold:
        to_end = spacing / 2
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor /= (window.end - window.start) / 1000
    return difference * factor if floats_only else native.times(difference, factor)


def histogram_difference(frame, values, counter):
    """The last less the first, with what was lost at resets added; a gauge."""
    gauges = [v.hint == "gauge" for v in values]
    if counter and any(gauges):
        frame.warn("a counter's function on gauge histograms")
    if not counter and not all(gauges):
        frame.warn("a gauge's function on counter histograms")
    out = histogram_op(frame, native.combine, values[-1], values[0], -1)
    for before, now in zip(values, values[1:]):
        if counter and out is not None and native.is_reset(now, before):
            out = histogram_op(frame, native.combine, out, before, 1)
    return None if out is None else replace(out, hint="gauge")


@over_all
def irate(frame, window, points):
    return of_last_two(frame, points, True)


@over_all
def idelta(frame, window, points):
    return of_last_two(frame, points, False)


def of_last_two(frame, points, is_rate):
    if len(points) < 2 or not one_kind(frame, points[-2:]):
        return None
    (before, a), (now, b) = points[-2:]
    seconds = (now - before) / 1000
    if is_float(a):
        if not is_rate:
            return b - a
        return (b if b < a else b - a) / seconds
    if is_rate and native.is_reset(b, a):
        out = replace(b, hint="gauge")
    else:
        out = histogram_op(frame, native.combine, b, a, -1)
    if out is None:
        return None
    return native.divided(out, seconds) if is_rate else out


# Histograms


def of_histograms(name, compute):
    def call(frame, vector):
        return [Sample(s.labels, compute(s.value), True, frame.time) for s in vector if not is_float(s.value)]

    FUNCTIONS[name] = call


of_histograms("histogram_count", lambda h: h.count)
of_histograms("histogram_sum", lambda h: h.sum)
of_histograms("histogram_avg", lambda h: floats.divide(h.sum, h.count))
of_histograms("histogram_stdvar", native.variance)
of_histograms("histogram_stddev", lambda h: floats.total(math.sqrt)(native.variance(h)))


def le_of(text):
    try:
        return float(text) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(?i:inf|nan)", text) else None
    except ValueError:
        return None


def classic(frame, vector):
    """Buckets by histogram: {key: (labels, drop, {upper bound: count})}."""
    found = {}
    for s in vector:
        if not is_float(s.value):
            continue
        bound = le_of(s.labels.get("le", ""))
        if bound is None:
            frame.warn("a bucket's bound is missing or no number")
            continue
        labels = {k: v for k, v in s.labels.items() if k != "le"}
        _, _, buckets = found.setdefault(labels_key(labels), (labels, s.drop, {}))
        buckets[bound] = buckets.get(bound, 0.0) + s.value
    return found


def monotonic(frame, buckets):
    """Sorted bounds and counts, that never fall; what follows a NaN is not compared."""
    out, most = [], -math.inf
    for bound, count in sorted(buckets.items()):
        if math.isfinite(most) and math.isfinite(count) and abs(count - most) <= 1e-12 * abs(count + most):
            count = most
        elif count < most:
            frame.info("buckets needed to be fixed for monotonicity")
            count = most
        else:
            most = count
        out.append((bound, count))
    return out


def classic_quantile(frame, phi, buckets):
    if math.isnan(phi):
        return NAN
    if phi < 0 or phi > 1:
        return math.copysign(math.inf, phi)
    buckets = monotonic(frame, buckets)
    if len(buckets) < 2 or buckets[-1][0] != math.inf or buckets[-1][1] == 0:
        return NAN
    rank = phi * buckets[-1][1]
    # By halving, as Prometheus does: where a count is NaN, that shows.
    at, end = 0, len(buckets) - 1
    while at < end:
        middle = (at + end) // 2
        at, end = (at, middle) if buckets[middle][1] >= rank else (middle + 1, end)
    if at == len(buckets) - 1:
        return buckets[-2][0]
    upper, count = buckets[at]
    if at == 0 and upper <= 0:
        return upper
    lower, below = buckets[at - 1] if at else (0.0, 0.0)
    return lower + (upper - lower) * floats.divide(rank - below, count - below)


def classic_fraction(frame, low, high, buckets):
    """Counts that fall are taken as they are, but none for more than all."""
    buckets = sorted(buckets.items())
    count = buckets[-1][1]
    if buckets[-1][0] != math.inf or count == 0 or math.isnan(low) or math.isnan(high):
        return NAN
    if low >= high:
        return 0.0
    rank = lambda value: count if (rank := classic_rank(buckets, value)) > count else rank
    return floats.divide(rank(high) - rank(low), count)


def classic_rank(buckets, value):
    lower, below = (0.0 if buckets[0][0] > 0 else -math.inf), 0.0
    for upper, count in buckets:
        if value <= lower:
            return below
        if value < upper:
            if lower == -math.inf:
                return count
            return below + (count - below) * (value - lower) / (upper - lower)
        lower, below = upper, count
    return below


@function
def histogram_quantile(frame, phi, vector):
    if not 0 <= phi <= 1:
        frame.warn("quantile outside of 0..1")
    out = [
        Sample(labels, classic_quantile(frame, phi, buckets), True, frame.time)
        for labels, _, buckets in classic(frame, vector).values()
    ]
    out += [Sample(s.labels, native.quantile(s.value, phi), True, frame.time) for s in vector if not is_float(s.value)]
    return out


@function
def histogram_fraction(frame, low, high, vector):
    out = [
        Sample(labels, classic_fraction(frame, low, high, buckets), True, frame.time)
        for labels, _, buckets in classic(frame, vector).values()
    ]
    of = lambda h: native.fraction(h, low, high)
    out += [Sample(s.labels, of(s.value), True, frame.time) for s in vector if not is_float(s.value)]
    return out
