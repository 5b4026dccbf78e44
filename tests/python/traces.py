"""A trace from the trace API, in protobuf and in OTLP's JSON, against what was sent."""

import base64
import json

from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from compare import Difference

IDS = ("traceId", "spanId", "parentSpanId")


def check(server, requests):
    """Compares every span with all its fields; returns how many spans."""
    sent = {}
    for request in requests:
        for span_id, parts in _spans(request.resource_spans):
            sent.setdefault(span_id[0], {})[span_id] = parts
    for trace_id, spans in sent.items():
        binary = TracesData.FromString(server.trace(trace_id.hex(), "application/protobuf"))
        _compare(spans, binary, "protobuf")
        document = json.loads(server.trace(trace_id.hex(), "application/json"))
        _compare(spans, json_format.ParseDict(_ids_to_base64(document), TracesData()), "JSON")
    return sum(len(spans) for spans in sent.values())


def _compare(sent, data, form):
    answered = dict(_spans(data.resource_spans))
    if sent.keys() != answered.keys():
        raise Difference(f"{form}: sent the spans {sorted(sent)}, answered {sorted(answered)}")
    for span_id, parts in sent.items():
        for name, one, other in zip(("resource", "scope", "schemas", "span"), parts, answered[span_id]):
            if one != other:
                raise Difference(f"{form}: span {span_id[1].hex()}: its {name} was sent as\n{one}\nand answered as\n{other}")


def _spans(resource_spans):
    for outer in resource_spans:
        for scoped in outer.scope_spans:
            for span in scoped.spans:
                yield (span.trace_id, span.span_id), (
                    _sorted(outer.resource), _sorted(scoped.scope), (outer.schema_url, scoped.schema_url),
                    _sorted(span))


def _sorted(message):
    """As text with attributes in order: NaN equals NaN, and -0.0 is not 0.0."""
    copy = type(message)()
    copy.CopyFrom(message)
    if "status" in message.DESCRIPTOR.fields_by_name and not message.status.ListFields():
        # No status and an unset one are the same.
        copy.ClearField("status")
    for holder in (copy, *getattr(copy, "events", ()), *getattr(copy, "links", ())):
        holder.attributes.sort(key=lambda pair: pair.key)
    return str(copy)


def _ids_to_base64(node):
    """OTLP's JSON has ids in hex where protobuf's JSON has base64."""
    if isinstance(node, list):
        return [_ids_to_base64(item) for item in node]
    if isinstance(node, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode() if key in IDS else _ids_to_base64(item)
            for key, item in node.items()
        }
    return node
