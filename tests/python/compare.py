"""OTLP messages as rows, and rows against what SQL answers, field by field."""

import base64
import datetime
import json
import math

KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"]
TEMPORALITIES = ["unspecified", "delta", "cumulative"]
STATUSES = ["unset", "ok", "error"]
SPECIAL = ("bytesValue", "doubleValue", "kvlistValue")


class Difference(AssertionError):
    """A field that did not come back as it was sent."""


def value(any_value):
    """An AnyValue as SQL's JSON shows it."""
    which = any_value.WhichOneof("value")
    if which is None:
        return None
    inner = getattr(any_value, which)
    if which == "bytes_value":
        return {"bytesValue": base64.b64encode(inner).decode()}
    if which == "double_value" and not math.isfinite(inner):
        return {"doubleValue": "NaN" if math.isnan(inner) else "Infinity" if inner > 0 else "-Infinity"}
    if which == "array_value":
        return [value(v) for v in inner.values]
    if which == "kvlist_value":
        plain = attributes(inner.values)
        return {"kvlistValue": plain} if len(plain) == 1 and next(iter(plain)) in SPECIAL else plain
    return inner


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


def nanos(text):
    """RFC 3339 with nanoseconds to Unix nanoseconds."""
    if text is None:
        return None
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = datetime.datetime.fromisoformat(whole + "+00:00")
    epoch = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
    return int((seconds - epoch).total_seconds()) * 10**9 + int((fraction or "0").ljust(9, "0"))


def _source(outer, scoped):
    """What a row says of its resource and scope."""
    resource, scope = outer.resource, scoped.scope
    fields = {
        "resource": attributes(resource.attributes),
        "resource_dropped_attributes_count": resource.dropped_attributes_count,
        "resource_schema_url": outer.schema_url,
        "scope_name": scope.name,
        "scope_version": scope.version,
        "scope_attributes": attributes(scope.attributes),
        "scope_dropped_attributes_count": scope.dropped_attributes_count,
        "scope_schema_url": scoped.schema_url,
    }
    return {**fields, "service_name": fields["resource"]["service.name"]}


def logs(requests):
    """Rows by time; the sender gives every record its own."""
    rows = {}
    for request in requests:
        for outer in request.resource_logs:
            for scoped in outer.scope_logs:
                for record in scoped.log_records:
                    when = record.time_unix_nano or record.observed_time_unix_nano
                    text = record.body.WhichOneof("value") == "string_value"
                    common = _source(outer, scoped)
                    rows[(common["service_name"], when)] = {
                        **common,
                        "time": when,
                        "observed_time": record.observed_time_unix_nano or None,
                        "severity_number": record.severity_number,
                        "severity_text": record.severity_text,
                        "body": record.body.string_value if text else ("json", value(record.body)),
                        "event_name": record.event_name,
                        "flags": record.flags,
                        "dropped_attributes_count": record.dropped_attributes_count,
                        "trace_id": record.trace_id.hex(),
                        "span_id": record.span_id.hex(),
                        "attributes": attributes(record.attributes),
                    }
    return rows


def spans(requests):
    """Rows by span id."""
    rows = {}
    for request in requests:
        for outer in request.resource_spans:
            for scoped in outer.scope_spans:
                for span in scoped.spans:
                    rows[(span.trace_id.hex(), span.span_id.hex())] = {
                        **_source(outer, scoped),
                        "trace_id": span.trace_id.hex(),
                        "span_id": span.span_id.hex(),
                        "parent_span_id": span.parent_span_id.hex(),
                        "name": span.name,
                        "kind": KINDS[span.kind],
                        "start_time": span.start_time_unix_nano,
                        "end_time": span.end_time_unix_nano,
                        "duration_ns": span.end_time_unix_nano - span.start_time_unix_nano,
                        "status_code": STATUSES[span.status.code],
                        "status_message": span.status.message,
                        "attributes": attributes(span.attributes),
                        "events": [_event(event) for event in span.events],
                        "links": [_link(link) for link in span.links],
                        "trace_state": span.trace_state,
                        "flags": span.flags,
                        "dropped_attributes_count": span.dropped_attributes_count,
                        "dropped_events_count": span.dropped_events_count,
                        "dropped_links_count": span.dropped_links_count,
                    }
    return rows


def _event(event):
    return {
        "time_unix_nano": event.time_unix_nano,
        "name": event.name,
        "attributes": attributes(event.attributes),
        "dropped_attributes_count": event.dropped_attributes_count,
    }


def _link(link):
    return {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": link.trace_state,
        "flags": link.flags,
        "attributes": attributes(link.attributes),
        "dropped_attributes_count": link.dropped_attributes_count,
    }


