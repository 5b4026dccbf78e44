"""PromQL as a tree: a small recursive-descent parser, the type check, and a printer that gives the query back."""

import math
import re
from dataclasses import dataclass, field, fields, is_dataclass

SCALAR, STRING, INSTANT, RANGE = "scalar", "string", "instant", "range"


class Refused(Exception):
    """The query is not PromQL, or its types do not fit."""


@dataclass
class Number:
    value: float
    text: str = ""
    is_duration: bool = False


@dataclass
class String:
    value: str


@dataclass
class Paren:
    expr: object


@dataclass
class Unary:
    op: str
    expr: object


@dataclass
class Matching:
    """`on` is None where neither on() nor ignoring() is written; `group` is "", "left" or "right".

    `fill_left` and `fill_right` are what a missing element of that side counts as, or None.
    """

    on: bool | None = None
    labels: list = field(default_factory=list)
    group: str = ""
    include: list = field(default_factory=list)
    fill_left: float | None = None
    fill_right: float | None = None

    @property
    def fills(self):
        return self.fill_left is not None or self.fill_right is not None


@dataclass
class Binary:
    op: str
    lhs: object
    rhs: object
    bool: bool = False
    matching: Matching = field(default_factory=Matching)
    keep_names: bool = False


@dataclass
class Aggregate:
    op: str
    expr: object
    param: object = None
    labels: list = field(default_factory=list)
    without: bool = False
    grouped: bool = False


@dataclass
class Call:
    name: str
    args: list
    keep_names: bool = False


@dataclass
class Selector:
    """`matchers` are (label, operator, value); `at` is None, "start", "end" or seconds; `offset` is an expression."""

    matchers: list
    offset: object = None
    at: object = None


@dataclass
class Matrix:
    selector: Selector
    range: object


@dataclass
class Subquery:
    expr: object
    range: object
    step: object = None
    offset: object = None
    at: object = None


AGGREGATORS = {
    "sum": None, "avg": None, "min": None, "max": None, "count": None, "group": None, "stddev": None, "stdvar": None,
    "topk": SCALAR, "bottomk": SCALAR, "quantile": SCALAR, "count_values": STRING, "limitk": SCALAR,
    "limit_ratio": SCALAR,
}  # fmt: skip

# name: (types of the arguments, how many of the last ones are optional (-1: the last may repeat), type of the result)
FUNCTIONS = {}


def _declare():
    over_time = "avg min max sum count stddev stdvar last first present absent mad"
    over_time += " ts_of_min ts_of_max ts_of_first ts_of_last"
    ranged = [f"{name}_over_time" for name in over_time.split()]
    ranged += "rate irate increase delta idelta deriv resets changes".split()
    for name in ranged:
        FUNCTIONS[name] = ([RANGE], 0, INSTANT)
    math_names = "abs ceil floor exp ln log2 log10 sqrt sgn acos acosh asin asinh atan atanh cos cosh sin sinh tan tanh"
    plain = "deg rad absent timestamp sort sort_desc"
    plain += " histogram_avg histogram_count histogram_sum histogram_stddev histogram_stdvar"
    for name in f"{math_names} {plain}".split():
        FUNCTIONS[name] = ([INSTANT], 0, INSTANT)
    for name in "year month day_of_month day_of_week day_of_year days_in_month hour minute".split():
        FUNCTIONS[name] = ([INSTANT], 1, INSTANT)
    FUNCTIONS.update({
        "clamp": ([INSTANT, SCALAR, SCALAR], 0, INSTANT),
        "clamp_min": ([INSTANT, SCALAR], 0, INSTANT),
        "clamp_max": ([INSTANT, SCALAR], 0, INSTANT),
        "round": ([INSTANT, SCALAR], 1, INSTANT),
        "predict_linear": ([RANGE, SCALAR], 0, INSTANT),
        "quantile_over_time": ([SCALAR, RANGE], 0, INSTANT),
        "double_exponential_smoothing": ([RANGE, SCALAR, SCALAR], 0, INSTANT),
        "histogram_quantile": ([SCALAR, INSTANT], 0, INSTANT),
        "histogram_fraction": ([SCALAR, SCALAR, INSTANT], 0, INSTANT),
        "label_replace": ([INSTANT, STRING, STRING, STRING, STRING], 0, INSTANT),
        "label_join": ([INSTANT, STRING, STRING, STRING], -1, INSTANT),
        "sort_by_label": ([INSTANT, STRING], -1, INSTANT),
        "sort_by_label_desc": ([INSTANT, STRING], -1, INSTANT),
        "info": ([INSTANT, INSTANT], 1, INSTANT),
        "scalar": ([INSTANT], 0, SCALAR),
        "vector": ([SCALAR], 0, INSTANT),
        "time": ([], 0, SCALAR),
        "pi": ([], 0, SCALAR),
        "start": ([], 0, SCALAR),
        "end": ([], 0, SCALAR),
        "range": ([], 0, SCALAR),
        "step": ([], 0, SCALAR),
        "min_of": ([SCALAR, SCALAR], 0, SCALAR),
        "max_of": ([SCALAR, SCALAR], 0, SCALAR),
    })  # fmt: skip


