"""Native histograms: the text form of test scripts, arithmetic, resets, and estimates, by the documented rules.

Bucket `i` of a standard schema `s` holds what lies in (base^(i-1), base^i] with base = 2^(2^-s); negative buckets
mirror it. Schema -53 has bounds of its own: bucket `i` holds what lies in (custom[i-1], custom[i]].
"""

import math
import re
from dataclasses import dataclass, field, replace

CUSTOM = -53


class Incompatible(Exception):
    """Two histograms that cannot be put together."""


@dataclass
class Histogram:
    schema: int = 0
    count: float = 0.0
    sum: float = 0.0
    zero_count: float = 0.0
    zero_threshold: float = 1e-128
    positive: dict = field(default_factory=dict)
    negative: dict = field(default_factory=dict)
    custom: tuple = ()
    hint: str = "unknown"


def parse(text):
    """`{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`."""
    h = Histogram(zero_threshold=0.0)
    offsets, lists = {}, {}
    for key, listed, single in re.findall(r"(\w+):(?:\[([^\]]*)\]|([^\s}]+))", text):
        if key in ("buckets", "n_buckets", "custom_values"):
            lists[key] = [float(v) for v in listed.split()]
        elif key in ("offset", "n_offset"):
            offsets[key] = int(single)
        elif key == "counter_reset_hint":
            h.hint = single
        else:
            name = {"z_bucket": "zero_count", "z_bucket_w": "zero_threshold"}.get(key, key)
            setattr(h, name, int(single) if key == "schema" else float(single))
    h.positive = numbered(lists.get("buckets", []), offsets.get("offset", 0))
    h.negative = numbered(lists.get("n_buckets", []), offsets.get("n_offset", 0))
    h.custom = tuple(lists.get("custom_values", ()))
    return h


def numbered(counts, offset):
    return {offset + i: count for i, count in enumerate(counts) if count != 0}


def number(value):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def text(h):
    """The text form; without a hint, which scripts name only where it matters."""
    parts = [f"schema:{h.schema}", f"count:{number(h.count)}", f"sum:{number(h.sum)}"]
    if h.zero_count:
        parts.append(f"z_bucket:{number(h.zero_count)}")
    if h.zero_threshold:
        parts.append(f"z_bucket_w:{number(h.zero_threshold)}")
    if h.custom:
        parts.append(f"custom_values:[{' '.join(map(number, h.custom))}]")
    for prefix, side in (("", h.positive), ("n_", h.negative)):
        side = {i: c for i, c in side.items() if c != 0}
        if side:
            first, last = min(side), max(side)
            if first:
                parts.append(f"{prefix}offset:{first}")
            counts = " ".join(number(side.get(i, 0.0)) for i in range(first, last + 1))
            parts.append(f"{prefix}buckets:[{counts}]")
    return "{{" + " ".join(parts) + "}}"


def bound(h, i):
    """The upper bound of positive bucket `i`."""
    if h.schema == CUSTOM:
        return -math.inf if i < 0 else h.custom[i] if i < len(h.custom) else math.inf
    return 2.0 ** (i * 2.0**-h.schema)


def reduced(h, schema):
    """The same histogram in a coarser schema: pairs of buckets merge."""
    shift = h.schema - schema
    merge = lambda side: gather((((i - 1) >> shift) + 1, c) for i, c in side.items())
    return replace(h, schema=schema, positive=merge(h.positive), negative=merge(h.negative))


def gather(pairs):
    out = {}
    for i, count in pairs:
        out[i] = out.get(i, 0.0) + count
    return out


def widened(h, threshold):
    """The zero bucket grown to the threshold, taking in the buckets that it then covers."""
    out = replace(h, positive=dict(h.positive), negative=dict(h.negative), zero_threshold=threshold)
    for side in (out.positive, out.negative):
        for i in [i for i in side if bound(h, i - 1) < threshold]:
            out.zero_threshold = max(out.zero_threshold, bound(h, i)) if side[i] else out.zero_threshold
            out.zero_count += side.pop(i)
    return out