def metrics(requests):
    """Rows by service, metric, attributes and time."""
    rows = {}
    for request in requests:
        for outer in request.resource_metrics:
            for scoped in outer.scope_metrics:
                for metric in scoped.metrics:
                    kind = metric.WhichOneof("data")
                    for point in getattr(metric, kind).data_points:
                        data = getattr(metric, kind)
                        row = {
                            **_source(outer, scoped),
                            "time": point.time_unix_nano,
                            "start_time": point.start_time_unix_nano or None,
                            "name": metric.name,
                            "type": kind,
                            "unit": metric.unit,
                            "description": metric.description,
                            "metadata": attributes(metric.metadata),
                            "temporality": TEMPORALITIES[getattr(data, "aggregation_temporality", 0)],
                            "monotonic": getattr(data, "is_monotonic", False),
                            "flags": point.flags,
                            "attributes": attributes(point.attributes),
                            **_measured(kind, point),
                        }
                        rows[metric_key(row)] = row
    return rows


def metric_key(row):
    return (row["service_name"], row["name"], json.dumps(row["attributes"], sort_keys=True), row["time"])


def _measured(kind, point):
    row = {"value": None, "count": None, "sum": None, "buckets": None, "exemplars": []}
    if kind != "summary":
        row["exemplars"] = [_exemplar(e) for e in point.exemplars]
    if kind in ("gauge", "sum"):
        which = point.WhichOneof("value")
        row["value"] = None if which is None else float(getattr(point, which))
        return row
    row["count"] = point.count
    row["sum"] = point.sum if kind == "summary" or point.HasField("sum") else None
    if kind == "summary":
        row["buckets"] = {"quantiles": [{"quantile": q.quantile, "value": q.value} for q in point.quantile_values]}
        return row
    if kind == "histogram":
        row["buckets"] = {"bounds": list(point.explicit_bounds), "counts": list(point.bucket_counts)}
    else:
        row["buckets"] = {
            "scale": point.scale,
            "zero_count": point.zero_count,
            "zero_threshold": point.zero_threshold,
            "positive": {"offset": point.positive.offset, "counts": list(point.positive.bucket_counts)},
            "negative": {"offset": point.negative.offset, "counts": list(point.negative.bucket_counts)},
        }
    for bound in ("min", "max"):
        if point.HasField(bound):
            row["buckets"][bound] = getattr(point, bound)
    return row


def _exemplar(exemplar):
    which = exemplar.WhichOneof("value")
    return {
        "time_unix_nano": exemplar.time_unix_nano,
        "value": None if which is None else getattr(exemplar, which),
        "trace_id": exemplar.trace_id.hex(),
        "span_id": exemplar.span_id.hex(),
        "attributes": attributes(exemplar.filtered_attributes),
    }


TIMES = ("time", "observed_time", "start_time", "end_time")
# What is absent may be null, empty or zero in an answer; in OTLP these are the same.
ABSENT_IS_EMPTY = ("attributes", "resource", "events", "links", "exemplars", "severity_number", "severity_text",
                   "event_name", "trace_id", "span_id", "parent_span_id", "scope_name", "scope_version", "unit",
                   "status_message", "trace_state", "flags", "dropped_attributes_count", "scope_attributes", "metadata",
                   "description")


def row(expected, actual, path):
    """Compares every field; returns how many."""
    for field, want in expected.items():
        if field not in actual:
            raise Difference(f"{path}.{field} is missing; the row has {sorted(actual)}")
        got = nanos(actual[field]) if field in TIMES else actual[field]
        if isinstance(want, tuple):
            # A body that is not text is JSON text.
            want, got = want[1], json.loads(got) if got else None
        same(want, got, f"{path}.{field}", field)
    return len(expected)


def same(want, got, path, field=None):
    """Equal, types included: 1 is not 1.0."""
    if field in ABSENT_IS_EMPTY and not want and not got:
        return
    if isinstance(want, dict) and isinstance(got, dict):
        for key in want.keys() | got.keys():
            inner = key if field in (None, "events", "links", "exemplars") else None
            if inner in ABSENT_IS_EMPTY and not want.get(key) and not got.get(key):
                continue
            if key not in want or key not in got:
                raise Difference(f"{path}: {key!r} only in what was {'sent' if key in want else 'answered'}")
            same(want[key], got[key], f"{path}[{key!r}]", inner)
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for i, (one, other) in enumerate(zip(want, got)):
            same(one, other, f"{path}[{i}]", field)
    elif isinstance(want, float) and got in ("NaN", "Infinity", "-Infinity"):
        # A column of floats answers what JSON lacks in protobuf's words.
        _same_float(want, float(got), path)
    elif isinstance(want, float) and isinstance(got, (int, float, dict)) and not isinstance(got, bool):
        _same_float(want, got, path)
    elif type(want) is not type(got) or want != got:
        raise Difference(f"{path}: sent {want!r}, answered {got!r}")


def _same_float(want, got, path):
    if isinstance(got, dict):
        got = float(got.get("doubleValue", "nan").replace("Infinity", "inf"))
    elif isinstance(got, int) and not path.split(".")[-1].startswith(("value", "sum", "buckets", "exemplars")):
        raise Difference(f"{path}: sent the double {want!r}, answered the integer {got!r}")
    equal = (math.isnan(want) and math.isnan(got)) or (want == got and math.copysign(1, want) == math.copysign(1, got))
    if not equal:
        raise Difference(f"{path}: sent {want!r}, answered {got!r}")