_declare()

COMPARISONS = {"==", "!=", "<", "<=", ">", ">="}
SETS = {"and", "or", "unless", "default"}
PRECEDENCE = {"default": 0, "or": 1, "and": 2, "unless": 2, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 6}
PRECEDENCE.update({op: 3 for op in COMPARISONS})

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)
      | (?P<duration>(?:\d+(?:ms|[smhdwy]))+(?![\w.]))
      | (?P<number>0[xX][0-9a-fA-F_]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?!\w)
      | (?P<op>=~|!~|==|!=|<=|>=|[-+*/%^<>=(){}\[\],@])
      | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)""",
    re.X,
)
WORD_IN_BRACKETS = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def duration_seconds(text):
    """`1h30m` in seconds; each unit at most once, from long to short."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    order = [list("ywdhms").index(unit) if unit != "ms" else 6 for _, unit in parts]
    if order != sorted(set(order)):
        raise Refused(f"bad duration {text}")
    return sum(int(count) * UNITS[unit] for count, unit in parts)


def unquote(text):
    """A Go string literal's value."""
    if text[0] == "`":
        return text[1:-1]
    simple = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", text[0]: text[0]}
    out, body, i = bytearray(), text[1:-1], 0
    while i < len(body):
        if body[i] != "\\":
            out += body[i].encode()
            i += 1
            continue
        if body[i + 1] in simple:
            out += simple[body[i + 1]].encode()
            i += 2
        elif number := re.match(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3}))", body[i:]):
            out.append(int(number[1], 16) if number[1] else int(number[2], 8))
            i += len(number[0])
        elif number := re.match(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))", body[i:]):
            out += chr(int(number[1] or number[2], 16)).encode()
            i += len(number[0])
        else:
            raise Refused(f"bad escape in {text}")
    return out.decode()


def quote(value):
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c, c) for c in value) + '"'


def tokens(query):
    """(kind, text) pairs; inside square brackets a colon stands alone."""
    out, i, brackets = [], 0, 0
    while i < len(query):
        if brackets and query[i] == ":":
            out.append(("op", ":"))
            i += 1
            continue
        found = TOKEN.match(query, i)
        if not found:
            raise Refused(f"unexpected character at {query[i:]!r}")
        kind, text = found.lastgroup, found[0]
        if kind == "word" and brackets:
            text = WORD_IN_BRACKETS.match(query, i)[0]
        if kind != "space":
            out.append((kind, text))
        brackets += {"[": 1, "]": -1}.get(text, 0) if kind == "op" else 0
        i += len(text)
    return out + [("end", "")]


