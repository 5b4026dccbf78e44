"""Arithmetic as IEEE 754 and Go's math have it, where Python raises instead; sums; quantiles."""

import math
from decimal import Decimal
from fractions import Fraction

NAN, INF = math.nan, math.inf


def total(function):
    """A function of math that answers NaN or an infinity instead of raising."""

    def call(*args):
        try:
            return float(function(*args))
        except ValueError:
            return NAN
        except OverflowError:
            return INF

    return call


def logarithm(function):
    return lambda x: -INF if x == 0 else total(function)(x)


def atanh(x):
    return math.copysign(INF, x) if abs(x) == 1 else total(math.atanh)(x)


def sinh(x):
    try:
        return math.sinh(x)
    except OverflowError:
        return math.copysign(INF, x)


def whole(function):
    """ceil and floor, that keep infinities, NaN and the sign of zero."""
    return lambda x: math.copysign(float(function(x)), x) if math.isfinite(x) else x


def divide(a, b):
    if b != 0 or math.isnan(a):
        return a / b if b != 0 else NAN
    if a == 0:
        return NAN
    return math.copysign(INF, a) * math.copysign(1, b)


def modulo(a, b):
    """The remainder with the sign of the dividend."""
    return NAN if b == 0 or math.isinf(a) else total(math.fmod)(a, b)


def power(a, b):
    if a == 0 and b < 0:
        odd = math.isfinite(b) and b == math.floor(b) and b % 2 == 1
        return math.copysign(INF, a) if odd else INF
    try:
        return math.pow(a, b)
    except ValueError:
        return NAN
    except OverflowError:
        odd = b == math.floor(b) and b % 2 == 1
        return -INF if a < 0 and odd else INF


def kahan_sum(values, start=0.0):
    """A sum that carries the lost low bits along (Neumaier's form)."""
    result, lost = start, 0.0
    for value in values:
        grown = result + value
        if math.isinf(grown):
            lost = 0.0
        elif abs(result) >= abs(value):
            lost += (result - grown) + value
        else:
            lost += (value - grown) + result
        result = grown
    return result if math.isinf(result) else result + lost


def mean(values):
    """Exact, so that values whose sum overflows still have one."""
    if all(map(math.isfinite, values)):
        return float(sum(map(Fraction, values)) / len(values))
    return kahan_sum(v for v in values if not math.isfinite(v))


def variance(values):
    """Of the population."""
    if not all(map(math.isfinite, values)):
        return NAN
    middle = sum(map(Fraction, values)) / len(values)
    try:
        return float(sum((Fraction(v) - middle) ** 2 for v in values) / len(values))
    except OverflowError:
        return INF


def least(values):
    """NaN only if all are NaN."""
    real = [v for v in values if not math.isnan(v)]
    return min(real) if real else NAN


def greatest(values):
    real = [v for v in values if not math.isnan(v)]
    return max(real) if real else NAN


def quantile(phi, values):
    """Linear between the two nearest ranks; NaN is the smallest value."""
    if not values or math.isnan(phi):
        return NAN
    if phi < 0 or phi > 1:
        return math.copysign(INF, phi)
    ordered = sorted(values, key=lambda v: (not math.isnan(v), 0 if math.isnan(v) else v))
    rank = phi * (len(ordered) - 1)
    below = max(0, math.floor(rank))
    above = min(len(ordered) - 1, below + 1)
    weight = rank - math.floor(rank)
    return ordered[below] * (1 - weight) + ordered[above] * weight


def regression(points, at):
    """Slope per second and value at `at` of the line through (milliseconds, value) points."""
    first = points[0][1]
    if all(v == first for _, v in points):
        return (NAN, NAN) if math.isinf(first) else (0.0, first)
    n = float(len(points))
    xs = [(t - at) / 1000 for t, _ in points]
    ys = [v for _, v in points]
    sum_x, sum_y = kahan_sum(xs), kahan_sum(ys)
    sum_xy = kahan_sum(x * y for x, y in zip(xs, ys))
    sum_xx = kahan_sum(x * x for x in xs)
    slope = divide(sum_xy - sum_x * sum_y / n, sum_xx - sum_x * sum_x / n)
    return slope, sum_y / n - slope * sum_x / n


def text(value):
    """A float as label values show it: never with an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return format(Decimal(repr(value)), "f").removesuffix(".0")