def aligned(a, b):
    """Both in one schema, with one zero bucket."""
    if (a.schema == CUSTOM) != (b.schema == CUSTOM):
        raise Incompatible("standard and custom buckets")
    if a.schema == CUSTOM:
        if a.custom != b.custom:
            raise Incompatible("custom buckets of different bounds")
        return a, b
    schema = min(a.schema, b.schema)
    while a.zero_threshold != b.zero_threshold:
        if a.zero_threshold < b.zero_threshold:
            a = widened(a, b.zero_threshold)
        else:
            b = widened(b, a.zero_threshold)
    return reduced(a, schema), reduced(b, schema)


def combine(a, b, sign):
    a, b = aligned(a, b)
    both = lambda x, y: gather([*x.items(), *((i, sign * c) for i, c in y.items())])
    add = lambda x, y: {i: c for i, c in both(x, y).items() if c != 0}
    gauge = sign < 0 or "gauge" in (a.hint, b.hint)
    return replace(
        a,
        count=a.count + sign * b.count,
        sum=a.sum + sign * b.sum,
        zero_count=a.zero_count + sign * b.zero_count,
        positive=add(a.positive, b.positive),
        negative=add(a.negative, b.negative),
        hint="gauge" if gauge else "unknown",
    )


def scaled(h, change):
    """Every population, the count and the sum, put through `change`."""
    side = lambda s: {i: change(c) for i, c in s.items()}
    return replace(
        h,
        count=change(h.count),
        sum=change(h.sum),
        zero_count=change(h.zero_count),
        positive=side(h.positive),
        negative=side(h.negative),
    )


def times(h, factor):
    out = scaled(h, lambda c: c * factor)
    return replace(out, hint="gauge") if factor < 0 else out


def divided(h, divisor):
    if divisor == 0:
        inf = lambda c: math.nan if c == 0 or math.isnan(c) else math.copysign(math.inf, c) * math.copysign(1, divisor)
        return replace(scaled(h, inf), positive={}, negative={})
    out = scaled(h, lambda c: c / divisor)
    return replace(out, hint="gauge") if divisor < 0 else out


def is_reset(current, previous):
    """A counter started again between the two."""
    if current.hint == "reset":
        return True
    if (current.hint == "gauge") != (previous.hint == "gauge"):
        return True
    if current.count < previous.count:
        return True
    if (current.schema == CUSTOM) != (previous.schema == CUSTOM):
        return True
    if current.schema == CUSTOM:
        if current.custom != previous.custom:
            return True
    else:
        if current.schema > previous.schema or current.zero_threshold < previous.zero_threshold:
            return True
        if previous.zero_threshold < current.zero_threshold:
            previous = widened(previous, current.zero_threshold)
            if previous.zero_threshold != current.zero_threshold:
                return True
        previous = reduced(previous, current.schema)
        if current.zero_count < previous.zero_count:
            return True
    for now, before in ((current.positive, previous.positive), (current.negative, previous.negative)):
        if any(now.get(i, 0.0) < count for i, count in before.items()):
            return True
    return False


def same(a, b):
    """Equal in all but the hint."""
    eq = lambda x, y: x == y or (math.isnan(x) and math.isnan(y))
    all_eq = lambda x, y: all(eq(x.get(i, 0.0), y.get(i, 0.0)) for i in x.keys() | y.keys())
    return (
        a.schema == b.schema
        and eq(a.count, b.count)
        and eq(a.sum, b.sum)
        and eq(a.zero_count, b.zero_count)
        and a.zero_threshold == b.zero_threshold
        and a.custom == b.custom
        and all_eq(a.positive, b.positive)
        and all_eq(a.negative, b.negative)
    )


def buckets(h):
    """All populated buckets from low to high: (lower, upper, count, kind)."""
    if hasattr(h, "told"):
        return h.told
    kind = "custom" if h.schema == CUSTOM else "exponential"
    # A bucket that reaches into the zero bucket begins where that ends.
    inner = lambda i: bound(h, i - 1) if h.schema == CUSTOM else max(h.zero_threshold, bound(h, i - 1))
    out = [(-bound(h, i), -inner(i), c, kind) for i, c in sorted(h.negative.items(), reverse=True) if c]
    if h.zero_count > 0:
        out.append((-h.zero_threshold, h.zero_threshold, h.zero_count, "zero"))
    out += [(inner(i), bound(h, i), c, kind) for i, c in sorted(h.positive.items()) if c]
    return out