def parse(query):
    """The checked tree of a query; raises Refused."""
    parser = Parser(tokens(query))
    expr = parser.binary(0)
    if parser.kind != "end":
        raise Refused(f"unexpected {parser.text!r}")
    check(expr)
    return expr


class Parser:
    def __init__(self, tokens):
        self.tokens, self.at = tokens, 0

    @property
    def kind(self):
        return self.tokens[self.at][0]

    @property
    def text(self):
        return self.tokens[self.at][1]

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def is_op(self, text):
        return self.kind == "op" and self.text == text

    def is_word(self, *words):
        return self.kind == "word" and self.text.lower() in words

    def take(self, text):
        if not self.is_op(text):
            raise Refused(f"expected {text!r}, found {self.text!r}")
        return self.next()

    def accept(self, text):
        return self.is_op(text) and self.next()

    def operator(self):
        op = self.text.lower() if self.kind in ("op", "word") else ""
        return op if op in PRECEDENCE else None

    def binary(self, least):
        lhs = self.unary()
        while (op := self.operator()) is not None and PRECEDENCE[op] >= least:
            self.next()
            returns_bool = self.is_word("bool") and bool(self.next())
            matching = self.matching()
            rhs = self.binary(PRECEDENCE[op] if op == "^" else PRECEDENCE[op] + 1)
            lhs = Binary(op, lhs, rhs, returns_bool, matching)
            if self.is_word("keep_metric_names"):
                self.next()
                lhs.keep_names = True
        return lhs

    def matching(self):
        matching = Matching()
        if self.is_word("on", "ignoring"):
            matching.on = self.next()[1].lower() == "on"
            matching.labels = self.label_list()
            if self.is_word("group_left", "group_right"):
                matching.group = self.next()[1].lower()[6:]
                if self.is_op("("):
                    matching.include = self.label_list()
        # Only before a bracket, so that metrics may have these names.
        while self.is_word("fill", "fill_left", "fill_right") and self.tokens[self.at + 1] == ("op", "("):
            which, value = self.next()[1].lower(), self.fill_value()
            matching.fill_left = value if which != "fill_right" else matching.fill_left
            matching.fill_right = value if which != "fill_left" else matching.fill_right
        return matching

    def fill_value(self):
        self.take("(")
        sign = self.next()[1] if self.is_op("-") or self.is_op("+") else ""
        if self.kind not in ("number", "duration") and not self.is_word("inf", "nan"):
            raise Refused("fill wants a number")
        value = self.primary().value
        self.take(")")
        return -value if sign == "-" else value

    def label_list(self):
        self.take("(")
        labels = []
        while not self.accept(")"):
            if self.kind not in ("word", "string"):
                raise Refused(f"bad label {self.text!r}")
            kind, text = self.next()
            if ":" in text and kind == "word":
                raise Refused(f"bad label {text!r}")
            labels.append(unquote(text) if kind == "string" else text)
            if not self.is_op(")"):
                self.take(",")
        return labels

    def unary(self):
        if self.is_op("-") or self.is_op("+"):
            op = self.next()[1]
            return Unary(op, self.binary(PRECEDENCE["^"]))
        return self.postfix(self.primary())

    def primary(self):
        kind, text = self.kind, self.text
        if kind == "number" or (kind == "word" and text.lower() in ("inf", "nan")):
            self.next()
            return Number(number_value(text), text)
        if kind == "duration":
            self.next()
            return Number(float(duration_seconds(text)), text, True)
        if kind == "string":
            self.next()
            return String(unquote(text))
        if self.accept("("):
            inner = self.binary(0)
            self.take(")")
            return Paren(inner)
        if self.is_op("{"):
            return Selector(self.matchers(None))
        if kind == "word":
            return self.named()
        raise Refused(f"unexpected {text!r}")

    def named(self):
        name = self.next()[1]
        after_aggregator = self.is_op("(") or self.is_word("by", "without")
        if name.lower() in AGGREGATORS and after_aggregator:
            return self.aggregate(name.lower())
        if self.is_op("("):
            return self.call(name)
        if name.lower() in PRECEDENCE or name.lower() in ("by", "without", "on", "ignoring", "bool", "offset"):
            raise Refused(f"unexpected {name!r}")
        return Selector(self.matchers(name) if self.is_op("{") else [("__name__", "=", name)])

    def aggregate(self, op):
        grouping = None
        if self.is_word("by", "without"):
            grouping = (self.next()[1].lower(), self.label_list())
        args = self.arguments()
        if grouping is None and self.is_word("by", "without"):
            grouping = (self.next()[1].lower(), self.label_list())
        wanted = 2 if AGGREGATORS[op] else 1
        if len(args) != wanted:
            raise Refused(f"{op} wants {wanted} arguments")
        how, labels = grouping or ("", [])
        return Aggregate(op, args[-1], args[0] if wanted == 2 else None, labels, how == "without", grouping is not None)

    def call(self, name):
        if name not in FUNCTIONS:
            raise Refused(f"unknown function {name!r}")
        call = Call(name, self.arguments())
        if self.is_word("keep_metric_names"):
            self.next()
            call.keep_names = True
        return call

    def arguments(self):
        self.take("(")
        args = []
        while not self.is_op(")"):
            args.append(self.binary(0))
            if not self.is_op(")"):
                self.take(",")
                if self.is_op(")"):
                    raise Refused("trailing comma")
        self.next()
        return args

    def matchers(self, name):
        matchers = [("__name__", "=", name)] if name is not None else []
        named = name is not None
        self.take("{")
        while not self.accept("}"):
            if self.kind not in ("word", "string"):
                raise Refused(f"bad matcher {self.text!r}")
            kind, label = self.next()
            if kind == "string" and (self.is_op(",") or self.is_op("}")):
                if named:
                    raise Refused("metric name set twice")
                named = True
                matchers.append(("__name__", "=", unquote(label)))
            else:
                label = unquote(label) if kind == "string" else label
                if kind == "word" and ":" in label:
                    raise Refused(f"bad label {label!r}")
                _, op = self.next()
                if op not in ("=", "!=", "=~", "!~") or self.kind != "string":
                    raise Refused("bad matcher")
                value = unquote(self.next()[1])
                if label == "__name__" and named:
                    raise Refused("metric name set twice")
                matchers.append((label, op, value))
            if not self.is_op("}"):
                self.take(",")
        return matchers

    def postfix(self, expr):
        while True:
            if self.accept("["):
                expr = self.bracket(expr)
            elif self.is_word("offset"):
                self.next()
                target = modifiable(expr)
                if target.offset is not None:
                    raise Refused("offset set twice")
                target.offset = self.offset()
            elif self.accept("@"):
                target = modifiable(expr)
                if target.at is not None:
                    raise Refused("@ set twice")
                target.at = self.timestamp()
            else:
                return expr

    def bracket(self, expr):
        span = self.binary(4)
        if self.accept(":"):
            step = None if self.is_op("]") else self.binary(4)
            self.take("]")
            return Subquery(expr, span, step)
        self.take("]")
        if not isinstance(expr, Selector):
            raise Refused("ranges are only allowed for vector selectors")
        if expr.offset is not None or expr.at is not None:
            raise Refused("modifiers go after the range")
        return Matrix(expr, span)

    def offset(self):
        sign = self.next()[1] if self.is_op("-") or self.is_op("+") else ""
        value = self.primary()
        if not isinstance(value, (Number, Paren, Call)):
            raise Refused("bad offset")
        return Unary("-", value) if sign == "-" else value

    def timestamp(self):
        if self.is_word("start", "end"):
            which = self.next()[1].lower()
            self.take("(")
            self.take(")")
            return which
        sign = self.next()[1] if self.is_op("-") or self.is_op("+") else ""
        if self.kind not in ("number", "duration") and not self.is_word("inf", "nan"):
            raise Refused("bad @")
        value = self.primary().value
        if not math.isfinite(value) or abs(value) > 9e15:
            raise Refused("@ out of bounds")
        return -value if sign == "-" else value


