"""Test scripts (the promqltest format): commands to text and back."""

import math
import re
from dataclasses import dataclass, field

import native
from functions import Series, labels_key
from reference import STALE
from syntax import Selector, duration_seconds, label_text, parse, quote


@dataclass
class Load:
    interval: str
    lines: list

    def series(self):
        step = milliseconds(self.interval)
        return [series_of(line, step) for line in self.lines]


@dataclass
class Clear:
    pass


@dataclass
class Eval:
    """`times` is (at,) or (start, end, step), as written."""

    times: tuple
    query: str
    expects: list = field(default_factory=list)
    results: list = field(default_factory=list)
    why: str = ""

    @property
    def is_range(self):
        return len(self.times) == 3

    def milliseconds(self):
        return tuple(milliseconds(t) for t in self.times)

    def row_times(self):
        """Start, end and step of the result's rows; where an instant query gives a range vector, the case states them."""
        for expected in self.expects:
            if found := re.fullmatch(r"range vector from (\S+) to (\S+) step (\S+)", expected):
                return tuple(milliseconds(t) for t in found.groups())
        return self.milliseconds()

    def expects_failure(self):
        return any(e.startswith("fail") for e in self.expects)

    def ordered(self):
        return "ordered" in self.expects

    def header(self):
        if self.is_range:
            start, end, step = self.times
            return f"eval range from {start} to {end} step {step} {self.query}"
        return f"eval instant at {self.times[0]} {self.query}"


def milliseconds(text):
    return round(float(text) * 1000) if re.fullmatch(r"\d+(\.\d+)?", text) else round(duration_seconds(text) * 1000)


# Writing


def number(value):
    return native.number(value)


def value_text(value):
    return native.text(value) if isinstance(value, native.Histogram) else number(value)


def labels_text(labels):
    """`name{a="b"}`; a name of another alphabet stands quoted inside the braces."""
    name = labels.get("__name__", "")
    rest = [f"{label_text(k)}={quote(v)}" for k, v in sorted(labels.items()) if k != "__name__"]
    if name and not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name):
        return "{" + ", ".join([quote(name), *rest]) + "}"
    braces = "{" + ", ".join(rest) + "}"
    return name + (braces if rest or not name else "")


def result_lines(answer, times):
    """The expectation that an answer makes, without the indent."""
    if answer.kind == "scalar":
        return [number(answer.value)]
    if answer.kind == "string":
        return []
    if answer.kind == "vector":
        return [f"{labels_text(s.labels)} {value_text(s.value)}" for s in answer.value]
    start, end, step = times
    out = []
    for series in answer.value:
        have = dict(series.points)
        row = [value_text(have[t]) if t in have else "_" for t in range(start, end + 1, step)]
        while row[-1] == "_":
            row.pop()
        out.append(f"{labels_text(series.labels)} {' '.join(row)}")
    return out


def render(commands):
    out = []
    for command in commands:
        match command:
            case Load():
                out.append(f"load {command.interval}")
                out += [f"    {line}" for line in command.lines]
            case Clear():
                out.append("clear")
            case str():
                out += [f"# {line}" for line in command.splitlines()]
                continue
            case Eval():
                out += [f"# {line}" for line in command.why.splitlines()]
                out.append(command.header())
                out += [f"    expect {e}" for e in command.expects]
                out += [f"    {line}" for line in command.results]
        out.append("")
    return "\n".join(out)


# Reading