def zero_bucket(h, lower, upper):
    """The zero bucket is one-sided where only one side of the histogram is populated."""
    has = lambda side: any(side.values())
    if has(h.positive) and not has(h.negative):
        return 0.0, upper
    if has(h.negative) and not has(h.positive):
        return lower, 0.0
    return lower, upper


def quantile(h, phi):
    if phi < 0 or phi > 1:
        return math.copysign(math.inf, phi)
    if math.isnan(phi) or h.count == 0:
        return math.nan
    found = buckets(h)
    if not found:
        return math.nan
    # Counted from the nearer end, which decides between two buckets where the rank is their common edge.
    upwards = phi < 0.5 or math.isnan(h.sum)
    rank, passed = (phi if upwards else 1 - phi) * h.count, 0.0
    for lower, upper, count, kind in found if upwards else reversed(found):
        passed += count
        if passed >= rank:
            break
    if kind == "custom" and upper == math.inf:
        return lower
    if kind == "custom" and lower == -math.inf and upper <= 0:
        return upper
    # Differences of gauges may have more in their buckets than in all.
    passed = min(passed, h.count)
    if passed < rank:
        # Observations outside of all buckets are NaN; the quantile lies among them.
        return math.nan if math.isnan(h.sum) else upper
    part = (rank - (passed - count)) / count if upwards else (passed - rank) / count
    return within(h, lower, upper, kind, part)


def within(h, lower, upper, kind, part):
    """The value at a part of a bucket."""
    if kind == "zero":
        lower, upper = zero_bucket(h, lower, upper)
    if kind == "custom" and lower == -math.inf:
        lower = 0.0
    if kind != "exponential":
        return lower + (upper - lower) * part
    if lower >= 0:
        return lower * (upper / lower) ** part
    return -((-upper) * (lower / upper) ** (1 - part))


def fraction(h, low, high):
    if h.count == 0 or math.isnan(low) or math.isnan(high):
        return math.nan
    if low >= high:
        return 0.0
    # Observations that are NaN are in no bucket.
    most = sum(count for _, _, count, _ in buckets(h)) if math.isnan(h.sum) else h.count
    ranks = [rank_of(h, value) for value in (low, high)]
    low, high = (most if rank is None or rank > most else rank for rank in ranks)
    return (high - low) / h.count


def rank_of(h, value):
    """How many observations lie below a value; None if it is beyond all buckets."""
    rank = 0.0
    for lower, upper, count, kind in buckets(h):
        if kind == "zero":
            lower, upper = zero_bucket(h, lower, upper)
        if kind == "custom" and lower == -math.inf and upper > 0:
            lower = 0.0
        if lower >= value:
            return rank
        if value < upper:
            return rank + count * part_below(lower, upper, kind, value)
        rank += count
    return None


def part_below(lower, upper, kind, value):
    """Which part of a bucket lies below a value in it."""
    if kind == "exponential" and lower >= 0:
        return math.log2(value / lower) / math.log2(upper / lower)
    if kind == "exponential":
        return 1 - math.log2(value / upper) / math.log2(lower / upper)
    # Nothing of an open bucket is below, but all of one that begins nowhere.
    return 1.0 if lower == -math.inf else (value - lower) / (upper - lower)


def variance(h):
    if h.count == 0:
        return math.nan
    mean, total = h.sum / h.count, 0.0
    for lower, upper, count, kind in buckets(h):
        if kind == "zero":
            middle = 0.0 if lower == -upper else (lower + upper) / 2
        elif kind == "custom":
            middle = (lower + upper) / 2
        else:
            middle = math.copysign(math.sqrt(lower * upper), upper + lower)
        total += count * (middle - mean) ** 2
    return total / h.count