def number_value(text):
    text = text.lower().replace("_", "")
    return float(int(text, 16)) if text.startswith("0x") else float(text)


def modifiable(expr):
    if isinstance(expr, Matrix):
        return expr.selector
    if isinstance(expr, (Selector, Subquery)):
        return expr
    raise Refused("offset and @ follow a selector or a subquery")


def regex(pattern):
    """A matcher's regular expression: anchored, `.` matches a newline; RE2's syntax is close enough to Python's."""
    try:
        if re.search(r"\(\?(<?[=!]|>|\()|\\[1-9]", pattern):
            raise re.error("RE2 has no lookaround and no references")
        return re.compile(pattern, re.S)
    except re.error as error:
        raise Refused(f"bad regular expression {pattern!r}: {error}") from error


def matches(matcher, labels):
    label, op, value = matcher
    have = labels.get(label, "")
    if op in ("=", "!="):
        return (have == value) == (op == "=")
    return bool(regex(value).fullmatch(have)) == (op == "=~")


def check(expr):
    """The type of an expression; raises Refused where a part does not fit."""
    match expr:
        case Number():
            return SCALAR
        case String():
            return STRING
        case Paren():
            return check(expr.expr)
        case Unary():
            return expect(expr.expr, SCALAR, INSTANT)
        case Binary():
            return check_binary(expr)
        case Aggregate():
            expect(expr.expr, INSTANT)
            if expr.param is not None:
                expect(expr.param, AGGREGATORS[expr.op])
            return INSTANT
        case Call():
            return check_call(expr)
        case Selector():
            if all(matches(matcher, {}) for matcher in expr.matchers):
                raise Refused("a selector needs a matcher that does not match the empty string")
            check_duration(expr.offset, True)
            return INSTANT
        case Matrix():
            check(expr.selector)
            check_duration(expr.range, False)
            return RANGE
        case Subquery():
            expect(expr.expr, INSTANT)
            check_duration(expr.range, False)
            check_duration(expr.step, False)
            check_duration(expr.offset, True)
            return RANGE
    raise Refused(f"unknown node {expr!r}")