def read(text):
    commands, lines = [], [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in lines:
        if not line.strip():
            continue
        if line[0].isspace():
            target, body = commands[-1], line.strip()
            if isinstance(target, Load):
                target.lines.append(body)
            elif body.startswith("expect "):
                target.expects.append(body.removeprefix("expect "))
            else:
                target.results.append(body)
        elif line.startswith("load "):
            commands.append(Load(line.split()[1], []))
        elif line.startswith("clear"):
            commands.append(Clear())
        elif found := re.match(r"eval instant at (\S+) (.*)", line):
            commands.append(Eval((found[1],), found[2]))
        elif found := re.match(r"eval range from (\S+) to (\S+) step (\S+) (.*)", line):
            commands.append(Eval((found[1], found[2], found[3]), found[4]))
        else:
            raise ValueError(f"unknown command: {line}")
    return commands


def split_series(line):
    """Labels and the rest of a line; the name or the braces end at the first space outside of quotes and braces."""
    depth = quoted = 0
    for i, c in enumerate(line):
        if quoted:
            quoted = 0 if c == quoted and line[i - 1] != "\\" else quoted
        elif c in "\"'`":
            quoted = c
        elif c == "{" and not line.startswith("{{", i):
            depth += 1
        elif c == "}" and depth:
            depth -= 1
        elif c == " " and not depth:
            return line[:i], line[i + 1 :]
    return line, ""


def parse_labels(text):
    if text.replace(" ", "") == "{}":
        return {}
    if text.startswith("{"):
        # Without a name `{a=""}` would be no selector.
        text = text[:-1] + ', __x__="x"}'
    selector = parse(text)
    assert isinstance(selector, Selector)
    return {label: value for label, _, value in selector.matchers if value and label != "__x__"}


def series_of(line, step):
    """A load line as a Series whose points lie `step` milliseconds apart, from 0."""
    labels, rest = split_series(line)
    return Series(parse_labels(labels), [(i * step, v) for i, v in enumerate(points(rest)) if v is not None])


POINT = re.compile(r"\{\{[^}]*\}\}(?:[-+]\{\{[^}]*\}\})?(?:x\d+)?|\S+")
FLOAT = r"[-+]?(?:Inf|NaN|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"


def points(text):
    """Values of a sequence, expanded; None is a gap."""
    out = []
    for item in POINT.findall(text):
        if item == "_":
            out.append(None)
        elif found := re.fullmatch(r"_x(\d+)", item):
            out += [None] * int(found[1])
        elif found := re.fullmatch(r"stale(?:x(\d+))?", item):
            out += [STALE] * (int(found[1]) + 1 if found[1] else 1)
        elif item.startswith("{{"):
            out += histogram_points(item)
        elif found := re.fullmatch(f"({FLOAT})(?:([-+])({FLOAT}))?(?:x(\\d+))?", item):
            first, step = float(found[1]), float(found[3] or 0) * (-1 if found[2] == "-" else 1)
            out += [first + i * step for i in range(int(found[4] or 0) + 1)]
        else:
            raise ValueError(f"bad point {item!r}")
    return out


def histogram_points(item):
    found = re.fullmatch(r"(\{\{[^}]*\}\})(?:([-+])(\{\{[^}]*\}\}))?(?:x(\d+))?", item)
    value = native.parse(found[1])
    out = [value]
    for _ in range(int(found[4] or 0)):
        if found[3]:
            grown = native.combine(value, native.parse(found[3]), -1 if found[2] == "-" else 1)
            grown.hint = value.hint
            value = grown
        out.append(value)
    return out


def close(a, b, tolerance=1e-9):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= tolerance * max(abs(a), abs(b))


def same_value(a, b, tolerance=1e-9):
    if isinstance(a, native.Histogram) or isinstance(b, native.Histogram):
        return isinstance(a, native.Histogram) and isinstance(b, native.Histogram) and close_histograms(a, b, tolerance)
    return close(a, b, tolerance)


def close_histograms(a, b, tolerance):
    """By what the HTTP API tells: count, sum, buckets by their bounds."""
    if not close(a.count, b.count, tolerance) or not close(a.sum, b.sum, tolerance):
        return False
    x, y = ([b for b in native.buckets(h) if b[2] != 0] for h in (a, b))
    return len(x) == len(y) and all(
        close(p[0], q[0], tolerance) and close(p[1], q[1], tolerance) and close(p[2], q[2], tolerance)
        for p, q in zip(x, y)
    )


def rows_of_lines(lines):
    """Result lines as (labels, points) pairs; a scalar has no labels."""
    if len(lines) == 1 and re.fullmatch(FLOAT, lines[0]):
        return [(None, [float(lines[0])])]
    split = [split_series(line) for line in lines]
    return [(labels_key(parse_labels(labels)), points(rest)) for labels, rest in split]


def rows_of_answer(answer, times):
    """The same of an answer."""
    if answer.kind == "scalar":
        return [(None, [answer.value])]
    if answer.kind == "vector":
        return [(labels_key(s.labels), [s.value]) for s in answer.value]
    if answer.kind == "matrix":
        steps = range(times[0], times[1] + 1, times[2]) if len(times) == 3 else []
        rows = [(labels_key(s.labels), dict(s.points)) for s in answer.value]
        if not steps:  # of an instant query: the times count as well
            return [(key, [x for t in sorted(have) for x in (t / 1000, have[t])]) for key, have in rows]
        return [(key, trimmed([have.get(t) for t in steps])) for key, have in rows]
    return []


def trimmed(row):
    """Without the gaps at its end."""
    while row and row[-1] is None:
        row.pop()
    return row


def same_rows(a, b, ordered=False, tolerance=1e-9):
    """Two answers say the same."""
    if not ordered:
        a, b = sorted(a, key=lambda row: row[0] or ()), sorted(b, key=lambda row: row[0] or ())
    if [row[0] for row in a] != [row[0] for row in b]:
        return False
    for (_, x), (_, y) in zip(a, b):
        x, y = trimmed(list(x)), trimmed(list(y))
        if len(x) != len(y) or any((v is None) != (w is None) for v, w in zip(x, y)):
            return False
        if not all(v is None or same_value(v, w, tolerance) for v, w in zip(x, y)):
            return False
    return True