def expect(expr, *types):
    got = check(expr)
    if got not in types:
        raise Refused(f"expected {' or '.join(types)}, got {got}")
    return got


def check_binary(expr):
    left, right = expect(expr.lhs, SCALAR, INSTANT), expect(expr.rhs, SCALAR, INSTANT)
    if expr.bool and expr.op not in COMPARISONS:
        raise Refused("bool is only for comparisons")
    if left == right == SCALAR and expr.op in COMPARISONS and not expr.bool:
        raise Refused("comparisons between scalars need bool")
    both = left == right == INSTANT
    if expr.op in ("and", "or", "unless") and not both:
        raise Refused(f"{expr.op} is only for vectors")
    if expr.matching.labels and not both:  # an empty list goes unnoticed
        raise Refused("matching is only for vectors")
    if expr.matching.fills and (expr.op in SETS or not both):
        raise Refused("fill is only for arithmetic and comparisons between vectors")
    if expr.op in SETS and expr.matching.group:
        raise Refused("no grouping for set operators")
    if expr.matching.on and set(expr.matching.labels) & set(expr.matching.include):
        raise Refused("a label stands in on and in group")
    return SCALAR if left == right == SCALAR else INSTANT


def check_call(expr):
    types, optional, result = FUNCTIONS[expr.name]
    count = len(expr.args)
    least = len(types) - (1 if optional == -1 else optional)
    if count < least or (count > len(types) and optional != -1):
        raise Refused(f"{expr.name} has {count} arguments")
    if expr.name == "info" and count == 2:
        # Not an instant vector, though it looks like one: braces, whose matchers may all match the empty string.
        if not isinstance(expr.args[1], Selector):
            raise Refused("the second argument of info stands in braces")
        return expect(expr.args[0], INSTANT)
    for i, arg in enumerate(expr.args):
        expect(arg, types[min(i, len(types) - 1)])
    return result


def check_duration(expr, may_be_negative):
    match expr:
        case None | Number():
            if isinstance(expr, Number) and not may_be_negative and expr.value <= 0:
                raise Refused("a duration must be greater than 0")
        case Paren():
            check_duration(expr.expr, True)
        case Unary():
            check_duration(expr.expr, True)
            if not may_be_negative:
                raise Refused("a duration must be greater than 0")
        case Binary(op=op) if op in "+-*/%^":
            check_duration(expr.lhs, True)
            check_duration(expr.rhs, True)
        case Call(name="step" | "range", args=[]):
            pass
        case Call(name="min_of" | "max_of", args=[_, _]):
            for arg in expr.args:
                check_duration(arg, True)
        case _:
            raise Refused("not a duration")


def render(expr):
    """The query of a tree."""
    match expr:
        case Number():
            return expr.text or number_text(expr.value)
        case String():
            return quote(expr.value)
        case Paren():
            return f"({render(expr.expr)})"
        case Unary():
            return f"{expr.op}{render(expr.expr)}"
        case Binary():
            kept = " keep_metric_names" if expr.keep_names else ""
            middle = f"{expr.op}{' bool' if expr.bool else ''}{render_matching(expr.matching)}"
            return f"{render(expr.lhs)} {middle} {render(expr.rhs)}{kept}"
        case Aggregate():
            how, labels = "without" if expr.without else "by", ", ".join(map(label_text, expr.labels))
            grouping = f" {how} ({labels}) " if expr.grouped else ""
            param = f"{render(expr.param)}, " if expr.param is not None else ""
            return f"{expr.op}{grouping}({param}{render(expr.expr)})"
        case Call():
            kept = " keep_metric_names" if expr.keep_names else ""
            return f"{expr.name}({', '.join(map(render, expr.args))}){kept}"
        case Selector():
            return render_matchers(expr.matchers) + render_modifiers(expr)
        case Matrix():
            selector = expr.selector
            return f"{render_matchers(selector.matchers)}[{render(expr.range)}]{render_modifiers(selector)}"
        case Subquery():
            step = render(expr.step) if expr.step is not None else ""
            return f"{render(expr.expr)}[{render(expr.range)}:{step}]{render_modifiers(expr)}"
    raise ValueError(expr)


def number_text(value):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def render_matching(matching):
    out = ""
    if matching.on is not None:
        out = f" {'on' if matching.on else 'ignoring'} ({', '.join(map(label_text, matching.labels))})"
        if matching.group:
            out += f" group_{matching.group} ({', '.join(map(label_text, matching.include))})"
    for side in ("left", "right"):
        value = getattr(matching, f"fill_{side}")
        out += f" fill_{side} ({number_text(value)})" if value is not None else ""
    return out


def render_matchers(matchers):
    name = ""
    if matchers and matchers[0][:2] == ("__name__", "=") and re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", matchers[0][2]):
        name, matchers = matchers[0][2], matchers[1:]
    if name and not matchers:
        return name
    return name + "{" + ", ".join(f"{label_text(label)}{op}{quote(value)}" for label, op, value in matchers) + "}"


def label_text(label):
    """A label's name; quoted where it is not of the old alphabet."""
    return label if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", label) else quote(label)


def render_modifiers(node):
    out = ""
    if node.at is not None:
        out += f" @ {node.at}()" if isinstance(node.at, str) else f" @ {number_text(node.at)}"
    if node.offset is not None:
        out += f" offset {render(node.offset)}"
    return out


def children(node):
    """The expressions directly below a node, for walks over a tree."""
    if isinstance(node, Call):
        return list(node.args)
    found = [getattr(node, f.name) for f in fields(node)] if is_dataclass(node) else []
    return [child for child in found if is_dataclass(child) and not isinstance(child, Matching)]
